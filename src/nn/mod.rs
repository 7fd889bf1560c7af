//! Layers: named parameters and the ops that use them.

mod layers;
mod parameters;

pub use layers::{Conv2d, Embedding, Features, GroupNorm, LayerNorm, Linear, Mlp, Modulation, RmsNorm, Stream};
pub use parameters::{Fill, Forward, Init, ParamGradients, ParamId, Parameters};
