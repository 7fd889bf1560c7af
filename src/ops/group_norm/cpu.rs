//! Group norm on the CPU.

use rayon::prelude::*;

use crate::device::cpu::math::sigmoid;
use crate::device::cpu::rows::{add_up, chunks_mut, rows_per_task, store};
use crate::params;

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

/// Writes the mean and the sum of squared differences from it of every group of some positions (positions, channels).
///
/// Sums run over differences from the first position, so that a large mean costs the variance no digits.
fn statistics(x: &[f32], channels: usize, partial: &mut [f32]) {
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
    let size = 2 * channels / partial.len();
    for (g, partial) in partial.chunks_exact_mut(2).enumerate() {
        let group = g * size..(g + 1) * size;
        let channel_mean = |c: usize| f64::from(x[c]) + sums[c] / positions;
        let group_mean = group.clone().map(channel_mean).sum::<f64>() / size as f64;
        // Within channels, and between their means (Chan, Golub and LeVeque, 1983).
        let within: f64 = group.clone().map(|c| sums[channels + c] - sums[c] * sums[c] / positions).sum();
        let between: f64 = group.map(|c| (channel_mean(c) - group_mean).powi(2)).sum();
        partial[0] = group_mean as f32;
        partial[1] = (within + between * positions).max(0.0) as f32;
    }
}

/// Elements of a sample (positions, channels) in each part but the last.
fn part_length(positions: u32, parts: u32, channels: u32) -> usize {
    positions.div_ceil(parts) as usize * channels as usize
}

pub(super) fn stats(p: &params::GroupNormStats, [x]: [&[f32]; 1], [partial]: [&mut [f32]; 1]) {
    let channels = p.channels as usize;
    let samples = x.par_chunks(p.positions as usize * channels);
    partial.par_chunks_mut((p.parts * p.groups * 2) as usize).zip(samples).for_each(|(partial, x)| {
        let parts = x.chunks(part_length(p.positions, p.parts, p.channels));
        partial.chunks_mut(2 * p.groups as usize).zip(parts).for_each(|(partial, x)| statistics(x, channels, partial));
    });
}

/// Mean and sum of squared differences from it of every group, from those of parts with `count(part)` elements in each.
fn whole(groups: usize, partial: &[f32], count: impl Fn(usize) -> f64) -> impl Iterator<Item = (f64, f64)> {
    let parts = partial.len() / (2 * groups);
    let elements: f64 = (0..parts).map(&count).sum();
    (0..groups).map(move |g| {
        let of =
            |value: usize| partial.iter().skip(2 * g + value).step_by(2 * groups).map(|&v| f64::from(v)).enumerate();
        let mean = of(0).map(|(part, mean)| count(part) * mean).sum::<f64>() / elements;
        let between: f64 = of(0).map(|(part, of_part)| count(part) * (of_part - mean).powi(2)).sum();
        let within: f64 = of(1).map(|(_, squares)| squares).sum();
        (mean, within + between)
    })
}

pub(super) fn merge(p: &params::GroupNormMerge, [partial]: [&[f32]; 1], [merged]: [&mut [f32]; 1]) {
    let [groups, fold, parts] = [p.groups, p.fold, p.parts].map(|n| n as usize);
    let samples = partial.chunks(parts * groups * 2);
    let folds = samples.flat_map(|sample| sample.chunks(fold * groups * 2));
    for (merged, partial) in merged.chunks_mut(groups * 2).zip(folds) {
        for (merged, (mean, squares)) in merged.chunks_mut(2).zip(whole(groups, partial, |_| f64::from(p.elements))) {
            merged.copy_from_slice(&[mean as f32, squares as f32]);
        }
    }
}

pub(super) fn fwd(
    p: &params::GroupNormFwd,
    [x, weight, bias, partial]: [&[f32]; 4],
    [y, mean, rstd, unbiased]: [&mut [f32]; 4],
) {
    let (channels, groups) = (p.channels as usize, p.groups as usize);
    let sample = p.positions as usize * channels;
    let (positions, length, size) = (f64::from(p.positions), f64::from(p.length), f64::from(p.channels / p.groups));
    let elements = positions * size;
    let count = |part: usize| size * length.min(positions - part as f64 * length);
    let of_samples =
        partial.chunks((p.parts * p.groups * 2) as usize).flat_map(|partial| whole(groups, partial, count));
    for (i, (of_group, squares)) in of_samples.enumerate() {
        mean[i] = of_group as f32;
        rstd[i] = (1.0 / (squares / elements + f64::from(p.eps)).sqrt()) as f32;
        if let Some(unbiased) = unbiased.get_mut(i) {
            *unbiased = (squares / (elements - 1.0)) as f32;
        }
    }
    let statistics = mean.par_chunks(groups).zip(rstd.par_chunks(groups));
    y.par_chunks_mut(sample).zip(x.par_chunks(sample)).zip(statistics).for_each(|((y, x), (mean, rstd))| {
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

/// d/dz z·σ(z).
#[inline(always)]
fn silu_slope(z: f32) -> f32 {
    let s = sigmoid(z);
    s * (1.0 + z * (1.0 - s))
}

/// The coefficients of one sample's channels: x̂ = x·spread + centre and z = x̂·weight + bias.
struct Channels {
    spread: Vec<f32>,
    centre: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Channels {
    fn new(weight: &[f32], bias: &[f32], mean: &[f32], rstd: &[f32]) -> Channels {
        let (channels, size) = (weight.len(), weight.len() / mean.len());
        Channels {
            spread: tile(channels, |c| rstd[c / size]),
            centre: tile(channels, |c| -mean[c / size] * rstd[c / size]),
            weight: tile(channels, |c| weight[c]),
            bias: tile(channels, |c| bias[c]),
        }
    }

    /// S | T of some positions.
    fn sums(&self, channels: usize, x: &[f32], dy: &[f32], slope: impl Fn(f32) -> f32 + Sync) -> Vec<f64> {
        let task = rows_per_task(channels) * channels;
        let partials: Vec<Vec<f32>> = x
            .par_chunks(task)
            .zip(dy.par_chunks(task))
            .map(|(x, dy)| {
                let (mut s, mut t) = (vec![0f32; self.spread.len()], vec![0f32; self.spread.len()]);
                for (x, dy) in x.chunks(self.spread.len()).zip(dy.chunks(self.spread.len())) {
                    let coefficients = self.spread.iter().zip(&self.centre).zip(&self.weight).zip(&self.bias);
                    for (((x, dy), (((spread, centre), weight), bias)), (s, t)) in
                        x.iter().zip(dy).zip(coefficients).zip(s.iter_mut().zip(&mut t))
                    {
                        let unit = x * spread + centre;
                        let dz = dy * slope(unit * weight + bias);
                        *s += dz;
                        *t += dz * unit;
                    }
                }
                fold(&[s, t], channels)
            })
            .collect();
        add_up(partials.iter().map(Vec::as_slice), 2 * channels)
    }

    /// dx = dresidual + rstd·(weight·dz − m − x̂·n) for the (m, n) of every group; dresidual may be empty.
    fn gradient(
        &self,
        channels: usize,
        [x, dy, dresidual]: [&[f32]; 3],
        of: &[[f32; 2]],
        dx: &mut [f32],
        slope: impl Fn(f32) -> f32 + Sync,
    ) {
        let (size, task) = (channels / of.len(), rows_per_task(channels) * channels);
        let mean = tile(channels, |c| of[c / size][0]);
        let along = tile(channels, |c| of[c / size][1]);
        let tasks = dx.par_chunks_mut(task).zip(x.par_chunks(task)).zip(dy.par_chunks(task)).enumerate();
        tasks.for_each(|(i, ((dx, x), dy))| {
            let chunks = x.chunks(mean.len()).zip(dy.chunks(mean.len())).zip(dx.chunks_mut(mean.len()));
            for ((x, dy), dx) in chunks {
                let coefficients = self.spread.iter().zip(&self.centre).zip(&self.weight).zip(&self.bias);
                let coefficients = coefficients.zip(&mean).zip(&along);
                for (((x, dy), dx), (((((spread, centre), weight), bias), mean), along)) in
                    x.iter().zip(dy).zip(dx).zip(coefficients)
                {
                    let unit = x * spread + centre;
                    *dx = spread * (weight * dy * slope(unit * weight + bias) - mean - unit * along);
                }
            }
            let dresidual = dresidual.get(i * task..i * task + dx.len()).unwrap_or_default();
            dx.iter_mut().zip(dresidual).for_each(|(dx, dresidual)| *dx += dresidual);
        });
    }
}

pub(super) fn bwd_sums(
    p: &params::GroupNormBwdSums,
    [x, weight, bias, mean, rstd, dy]: [&[f32]; 6],
    [by_channel, by_group]: [&mut [f32]; 2],
) {
    let [batch, parts, channels, groups] = [p.batch, p.parts, p.channels, p.groups].map(|n| n as usize);
    let (sample, size) = (p.positions as usize * channels, channels / groups);
    let length = part_length(p.positions, p.parts, p.channels);
    let by_channel = chunks_mut(by_channel, 2 * channels, batch * parts);
    let by_group = chunks_mut(by_group, 2 * groups, batch * parts);
    by_channel.into_par_iter().zip(by_group).enumerate().for_each(|(i, (by_channel, by_group))| {
        let (b, part) = (i / parts, i % parts);
        let range = b * sample + part * length..b * sample + sample.min((part + 1) * length);
        let of = Channels::new(weight, bias, &mean[b * groups..][..groups], &rstd[b * groups..][..groups]);
        let (x, dy) = (&x[range.clone()], &dy[range]);
        let sums = match p.silu != 0 {
            true => of.sums(channels, x, dy, silu_slope),
            false => of.sums(channels, x, dy, |_| 1.0),
        };
        store(by_channel, &sums);
        let (s, t) = sums.split_at(channels);
        for (g, by_group) in by_group.chunks_exact_mut(2).enumerate() {
            let weighted = |of: &[f64]| (g * size..(g + 1) * size).map(|c| of[c] * f64::from(weight[c])).sum::<f64>();
            by_group[0] = weighted(s) as f32;
            by_group[1] = weighted(t) as f32;
        }
    });
}

pub(super) fn bwd(
    p: &params::GroupNormBwd,
    [x, weight, bias, mean, rstd, dy, by_channel, by_group, dresidual]: [&[f32]; 9],
    [dx, dweight, dbias]: [&mut [f32]; 3],
) {
    let (channels, groups, parts) = (p.channels as usize, p.groups as usize, p.parts as usize);
    let sample = p.positions as usize * channels;
    let elements = f64::from(p.channels / p.groups) * f64::from(p.positions);
    dx.par_chunks_mut(sample).enumerate().for_each(|(b, dx)| {
        let sums = add_up(by_group[b * parts * groups * 2..][..parts * groups * 2].chunks(2 * groups), 2 * groups);
        let means: Vec<[f32; 2]> =
            sums.chunks_exact(2).map(|sums| [(sums[0] / elements) as f32, (sums[1] / elements) as f32]).collect();
        let of = Channels::new(weight, bias, &mean[b * groups..][..groups], &rstd[b * groups..][..groups]);
        let dresidual = if dresidual.is_empty() { dresidual } else { &dresidual[b * sample..][..sample] };
        let inputs = [&x[b * sample..][..sample], &dy[b * sample..][..sample], dresidual];
        match p.silu != 0 {
            true => of.gradient(channels, inputs, &means, dx, silu_slope),
            false => of.gradient(channels, inputs, &means, dx, |_| 1.0),
        }
    });
    let sums = add_up(by_channel.chunks(2 * channels), 2 * channels);
    store(dbias, &sums[..channels]);
    store(dweight, &sums[channels..]);
}
