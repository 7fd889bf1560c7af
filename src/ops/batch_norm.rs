//! Batch normalisation, per channel over all rows: y = x̂·weight + bias with x̂ = (x − mean)/√(var + eps).
//!
//! In training mean and (biased) variance are the batch's, and with n rows
//! dx = weight/√(var + eps)·(dy − Σdy/n − x̂·Σ(dy·x̂)/n); dweight = Σ dy·x̂; dbias = Σ dy.
//! In evaluation they are given and constant, and dx = weight/√(var + eps)·dy. Source: Ioffe and Szegedy, 2015.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values};
use crate::device::{Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
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

const TRAIN_FWD: Kernel<params::BatchNormTrainFwd, 3, 4> = Kernel {
    name: "batch_norm_train_fwd",
    reads: ["x", "weight", "bias"],
    writes: ["y", "mean", "unbiased", "rstd"],
    cpu: train_fwd_cpu,
    cuda: None,
};

const TRAIN_BWD: Kernel<params::BatchNormTrainBwd, 5, 3> = Kernel {
    name: "batch_norm_train_bwd",
    reads: ["x", "weight", "mean", "rstd", "dy"],
    writes: ["dx", "dweight", "dbias"],
    cpu: train_bwd_cpu,
    cuda: None,
};

const EVAL_FWD: Kernel<params::BatchNormEvalFwd, 5, 1> = Kernel {
    name: "batch_norm_eval_fwd",
    reads: ["x", "weight", "bias", "mean", "var"],
    writes: ["y"],
    cpu: eval_fwd_cpu,
    cuda: None,
};

const EVAL_BWD: Kernel<params::BatchNormEvalBwd, 5, 3> = Kernel {
    name: "batch_norm_eval_bwd",
    reads: ["x", "weight", "mean", "var", "dy"],
    writes: ["dx", "dweight", "dbias"],
    cpu: eval_bwd_cpu,
    cuda: None,
};

const TRACK: Kernel<params::BatchNormTrack, 1, 1> =
    Kernel { name: "batch_norm_track", reads: ["batch"], writes: ["running"], cpu: track_cpu, cuda: None };

/// Rows per partial sum and per parallel task.
const GRAIN: usize = 256;

/// Rows and channels of `x`, when each of `per_channel` has one value per channel.
fn sizes(op: &'static str, x: &Tensor, per_channel: &[&Tensor]) -> Result<(usize, usize)> {
    let (rows, channels) = x.rows_cols();
    let shapes: Vec<_> = per_channel.iter().map(|tensor| tensor.shape()).collect();
    if rows * channels == 0 || shapes.iter().any(|shape| *shape != [channels]) {
        let message = format!("x {:?} must not be empty and needs one value per channel, got {shapes:?}", x.shape());
        return Err(Error::shape(op, message));
    }
    Ok((rows, channels))
}

/// What backward of [`BatchNormTrain`] needs.
pub struct Saved {
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
}

impl Op<3, 3> for BatchNormTrain {
    const NAME: &'static str = "batch_norm_train";
    type Saved = Saved;

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<([Tensor; 3], Saved)> {
        let (rows, channels) = sizes(Self::NAME, x, &[weight, bias])?;
        if rows < 2 {
            let message =
                format!("needs at least two values per channel to have a variance, got shape {:?}", x.shape());
            return Err(Error::shape(Self::NAME, message));
        }
        let mut y = x.uninit_like()?;
        let (mut mean, mut unbiased, mut rstd) = (weight.uninit_like()?, weight.uninit_like()?, weight.uninit_like()?);
        let p = params::BatchNormTrainFwd {
            rows: rows as u32,
            channels: channels as u32,
            eps: self.eps,
            ..Default::default()
        };
        let writes = [&mut y, &mut mean, &mut unbiased, &mut rstd];
        x.device().launch(&TRAIN_FWD, p, [x, weight, bias], writes)?;
        let saved = Saved { x: x.clone(), weight: weight.clone(), mean: mean.clone(), rstd };
        Ok(([y, mean, unbiased], saved))
    }

    fn backward(
        &self,
        Saved { x, weight, mean, rstd }: &Saved,
        [dy, dmean, dvar]: [Option<&Tensor>; 3],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (Some(dy), None, None) = (dy, dmean, dvar) else {
            let message = "batch_norm_train: the batch's statistics carry no gradient; seed y alone";
            return Err(Error::Gradient(message.to_string()));
        };
        let mut dx = if needs[0] { x.uninit_like()? } else { Tensor::absent(x.device())? };
        let (mut dweight, mut dbias) = (weight.uninit_like()?, weight.uninit_like()?);
        let (rows, channels) = x.rows_cols();
        let p = params::BatchNormTrainBwd { rows: rows as u32, channels: channels as u32, ..Default::default() };
        let writes = [&mut dx, &mut dweight, &mut dbias];
        x.device().launch(&TRAIN_BWD, p, [x, weight, mean, rstd, dy], writes)?;
        Ok([needs[0].then_some(dx), needs[1].then_some(dweight), needs[2].then_some(dbias)])
    }
}

impl Op<5> for BatchNormEval {
    const NAME: &'static str = "batch_norm_eval";
    type Saved = [Tensor; 4];

    fn forward(&self, [x, weight, bias, mean, var]: [&Tensor; 5]) -> Result<([Tensor; 1], [Tensor; 4])> {
        let (rows, channels) = sizes(Self::NAME, x, &[weight, bias, mean, var])?;
        let mut y = x.uninit_like()?;
        let p = params::BatchNormEvalFwd {
            rows: rows as u32,
            channels: channels as u32,
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
        let mut dx = if needs[0] { x.uninit_like()? } else { Tensor::absent(x.device())? };
        let (mut dweight, mut dbias) = (weight.uninit_like()?, weight.uninit_like()?);
        let (rows, channels) = x.rows_cols();
        let p = params::BatchNormEvalBwd {
            rows: rows as u32,
            channels: channels as u32,
            eps: self.eps,
            ..Default::default()
        };
        let writes = [&mut dx, &mut dweight, &mut dbias];
        x.device().launch(&EVAL_BWD, p, [x, weight, mean, var, only(grads)], writes)?;
        Ok([needs[0].then_some(dx), needs[1].then_some(dweight), needs[2].then_some(dbias), None, None])
    }
}

/// A running statistic after one more batch: running + momentum·(batch − running), each (C), in place.
///
/// # Errors
/// When the two have different shapes, or something else refers to `running`.
pub fn track(mut running: Tensor, batch: &Tensor, momentum: f32) -> Result<Tensor> {
    if running.shape() != batch.shape() {
        let message = format!("running {:?} and batch {:?} differ", running.shape(), batch.shape());
        return Err(Error::shape("batch_norm_track", message));
    }
    let p = params::BatchNormTrack { channels: batch.numel() as u32, momentum, ..Default::default() };
    batch.device().launch(&TRACK, p, [batch], [&mut running])?;
    Ok(running)
}

/// Per channel the sums over rows of both values that `term(row)` adds for it, in f64 and in an order fixed by the shape.
fn column_sums(rows: usize, channels: usize, term: impl Fn(usize, &mut [[f64; 2]]) + Sync) -> Vec<[f64; 2]> {
    let partial: Vec<Vec<[f64; 2]>> = (0..rows.div_ceil(GRAIN))
        .into_par_iter()
        .map(|task| {
            let mut sums = vec![[0.0; 2]; channels];
            (task * GRAIN..rows.min((task + 1) * GRAIN)).for_each(|row| term(row, &mut sums));
            sums
        })
        .collect();
    let mut sums = vec![[0.0; 2]; channels];
    for partial in partial {
        for (sum, part) in sums.iter_mut().zip(partial) {
            *sum = [sum[0] + part[0], sum[1] + part[1]];
        }
    }
    sums
}

fn train_fwd_cpu(
    p: &params::BatchNormTrainFwd,
    [x, weight, bias]: [&[f32]; 3],
    [y, mean, unbiased, rstd]: [&mut [f32]; 4],
) {
    let (rows, c) = (p.rows as usize, p.channels as usize);
    let n = rows as f64;
    let sums = column_sums(rows, c, |row, sums| {
        for (sum, &x) in sums.iter_mut().zip(&x[row * c..][..c]) {
            sum[0] += f64::from(x);
        }
    });
    let means: Vec<f64> = sums.iter().map(|sum| sum[0] / n).collect();
    let squares = column_sums(rows, c, |row, sums| {
        for ((sum, &x), mean) in sums.iter_mut().zip(&x[row * c..][..c]).zip(&means) {
            sum[0] += (f64::from(x) - mean).powi(2);
        }
    });
    for i in 0..c {
        mean[i] = means[i] as f32;
        unbiased[i] = (squares[i][0] / (n - 1.0)) as f32;
        rstd[i] = (1.0 / (squares[i][0] / n + f64::from(p.eps)).sqrt()) as f32;
    }
    normalise(x, y, [weight, bias, mean, rstd]);
}

fn eval_fwd_cpu(p: &params::BatchNormEvalFwd, [x, weight, bias, mean, var]: [&[f32]; 5], [y]: [&mut [f32]; 1]) {
    let rstd: Vec<f32> = var.iter().map(|var| 1.0 / (var + p.eps).sqrt()).collect();
    normalise(x, y, [weight, bias, mean, &rstd]);
}

fn normalise(x: &[f32], y: &mut [f32], [weight, bias, mean, rstd]: [&[f32]; 4]) {
    let c = weight.len();
    y.par_chunks_mut(c).zip(x.par_chunks(c)).with_min_len(GRAIN).for_each(|(y, x)| {
        for i in 0..c {
            y[i] = (x[i] - mean[i]) * rstd[i] * weight[i] + bias[i];
        }
    });
}

/// (Σ dy, Σ dy·x̂) per channel.
fn gradient_sums(x: &[f32], dy: &[f32], mean: &[f32], rstd: &[f32]) -> Vec<[f64; 2]> {
    let c = mean.len();
    column_sums(x.len() / c, c, |row, sums| {
        let (x, dy) = (&x[row * c..][..c], &dy[row * c..][..c]);
        for (i, sum) in sums.iter_mut().enumerate() {
            sum[0] += f64::from(dy[i]);
            sum[1] += f64::from(dy[i] * ((x[i] - mean[i]) * rstd[i]));
        }
    })
}

fn train_bwd_cpu(
    p: &params::BatchNormTrainBwd,
    [x, weight, mean, rstd, dy]: [&[f32]; 5],
    [dx, dweight, dbias]: [&mut [f32]; 3],
) {
    let c = p.channels as usize;
    for (i, sums) in gradient_sums(x, dy, mean, rstd).iter().enumerate() {
        dbias[i] = sums[0] as f32;
        dweight[i] = sums[1] as f32;
    }
    let inverse = 1.0 / p.rows as f32;
    let inputs = x.par_chunks(c).zip(dy.par_chunks(c));
    dx.par_chunks_mut(c).zip(inputs).with_min_len(GRAIN).for_each(|(dx, (x, dy))| {
        for i in 0..c {
            let unit = (x[i] - mean[i]) * rstd[i];
            dx[i] = weight[i] * rstd[i] * (dy[i] - (dbias[i] + unit * dweight[i]) * inverse);
        }
    });
}

fn eval_bwd_cpu(
    p: &params::BatchNormEvalBwd,
    [x, weight, mean, var, dy]: [&[f32]; 5],
    [dx, dweight, dbias]: [&mut [f32]; 3],
) {
    let c = p.channels as usize;
    let rstd: Vec<f32> = var.iter().map(|var| 1.0 / (var + p.eps).sqrt()).collect();
    for (i, sums) in gradient_sums(x, dy, mean, &rstd).iter().enumerate() {
        dbias[i] = sums[0] as f32;
        dweight[i] = sums[1] as f32;
    }
    dx.par_chunks_mut(c).zip(dy.par_chunks(c)).with_min_len(GRAIN).for_each(|(dx, dy)| {
        for i in 0..c {
            dx[i] = weight[i] * rstd[i] * dy[i];
        }
    });
}

fn track_cpu(p: &params::BatchNormTrack, [batch]: [&[f32]; 1], [running]: [&mut [f32]; 1]) {
    for (running, batch) in running.iter_mut().zip(batch) {
        *running += p.momentum * (batch - *running);
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![TRAIN_FWD.info(), TRAIN_BWD.info(), EVAL_FWD.info(), EVAL_BWD.info(), TRACK.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |op: &'static str, label, shape: [usize; 4], bench| {
        let count = shape.iter().product::<usize>() as u64;
        let channels = [shape[3]];
        let mut inputs = vec![
            Input::normal("x", &shape).values(Values::Normal(0.5, 2.0)),
            Input::normal("weight", &channels).values(Values::Normal(1.0, 0.2)),
            Input::normal("bias", &channels),
        ];
        if op == "batch_norm_eval" {
            inputs.push(Input::normal("mean", &channels).constant());
            inputs.push(Input::normal("var", &channels).values(Values::Uniform(0.5, 2.0)).constant());
        }
        Case {
            op,
            label,
            inputs,
            settings: vec![("eps", 1e-5)],
            run: match op {
                "batch_norm_train" => Box::new(|tape, x| {
                    // The statistics carry no gradient, so only y is offered to the gradient check.
                    let [y, _, _] = tape.apply(BatchNormTrain { eps: 1e-5 }, [&x[0], &x[1], &x[2]])?;
                    Ok(vec![y])
                }),
                _ => Box::new(|tape, x| {
                    Ok(tape.apply(BatchNormEval { eps: 1e-5 }, [&x[0], &x[1], &x[2], &x[3], &x[4]])?.into())
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
        case("batch_norm_train", "PatchGAN", [2, 64, 64, 128], true),
        case("batch_norm_eval", "odd shapes", [3, 5, 7, 11], false),
    ]
}
