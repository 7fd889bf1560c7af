//! vf-engine trains and samples the system of "Reconstruction vs. Generation: Taming Optimization
//! Dilemma in Latent Diffusion Models" (CVPR 2025): a VA-VAE, whose latents are aligned to a frozen
//! vision foundation model, and LightningDiT on its latents.
//!
//! Read top-down: [`vae`] (the model, its training step and run) is made of [`nn`] layers, which apply
//! [`ops`] on a [`tape`], which launch kernels on a [`device`]. `docs/design.md` says why.

pub mod benchmark;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
pub mod dit;
pub mod dtype;
pub mod error;
pub mod eval;
pub mod kernels;
pub mod metrics;
pub mod nn;
pub mod op;
pub mod ops;
pub mod optim;
#[allow(
    missing_docs,
    clippy::all,
    rustdoc::broken_intra_doc_links,
    reason = "generated from kernels/*.h, whose formulas have indices in brackets"
)]
pub mod params;
pub mod random;
pub mod tape;
pub mod tensor;
pub mod training;
pub mod vae;
pub mod vision;

pub use device::Device;
pub use error::{Error, Result};
pub use tensor::Tensor;
