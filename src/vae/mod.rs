//! VA-VAE: a convolutional autoencoder whose latents are aligned to a frozen vision foundation model.
//!
//! [`VaVae`] is the model with the reference's parameter names; [`Objective`] and [`training_step`] are
//! its losses and their gradients, with the adaptive weight read off the loss streams instead of
//! extra backward passes.

mod blocks;
mod decoder;
mod encoder;
pub mod extract;
mod features;
mod model;
mod random;
mod step;
mod tokenizer;
pub mod train;

pub use model::{Projection, VaVae, VaeShape};
pub use random::random_run;
pub use step::{
    Batch, Evaluation, Losses, Objective, Step, StepLosses, VfLosses, VfObjective, evaluate, training_step,
};
pub use tokenizer::Tokenizer;
