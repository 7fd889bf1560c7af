//! A LightningDiT block: attention and MLP, each normalised, modulated by the condition, and gated onto the residual by the norm that follows.

use super::shape::DitShape;
use crate::error::Result;
use crate::nn::{Fill, Forward, Init, LayerNorm, Linear, Mlp, Modulation, ParamId, RmsNorm, Stream};
use crate::ops::attention::Attention as AttentionOp;
use crate::ops::chunk::Chunk;
use crate::ops::linear::Activation;
use crate::ops::qkv_attention::QkvAttention;
use crate::ops::rope::Rope2d;
use crate::tape::Var;
use crate::tensor::Tensor;

/// eps of every norm but the reference's layer norm of queries and keys, which has PyTorch's default.
const EPS: f32 = 1e-6;
const QK_LAYER_NORM_EPS: f32 = 1e-5;

/// RMS norm or layer norm of tokens, as the shape says. The layer norm has no parameters, the modulation takes their place.
pub(super) enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

impl Norm {
    pub(super) fn new(init: &mut Init, shape: &DitShape) -> Result<Norm> {
        match shape.use_rmsnorm {
            true => Ok(Norm::Rms(RmsNorm::new(init, shape.hidden_size, EPS)?)),
            false => Ok(Norm::Layer(LayerNorm::plain(EPS))),
        }
    }

    /// → the normed tokens, and the tokens for the next residual sum.
    pub(super) fn forward(&self, pass: &Forward, tokens: &Stream, modulation: Modulation) -> Result<[Var; 2]> {
        match self {
            Norm::Rms(norm) => norm.forward_residual(pass, tokens, modulation),
            Norm::Layer(norm) => norm.forward_residual(pass, tokens, modulation),
        }
    }
}

/// The norms of the queries and keys of a head.
enum QkNorm {
    None,
    /// The scales.
    Rms([ParamId; 2]),
    Layer([LayerNorm; 2]),
}

impl QkNorm {
    fn new(init: &mut Init, shape: &DitShape) -> Result<QkNorm> {
        let (dim, [q, k]) = (shape.head_dim(), ["q_norm", "k_norm"]);
        let scale = |init: &mut Init| init.tensor("weight", &[dim], Fill::Constant(1.0));
        let layer = |init: &mut Init| LayerNorm::new(init, dim, QK_LAYER_NORM_EPS);
        Ok(match (shape.use_qknorm, shape.use_rmsnorm) {
            (false, _) => QkNorm::None,
            (true, true) => QkNorm::Rms([scale(&mut init.within(q))?, scale(&mut init.within(k))?]),
            (true, false) => QkNorm::Layer([layer(&mut init.within(q))?, layer(&mut init.within(k))?]),
        })
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
    qk_norm: QkNorm,
    proj: Linear,
    heads: usize,
}

impl Attention {
    fn new(init: &mut Init, shape: &DitShape) -> Result<Attention> {
        let dim = shape.hidden_size;
        let qkv = Linear::xavier(&mut init.within("qkv"), dim, 3 * dim)?;
        let qk_norm = QkNorm::new(init, shape)?;
        let proj = Linear::xavier(&mut init.within("proj"), dim, dim)?;
        Ok(Attention { qkv, qk_norm, proj, heads: shape.num_heads })
    }

    fn forward(&self, pass: &Forward, x: &Var, rope: Option<&Rope>) -> Result<Var> {
        let qkv = self.qkv.forward(pass, x)?;
        let mixed = match &self.qk_norm {
            QkNorm::None => self.fused(pass, &qkv, None, rope)?,
            QkNorm::Rms(scales) => self.fused(pass, &qkv, Some(scales), rope)?,
            QkNorm::Layer(norms) => self.layer_normed(pass, &qkv, norms, rope)?,
        };
        self.proj.forward(pass, &mixed)
    }

    fn fused(&self, pass: &Forward, qkv: &Var, scales: Option<&[ParamId; 2]>, rope: Option<&Rope>) -> Result<Var> {
        let table = |table: Option<&Tensor>| match table {
            Some(table) => Ok(pass.tape().constant(table.clone())),
            None => pass.absent(),
        };
        let [q_norm, k_norm] = [0, 1].map(|i| pass.optional(scales.map(|ids| ids[i])));
        let [cos, sin] = [table(rope.map(|rope| &rope.cos))?, table(rope.map(|rope| &rope.sin))?];
        let op = QkvAttention { heads: self.heads, eps: EPS };
        let [mixed] = pass.tape().apply(op, [qkv, &q_norm?, &k_norm?, &cos, &sin])?;
        Ok(mixed)
    }

    /// Step by step, for the one norm that the fused kernels do not know.
    fn layer_normed(&self, pass: &Forward, qkv: &Var, norms: &[LayerNorm; 2], rope: Option<&Rope>) -> Result<Var> {
        let tape = pass.tape();
        let [q, k, v] = tape.apply(Chunk::<3>, [qkv])?;
        let [batch, tokens, dim] = v.value().dims("attention")?;
        let embed = |norm: &LayerNorm, x: Var| {
            let heads = x.reshape(&[batch * tokens, self.heads, dim / self.heads])?;
            let x = norm.forward(pass, &heads, Modulation::default())?.reshape(&[batch, tokens, dim])?;
            let Some(Rope { cos, sin, op }) = rope else { return Ok(x) };
            let [x] = tape.apply(*op, [&x, &tape.constant(cos.clone()), &tape.constant(sin.clone())])?;
            Ok(x)
        };
        let (q, k) = (embed(&norms[0], q)?, embed(&norms[1], k)?);
        let [mixed] = tape.apply(AttentionOp { heads: self.heads }, [&q, &k, &v])?;
        Ok(mixed)
    }
}

fn mlp(init: &mut Init, shape: &DitShape) -> Result<Mlp> {
    let (dim, hidden) = (shape.hidden_size, shape.mlp_hidden());
    let ([first, second], wide, activation) = match shape.use_swiglu {
        true => (["w12", "w3"], 2 * hidden, Activation::SwiGlu),
        false => (["fc1", "fc2"], hidden, Activation::GeluTanh),
    };
    let layers = [(first, Fill::xavier(dim, wide)), (second, Fill::xavier(hidden, dim))];
    Mlp::new(init, layers, [dim, hidden, dim], activation)
}

/// What a condition becomes through a linear layer of zeros at first: `M` vectors (B, D) of each token's modulation.
pub(super) struct AdaLn(Linear);

impl AdaLn {
    /// `parts` vectors; the layer is the reference's `adaLN_modulation.1`, behind a SiLU that all blocks share.
    pub(super) fn new(init: &mut Init, shape: &DitShape, parts: usize) -> Result<AdaLn> {
        let mut init = init.within("adaLN_modulation.1");
        Ok(AdaLn(Linear::new(&mut init, shape.hidden_size, parts * shape.hidden_size, Fill::Constant(0.0))?))
    }

    /// → the vectors, and the condition for those who need it after this layer: so their gradients of it are added up one by one, in the
    /// passes that make them.
    pub(super) fn forward<const M: usize>(&self, pass: &Forward, condition: &Var) -> Result<([Var; M], Var)> {
        let [packed, condition] = self.0.forward_residual(pass, condition)?;
        Ok((pass.tape().apply(Chunk::<M>, [&packed])?, condition))
    }
}

/// tokens (B, N, D) and the condition silu(c) (B, D) → tokens, whose last branch the next norm joins, and the condition for the next block.
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
            norm1: Norm::new(&mut init.within("norm1"), shape)?,
            norm2: Norm::new(&mut init.within("norm2"), shape)?,
            attn: Attention::new(&mut init.within("attn"), shape)?,
            mlp: mlp(&mut init.within("mlp"), shape)?,
            modulation: AdaLn::new(init, shape, if wo_shift { 4 } else { 6 })?,
            wo_shift,
        })
    }

    pub(super) fn forward(
        &self,
        pass: &Forward,
        tokens: &Stream,
        condition: &Var,
        rope: Option<&Rope>,
    ) -> Result<(Stream, Var)> {
        // (shift, scale, gate) of the attention, then of the MLP.
        let ([of_attn, of_mlp], condition) = match self.wo_shift {
            true => {
                let ([scale1, gate1, scale2, gate2], condition) = self.modulation.forward(pass, condition)?;
                ([(None, scale1, gate1), (None, scale2, gate2)], condition)
            }
            false => {
                let ([shift1, scale1, gate1, shift2, scale2, gate2], condition) =
                    self.modulation.forward(pass, condition)?;
                ([(Some(shift1), scale1, gate1), (Some(shift2), scale2, gate2)], condition)
            }
        };
        let (shift, scale, gate) = of_attn;
        let modulation = Modulation { scale: Some(&scale), shift: shift.as_ref() };
        let [h, x] = self.norm1.forward(pass, tokens, modulation)?;
        let tokens = Stream { x, branch: self.attn.forward(pass, &h, rope)?, gate };
        let (shift, scale, gate) = of_mlp;
        let modulation = Modulation { scale: Some(&scale), shift: shift.as_ref() };
        let [h, x] = self.norm2.forward(pass, &tokens, modulation)?;
        Ok((Stream { x, branch: self.mlp.forward(pass, &h)?, gate }, condition))
    }
}
