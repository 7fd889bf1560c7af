//! How the golden sets of each kind are run through the engine.

pub mod dit;
pub mod ops;
pub mod sampler;
pub mod transport;
pub mod vae;
pub mod vf_loss;
pub mod vit;
