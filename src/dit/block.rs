//! A LightningDiT block: attention and MLP, each normalised, modulated by the condition, and gated onto the residual.

use super::shape::DitShape;
use crate::error::Result;
use crate::nn::{Fill, Forward, Init, LayerNorm, Linear, Modulation, RmsNorm};
use crate::ops::activation::Gelu;
use crate::ops::attention::Attention as AttentionOp;
use crate::ops::chunk::Chunk;
use crate::ops::gate::GateResidual;
use crate::ops::rope::Rope2d;
use crate::ops::swiglu::SwiGlu;
use crate::tape::Var;
use crate::tensor::Tensor;

/// eps of every norm but the reference's layer norm of queries and keys, which has PyTorch's default.
const EPS: f32 = 1e-6;
const QK_LAYER_NORM_EPS: f32 = 1e-5;

/// RMS norm or layer norm, as the shape says.
pub(super) enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

impl Norm {
    /// Of tokens: a layer norm has no parameters, the modulation takes their place.
    pub(super) fn of_tokens(init: &mut Init, shape: &DitShape) -> Result<Norm> {
        match shape.use_rmsnorm {
            true => Ok(Norm::Rms(RmsNorm::new(init, shape.hidden_size, EPS)?)),
            false => Ok(Norm::Layer(LayerNorm::plain(EPS))),
        }
    }

    /// Of the queries or keys of a head.
    fn of_heads(init: &mut Init, shape: &DitShape) -> Result<Norm> {
        match shape.use_rmsnorm {
            true => Ok(Norm::Rms(RmsNorm::new(init, shape.head_dim(), EPS)?)),
            false => Ok(Norm::Layer(LayerNorm::new(init, shape.head_dim(), QK_LAYER_NORM_EPS)?)),
        }
    }

    pub(super) fn forward(&self, pass: &Forward, x: &Var, modulation: Modulation) -> Result<Var> {
        match self {
            Norm::Rms(norm) => norm.forward(pass, x, modulation),
            Norm::Layer(norm) => norm.forward(pass, x, modulation),
        }
    }
}

/// The rotary tables of a model's grid, each (N, d).
#[derive(Clone)]
pub(super) struct Rope {
    pub cos: Tensor,
    pub sin: Tensor,
    pub op: Rope2d,
}

struct Attention {
    qkv: Linear,
    qk_norms: Option<[Norm; 2]>,
    proj: Linear,
    heads: usize,
}

impl Attention {
    fn new(init: &mut Init, shape: &DitShape) -> Result<Attention> {
        let dim = shape.hidden_size;
        let qkv = Linear::xavier(&mut init.within("qkv"), dim, 3 * dim)?;
        let qk_norms = match shape.use_qknorm {
            true => Some([
                Norm::of_heads(&mut init.within("q_norm"), shape)?,
                Norm::of_heads(&mut init.within("k_norm"), shape)?,
            ]),
            false => None,
        };
        let proj = Linear::xavier(&mut init.within("proj"), dim, dim)?;
        Ok(Attention { qkv, qk_norms, proj, heads: shape.num_heads })
    }

    fn forward(&self, pass: &Forward, x: &Var, rope: Option<&Rope>) -> Result<Var> {
        let tape = pass.tape();
        let [mut q, mut k, v] = tape.apply(Chunk::<3>, [&self.qkv.forward(pass, x)?])?;
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            q = self.per_head(pass, q_norm, &q)?;
            k = self.per_head(pass, k_norm, &k)?;
        }
        if let Some(Rope { cos, sin, op }) = rope {
            let (cos, sin) = (tape.constant(cos.clone()), tape.constant(sin.clone()));
            [q] = tape.apply(*op, [&q, &cos, &sin])?;
            [k] = tape.apply(*op, [&k, &cos, &sin])?;
        }
        let [mixed] = tape.apply(AttentionOp { heads: self.heads }, [&q, &k, &v])?;
        self.proj.forward(pass, &mixed)
    }

    fn per_head(&self, pass: &Forward, norm: &Norm, x: &Var) -> Result<Var> {
        let [batch, tokens, dim] = x.value().dims("attention")?;
        let heads = x.reshape(&[batch * tokens, self.heads, dim / self.heads])?;
        norm.forward(pass, &heads, Modulation::default())?.reshape(&[batch, tokens, dim])
    }
}

enum Mlp {
    SwiGlu { w12: Linear, w3: Linear },
    Gelu { fc1: Linear, fc2: Linear },
}

impl Mlp {
    fn new(init: &mut Init, shape: &DitShape) -> Result<Mlp> {
        let (dim, hidden) = (shape.hidden_size, shape.mlp_hidden());
        match shape.use_swiglu {
            true => Ok(Mlp::SwiGlu {
                w12: Linear::xavier(&mut init.within("w12"), dim, 2 * hidden)?,
                w3: Linear::xavier(&mut init.within("w3"), hidden, dim)?,
            }),
            false => Ok(Mlp::Gelu {
                fc1: Linear::xavier(&mut init.within("fc1"), dim, hidden)?,
                fc2: Linear::xavier(&mut init.within("fc2"), hidden, dim)?,
            }),
        }
    }

    fn forward(&self, pass: &Forward, x: &Var) -> Result<Var> {
        match self {
            Mlp::SwiGlu { w12, w3 } => {
                let [h] = pass.tape().apply(SwiGlu, [&w12.forward(pass, x)?])?;
                w3.forward(pass, &h)
            }
            Mlp::Gelu { fc1, fc2 } => {
                let [h] = pass.tape().apply(Gelu::Tanh, [&fc1.forward(pass, x)?])?;
                fc2.forward(pass, &h)
            }
        }
    }
}

/// What a condition becomes through a linear layer of zeros at first: `M` vectors (B, D) of each token's modulation.
pub(super) struct AdaLn(Linear);

impl AdaLn {
    /// `parts` vectors; the layer is the reference's `adaLN_modulation.1`, behind a SiLU that all blocks share.
    pub(super) fn new(init: &mut Init, shape: &DitShape, parts: usize) -> Result<AdaLn> {
        let mut init = init.within("adaLN_modulation.1");
        Ok(AdaLn(Linear::new(&mut init, shape.hidden_size, parts * shape.hidden_size, Fill::Constant(0.0))?))
    }

    pub(super) fn forward<const M: usize>(&self, pass: &Forward, condition: &Var) -> Result<[Var; M]> {
        pass.tape().apply(Chunk::<M>, [&self.0.forward(pass, condition)?])
    }
}

/// tokens (B, N, D) and the condition silu(c) (B, D) → tokens.
pub(super) struct Block {
    norm1: Norm,
    norm2: Norm,
    attn: Attention,
    mlp: Mlp,
    modulation: AdaLn,
    wo_shift: bool,
}

impl Block {
    pub(super) fn new(init: &mut Init, shape: &DitShape) -> Result<Block> {
        let wo_shift = shape.wo_shift;
        Ok(Block {
            norm1: Norm::of_tokens(&mut init.within("norm1"), shape)?,
            norm2: Norm::of_tokens(&mut init.within("norm2"), shape)?,
            attn: Attention::new(&mut init.within("attn"), shape)?,
            mlp: Mlp::new(&mut init.within("mlp"), shape)?,
            modulation: AdaLn::new(init, shape, if wo_shift { 4 } else { 6 })?,
            wo_shift,
        })
    }

    pub(super) fn forward(&self, pass: &Forward, x: &Var, condition: &Var, rope: Option<&Rope>) -> Result<Var> {
        // (shift, scale, gate) of the attention, then of the MLP.
        let [of_attn, of_mlp] = match self.wo_shift {
            true => {
                let [scale1, gate1, scale2, gate2] = self.modulation.forward(pass, condition)?;
                [(None, scale1, gate1), (None, scale2, gate2)]
            }
            false => {
                let [shift1, scale1, gate1, shift2, scale2, gate2] = self.modulation.forward(pass, condition)?;
                [(Some(shift1), scale1, gate1), (Some(shift2), scale2, gate2)]
            }
        };
        let (shift, scale, gate) = &of_attn;
        let h = self.norm1.forward(pass, x, Modulation { scale: Some(scale), shift: shift.as_ref() })?;
        let [x] = pass.tape().apply(GateResidual, [x, gate, &self.attn.forward(pass, &h, rope)?])?;
        let (shift, scale, gate) = &of_mlp;
        let h = self.norm2.forward(pass, &x, Modulation { scale: Some(scale), shift: shift.as_ref() })?;
        let [x] = pass.tape().apply(GateResidual, [&x, gate, &self.mlp.forward(pass, &h)?])?;
        Ok(x)
    }
}
