//! LightningDiT: a diffusion transformer on the latents of a tokenizer ("Reconstruction vs. Generation", CVPR 2025, on the
//! shoulders of DiT and SiT).
//!
//! [`LightningDit`] is the model with the reference's parameter names, [`Transport`] the path between noise and data and
//! what the model learns on it, [`training_step`] one step's losses and gradients, [`Sampler`] how noise becomes latents.

mod block;
mod decode;
pub mod generate;
pub mod guidance;
mod model;
mod random;
pub mod sampler;
pub mod settings;
mod shape;
pub mod solver;
mod step;
pub mod times;
pub mod train;
pub mod transport;

pub use decode::Decoder;
pub use model::LightningDit;
pub use random::random_run;
pub use sampler::Sampler;
pub use shape::{DitShape, SIZES};
pub use step::{Batch, Losses, Step, StepLosses, evaluate, training_step};
pub use transport::Transport;
