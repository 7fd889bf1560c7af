//! The cosine over the last axis: y = a·b / (max(‖a‖, eps)·max(‖b‖, eps)), as PyTorch's `cosine_similarity`.
//!
//! Backward: da = dy·(b/(‖a‖‖b‖) − y·a/‖a‖²), without the second term where ‖a‖ ≤ eps; db likewise.

use rayon::prelude::*;

use super::l2_normalize::dot;
use super::row_team::{self, RowParts};
use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// (.., C) ×2 → (..), or (1) for single rows of shape (C).
#[derive(Debug, Clone, Copy)]
pub struct CosineSimilarity {
    /// The least length that is divided by; PyTorch's default is 1e-8.
    pub eps: f32,
}

const FWD: Kernel<params::CosineSimilarityFwd, 2, 1> = Kernel {
    name: "cosine_similarity_fwd",
    reads: ["a", "b"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("cosine_similarity", |p, math| {
        row_team::geometry(p.rows, p.channels, p.rows, p.parts, math)
    })),
};

const BWD: Kernel<params::CosineSimilarityBwd, 3, 2> = Kernel {
    name: "cosine_similarity_bwd",
    reads: ["a", "b", "dy"],
    writes: ["da", "db"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("cosine_similarity", |p, math| {
        row_team::geometry(p.rows, p.channels, p.rows, p.parts, math)
    })),
};

/// Rows per parallel task, at least.
const GRAIN: usize = 64;

impl Op<2> for CosineSimilarity {
    const NAME: &'static str = "cosine_similarity";
    type Saved = [Tensor; 2];

    fn forward(&self, [a, b]: [&Tensor; 2]) -> Result<([Tensor; 1], [Tensor; 2])> {
        let RowParts { rows, dim: channels, forward: parts, .. } = RowParts::plain(Self::NAME, a)?;
        check::shape(Self::NAME, "b", b, a.shape())?;
        let shape = match a.shape() {
            [_] => &[1],
            [rows @ .., _] => rows,
            [] => &[],
        };
        let mut y = Tensor::uninit(a.device(), shape, a.dtype())?;
        let p = params::CosineSimilarityFwd { rows, channels, parts, eps: self.eps, ..Default::default() };
        a.device().launch(&FWD, p, [a, b], [&mut y])?;
        Ok(([y], [a.clone(), b.clone()]))
    }

    fn backward(
        &self,
        [a, b]: &[Tensor; 2],
        dy: [Option<&Tensor>; 1],
        needs: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let [mut da, mut db] = grads::allocate([a, b], needs)?;
        let RowParts { rows, dim: channels, forward: parts, .. } = RowParts::plain(Self::NAME, a)?;
        let p = params::CosineSimilarityBwd { rows, channels, parts, eps: self.eps, ..Default::default() };
        a.device().launch(&BWD, p, [a, b, only(dy)], [&mut da, &mut db])?;
        Ok(grads::asked([da, db], needs))
    }
}

fn fwd_cpu(p: &params::CosineSimilarityFwd, [a, b]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let (c, eps) = (p.channels as usize, f64::from(p.eps));
    let inputs = a.par_chunks(c).zip(b.par_chunks(c));
    y.par_iter_mut().zip(inputs).with_min_len(GRAIN).for_each(|(y, (a, b))| {
        let norms = dot(a, a).sqrt().max(eps) * dot(b, b).sqrt().max(eps);
        *y = (dot(a, b) / norms) as f32;
    });
}

fn bwd_cpu(p: &params::CosineSimilarityBwd, [a, b, dy]: [&[f32]; 3], [da, db]: [&mut [f32]; 2]) {
    gradient(p, a, b, dy, da);
    gradient(p, b, a, dy, db);
}

/// dx of the cosine of x and `other`; nothing where `dx` is absent.
fn gradient(p: &params::CosineSimilarityBwd, x: &[f32], other: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (c, eps) = (p.channels as usize, f64::from(p.eps));
    dx.par_chunks_mut(c).enumerate().with_min_len(GRAIN).for_each(|(row, dx)| {
        let (x, other) = (&x[row * c..][..c], &other[row * c..][..c]);
        let (norm, other_norm) = (dot(x, x).sqrt(), dot(other, other).sqrt().max(eps));
        let dy = f64::from(dy[row]);
        let of_other = (dy / (norm.max(eps) * other_norm)) as f32;
        let of_x = if norm > eps { dy * dot(x, other) / (norm * norm * norm * other_norm) } else { 0.0 } as f32;
        for ((dx, x), other) in dx.iter_mut().zip(x).zip(other) {
            *dx = other * of_other - x * of_x;
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label, shape: [usize; 3], eps: f64, bench| {
        let count = shape.iter().product::<usize>() as u64;
        Case {
            op: "cosine_similarity",
            label,
            inputs: ["a", "b"].map(|name| Input::normal(name, &shape).values(Values::Normal(0.2, 1.0))).into(),
            settings: vec![("eps", eps)],
            run: Box::new(move |tape, x| Ok(tape.apply(CosineSimilarity { eps: eps as f32 }, [&x[0], &x[1]])?.into())),
            tolerance: Tolerance::REDUCTION,
            flops: 6 * count,
            bytes: 8 * count,
            bench,
        }
    };
    vec![
        case("odd shapes", [3, 5, 37], 1e-8, false),
        case("rows shorter than eps", [2, 3, 7], 10.0, false),
        case("several warps to a row", [2, 9, 520], 1e-8, false),
        case("latents of f16d32", [8, 256, 32], 1e-8, true),
    ]
}
