//! out = softmax(q·kᵀ·d^−½)·v per head (Vaswani et al., 2017), in blocks of queries against all keys, so that the matrix of
//! all scores never exists; backward recomputes the probabilities from the rows' logsumexp L (Dao et al., 2022):
//!
//! P = exp(d^−½·q·kᵀ − L), dv = Pᵀ·dout, dS = P ∘ (dout·vᵀ − Σ_d dout ∘ out)·d^−½, dq = dS·k, dk = dSᵀ·q.

mod cases;
pub(super) mod cpu;
pub(super) mod cuda;

pub(super) use cases::cases;

use self::cuda::Head;
use super::{check, grads};
use crate::device::cpu::attention::Shape;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Multi-head attention: q (B, N, heads·d), k and v (B, M, heads·d) → (B, N, heads·d).
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Heads, which split the last dimension evenly.
    pub heads: usize,
}

const FWD: Kernel<params::AttentionFwd, 3, 2> = Kernel {
    name: "attention_fwd",
    reads: ["q", "k", "v"],
    writes: ["out", "logsumexp"],
    cpu: cpu::fwd,
    cuda: Some(
        CudaKernel::new("attention", |p: &params::AttentionFwd, math| {
            let of = Head::of(p.head_dim).forward(math.dtype(), params::ATTENTION_FWD_THREADS, p.block_queries);
            of.geometry(p.queries.div_ceil(of.rows), p.heads, p.batch)
        })
        .with_variants(|p| Head::of(p.head_dim).variant()),
    ),
};

const DELTA: Kernel<params::AttentionDelta, 2, 1> = Kernel {
    name: "attention_delta",
    reads: ["out", "dout"],
    writes: ["delta"],
    cpu: cpu::delta,
    cuda: Some(CudaKernel::new("attention", |p, _| Geometry {
        grid: [p.queries.div_ceil(params::ATTENTION_DELTA_ROWS), p.heads, p.batch],
        block: [params::ATTENTION_THREADS, 1, 1],
        shared_bytes: 0,
    })),
};

const BWD: Kernel<params::AttentionBwd, 7, 4> = Kernel {
    name: "attention_bwd",
    reads: ["q", "k", "v", "out", "logsumexp", "delta", "dout"],
    writes: ["dq", "dk", "dv", "dq_parts"],
    cpu: cpu::bwd,
    cuda: Some(
        CudaKernel::new("attention", |p: &params::AttentionBwd, math| {
            let of = Head::of(p.head_dim).backward(math.dtype());
            let blocks = match Head::of(p.head_dim) {
                Head::Narrow(_) => p.keys.div_ceil(of.rows),
                // Some own keys, the others queries.
                Head::Wide => p.keys.div_ceil(of.rows) + p.queries.div_ceil(of.rows),
            };
            of.geometry(blocks, p.heads, p.batch)
        })
        .with_variants(|p| Head::of(p.head_dim).variant()),
    ),
};

const BWD_SUM: Kernel<params::AttentionBwdSum, 0, 2> = Kernel {
    name: "attention_bwd_sum",
    reads: [],
    writes: ["dq", "dq_parts"],
    cpu: cpu::bwd_sum,
    cuda: Some(CudaKernel::new("attention", |p, _| Geometry {
        grid: [p.elements.div_ceil(4 * params::ATTENTION_THREADS), 1, 1],
        block: [params::ATTENTION_THREADS, 1, 1],
        shared_bytes: 0,
    })),
};

impl Attention {
    fn shape(&self, q: &Tensor, k: &Tensor) -> Result<Shape> {
        let ([batch, queries, cols], [_, keys, _]) = (q.dims(Self::NAME)?, k.dims(Self::NAME)?);
        Ok(Shape { batch, queries, keys, heads: self.heads, head_dim: cols / self.heads })
    }

    /// delta = Σ out·dout of every row and head.
    fn row_sums(&self, s: Shape, out: &Tensor, dout: &Tensor, delta: &mut Tensor) -> Result<()> {
        let p = params::AttentionDelta {
            batch: s.batch as u32,
            queries: s.queries as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            ..Default::default()
        };
        out.device().launch(&DELTA, p, [out, dout], [delta])
    }
}

impl Op<3> for Attention {
    const NAME: &'static str = "attention";
    /// q, k, v, out and logsumexp.
    type Saved = [Tensor; 5];

    fn forward(&self, [q, k, v]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "q", q)?;
        check::matrix(Self::NAME, "k", k)?;
        let ([batch, _, cols], [_, keys, _]) = (q.dims(Self::NAME)?, k.dims::<3>(Self::NAME)?);
        if self.heads == 0 || !cols.is_multiple_of(self.heads) {
            return Err(Error::shape(Self::NAME, format!("{cols} channels do not split into {} heads", self.heads)));
        }
        check::shape(Self::NAME, "k", k, &[batch, keys, cols])?;
        check::shape(Self::NAME, "v", v, k.shape())?;
        let head_dim = cols / self.heads;
        check::aligned(Self::NAME, "the head size", head_dim, q)?;
        if !q.device().is_cpu() && head_dim > params::ATTENTION_MAX_HEAD as usize {
            let message = format!("heads of {head_dim} channels; CUDA takes up to {}", params::ATTENTION_MAX_HEAD);
            return Err(Error::shape(Self::NAME, message));
        }
        let s = self.shape(q, k)?;
        let mut p = params::AttentionFwd {
            batch: s.batch as u32,
            queries: s.queries as u32,
            keys: s.keys as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            scale: s.scale(),
            ..Default::default()
        };
        let axes = [p.queries, p.heads, p.batch];
        p.block_queries =
            Head::of(p.head_dim).block_queries(params::ATTENTION_FWD_THREADS, axes, q.device().multiprocessors());
        let mut out = q.uninit_like()?;
        let mut logsumexp = Tensor::uninit(q.device(), &[s.batch, s.heads, s.queries], DType::F32)?;
        q.device().launch(&FWD, p, [q, k, v], [&mut out, &mut logsumexp])?;
        Ok(([out.clone()], [q.clone(), k.clone(), v.clone(), out, logsumexp]))
    }

    fn backward(
        &self,
        [q, k, v, out, logsumexp]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let s = self.shape(q, k)?;
        let p = params::AttentionBwd {
            batch: s.batch as u32,
            queries: s.queries as u32,
            keys: s.keys as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            scale: s.scale(),
            ..Default::default()
        };
        let device = q.device();
        let mut gradients = grads::allocate([q, k, v], needs)?;
        let (mut delta, mut dq_parts) = (Tensor::absent(device)?, Tensor::absent(device)?);
        let mut out = out.clone();
        // On CUDA, a block that has a head's keys in its registers makes delta itself.
        match Head::of(p.head_dim) {
            Head::Narrow(_) if !device.is_cpu() => {
                let parts = s.keys.div_ceil(Head::of(p.head_dim).backward(q.dtype()).rows as usize);
                if needs[0] && parts > 1 {
                    dq_parts = Tensor::uninit(device, &[&[parts], q.shape()].concat(), DType::F32)?;
                }
            }
            _ => {
                if needs[0] || needs[1] {
                    delta = logsumexp.uninit_like()?;
                    self.row_sums(s, &out, only(grads), &mut delta)?;
                }
                out = Tensor::absent(device)?;
            }
        }
        let [dq, dk, dv] = gradients.each_mut();
        let reads = [q, k, v, &out, logsumexp, &delta, only(grads)];
        if dq_parts.is_absent() {
            device.launch(&BWD, p, reads, [dq, dk, dv, &mut dq_parts])?;
        } else {
            device.launch(&BWD, p, reads, [&mut Tensor::absent(device)?, dk, dv, &mut dq_parts])?;
            let parts = dq_parts.shape()[0] as u32;
            let p = params::AttentionBwdSum { elements: q.numel() as u32, parts, ..Default::default() };
            device.launch(&BWD_SUM, p, [], [dq, &mut dq_parts])?;
        }
        Ok(grads::asked(gradients, needs))
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), DELTA.info(), BWD.info(), BWD_SUM.info()]
}
