//! Batch normalisation, per channel over all rows: y = x̂·weight + bias with x̂ = (x − mean)/√(var + eps).
//!
//! In training mean and (biased) variance are the batch's, and with n rows
//! dx = weight/√(var + eps)·(dy − Σdy/n − x̂·Σ(dy·x̂)/n); dweight = Σ dy·x̂; dbias = Σ dy.
//! In evaluation they are given and constant, and dx = weight/√(var + eps)·dy. Source: Ioffe and Szegedy, 2015.
//!
//! The first is group norm of one sample, the whole batch, with a group for each channel, and runs on its kernels.

use rayon::prelude::*;

use super::channel_tile::{self, ChannelTile};
use super::group_norm::{GroupNorm, Normalised};
use super::part_sums::{self, add_parts};
use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::cpu::rows::{add_up, rows_per_task, store};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// By the batch's statistics: x (.., C), weight (C), bias (C) → y (.., C), the batch's mean (C) and *unbiased*
/// variance (C), which [`track`] blends into the running ones. The statistics carry no gradient.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTrain {
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f32,
}

/// By given statistics: x (.., C), weight, bias, mean and variance (C) → y (.., C). The statistics carry no gradient.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormEval {
    /// Added to the variance.
    pub eps: f32,
}

const EVAL_FWD: Kernel<params::BatchNormEvalFwd, 5, 1> = Kernel {
    name: "batch_norm_eval_fwd",
    reads: ["x", "weight", "bias", "mean", "var"],
    writes: ["y"],
    cpu: eval_fwd_cpu,
    cuda: Some(CudaKernel::new("batch_norm", |p, math| {
        channel_tile::geometry(p.channels, p.tile, [p.slices, 1], 2, math)
    })),
};

const EVAL_BWD: Kernel<params::BatchNormEvalBwd, 5, 2> = Kernel {
    name: "batch_norm_eval_bwd",
    reads: ["x", "weight", "mean", "var", "dy"],
    writes: ["dx", "sums"],
    cpu: eval_bwd_cpu,
    cuda: Some(CudaKernel::new("batch_norm", |p, math| {
        channel_tile::geometry(p.channels, p.tile, [p.parts, 1], 2, math)
    })),
};

const TRACK: Kernel<params::BatchNormTrack, 1, 1> = Kernel {
    name: "batch_norm_track",
    reads: ["batch"],
    writes: ["running"],
    cpu: track_cpu,
    cuda: Some(
        CudaKernel::new("batch_norm", |p: &params::BatchNormTrack, _| Geometry {
            grid: [p.channels.div_ceil(params::BATCH_NORM_TRACK_THREADS), 1, 1],
            block: [params::BATCH_NORM_TRACK_THREADS, 1, 1],
            shared_bytes: 0,
        })
        .updating(&["running"]),
    ),
};

impl Op<3, 3> for BatchNormTrain {
    const NAME: &'static str = "batch_norm_train";
    type Saved = Normalised;

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<([Tensor; 3], Normalised)> {
        let (rows, channels) = check::matrix(Self::NAME, "x", x)?;
        if rows < 2 {
            let message =
                format!("needs at least two values per channel to have a variance, got shape {:?}", x.shape());
            return Err(Error::shape(Self::NAME, message));
        }
        let mut unbiased = Tensor::uninit(x.device(), &[channels], DType::F32)?;
        let norm = self.group_norm(channels);
        let parts = norm.statistics(Self::NAME, x, 1)?;
        let (y, normalised) = norm.normalise(Self::NAME, [x, weight, bias], 1, &parts, Some(&mut unbiased))?;
        Ok(([y, normalised.mean.reshape(&[channels])?, unbiased], normalised))
    }

    fn backward(
        &self,
        normalised: &Normalised,
        [dy, dmean, dvar]: [Option<&Tensor>; 3],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (Some(dy), None, None) = (dy, dmean, dvar) else {
            let message = "batch_norm_train: the batch's statistics carry no gradient; seed y alone";
            return Err(Error::Gradient(message.to_string()));
        };
        self.group_norm(dy.rows_cols().1).gradients(Self::NAME, normalised, dy, None, needs)
    }
}

impl BatchNormTrain {
    fn group_norm(&self, channels: usize) -> GroupNorm {
        GroupNorm { groups: channels, eps: self.eps, silu: false }
    }
}

impl Op<5> for BatchNormEval {
    const NAME: &'static str = "batch_norm_eval";
    /// x, weight, mean and variance.
    type Saved = [Tensor; 4];

    fn forward(&self, [x, weight, bias, mean, var]: [&Tensor; 5]) -> Result<([Tensor; 1], [Tensor; 4])> {
        let (rows, channels) = check::matrix(Self::NAME, "x", x)?;
        for (name, tensor) in [("weight", weight), ("bias", bias), ("mean", mean), ("var", var)] {
            check::parameters(Self::NAME, name, tensor, channels)?;
        }
        let ChannelTile { tile, slices, .. } = ChannelTile::new(Self::NAME, x, 1, channels)?;
        let mut y = x.uninit_like()?;
        let p = params::BatchNormEvalFwd {
            rows: rows as u32,
            channels: channels as u32,
            tile,
            slices,
            eps: self.eps,
            ..Default::default()
        };
        x.device().launch(&EVAL_FWD, p, [x, weight, bias, mean, var], [&mut y])?;
        Ok(([y], [x, weight, mean, var].map(Tensor::clone)))
    }

    fn backward(
        &self,
        [x, weight, mean, var]: &[Tensor; 4],
        grads: [Option<&Tensor>; 1],
        needs: [bool; 5],
    ) -> Result<[Option<Tensor>; 5]> {
        if needs[3] || needs[4] {
            let message = "batch_norm_eval: the running statistics carry no gradient; pass them as constants";
            return Err(Error::Gradient(message.to_string()));
        }
        let (device, (rows, channels)) = (x.device(), x.rows_cols());
        let ChannelTile { tile, parts, .. } = ChannelTile::new(Self::NAME, x, 1, channels)?;
        let needs = [needs[0], needs[1], needs[2]];
        let [mut dx, mut dweight, mut dbias] = grads::allocate([x, weight, weight], needs)?;
        let mut sums = match needs[1] || needs[2] {
            true => Tensor::uninit(device, &[1, parts as usize, 2, channels], DType::F32)?,
            false => Tensor::absent(device)?,
        };
        let p = params::BatchNormEvalBwd {
            rows: rows as u32,
            channels: channels as u32,
            tile,
            parts,
            eps: self.eps,
            ..Default::default()
        };
        device.launch(&EVAL_BWD, p, [x, weight, mean, var, only(grads)], [&mut dx, &mut sums])?;
        if needs[1] || needs[2] {
            add_parts(weight, &sums, [&mut dbias, &mut dweight])?;
        }
        let [dx, dweight, dbias] = grads::asked([dx, dweight, dbias], needs);
        Ok([dx, dweight, dbias, None, None])
    }
}

/// A running statistic after one more batch: running + momentum·(batch − running), each (C) and f32, in place.
///
/// # Errors
/// When the two have different shapes or are not f32, or something else refers to `running`.
pub fn track(mut running: Tensor, batch: &Tensor, momentum: f32) -> Result<Tensor> {
    check::parameters("batch_norm_track", "running", &running, batch.numel())?;
    check::parameters("batch_norm_track", "batch", batch, running.numel())?;
    let p = params::BatchNormTrack { channels: batch.numel() as u32, momentum, ..Default::default() };
    batch.device().launch(&TRACK, p, [batch], [&mut running])?;
    Ok(running)
}

fn eval_fwd_cpu(p: &params::BatchNormEvalFwd, [x, weight, bias, mean, var]: [&[f32]; 5], [y]: [&mut [f32]; 1]) {
    let c = p.channels as usize;
    let rstd: Vec<f32> = var.iter().map(|var| 1.0 / (var + p.eps).sqrt()).collect();
    y.par_chunks_mut(c).zip(x.par_chunks(c)).with_min_len(rows_per_task(c)).for_each(|(y, x)| {
        for i in 0..c {
            y[i] = (x[i] - mean[i]) * rstd[i] * weight[i] + bias[i];
        }
    });
}

fn eval_bwd_cpu(p: &params::BatchNormEvalBwd, [x, weight, mean, var, dy]: [&[f32]; 5], [dx, sums]: [&mut [f32]; 2]) {
    let c = p.channels as usize;
    let rstd: Vec<f32> = var.iter().map(|var| 1.0 / (var + p.eps).sqrt()).collect();
    dx.par_chunks_mut(c).zip(dy.par_chunks(c)).with_min_len(rows_per_task(c)).for_each(|(dx, dy)| {
        for i in 0..c {
            dx[i] = weight[i] * rstd[i] * dy[i];
        }
    });
    let part = (p.rows as usize).div_ceil(p.parts as usize) * c;
    for (sums, (x, dy)) in sums.chunks_mut(2 * c).zip(x.chunks(part).zip(dy.chunks(part))) {
        let task = rows_per_task(c) * c;
        let partials: Vec<Vec<f32>> = x
            .par_chunks(task)
            .zip(dy.par_chunks(task))
            .map(|(x, dy)| {
                let mut sums = vec![0f32; 2 * c];
                let (sum, along) = sums.split_at_mut(c);
                for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                    for i in 0..c {
                        sum[i] += dy[i];
                        along[i] += dy[i] * ((x[i] - mean[i]) * rstd[i]);
                    }
                }
                sums
            })
            .collect();
        store(sums, &add_up(partials.iter().map(Vec::as_slice), 2 * c));
    }
}

fn track_cpu(p: &params::BatchNormTrack, [batch]: [&[f32]; 1], [running]: [&mut [f32]; 1]) {
    for (running, batch) in running.iter_mut().zip(batch) {
        *running += p.momentum * (batch - *running);
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![EVAL_FWD.info(), EVAL_BWD.info(), TRACK.info(), part_sums::kernel()]
}

/// The settings of every case.
const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// The running statistics after one batch.
fn statistics(tape: &Tape, x: &[Var]) -> Result<Vec<Var>> {
    let [_, mean, unbiased] = tape.apply(BatchNormTrain { eps: EPS }, [&x[0], &x[1], &x[2]])?;
    let track = |running: &Var, batch: &Var| {
        let own = Tensor::from_slice(tape.device(), running.shape(), &running.value().to_vec()?)?;
        Ok(tape.constant(track(own, batch.value(), MOMENTUM)?))
    };
    Ok(vec![track(&x[3], &mean)?, track(&x[4], &unbiased)?])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |op: &'static str, label, shape: [usize; 4], bench| {
        let count = shape.iter().product::<usize>() as u64;
        let vector = |name| Input::normal(name, &shape[3..]).f32();
        let [x, mut weight, mut bias] = [
            Input::normal("x", &shape).values(Values::Normal(0.5, 2.0)),
            vector("weight").values(Values::Normal(1.0, 0.2)),
            vector("bias"),
        ];
        let statistics_of = || [vector("mean"), vector("var").values(Values::Uniform(0.5, 2.0))].map(Input::constant);
        let mut inputs = vec![];
        if op == "batch_norm_statistics" {
            (weight, bias) = (weight.constant(), bias.constant());
            inputs.extend([x.constant(), weight, bias]);
        } else {
            inputs.extend([x, weight, bias]);
        }
        if op != "batch_norm_train" {
            inputs.extend(statistics_of());
        }
        Case {
            op,
            label,
            inputs,
            settings: vec![("eps", f64::from(EPS)), ("momentum", f64::from(MOMENTUM))],
            run: match op {
                "batch_norm_train" => Box::new(|tape, x| {
                    // The statistics carry no gradient, so only y is offered to the gradient check.
                    let [y, _, _] = tape.apply(BatchNormTrain { eps: EPS }, [&x[0], &x[1], &x[2]])?;
                    Ok(vec![y])
                }),
                "batch_norm_statistics" => Box::new(statistics),
                _ => Box::new(|tape, x| {
                    Ok(tape.apply(BatchNormEval { eps: EPS }, [&x[0], &x[1], &x[2], &x[3], &x[4]])?.into())
                }),
            },
            tolerance: Tolerance::REDUCTION,
            flops: 6 * count,
            bytes: 8 * count,
            bench,
        }
    };
    vec![
        case("batch_norm_train", "odd shapes", [3, 5, 7, 11], false),
        case("batch_norm_train", "several partial sums", [2, 17, 19, 3], false),
        case("batch_norm_train", "several parts", [2, 17, 19, 64], false),
        case("batch_norm_train", "PatchGAN", [2, 64, 64, 128], true),
        case("batch_norm_statistics", "odd shapes", [3, 5, 7, 11], false),
        case("batch_norm_statistics", "several parts", [2, 17, 19, 64], false),
        case("batch_norm_statistics", "PatchGAN", [2, 64, 64, 128], true),
        case("batch_norm_eval", "odd shapes", [3, 5, 7, 11], false),
        case("batch_norm_eval", "several parts", [2, 17, 19, 64], false),
        case("batch_norm_eval", "PatchGAN", [2, 64, 64, 128], true),
    ]
}
