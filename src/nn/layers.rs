//! Layers with their initialisation: PyTorch's default for convolutions, the caller's choice for linear layers.

use super::{Fill, Forward, Init, ParamId};
use crate::error::Result;
use crate::ops::conv2d::{Conv2d as Conv2dOp, Conv2dBeforeNorm, Padding};
use crate::ops::embedding::Embedding as EmbeddingOp;
use crate::ops::group_norm::GroupNorm as GroupNormOp;
use crate::ops::layer_norm::{LayerNorm as LayerNormOp, LayerNormResidual};
use crate::ops::linear::{Activation, Linear as LinearOp, LinearResidual};
use crate::ops::mlp::Mlp as MlpOp;
use crate::ops::rms_norm::{RmsNorm as RmsNormOp, RmsNormResidual};
use crate::tape::Var;

/// What a convolution leaves to a [`GroupNorm`]: its result, and statistics of it that it made on the way.
#[derive(Clone)]
pub struct Features {
    /// The result, (B, H, W, C).
    pub x: Var,
    /// A constant, maybe absent; see [`Conv2dBeforeNorm`].
    pub statistics: Var,
}

impl Features {
    /// From what [`Conv2dBeforeNorm`] gives.
    pub fn new(pass: &Forward, x: Var, statistics: &Var) -> Features {
        Features { x, statistics: pass.tape().constant(statistics.value().clone()) }
    }
}

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

    /// Patches to tokens, as a linear layer over the pixels of a patch and initialised like one: (B, H, W, I) →
    /// (B, H/patch, W/patch, O).
    pub fn patches(init: &mut Init, inputs: usize, outputs: usize, patch: usize) -> Result<Conv2d> {
        let fill = Fill::xavier(inputs * patch * patch, outputs);
        let weight = init.tensor("weight", &[outputs, patch, patch, inputs], fill)?;
        let bias = Some(init.tensor("bias", &[outputs], Fill::Constant(0.0))?);
        Ok(Conv2d { weight, bias, op: Conv2dOp { stride: patch, padding: Padding::NONE, upsample: false } })
    }

    /// Applies the layer.
    pub fn forward(&self, pass: &Forward, x: &Var) -> Result<Var> {
        let inputs = [x, &pass.param(self.weight), &pass.optional(self.bias)?, &pass.absent()?];
        let [y] = pass.tape().apply(self.op, inputs)?;
        Ok(y)
    }

    /// Applies the layer before a [`GroupNorm`], and adds `residual`, which has the result's shape or is absent, in the same pass.
    pub fn forward_plus(&self, pass: &Forward, x: &Var, residual: &Var) -> Result<Features> {
        let inputs = [x, &pass.param(self.weight), &pass.optional(self.bias)?, residual];
        let [x, statistics] =
            pass.tape().apply(Conv2dBeforeNorm { conv: self.op, groups: GroupNorm::GROUPS }, inputs)?;
        Ok(Features::new(pass, x, &statistics))
    }

    /// As [`Conv2d::forward_plus`], without a residual.
    pub fn forward_before_norm(&self, pass: &Forward, x: &Var) -> Result<Features> {
        self.forward_plus(pass, x, &pass.absent()?)
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
    const GROUPS: usize = 32;

    /// Scales of one and shifts of zero.
    pub fn new(init: &mut Init, channels: usize, silu: bool) -> Result<GroupNorm> {
        let weight = init.tensor("weight", &[channels], Fill::Constant(1.0))?;
        let bias = init.tensor("bias", &[channels], Fill::Constant(0.0))?;
        Ok(GroupNorm { weight, bias, silu })
    }

    /// Applies the layer: → the same shape, and x for its other users.
    pub fn forward(&self, pass: &Forward, Features { x, statistics }: &Features) -> Result<[Var; 2]> {
        let op = GroupNormOp { groups: GroupNorm::GROUPS, eps: 1e-6, silu: self.silu };
        pass.tape().apply(op, [x, &pass.param(self.weight), &pass.param(self.bias), statistics])
    }
}

/// A linear layer with a bias: (.., I) → (.., O).
pub struct Linear {
    weight: ParamId,
    bias: ParamId,
}

impl Linear {
    /// Weights as `fill` says, biases of zero.
    pub fn new(init: &mut Init, inputs: usize, outputs: usize, fill: Fill) -> Result<Linear> {
        let weight = init.tensor("weight", &[outputs, inputs], fill)?;
        Ok(Linear { weight, bias: init.tensor("bias", &[outputs], Fill::Constant(0.0))? })
    }

    /// Weights uniform in ±√(6 / (I + O)) (Glorot and Bengio, 2010).
    pub fn xavier(init: &mut Init, inputs: usize, outputs: usize) -> Result<Linear> {
        Linear::new(init, inputs, outputs, Fill::xavier(inputs, outputs))
    }

    /// Applies the layer.
    pub fn forward(&self, pass: &Forward, x: &Var) -> Result<Var> {
        let [y] = pass.tape().apply(LinearOp, [x, &pass.param(self.weight), &pass.param(self.bias)])?;
        Ok(y)
    }

    /// Applies the layer beside another user of x: → the same, and x for that user.
    pub fn forward_residual(&self, pass: &Forward, x: &Var) -> Result<[Var; 2]> {
        pass.tape().apply(LinearResidual, [x, &pass.param(self.weight), &pass.param(self.bias)])
    }
}

/// Two linear layers with an activation between them: (.., I) → (.., O).
///
/// In memory the width H between them has zeros up to a multiple of eight, because products run in their fast tiles where rows start at
/// multiples of 16 bytes. As f(0) = 0 for every activation f, the zeros add nothing to any sum, and no gradient reaches them.
pub struct Mlp {
    first: Linear,
    second: Linear,
    op: MlpOp,
}

impl Mlp {
    /// The layers' names and how their weights are filled (biases are zero); I, H and O. For SwiGLU the first layer has 2·H outputs.
    pub fn new(
        init: &mut Init,
        layers: [(&str, Fill); 2],
        [inputs, hidden, outputs]: [usize; 3],
        activation: Activation,
    ) -> Result<Mlp> {
        let (parts, padded) = (activation.width(), hidden.next_multiple_of(8));
        let [(first, first_fill), (second, second_fill)] = layers;
        let mut first = init.within(first);
        let [rows, padded_rows] = [hidden, padded].map(|width| parts * width);
        let weight = first.padded("weight", [&[rows, inputs], &[padded_rows, inputs]], parts, first_fill)?;
        let bias = first.padded("bias", [&[rows], &[padded_rows]], parts, Fill::Constant(0.0))?;
        let first = Linear { weight, bias };
        let mut second = init.within(second);
        let weight = second.padded("weight", [&[outputs, hidden], &[outputs, padded]], outputs, second_fill)?;
        let second = Linear { weight, bias: second.tensor("bias", &[outputs], Fill::Constant(0.0))? };
        Ok(Mlp { first, second, op: MlpOp { activation } })
    }

    /// Applies the layers.
    pub fn forward(&self, pass: &Forward, x: &Var) -> Result<Var> {
        let [w1, b1] = [self.first.weight, self.first.bias].map(|id| pass.param(id));
        let [w2, b2] = [self.second.weight, self.second.bias].map(|id| pass.param(id));
        let absent = pass.absent()?;
        let [y] = pass.tape().apply(self.op, [x, &w1, &b1, &w2, &b2, &absent, &absent])?;
        Ok(y)
    }
}

/// The scale and shift of adaptive layer norm, each (B, C) or not there: y·(1 + scale) + shift.
#[derive(Default, Clone, Copy)]
pub struct Modulation<'a> {
    /// Multiplies what was normalised, plus one.
    pub scale: Option<&'a Var>,
    /// Is added.
    pub shift: Option<&'a Var>,
}

impl Modulation<'_> {
    fn vars(self, pass: &Forward) -> Result<[Var; 2]> {
        let or_absent = |var: Option<&Var>| var.map_or_else(|| pass.absent(), |var| Ok(var.clone()));
        Ok([or_absent(self.scale)?, or_absent(self.shift)?])
    }
}

/// Tokens between two residual branches, (B, .., C): x, which a branch with its gate (B, C) has yet to join, or which is whole (both absent). The
/// norm at the head of the next branch adds them up.
#[derive(Clone)]
pub struct Stream {
    /// What the branch was made from.
    pub x: Var,
    /// The branch.
    pub branch: Var,
    /// Its gate.
    pub gate: Var,
}

impl Stream {
    /// No branch.
    pub fn whole(pass: &Forward, x: Var) -> Result<Stream> {
        let absent = pass.absent()?;
        Ok(Stream { x, branch: absent.clone(), gate: absent })
    }
}

/// RMS norm over the last dimension, modulated in the same pass.
pub struct RmsNorm {
    weight: ParamId,
    eps: f32,
}

impl RmsNorm {
    /// Scales of one.
    pub fn new(init: &mut Init, dim: usize, eps: f32) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: init.tensor("weight", &[dim], Fill::Constant(1.0))?, eps })
    }

    /// Applies the layer: (B, .., C) → the same.
    pub fn forward(&self, pass: &Forward, x: &Var, modulation: Modulation) -> Result<Var> {
        let [scale, shift] = modulation.vars(pass)?;
        let [y] = pass.tape().apply(RmsNormOp { eps: self.eps }, [x, &pass.param(self.weight), &scale, &shift])?;
        Ok(y)
    }

    /// Applies the layer at the head of a residual branch, after the last one has joined: → the same, and the sum for the next.
    pub fn forward_residual(&self, pass: &Forward, tokens: &Stream, modulation: Modulation) -> Result<[Var; 2]> {
        let ([scale, shift], weight) = (modulation.vars(pass)?, pass.param(self.weight));
        let Stream { x, branch, gate } = tokens;
        pass.tape().apply(RmsNormResidual { eps: self.eps }, [x, &weight, &scale, &shift, branch, gate])
    }
}

/// Layer norm over the last dimension, modulated in the same pass.
pub struct LayerNorm {
    affine: Option<[ParamId; 2]>,
    eps: f32,
}

impl LayerNorm {
    /// With scales of one and shifts of zero that are learnt.
    pub fn new(init: &mut Init, dim: usize, eps: f32) -> Result<LayerNorm> {
        let weight = init.tensor("weight", &[dim], Fill::Constant(1.0))?;
        Ok(LayerNorm { affine: Some([weight, init.tensor("bias", &[dim], Fill::Constant(0.0))?]), eps })
    }

    /// Without parameters.
    pub fn plain(eps: f32) -> LayerNorm {
        LayerNorm { affine: None, eps }
    }

    /// Applies the layer: (B, .., C) → the same.
    pub fn forward(&self, pass: &Forward, x: &Var, modulation: Modulation) -> Result<Var> {
        let [weight, bias, scale, shift] = self.vars(pass, modulation)?;
        let [y] = pass.tape().apply(LayerNormOp { eps: self.eps }, [x, &weight, &bias, &scale, &shift])?;
        Ok(y)
    }

    /// As [`RmsNorm::forward_residual`].
    pub fn forward_residual(&self, pass: &Forward, tokens: &Stream, modulation: Modulation) -> Result<[Var; 2]> {
        let [weight, bias, scale, shift] = self.vars(pass, modulation)?;
        let Stream { x, branch, gate } = tokens;
        pass.tape().apply(LayerNormResidual { eps: self.eps }, [x, &weight, &bias, &scale, &shift, branch, gate])
    }

    fn vars(&self, pass: &Forward, modulation: Modulation) -> Result<[Var; 4]> {
        let [weight, bias] = [self.affine.map(|ids| ids[0]), self.affine.map(|ids| ids[1])];
        let [scale, shift] = modulation.vars(pass)?;
        Ok([pass.optional(weight)?, pass.optional(bias)?, scale, shift])
    }
}

/// Vectors by number: indices (B) → (B, C).
pub struct Embedding {
    weight: ParamId,
}

impl Embedding {
    /// A table of `entries` vectors.
    pub fn new(init: &mut Init, entries: usize, dim: usize, fill: Fill) -> Result<Embedding> {
        Ok(Embedding { weight: init.tensor("weight", &[entries, dim], fill)? })
    }

    /// Looks up.
    pub fn forward(&self, pass: &Forward, indices: &Var) -> Result<Var> {
        let [y] = pass.tape().apply(EmbeddingOp, [&pass.param(self.weight), indices])?;
        Ok(y)
    }
}
