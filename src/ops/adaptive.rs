//! Weighing loss streams against each other without the host: squared norms, the adaptive weight, scaled sums.
//!
//! These run on gradients, outside the tape, and have no backward of their own.

use rayon::prelude::*;

use super::{Case, sum};
use crate::device::cpu::reduce;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::params;
use crate::tensor::Tensor;

const SUM_OF_SQUARES: Kernel<params::SumOfSquares, 1, 1> = Kernel {
    name: "sum_of_squares",
    reads: ["x"],
    writes: ["sum"],
    cpu: sum_of_squares_cpu,
    cuda: cuda(|p, _| Geometry::blocks(p.parts)),
};

const WEIGHT: Kernel<params::AdaptiveWeight, 2, 1> = Kernel {
    name: "adaptive_weight",
    reads: ["nll", "other"],
    writes: ["weight"],
    cpu: weight_cpu,
    cuda: cuda(|_, _| Geometry::blocks(1)),
};

const SCALE: Kernel<params::Scale, 2, 1> = Kernel {
    name: "scale",
    reads: ["x", "scale"],
    writes: ["y"],
    cpu: scale_cpu,
    cuda: cuda(|p, math| Geometry::elementwise(p.count, math)),
};

const ADD_SCALED: Kernel<params::AddScaled, 2, 1> = Kernel {
    name: "add_scaled",
    reads: ["x", "scale"],
    writes: ["sum"],
    cpu: add_scaled_cpu,
    cuda: Some(
        CudaKernel::new("adaptive", |p: &params::AddScaled, math| Geometry::elementwise(p.count, math))
            .updating(&["sum"]),
    ),
};

const fn cuda<P>(geometry: fn(&P, Math) -> Geometry) -> Option<CudaKernel<P>> {
    Some(CudaKernel::new("adaptive", geometry))
}

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

/// Σ xᵢ², shape (1).
pub fn sum_of_squares(x: &Tensor) -> Result<Tensor> {
    let parts = sum::parts(x);
    let mut sums = Tensor::uninit(x.device(), &[parts], DType::F32)?;
    let p = params::SumOfSquares { count: x.numel() as u32, parts: parts as u32, ..Default::default() };
    x.device().launch(&SUM_OF_SQUARES, p, [x], [&mut sums])?;
    sum::of_parts(sums)
}

/// clamp(√nll / (√other + 1e-4), 0, largest) · factor, from squared norms; all of shape (1).
pub fn weight(nll: &Tensor, other: &Tensor, largest: f32, factor: f32) -> Result<Tensor> {
    let mut weight = nll.uninit_like()?;
    let p = params::AdaptiveWeight { largest, factor, ..Default::default() };
    nll.device().launch(&WEIGHT, p, [nll, other], [&mut weight])?;
    Ok(weight)
}

/// scale · x, with `scale` of shape (1).
pub fn scale(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let mut y = x.uninit_like()?;
    let p = params::Scale { count: x.numel() as u32, ..Default::default() };
    x.device().launch(&SCALE, p, [x, scale], [&mut y])?;
    Ok(y)
}

/// sum + scale · x, in place where nothing else refers to `sum`; `scale` has shape (1).
///
/// # Errors
/// When the two have different numbers of elements.
pub fn add_scaled(mut sum: Tensor, x: &Tensor, scale_by: &Tensor) -> Result<Tensor> {
    if sum.numel() != x.numel() {
        return Err(Error::shape("add_scaled", format!("{:?} and {:?} differ", sum.shape(), x.shape())));
    }
    if !sum.is_unique() {
        return super::add::add_into(scale(x, scale_by)?, &sum);
    }
    let p = params::AddScaled { count: x.numel() as u32, ..Default::default() };
    x.device().launch(&ADD_SCALED, p, [x, scale_by], [&mut sum])?;
    Ok(sum)
}

fn sum_of_squares_cpu(_: &params::SumOfSquares, [x]: [&[f32]; 1], [sum]: [&mut [f32]; 1]) {
    sum[0] = reduce::sum_of_squares(x) as f32;
}

fn weight_cpu(p: &params::AdaptiveWeight, [nll, other]: [&[f32]; 2], [weight]: [&mut [f32]; 1]) {
    // A NaN norm must stay one: the training loop looks for it.
    weight[0] =
        (nll[0].sqrt() / (other[0].sqrt() + params::ADAPTIVE_NORM_FLOOR as f32)).clamp(0.0, p.largest) * p.factor;
}

fn scale_cpu(_: &params::Scale, [x, scale]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let scale = scale[0];
    y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y = scale * x;
        }
    });
}

fn add_scaled_cpu(_: &params::AddScaled, [x, scale]: [&[f32]; 2], [sum]: [&mut [f32]; 1]) {
    let scale = scale[0];
    sum.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(sum, x)| {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += scale * x;
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![SUM_OF_SQUARES.info(), WEIGHT.info(), SCALE.info(), ADD_SCALED.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
