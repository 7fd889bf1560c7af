//! Rows of length one: y = x / max(‖x‖, eps), as PyTorch's `normalize`.
//!
//! Backward: dx = (dy − y·(y·dy)) / ‖x‖; where ‖x‖ ≤ eps the divisor is a constant and dx = dy / eps.

use rayon::prelude::*;

use super::row_team::{self, RowParts};
use super::{Case, Input, Tolerance, Values};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Divides the last axis by its length: (.., C) → (.., C).
#[derive(Debug, Clone, Copy)]
pub struct L2Normalize {
    /// The least length that is divided by; PyTorch's default is 1e-12.
    pub eps: f32,
}

const FWD: Kernel<params::L2NormalizeFwd, 1, 1> = Kernel {
    name: "l2_normalize_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("l2_normalize", |p, math| {
        row_team::geometry(p.rows, p.channels, p.rows, p.parts, math)
    })),
};

const BWD: Kernel<params::L2NormalizeBwd, 2, 1> = Kernel {
    name: "l2_normalize_bwd",
    reads: ["x", "dy"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("l2_normalize", |p, math| {
        row_team::geometry(p.rows, p.channels, p.rows, p.parts, math)
    })),
};

/// Rows per parallel task, at least.
const GRAIN: usize = 64;

impl Op<1> for L2Normalize {
    const NAME: &'static str = "l2_normalize";
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        let RowParts { rows, dim: channels, forward: parts, .. } = RowParts::plain(Self::NAME, x)?;
        let mut y = x.uninit_like()?;
        let p = params::L2NormalizeFwd { rows, channels, parts, eps: self.eps, ..Default::default() };
        x.device().launch(&FWD, p, [x], [&mut y])?;
        Ok(([y], x.clone()))
    }

    fn backward(&self, x: &Tensor, grads: [Option<&Tensor>; 1], [need]: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        if !need {
            return Ok([None]);
        }
        let RowParts { rows, dim: channels, forward: parts, .. } = RowParts::plain(Self::NAME, x)?;
        let mut dx = x.uninit_like()?;
        let p = params::L2NormalizeBwd { rows, channels, parts, eps: self.eps, ..Default::default() };
        x.device().launch(&BWD, p, [x, only(grads)], [&mut dx])?;
        Ok([Some(dx)])
    }
}

/// a·b, accumulated in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn fwd_cpu(p: &params::L2NormalizeFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let c = p.channels as usize;
    y.par_chunks_mut(c).zip(x.par_chunks(c)).with_min_len(GRAIN).for_each(|(y, x)| {
        let scale = (1.0 / dot(x, x).sqrt().max(f64::from(p.eps))) as f32;
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * scale;
        }
    });
}

fn bwd_cpu(p: &params::L2NormalizeBwd, [x, dy]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    let (c, eps) = (p.channels as usize, f64::from(p.eps));
    let inputs = x.par_chunks(c).zip(dy.par_chunks(c));
    dx.par_chunks_mut(c).zip(inputs).with_min_len(GRAIN).for_each(|(dx, (x, dy))| {
        let norm = dot(x, x).sqrt();
        let scale = (1.0 / norm.max(eps)) as f32;
        let along = if norm > eps { (dot(x, dy) / (norm * norm)) as f32 } else { 0.0 };
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = (dy - x * along) * scale;
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label, rows: usize, channels: usize, eps: f64, std: f32, bench| {
        let count = (rows * channels) as u64;
        Case {
            op: "l2_normalize",
            label,
            inputs: vec![Input::normal("x", &[rows, channels]).values(Values::Normal(0.0, std))],
            settings: vec![("eps", eps)],
            run: Box::new(move |tape, x| Ok(tape.apply(L2Normalize { eps: eps as f32 }, [&x[0]])?.into())),
            tolerance: Tolerance::REDUCTION,
            flops: 3 * count,
            bytes: 8 * count,
            bench,
        }
    };
    vec![
        case("odd shapes", 15, 37, 1e-12, 1.0, false),
        case("rows shorter than eps", 5, 7, 10.0, 1.0, false),
        case("several warps to a row", 33, 520, 1e-12, 1.0, false),
        case("VGG features", 4096, 256, 1e-12, 1.0, true),
    ]
}
