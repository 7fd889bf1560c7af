//! The loss of a flow, sample by sample: weight·mean (pred − target)², and the direction of the velocity, mean over pixels
//! of 1 − cos(pred, target) over channels ("Reconstruction vs. Generation", CVPR 2025). Both in one pass over the two, and
//! so is their gradient:
//!
//! dpred = dmse·weight·2(pred − target)/n − dcos/rows·(target/(‖pred‖‖target‖) − cos·pred/‖pred‖²).
//!
//! With another target and weight this is also the loss of a predicted noise or score: see `dit::transport`.

use rayon::prelude::*;

use super::l2_normalize::dot;
use super::part_sums::add_parts;
use super::{Case, Input, Tolerance, Values, check, rows};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// pred (B, .., C), target of its shape and f32, weight (B) or absent → (B) squared errors and (B) directions, f32.
///
/// Target and weight are constants: their gradients do not exist, and asking for one is an error.
#[derive(Debug, Clone, Copy)]
pub struct VelocityLoss;

const FWD: Kernel<params::VelocityLossFwd, 3, 2> = Kernel {
    name: "velocity_loss_fwd",
    reads: ["pred", "target", "weight"],
    writes: ["mse", "cos"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("velocity_loss", |p, _| {
        let block = rows::team(p.channels, rows::fours(p.channels));
        Geometry { grid: [p.parts, p.batch, 1], block, shared_bytes: 0 }
    })),
};

const BWD: Kernel<params::VelocityLossBwd, 5, 1> = Kernel {
    name: "velocity_loss_bwd",
    reads: ["pred", "target", "weight", "dmse", "dcos"],
    writes: ["dpred"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("velocity_loss", |p, _| {
        let block = rows::team(p.channels, rows::fours(p.channels));
        Geometry { grid: [(p.batch * p.rows).div_ceil(block[1]), 1, 1], block, shared_bytes: 0 }
    })),
};

/// The least length that is divided by, PyTorch's default.
const EPS: f32 = 1e-8;

/// Blocks of the forward on a GPU, if there is work: two for each multiprocessor of a large one.
const BLOCKS: usize = 256;

/// The least turns of a block's teams that are worth a part of their own, whose sums another launch adds up.
const TURNS: usize = 4;

/// Parts of a sample on this device.
fn parts(pred: &Tensor, batch: usize, rows: usize, channels: usize) -> usize {
    if pred.device().is_cpu() {
        return 1;
    }
    let [_, teams, _] = rows::team(channels as u32, rows::fours(channels as u32));
    let turn = (teams * params::VELOCITY_LOSS_ROWS) as usize;
    BLOCKS.div_ceil(batch).min(rows / (TURNS * turn)).max(1)
}

/// Losses (B, parts) → (B).
fn of_parts(losses: Tensor) -> Result<Tensor> {
    let [batch, parts] = losses.dims("velocity_loss")?;
    if parts == 1 {
        return losses.reshape(&[batch]);
    }
    let mut sums = Tensor::uninit(losses.device(), &[batch], DType::F32)?;
    let parts = losses.reshape(&[batch, parts, 1, 1])?;
    add_parts(&parts, &parts, [&mut sums, &mut Tensor::absent(losses.device())?])?;
    Ok(sums)
}

impl Op<3, 2> for VelocityLoss {
    const NAME: &'static str = "velocity_loss";
    /// The inputs.
    type Saved = [Tensor; 3];

    fn forward(&self, [pred, target, weight]: [&Tensor; 3]) -> Result<([Tensor; 2], Self::Saved)> {
        let (rows, channels) = check::matrix(Self::NAME, "pred", pred)?;
        check::shape(Self::NAME, "target", target, pred.shape())?;
        let batch = pred.shape()[0];
        check::optional(Self::NAME, "weight", weight, &[batch])?;
        check::dtype(Self::NAME, "target", target, DType::F32)?;
        check::dtype(Self::NAME, "weight", weight, DType::F32)?;
        let rows = rows / batch;
        let parts = parts(pred, batch, rows, channels);
        let output = || Tensor::uninit(pred.device(), &[batch, parts], DType::F32);
        let (mut mse, mut cos) = (output()?, output()?);
        let p = params::VelocityLossFwd {
            batch: batch as u32,
            rows: rows as u32,
            channels: channels as u32,
            parts: parts as u32,
            eps: EPS,
            ..Default::default()
        };
        pred.device().launch(&FWD, p, [pred, target, weight], [&mut mse, &mut cos])?;
        Ok(([of_parts(mse)?, of_parts(cos)?], [pred, target, weight].map(Clone::clone)))
    }

    fn backward(
        &self,
        [pred, target, weight]: &Self::Saved,
        [dmse, dcos]: [Option<&Tensor>; 2],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        if !needs[0] {
            return Ok([None, None, None]);
        }
        let (rows, channels) = pred.rows_cols();
        let batch = pred.shape()[0];
        let p = params::VelocityLossBwd {
            batch: batch as u32,
            rows: (rows / batch) as u32,
            channels: channels as u32,
            eps: EPS,
            ..Default::default()
        };
        let absent = Tensor::absent(pred.device())?;
        let reads = [pred, target, weight, dmse.unwrap_or(&absent), dcos.unwrap_or(&absent)];
        let mut dpred = pred.uninit_like()?;
        pred.device().launch(&BWD, p, reads, [&mut dpred])?;
        Ok([Some(dpred), None, None])
    }
}

fn fwd_cpu(p: &params::VelocityLossFwd, [pred, target, weight]: [&[f32]; 3], [mse, cos]: [&mut [f32]; 2]) {
    let (rows, channels, eps) = (p.rows as usize, p.channels as usize, f64::from(p.eps));
    let count = rows * channels;
    let samples = pred.par_chunks(count).zip(target.par_chunks(count));
    let losses = mse.par_iter_mut().zip(cos.par_iter_mut());
    losses.zip(samples).enumerate().for_each(|(b, ((mse, cos), (pred, target)))| {
        let (mut squares, mut cosines) = (0f64, 0f64);
        for (pred, target) in pred.chunks_exact(channels).zip(target.chunks_exact(channels)) {
            squares += pred.iter().zip(target).map(|(p, t)| f64::from(p - t).powi(2)).sum::<f64>();
            let norms = dot(pred, pred).sqrt().max(eps) * dot(target, target).sqrt().max(eps);
            cosines += dot(pred, target) / norms;
        }
        *mse = (f64::from(at(weight, b)) * squares / count as f64) as f32;
        *cos = (1.0 - cosines / rows as f64) as f32;
    });
}

fn bwd_cpu(p: &params::VelocityLossBwd, [pred, target, weight, dmse, dcos]: [&[f32]; 5], [dpred]: [&mut [f32]; 1]) {
    let (rows, channels, eps) = (p.rows as usize, p.channels as usize, f64::from(p.eps));
    dpred.par_chunks_mut(channels).enumerate().with_min_len(GRAIN).for_each(|(row, dpred)| {
        let b = row / rows;
        let (pred, target) = (&pred[row * channels..][..channels], &target[row * channels..][..channels]);
        let of_error = match dmse.is_empty() {
            true => 0.0,
            false => 2.0 * dmse[b] * at(weight, b) / (rows * channels) as f32,
        };
        let (mut of_target, mut of_pred) = (0.0, 0.0);
        if !dcos.is_empty() {
            let (norm, target_norm) = (dot(pred, pred).sqrt(), dot(target, target).sqrt().max(eps));
            let dcos = -f64::from(dcos[b]) / rows as f64;
            of_target = (dcos / (norm.max(eps) * target_norm)) as f32;
            of_pred = if norm > eps { dcos * dot(pred, target) / (norm.powi(3) * target_norm) } else { 0.0 } as f32;
        }
        for ((dpred, pred), target) in dpred.iter_mut().zip(pred).zip(target) {
            *dpred = of_error * (pred - target) + of_target * target - of_pred * pred;
        }
    });
}

/// Rows per parallel task, at least.
const GRAIN: usize = 64;

/// A sample's weight; one where there are none.
fn at(weight: &[f32], sample: usize) -> f32 {
    weight.get(sample).copied().unwrap_or(1.0)
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], weighted: bool, bench: bool) -> Case {
    let count = shape.iter().product::<usize>() as u64;
    let weight = match weighted {
        true => Input::normal("weight", &[shape[0]]).values(Values::Uniform(0.5, 3.0)).f32().constant(),
        false => Input::absent("weight"),
    };
    Case {
        op: "velocity_loss",
        label,
        inputs: vec![
            Input::normal("pred", shape).values(Values::Normal(0.3, 1.0)),
            Input::normal("target", shape).f32().constant(),
            weight,
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(VelocityLoss, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 9 * count,
        bytes: 8 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 3, 5, 7], false, false),
        case("weighted", &[3, 11, 32], true, false),
        case("two channels, a vector a sample", &[3, 2], true, false),
        case("images in several parts", &[2, 2100, 3], true, false),
        case("latents in several parts, whole vectors", &[3, 45, 49, 16], false, false),
        case("several vectors a thread", &[2, 5, 520], true, false),
        case("more columns than a warp's", &[3, 7, 37], false, false),
        case("latents of f16d32", &[2, 16, 16, 32], false, false),
        case("latents of f16d32, a batch", &[64, 16, 16, 32], false, true),
        case("latents of f8d4 at 512×512, weighted", &[16, 64, 64, 4], true, true),
    ]
}
