//! Attention from the packed output of the linear layer that makes queries, keys and values: out = softmax(q̂·k̂ᵀ·d^−½)·v per head,
//! where q̂ and k̂ are rows of q and k, normed by their root mean square (Henry et al., 2020) and turned by their token's place
//! (Su et al., 2021), each of which may be left out.
//!
//! Backward: dq̂, dk̂ and dv as in [`attention`](super::attention), turned back by the transposed map, and then, with
//! x̂ = x·rstd, dx = rstd·(w∘d − x̂·mean(w∘d∘x̂)) and dw = Σ d∘x̂. On CUDA queries and keys are embedded where they lie in shared
//! memory, and never written.

mod cases;
mod cpu;

pub(super) use cases::cases;

use super::attention::cuda::Head;
use super::part_sums::{self, add_parts};
use super::{check, grads};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// qkv (B, N, 3·heads·d), q_norm and k_norm (d) f32 or both absent, cos and sin (N, d) of
/// [`rope_tables`](super::rope::rope_tables) or both absent → (B, N, heads·d).
///
/// The tables are constants: their gradients do not exist, and asking for one is an error.
#[derive(Debug, Clone, Copy)]
pub struct QkvAttention {
    /// Heads.
    pub heads: usize,
    /// Added to the mean square of a row: 1e-6 in LightningDiT.
    pub eps: f32,
}

const FWD: Kernel<params::QkvAttentionFwd, 5, 2> = Kernel {
    name: "qkv_attention_fwd",
    reads: ["qkv", "q_norm", "k_norm", "cos", "sin"],
    writes: ["out", "logsumexp"],
    cpu: cpu::fwd,
    cuda: Some(
        CudaKernel::new("qkv_attention", |p: &params::QkvAttentionFwd, math| {
            let of = Head::of(p.head_dim).forward(math.dtype(), threads(math.dtype()), p.block_queries);
            of.geometry(p.tokens.div_ceil(of.rows), p.heads, p.batch)
        })
        .with_variants(|p| Head::of(p.head_dim).variant()),
    ),
};

/// Threads of a block of forward's, of many queries.
fn threads(dtype: DType) -> u32 {
    match dtype {
        DType::Bf16 => params::QKV_ATTENTION_THREADS,
        _ => params::QKV_ATTENTION_FWD_THREADS_F32,
    }
}

const BWD: Kernel<params::QkvAttentionBwd, 8, 3> = Kernel {
    name: "qkv_attention_bwd",
    reads: ["qkv", "q_norm", "k_norm", "cos", "sin", "out", "logsumexp", "dout"],
    writes: ["dqkv", "dq_parts", "dk_normed"],
    cpu: cpu::bwd,
    cuda: Some(
        CudaKernel::new("qkv_attention", |p: &params::QkvAttentionBwd, math| {
            let of = Head::of(p.head_dim).backward(math.dtype());
            of.geometry(p.tokens.div_ceil(of.rows), p.heads, p.batch)
        })
        .with_variants(|p| Head::of(p.head_dim).variant()),
    ),
};

const BWD_EMBEDDING: Kernel<params::QkvAttentionBwdEmbedding, 5, 2> = Kernel {
    name: "qkv_attention_bwd_embedding",
    reads: ["qkv", "q_norm", "k_norm", "dq_parts", "dk_normed"],
    writes: ["dqkv", "weight_sums"],
    cpu: cpu::bwd_embedding,
    cuda: Some(CudaKernel::new("qkv_attention", |p, _| geometry([p.blocks, p.tensors]))),
};

fn geometry([x, y]: [u32; 2]) -> Geometry {
    Geometry { grid: [x, y, 1], block: [params::QKV_ATTENTION_THREADS, 1, 1], shared_bytes: 0 }
}

/// The lengths of the axes.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    tokens: usize,
    heads: usize,
    head_dim: usize,
}

impl Shape {
    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn out(self) -> [usize; 3] {
        [self.batch, self.tokens, self.heads * self.head_dim]
    }
}

impl QkvAttention {
    fn shape(&self, qkv: &Tensor) -> Result<Shape> {
        let [batch, tokens, cols] = qkv.dims(Self::NAME)?;
        if self.heads == 0 || !cols.is_multiple_of(3 * self.heads) {
            let message = format!("{cols} channels are not q, k and v of {} heads", self.heads);
            return Err(Error::shape(Self::NAME, message));
        }
        Ok(Shape { batch, tokens, heads: self.heads, head_dim: cols / 3 / self.heads })
    }
}

impl Op<5> for QkvAttention {
    const NAME: &'static str = "qkv_attention";
    /// The inputs, out and logsumexp.
    type Saved = [Tensor; 7];

    fn forward(&self, inputs: [&Tensor; 5]) -> Result<([Tensor; 1], Self::Saved)> {
        let [qkv, q_norm, k_norm, cos, sin] = inputs;
        check::matrix(Self::NAME, "qkv", qkv)?;
        let s = self.shape(qkv)?;
        let table = [s.tokens, s.head_dim];
        let pairs = [("q_norm", q_norm, "k_norm", k_norm, &table[1..]), ("cos", cos, "sin", sin, &table[..])];
        for (name, first, other_name, other, shape) in pairs {
            check::optional(Self::NAME, name, first, shape)?;
            check::optional(Self::NAME, other_name, other, shape)?;
            if first.is_absent() != other.is_absent() || first.dtype() != DType::F32 || other.dtype() != DType::F32 {
                let message = format!("{name} and {other_name} are both f32, and both there or both absent");
                return Err(Error::shape(Self::NAME, message));
            }
        }
        if !cos.is_absent() && !s.head_dim.is_multiple_of(2) {
            return Err(Error::shape(Self::NAME, format!("heads of {} channels have no pairs to turn", s.head_dim)));
        }
        check::aligned(Self::NAME, "the head size", s.head_dim, qkv)?;
        if !qkv.device().is_cpu() && s.head_dim > params::QKV_ATTENTION_MAX_HEAD as usize {
            let message =
                format!("heads of {} channels; CUDA takes up to {}", s.head_dim, params::QKV_ATTENTION_MAX_HEAD);
            return Err(Error::shape(Self::NAME, message));
        }
        let mut p = params::QkvAttentionFwd {
            batch: s.batch as u32,
            tokens: s.tokens as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            scale: s.scale(),
            eps: self.eps,
            ..Default::default()
        };
        let axes = [p.tokens, p.heads, p.batch];
        p.block_queries =
            Head::of(p.head_dim).block_queries(threads(qkv.dtype()), axes, qkv.device().multiprocessors());
        let mut out = Tensor::uninit(qkv.device(), &s.out(), qkv.dtype())?;
        let mut logsumexp = Tensor::uninit(qkv.device(), &[s.batch, s.heads, s.tokens], DType::F32)?;
        qkv.device().launch(&FWD, p, inputs, [&mut out, &mut logsumexp])?;
        let [qkv, q_norm, k_norm, cos, sin] = inputs.map(Tensor::clone);
        Ok(([out.clone()], [qkv, q_norm, k_norm, cos, sin, out, logsumexp]))
    }

    fn backward(
        &self,
        [qkv, q_norm, k_norm, cos, sin, out, logsumexp]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 5],
    ) -> Result<[Option<Tensor>; 5]> {
        let (s, device, normed) = (self.shape(qkv)?, qkv.device(), !q_norm.is_absent());
        let f32 = |wanted: bool, shape: &[usize]| match wanted {
            true => Tensor::uninit(device, shape, DType::F32),
            false => Tensor::absent(device),
        };
        let parts = match device.is_cpu() {
            true => 1,
            false => s.tokens.div_ceil(Head::of(s.head_dim as u32).backward(qkv.dtype()).rows as usize),
        };
        let needs = [needs[0], needs[1], needs[2]];
        let mut gradients = grads::allocate([qkv, q_norm, k_norm], needs)?;
        let [dqkv, dq_norm, dk_norm] = gradients.each_mut();
        let mut dq_parts = f32(normed || parts > 1, &[&[parts], &s.out()[..]].concat())?;
        let mut dk_normed = f32(normed, &s.out())?;
        let p = params::QkvAttentionBwd {
            batch: s.batch as u32,
            tokens: s.tokens as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            scale: s.scale(),
            eps: self.eps,
            ..Default::default()
        };
        let reads = [qkv, q_norm, k_norm, cos, sin, out, logsumexp, only(grads)];
        device.launch(&BWD, p, reads, [&mut *dqkv, &mut dq_parts, &mut dk_normed])?;
        if !dq_parts.is_absent() {
            let rows = s.batch * s.tokens;
            let blocks = (rows * s.heads).div_ceil(params::QKV_ATTENTION_ROWS_PER_BLOCK as usize);
            let mut weight_sums = f32(needs[1] || needs[2], &[1, blocks, 2, s.head_dim])?;
            let p = params::QkvAttentionBwdEmbedding {
                rows: rows as u32,
                heads: s.heads as u32,
                head_dim: s.head_dim as u32,
                parts: parts as u32,
                eps: self.eps,
                blocks: blocks as u32,
                tensors: 1 + u32::from(normed),
                ..Default::default()
            };
            let reads = [qkv, q_norm, k_norm, &dq_parts, &dk_normed];
            device.launch(&BWD_EMBEDDING, p, reads, [dqkv, &mut weight_sums])?;
            if needs[1] || needs[2] {
                add_parts(q_norm, &weight_sums, [dq_norm, dk_norm])?;
            }
        }
        let [dqkv, dq_norm, dk_norm] = grads::asked(gradients, needs);
        Ok([dqkv, dq_norm, dk_norm, None, None])
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info(), BWD_EMBEDDING.info(), part_sums::kernel()]
}
