//! The layers of a frozen ViT, and how they are made of a file's tensors.

use super::{VitShape, Weights};
use crate::device::Device;
use crate::error::Result;
use crate::ops::activation::Gelu;
use crate::ops::add::Add;
use crate::ops::attention::Attention;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear as LinearOp;
use crate::ops::transpose::transpose;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The epsilon of timm's ViTs.
const EPS: f32 = 1e-6;

/// x + attention(norm1(x)), then x + mlp(norm2(x)); a layer scale is part of `proj` and `fc2`.
pub(super) struct Block {
    norm1: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    proj: Linear,
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    pub(super) fn load(load: &mut Loader, i: usize, shape: &VitShape) -> Result<Block> {
        let VitShape { dim, mlp, .. } = *shape;
        let name = |part: &str| format!("blocks.{i}.{part}");
        let [q, k, v] = load.qkv(&name("attn.qkv"), dim)?;
        Ok(Block {
            norm1: load.norm(&name("norm1"), dim)?,
            q,
            k,
            v,
            proj: load.scaled_linear(&name("attn.proj"), &name("ls1.gamma"), [dim, dim])?,
            norm2: load.norm(&name("norm2"), dim)?,
            fc1: load.linear(&name("mlp.fc1"), [mlp, dim])?,
            fc2: load.scaled_linear(&name("mlp.fc2"), &name("ls2.gamma"), [dim, mlp])?,
        })
    }

    /// Tokens (B, N, D) → the same shape.
    pub(super) fn forward(&self, tape: &Tape, x: &Var, heads: usize) -> Result<Var> {
        let h = self.norm1.forward(tape, x)?;
        let (q, k, v) = (self.q.forward(tape, &h)?, self.k.forward(tape, &h)?, self.v.forward(tape, &h)?);
        let [h] = tape.apply(Attention { heads }, [&q, &k, &v])?;
        let [x] = tape.apply(Add, [x, &self.proj.forward(tape, &h)?])?;
        let h = self.fc1.forward(tape, &self.norm2.forward(tape, &x)?)?;
        let [h] = tape.apply(Gelu::Erf, [&h])?;
        let [x] = tape.apply(Add, [&x, &self.fc2.forward(tape, &h)?])?;
        Ok(x)
    }
}

pub(super) struct Linear {
    weight: Var,
    bias: Var,
}

impl Linear {
    fn forward(&self, tape: &Tape, x: &Var) -> Result<Var> {
        let [y] = tape.apply(LinearOp, [x, &self.weight, &self.bias])?;
        Ok(y)
    }
}

pub(super) struct Norm {
    weight: Var,
    bias: Var,
}

impl Norm {
    pub(super) fn forward(&self, tape: &Tape, x: &Var) -> Result<Var> {
        // No modulation: that is the diffusion transformer's.
        let absent = tape.constant(Tensor::absent(tape.device())?);
        let [y] = tape.apply(LayerNorm { eps: EPS }, [x, &self.weight, &self.bias, &absent, &absent])?;
        Ok(y)
    }
}

/// Turns tensors of a file into layers on a device.
pub(super) struct Loader {
    tape: Tape,
    weights: Weights,
}

impl Loader {
    pub(super) fn new(device: &Device, weights: Weights) -> Loader {
        Loader { tape: Tape::inference(device), weights }
    }

    /// Checks that every tensor found its place.
    pub(super) fn finish(self) -> Result<()> {
        self.weights.finish()
    }

    pub(super) fn constant(&self, shape: &[usize], values: &[f32]) -> Result<Var> {
        Ok(self.tape.constant(Tensor::from_slice(self.tape.device(), shape, values)?))
    }

    /// A convolution's weight (O, kh, kw, I), from values in the files' order (O, I, kh, kw).
    pub(super) fn kernel(&self, shape: [usize; 4], values: &[f32]) -> Result<Var> {
        let [o, kh, kw, i] = shape;
        let filed = Tensor::from_slice(self.tape.device(), &[o, i, kh * kw], values)?;
        Ok(self.tape.constant(transpose(&filed)?.reshape(&shape)?))
    }

    pub(super) fn norm(&mut self, name: &str, dim: usize) -> Result<Norm> {
        let weight = self.weights.take(&format!("{name}.weight"), &[dim])?;
        let bias = self.weights.take(&format!("{name}.bias"), &[dim])?;
        Ok(Norm { weight: self.constant(&[dim], &weight)?, bias: self.constant(&[dim], &bias)? })
    }

    fn linear(&mut self, name: &str, shape: [usize; 2]) -> Result<Linear> {
        let (weight, bias) = self.take_linear(name, shape)?;
        self.make_linear(shape, &weight, &bias)
    }

    /// γ ⊙ (W x + b) as one linear layer, (γ W) x + γ b, where the file has a layer scale γ.
    fn scaled_linear(&mut self, name: &str, gamma: &str, [outputs, inputs]: [usize; 2]) -> Result<Linear> {
        let (mut weight, mut bias) = self.take_linear(name, [outputs, inputs])?;
        if self.weights.contains(gamma) {
            let gamma = self.weights.take(gamma, &[outputs])?;
            for ((row, bias), scale) in weight.chunks_exact_mut(inputs).zip(&mut bias).zip(gamma) {
                row.iter_mut().chain([bias]).for_each(|value| *value *= scale);
            }
        }
        self.make_linear([outputs, inputs], &weight, &bias)
    }

    /// timm's `qkv`, of which the first third of the rows makes queries, the second keys, the third values.
    fn qkv(&mut self, name: &str, dim: usize) -> Result<[Linear; 3]> {
        let (weight, bias) = self.take_linear(name, [3 * dim, dim])?;
        let part = |i: usize| {
            let (rows, outputs) = (i * dim * dim..(i + 1) * dim * dim, i * dim..(i + 1) * dim);
            self.make_linear([dim, dim], &weight[rows], &bias[outputs])
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }

    fn take_linear(&mut self, name: &str, [outputs, inputs]: [usize; 2]) -> Result<(Vec<f32>, Vec<f32>)> {
        let weight = self.weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok((weight, self.weights.take(&format!("{name}.bias"), &[outputs])?))
    }

    fn make_linear(&self, [outputs, inputs]: [usize; 2], weight: &[f32], bias: &[f32]) -> Result<Linear> {
        Ok(Linear { weight: self.constant(&[outputs, inputs], weight)?, bias: self.constant(&[outputs], bias)? })
    }
}
