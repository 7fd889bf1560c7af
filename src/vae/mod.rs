//! VA-VAE: a convolutional autoencoder whose latents are aligned to a frozen vision foundation model.
//!
//! [`VaVae`] is the model with the reference's parameter names; [`Objective`] and [`training_step`] are
//! its losses and their gradients, with the adaptive weight read off the loss streams instead of
//! extra backward passes.

mod blocks;
mod decoder;
mod encoder;
mod features;
mod model;
pub mod plan;
mod state;
mod step;
pub mod train;

pub use model::{Projection, VaVae, VaeShape};
pub use step::{
    Batch, Evaluation, Losses, Objective, Step, StepLosses, StepOptions, VfLosses, VfObjective, evaluate, training_step,
};
