//! Group norm with SiLU fused: y = act((x − mean)·rstd·weight + bias), mean and rstd = (var + eps)^−½ over the positions
//! and the C/groups neighbouring channels of a group (Wu and He, 2018).
//!
//! Backward keeps x, mean and rstd, never the normalised tensor. With x̂ = (x − mean)·rstd, z = x̂·weight + bias,
//! dz = dy·act′(z) and, per sample and channel, S = Σ dz and T = Σ dz·x̂ over the positions:
//!
//! dbias = Σ_batch S, dweight = Σ_batch T, dx = rstd·(weight·dz − m − x̂·n), where m and n are the sums of weight·S and of
//! weight·T over the group's channels, divided by the number of its elements.
//!
//! On the CPU both directions pass over a sample twice: once for sums, once for the result.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::cpu::math::sigmoid;
use crate::device::cpu::rows::{add_up, chunks_mut, rows_per_task, store};
use crate::device::{Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// x (B, H, W, C) or (B, N, C), weight (C), bias (C) → as x.
#[derive(Debug, Clone, Copy)]
pub struct GroupNorm {
    /// The number of groups, which divides C: 32 in the VA-VAE.
    pub groups: usize,
    /// Added to the variance: 1e-6 in the VA-VAE.
    pub eps: f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

const FWD: Kernel<params::GroupNormFwd, 3, 3> = Kernel {
    name: "group_norm_fwd",
    reads: ["x", "weight", "bias"],
    writes: ["y", "mean", "rstd"],
    cpu: fwd_cpu,
    cuda: None,
};

const BWD: Kernel<params::GroupNormBwd, 6, 3> = Kernel {
    name: "group_norm_bwd",
    reads: ["x", "weight", "bias", "mean", "rstd", "dy"],
    writes: ["dx", "dweight", "dbias"],
    cpu: bwd_cpu,
    cuda: None,
};

impl Op<3> for GroupNorm {
    const NAME: &'static str = "group_norm";
    /// The inputs, mean and rstd.
    type Saved = [Tensor; 5];

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        let (rows, channels) = check::matrix(Self::NAME, "x", x)?;
        if x.shape().len() < 2 || self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let message = format!("x of shape {:?} does not split into {} groups of channels", x.shape(), self.groups);
            return Err(Error::shape(Self::NAME, message));
        }
        check::shape(Self::NAME, "weight", weight, &[channels])?;
        check::shape(Self::NAME, "bias", bias, &[channels])?;
        let batch = x.shape()[0];
        let mut y = x.uninit_like()?;
        let mut mean = Tensor::uninit(x.device(), &[batch, self.groups], DType::F32)?;
        let mut rstd = Tensor::uninit(x.device(), &[batch, self.groups], DType::F32)?;
        let p = params::GroupNormFwd {
            batch: batch as u32,
            positions: (rows / batch) as u32,
            channels: channels as u32,
            groups: self.groups as u32,
            eps: self.eps,
            silu: u32::from(self.silu),
            ..Default::default()
        };
        x.device().launch(&FWD, p, [x, weight, bias], [&mut y, &mut mean, &mut rstd])?;
        Ok(([y], [x.clone(), weight.clone(), bias.clone(), mean, rstd]))
    }

    fn backward(
        &self,
        [x, weight, bias, mean, rstd]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (rows, channels) = x.rows_cols();
        let batch = x.shape()[0];
        let p = params::GroupNormBwd {
            batch: batch as u32,
            positions: (rows / batch) as u32,
            channels: channels as u32,
            groups: self.groups as u32,
            silu: u32::from(self.silu),
            ..Default::default()
        };
        let mut gradients = grads::allocate([x, weight, bias], needs)?;
        let reads = [x, weight, bias, mean, rstd, only(grads)];
        x.device().launch(&BWD, p, reads, gradients.each_mut())?;
        Ok(grads::asked(gradients, needs))
    }
}

/// Vectors over channels are repeated to at least this length, so that the loops over few channels stay long.
const TILE: usize = 256;

/// `f(channel)` for the channels, again and again: a loop over a tile covers several positions.
fn tile(channels: usize, f: impl Fn(usize) -> f32) -> Vec<f32> {
    let once: Vec<f32> = (0..channels).map(f).collect();
    once.repeat(TILE.div_ceil(channels))
}

/// The sums of all repetitions in each of `vectors`, one after the other: (vectors, channels).
fn fold(vectors: &[Vec<f32>], channels: usize) -> Vec<f32> {
    let mut sums = vec![0f32; vectors.len() * channels];
    for (sums, vector) in sums.chunks_exact_mut(channels).zip(vectors) {
        for repetition in vector.chunks_exact(channels) {
            for (sum, v) in sums.iter_mut().zip(repetition) {
                *sum += v;
            }
        }
    }
    sums
}

/// Writes mean and rstd of every group of one sample (positions, channels).
///
/// Sums run over differences from the sample's first position, so that a large mean costs the variance no digits.
fn statistics(x: &[f32], channels: usize, eps: f32, mean: &mut [f32], rstd: &mut [f32]) {
    let positions = (x.len() / channels) as f64;
    let shift = tile(channels, |c| x[c]);
    let partials: Vec<Vec<f32>> = x
        .par_chunks(rows_per_task(channels) * channels)
        .map(|x| {
            let (mut sum, mut squares) = (vec![0f32; shift.len()], vec![0f32; shift.len()]);
            for x in x.chunks(shift.len()) {
                for (((sum, squares), x), shift) in sum.iter_mut().zip(&mut squares).zip(x).zip(&shift) {
                    let d = x - shift;
                    *sum += d;
                    *squares += d * d;
                }
            }
            fold(&[sum, squares], channels)
        })
        .collect();
    let sums = add_up(partials.iter().map(Vec::as_slice), 2 * channels);
    let size = channels / mean.len();
    for (g, (mean, rstd)) in mean.iter_mut().zip(rstd).enumerate() {
        let group = g * size..(g + 1) * size;
        let channel_mean = |c: usize| f64::from(x[c]) + sums[c] / positions;
        let group_mean = group.clone().map(channel_mean).sum::<f64>() / size as f64;
        // Within channels, and between their means (Chan, Golub and LeVeque, 1983).
        let within: f64 = group.clone().map(|c| sums[channels + c] - sums[c] * sums[c] / positions).sum();
        let between: f64 = group.map(|c| (channel_mean(c) - group_mean).powi(2)).sum();
        let variance = (within / positions + between).max(0.0) / size as f64;
        *mean = group_mean as f32;
        *rstd = (1.0 / (variance + f64::from(eps)).sqrt()) as f32;
    }
}

fn fwd_cpu(p: &params::GroupNormFwd, [x, weight, bias]: [&[f32]; 3], [y, mean, rstd]: [&mut [f32]; 3]) {
    let (channels, groups) = (p.channels as usize, p.groups as usize);
    let sample = p.positions as usize * channels;
    let statistics_of = mean.par_chunks_mut(groups).zip(rstd.par_chunks_mut(groups));
    y.par_chunks_mut(sample).zip(x.par_chunks(sample)).zip(statistics_of).for_each(|((y, x), (mean, rstd))| {
        statistics(x, channels, p.eps, mean, rstd);
        let size = channels / groups;
        let factor = tile(channels, |c| rstd[c / size] * weight[c]);
        let offset = tile(channels, |c| bias[c] - mean[c / size] * rstd[c / size] * weight[c]);
        let task = rows_per_task(channels) * channels;
        y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
            if p.silu != 0 {
                apply(x, &factor, &offset, y, |z| z * sigmoid(z));
            } else {
                apply(x, &factor, &offset, y, |z| z);
            }
        });
    });
}

#[inline]
fn apply(x: &[f32], factor: &[f32], offset: &[f32], y: &mut [f32], act: impl Fn(f32) -> f32) {
    for (y, x) in y.chunks_mut(factor.len()).zip(x.chunks(factor.len())) {
        for (((y, x), factor), offset) in y.iter_mut().zip(x).zip(factor).zip(offset) {
            *y = act(x * factor + offset);
        }
    }
}

fn bwd_cpu(
    p: &params::GroupNormBwd,
    [x, weight, bias, mean, rstd, dy]: [&[f32]; 6],
    [dx, dweight, dbias]: [&mut [f32]; 3],
) {
    let (channels, groups) = (p.channels as usize, p.groups as usize);
    let (batch, sample) = (p.batch as usize, p.positions as usize * channels);
    let samples: Vec<Vec<f64>> = chunks_mut(dx, sample, batch)
        .into_par_iter()
        .enumerate()
        .map(|(b, dx)| {
            let (x, dy) = (&x[b * sample..][..sample], &dy[b * sample..][..sample]);
            let (mean, rstd) = (&mean[b * groups..][..groups], &rstd[b * groups..][..groups]);
            let sample = Sample { channels, x, dy, weight, bias, mean, rstd };
            if p.silu != 0 { sample.backward(silu_slope, dx) } else { sample.backward(|_| 1.0, dx) }
        })
        .collect();
    let mut sums = vec![0f64; 2 * channels];
    for sample in &samples {
        sums.iter_mut().zip(sample).for_each(|(sum, part)| *sum += part);
    }
    store(dbias, &sums[..channels]);
    store(dweight, &sums[channels..]);
}

/// d/dz z·σ(z).
#[inline(always)]
fn silu_slope(z: f32) -> f32 {
    let s = sigmoid(z);
    s * (1.0 + z * (1.0 - s))
}

/// One sample of the backward.
struct Sample<'a> {
    channels: usize,
    x: &'a [f32],
    dy: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
}

impl Sample<'_> {
    /// Writes dx, unless it is empty, and returns S | T.
    fn backward(&self, slope: impl Fn(f32) -> f32 + Sync, dx: &mut [f32]) -> Vec<f64> {
        let channels = self.channels;
        let (size, task) = (channels / self.mean.len(), rows_per_task(channels) * channels);
        let work: Vec<_> = chunks_mut(dx, task, self.x.len().div_ceil(task))
            .into_iter()
            .zip(self.x.chunks(task))
            .zip(self.dy.chunks(task))
            .collect();
        // x̂ = x·spread + centre.
        let spread = tile(channels, |c| self.rstd[c / size]);
        let centre = tile(channels, |c| -self.mean[c / size] * self.rstd[c / size]);
        let (weight, bias) = (tile(channels, |c| self.weight[c]), tile(channels, |c| self.bias[c]));
        let partials: Vec<Vec<f32>> = work
            .into_par_iter()
            .map(|((dx, x), dy)| {
                let (mut s, mut t) = (vec![0f32; spread.len()], vec![0f32; spread.len()]);
                let mut unwanted = vec![0f32; if dx.is_empty() { spread.len() } else { 0 }];
                for (i, (x, dy)) in x.chunks(spread.len()).zip(dy.chunks(spread.len())).enumerate() {
                    // dz waits in dx, which costs less than the slope a second time.
                    let dz = match dx.is_empty() {
                        true => &mut unwanted[..x.len()],
                        false => &mut dx[i * spread.len()..][..x.len()],
                    };
                    let vectors = spread.iter().zip(&centre).zip(&weight).zip(&bias);
                    let outputs = dz.iter_mut().zip(&mut s).zip(&mut t);
                    for (((x, dy), (((spread, centre), weight), bias)), ((dz, s), t)) in
                        x.iter().zip(dy).zip(vectors).zip(outputs)
                    {
                        let unit = x * spread + centre;
                        *dz = dy * slope(unit * weight + bias);
                        *s += *dz;
                        *t += *dz * unit;
                    }
                }
                fold(&[s, t], channels)
            })
            .collect();
        let sums = add_up(partials.iter().map(Vec::as_slice), 2 * channels);
        if dx.is_empty() {
            return sums;
        }
        let (s, t) = sums.split_at(channels);
        let elements = (self.x.len() / channels * size) as f64;
        let group_mean = |of: &[f64], g: usize| {
            let group = g * size..(g + 1) * size;
            group.map(|c| of[c] * f64::from(self.weight[c])).sum::<f64>() / elements
        };
        let by_group = |of: &[f64]| -> Vec<f64> { (0..self.mean.len()).map(|g| group_mean(of, g)).collect() };
        let (m, n) = (by_group(s), by_group(t));
        // dx = rstd·(weight·dz − m − x̂·n) = dz·gain − x·lean − level.
        let gain = tile(channels, |c| self.rstd[c / size] * self.weight[c]);
        let lean = tile(channels, |c| (f64::from(self.rstd[c / size]).powi(2) * n[c / size]) as f32);
        let level = tile(channels, |c| {
            let (mean, rstd) = (f64::from(self.mean[c / size]), f64::from(self.rstd[c / size]));
            (rstd * (m[c / size] - mean * rstd * n[c / size])) as f32
        });
        dx.par_chunks_mut(task).zip(self.x.par_chunks(task)).for_each(|(dx, x)| {
            for (dx, x) in dx.chunks_mut(gain.len()).zip(x.chunks(gain.len())) {
                for ((((dx, x), gain), lean), level) in dx.iter_mut().zip(x).zip(&gain).zip(&lean).zip(&level) {
                    *dx = *dx * gain - x * lean - level;
                }
            }
        });
        sums
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, x: &[usize], groups: usize, silu: bool, values: Values, bench: bool) -> Case {
    let channels = x[x.len() - 1];
    let count = x.iter().product::<usize>() as u64;
    let norm = GroupNorm { groups, eps: 1e-6, silu };
    Case {
        op: "group_norm",
        label,
        inputs: vec![
            Input::normal("x", x).values(values),
            Input::normal("weight", &[channels]),
            Input::normal("bias", &[channels]),
        ],
        settings: vec![("groups", groups as f64), ("eps", 1e-6), ("silu", f64::from(u8::from(silu)))],
        run: Box::new(move |tape, x| Ok(tape.apply(norm, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 10 * count,
        // Once over the input, once over the output: the statistics' pass comes on top of the least.
        bytes: 8 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let unit = Values::Normal(0.3, 1.5);
    vec![
        case("odd shapes", &[2, 5, 3, 6], 3, true, unit, false),
        case("odd shapes, no SiLU", &[3, 7, 21], 7, false, unit, false),
        case("one channel per group", &[1, 4, 4, 32], 32, true, unit, false),
        case("several tasks", &[1, 33, 17, 64], 32, true, unit, false),
        case("a mean of fifty deviations", &[2, 6, 6, 64], 32, true, Values::Normal(50.0, 1.0), false),
        case("VA-VAE f16d32, 256×256×128", &[1, 256, 256, 128], 32, true, unit, true),
        case("VA-VAE f16d32, 64×64×256", &[2, 64, 64, 256], 32, true, unit, true),
        case("VA-VAE f16d32, 16×16×512", &[2, 16, 16, 512], 32, true, unit, true),
        case("small, 128×128×64", &[2, 128, 128, 64], 32, true, unit, true),
    ]
}
