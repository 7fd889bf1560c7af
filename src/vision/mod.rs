//! Frozen vision foundation models: the teachers that the VF loss aligns latents to.
//!
//! [`Vit`] is a plain vision transformer in the two styles that the reference implementation
//! uses, DINOv2 and MAE, with timm's parameter names, loaded from safetensors by [`Weights`].
//! [`Vit::features`] serves training directly; [`Vit::extract`] fills a
//! [`FeatureCache`](crate::data::FeatureCache) for a folder of images.

mod extract;
mod layers;
mod vit;
mod weights;

pub use extract::{Extracted, Extraction};
pub use vit::{CELL, Options, Style, Vit, VitShape};
pub use weights::Weights;
