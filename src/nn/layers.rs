//! Layers with PyTorch's default initialisation.

use super::{Fill, Forward, Init, ParamId};
use crate::error::Result;
use crate::ops::conv2d::{Conv2d as Conv2dOp, Padding};
use crate::ops::group_norm::GroupNorm as GroupNormOp;
use crate::tape::Var;

/// A convolution of channels-last images, (B, H, W, I) → (B, H′, W′, O).
pub struct Conv2d {
    weight: ParamId,
    bias: Option<ParamId>,
    op: Conv2dOp,
}

impl Conv2d {
    /// `kernel`×`kernel` weights drawn as PyTorch does by default: uniform in ±1/√fan_in
    /// (kaiming-uniform with a = √5), and so the bias.
    pub fn new(init: &mut Init, inputs: usize, outputs: usize, kernel: usize, op: Conv2dOp) -> Result<Conv2d> {
        let fill = Fill::Uniform(1.0 / ((inputs * kernel * kernel) as f32).sqrt());
        let weight = init.tensor("weight", &[outputs, kernel, kernel, inputs], fill)?;
        let bias = Some(init.tensor("bias", &[outputs], fill)?);
        Ok(Conv2d { weight, bias, op })
    }

    /// A pointwise convolution.
    pub fn pointwise(init: &mut Init, inputs: usize, outputs: usize) -> Result<Conv2d> {
        Conv2d::new(init, inputs, outputs, 1, Conv2dOp { stride: 1, padding: Padding::NONE, upsample: false })
    }

    /// 3×3, stride 1, padding 1: the size stays.
    pub fn same(init: &mut Init, inputs: usize, outputs: usize) -> Result<Conv2d> {
        Conv2d::new(init, inputs, outputs, 3, Conv2dOp { stride: 1, padding: Padding::all(1), upsample: false })
    }

    /// Applies the layer.
    pub fn forward(&self, pass: &Forward, x: &Var) -> Result<Var> {
        self.forward_plus(pass, x, &pass.optional(None)?)
    }

    /// Applies the layer and adds `residual`, which has the result's shape or is absent, in the same pass.
    pub fn forward_plus(&self, pass: &Forward, x: &Var, residual: &Var) -> Result<Var> {
        let inputs = [x, &pass.param(self.weight), &pass.optional(self.bias)?, residual];
        let [y] = pass.tape().apply(self.op, inputs)?;
        Ok(y)
    }

    /// The weight's id.
    pub fn weight(&self) -> ParamId {
        self.weight
    }
}

/// GroupNorm with 32 groups and eps 1e-6, optionally followed by SiLU in the same pass.
pub struct GroupNorm {
    weight: ParamId,
    bias: ParamId,
    silu: bool,
}

impl GroupNorm {
    /// Scales of one and shifts of zero.
    pub fn new(init: &mut Init, channels: usize, silu: bool) -> Result<GroupNorm> {
        let weight = init.tensor("weight", &[channels], Fill::Constant(1.0))?;
        let bias = init.tensor("bias", &[channels], Fill::Constant(0.0))?;
        Ok(GroupNorm { weight, bias, silu })
    }

    /// Applies the layer to channels-last images or tokens.
    pub fn forward(&self, pass: &Forward, x: &Var) -> Result<Var> {
        let op = GroupNormOp { groups: 32, eps: 1e-6, silu: self.silu };
        let [y] = pass.tape().apply(op, [x, &pass.param(self.weight), &pass.param(self.bias)])?;
        Ok(y)
    }
}
