//! Layers: named parameters and the ops that use them.

mod layers;
mod parameters;

pub use layers::{Conv2d, GroupNorm};
pub use parameters::{Fill, Forward, Init, ParamGradients, ParamId, Parameters};
