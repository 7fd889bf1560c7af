//! The CPU bodies: tiles of both Gram matrices by `gemm_serial`, a pair of tiles per parallel task.

use rayon::prelude::*;

use super::pairs_of;
use crate::device::cpu::gemm::{gemm, gemm_serial};
use crate::ops::l2_normalize::dot;
use crate::params;

const TILE: usize = params::VF_LOSS_TILE as usize;
/// Words of a tile's signs, and of one of its rows.
const SIGNS: usize = TILE * SIGN_ROW;
const SIGN_ROW: usize = TILE / 16;
/// The least lengths that cosines divide by: in the Gram matrices, and between f and z′.
const EPS_DISTMAT: f32 = params::VF_LOSS_EPS_DISTMAT as f32;
const EPS_COS: f32 = params::VF_LOSS_EPS_COS as f32;

/// max(v, 0) that keeps NaN.
fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

pub(super) fn fwd(
    p: &params::VfLossFwd,
    [z, weight, features]: [&[f32]; 3],
    [mdms, mcos, partial, projected, gram, norm, feature_norm, slope, signs]: [&mut [f32]; 9],
) {
    let (positions, width, channels) = (p.positions as usize, p.width as usize, p.channels as usize);
    let tokens = p.batch as usize * positions;
    let weighted = !weight.is_empty();
    if weighted {
        gemm(tokens, channels, width, features, (width, 1), weight, (channels, 1), projected, channels, false);
        gemm(channels, channels, width, weight, (1, channels), weight, (channels, 1), gram, channels, false);
    }
    let q = times_gram(z, gram, channels);
    let f_norms: Vec<f32> = lengths(features, features, width);
    norm.copy_from_slice(&lengths(z, &q, channels));
    if !feature_norm.is_empty() {
        feature_norm.copy_from_slice(&f_norms);
    }

    let inverse = |norms: &[f32]| norms.iter().map(|norm| 1.0 / norm.max(EPS_DISTMAT)).collect::<Vec<_>>();
    let sides = [
        Side { left: &q, right: z, channels, inverse: inverse(norm) },
        Side { left: features, right: features, channels: width, inverse: inverse(&f_norms) },
    ];
    let tiles = positions.div_ceil(TILE);
    let pairs: Vec<(usize, usize)> = (0..tiles).flat_map(|i| (i..tiles).map(move |j| (i, j))).collect();
    let signs: &mut [u32] = bytemuck::cast_slice_mut(signs);
    let losses: Vec<f32> = signs
        .par_chunks_mut(SIGNS)
        .enumerate()
        .map(|(task, signs)| {
            let (first, (i, j)) = (task / pairs.len() * positions, pairs[task % pairs.len()]);
            let rows = |tile: usize| first + tile * TILE..first + positions.min((tile + 1) * TILE);
            let loss = compare(&sides, rows(i), rows(j), p.distmat_margin, signs);
            // A tile right of the diagonal counts for the one left of it.
            if i == j { loss } else { 2.0 * loss }
        })
        .collect();

    let projected = if weighted { &*projected } else { features };
    let scalars = slope.par_iter_mut().zip(norm.par_iter().zip(&f_norms));
    let vectors = z.par_chunks(channels).zip(projected.par_chunks(channels));
    let beyond = scalars.zip(vectors).with_min_len(TILE).map(|((slope, (norm, f_norm)), (z, projected))| {
        let norms = norm.max(EPS_COS) * f_norm.max(EPS_COS);
        let beyond = 1.0 - p.cos_margin - dot(z, projected) as f32 / norms;
        *slope = if beyond > 0.0 { 1.0 / norms } else { 0.0 };
        relu(beyond)
    });
    let beyond: Vec<f32> = beyond.collect();

    let mut sums = [0.0f64; 2];
    for (image, partial) in partial.chunks_mut(pairs.len() + tiles).enumerate() {
        let (of_pairs, of_tiles) = partial.split_at_mut(pairs.len());
        of_pairs.copy_from_slice(&losses[image * pairs.len()..][..pairs.len()]);
        for (part, beyond) in of_tiles.iter_mut().zip(beyond[image * positions..][..positions].chunks(TILE)) {
            *part = beyond.iter().map(|&beyond| f64::from(beyond)).sum::<f64>() as f32;
        }
        sums[0] += of_pairs.iter().map(|&part| f64::from(part)).sum::<f64>();
        sums[1] += of_tiles.iter().map(|&part| f64::from(part)).sum::<f64>();
    }
    mdms[0] = (sums[0] / (tokens as f64 * positions as f64)) as f32;
    mcos[0] = (sums[1] / tokens as f64) as f32;
}

/// M z of all tokens; z where M is absent.
fn times_gram(z: &[f32], gram: &[f32], channels: usize) -> Vec<f32> {
    if gram.is_empty() {
        return z.to_vec();
    }
    let mut q = vec![0.0; z.len()];
    gemm(z.len() / channels, channels, channels, z, (channels, 1), gram, (channels, 1), &mut q, channels, false);
    q
}

/// √(a·b) of each row.
fn lengths(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    let rows = a.par_chunks(width).zip(b.par_chunks(width)).with_min_len(TILE);
    // zᵀMz cannot be negative, but its rounding can.
    rows.map(|(a, b)| dot(a, b).max(0.0).sqrt() as f32).collect()
}

/// One of the two matrices of cosines: leftᵢ·rightⱼ·inverseᵢ·inverseⱼ.
struct Side<'a> {
    left: &'a [f32],
    right: &'a [f32],
    channels: usize,
    inverse: Vec<f32>,
}

impl Side<'_> {
    fn products(&self, i: &std::ops::Range<usize>, j: &std::ops::Range<usize>) -> Vec<f32> {
        let c = self.channels;
        let mut products = vec![0.0; i.len() * j.len()];
        let (left, right) = (&self.left[i.start * c..], &self.right[j.start * c..]);
        gemm_serial(i.len(), j.len(), c, left, (c, 1), right, (1, c), &mut products, j.len(), false);
        products
    }
}

/// Compares the tokens `i` with the tokens `j`: Σ relu(|d| − margin), and the signs of d.
fn compare(
    [latents, features]: &[Side; 2],
    i: std::ops::Range<usize>,
    j: std::ops::Range<usize>,
    margin: f32,
    signs: &mut [u32],
) -> f32 {
    let (of_latents, of_features) = (latents.products(&i, &j), features.products(&i, &j));
    let mut loss = 0.0;
    signs.fill(0);
    for (row, signs) in i.clone().zip(signs.chunks_mut(SIGN_ROW)) {
        let place = (row - i.start) * j.len();
        for (column, at) in j.clone().zip(place..) {
            let d = of_latents[at] * latents.inverse[row] * latents.inverse[column]
                - of_features[at] * features.inverse[row] * features.inverse[column];
            let beyond = d.abs() - margin;
            loss += f64::from(relu(beyond));
            if beyond > 0.0 {
                let sign = if d < 0.0 { 3 } else { 1 };
                signs[(column - j.start) / 16] |= sign << ((column - j.start) % 16 * 2);
            }
        }
    }
    loss as f32
}

pub(super) fn bwd(
    p: &params::VfLossBwd,
    [z, projected, gram, norm, slope, signs, dmdms, dmcos]: [&[f32]; 8],
    [dz, outer]: [&mut [f32]; 2],
) {
    let (positions, channels) = (p.positions as usize, p.channels as usize);
    let tokens = norm.len();
    let upstream = |grad: &[f32]| grad.first().copied().unwrap_or(0.0) / tokens as f32;
    let pull_weight = p.mdms_sign * 2.0 * upstream(dmdms) / positions as f32;
    let cosine_weight = -upstream(dmcos);

    let mut r = vec![0.0; z.len()];
    if !dmdms.is_empty() {
        pull(&mut r, z, norm, bytemuck::cast_slice(signs), positions);
    }
    let q = times_gram(z, gram, channels);
    r.par_chunks_mut(channels).enumerate().with_min_len(TILE).for_each(|(token, r)| {
        let row = token * channels..(token + 1) * channels;
        let (n, slope) = (norm[token].max(EPS_DISTMAT), slope[token]);
        let along = if norm[token] > EPS_DISTMAT { pull_weight * dot(&q[row.clone()], r) as f32 / n } else { 0.0 };
        let cosine = || slope * dot(&z[row.clone()], &projected[row.clone()]) as f32;
        let towards = if slope > 0.0 && norm[token] > EPS_COS { cosine_weight * cosine() } else { 0.0 };
        let radial = (along + towards) / n;
        for (r, z) in r.iter_mut().zip(&z[row]) {
            *r = (pull_weight * *r - radial * z) / n;
        }
    });
    if !outer.is_empty() {
        let mut sum = vec![0.0; channels * channels];
        gemm(channels, channels, tokens, &r, (1, channels), z, (channels, 1), &mut sum, channels, false);
        outer.fill(0.0);
        for_upper(channels, |row, column, at| outer[at] = sum[row * channels + column]);
    }
    if !dz.is_empty() {
        match gram.is_empty() {
            true => dz.copy_from_slice(&r),
            false => gemm(tokens, channels, channels, &r, (channels, 1), gram, (channels, 1), dz, channels, false),
        }
        let rows = dz.par_chunks_mut(channels).zip(projected.par_chunks(channels)).zip(slope);
        rows.with_min_len(TILE).for_each(|((dz, projected), slope)| {
            for (dz, projected) in dz.iter_mut().zip(projected) {
                *dz += cosine_weight * slope * projected;
            }
        });
    }
}

/// Calls `f` with the row and the column of each element in the blocks of 8 × 8 on and right of a matrix's diagonal, and its place in them.
fn for_upper(channels: usize, mut f: impl FnMut(usize, usize, usize)) {
    let across = channels.div_ceil(8);
    let blocks = (0..across).flat_map(|i| (i..across).map(move |j| (8 * i, 8 * j)));
    for (block, (first_row, first_column)) in blocks.enumerate() {
        for row in first_row..channels.min(first_row + 8) {
            for column in first_column..channels.min(first_column + 8) {
                f(row, column, 64 * block + (row - first_row) * 8 + column - first_column);
            }
        }
    }
}

/// Σⱼ sᵢⱼ ẑⱼ of every token i, a tile of them per task.
fn pull(pull: &mut [f32], z: &[f32], norm: &[f32], signs: &[u32], positions: usize) {
    let (channels, tiles) = (z.len() / norm.len(), positions.div_ceil(TILE));
    let pairs = pairs_of(tiles as u32) as usize;
    let zhat: Vec<f32> = z
        .chunks(channels)
        .zip(norm)
        .flat_map(|(z, norm)| {
            let inverse = 1.0 / norm.max(EPS_DISTMAT);
            z.iter().map(move |z| z * inverse)
        })
        .collect();
    let of_images = pull.par_chunks_mut(positions * channels).enumerate();
    let of_tiles = of_images.flat_map(|(image, pull)| {
        pull.par_chunks_mut(TILE * channels).enumerate().map(move |(tile, pull)| (image, tile, pull))
    });
    of_tiles.for_each(|(image, i, pull)| {
        let rows = pull.len() / channels;
        let mut tile = vec![0.0; TILE * TILE];
        for j in 0..tiles {
            let (upper, lower) = (i.min(j), i.max(j));
            // Before the pairs of a tile come those of the tiles above it, which have tiles, tiles − 1, … of them.
            let pair = pairs - pairs_of((tiles - upper) as u32) as usize + lower - upper;
            expand(&signs[(image * pairs + pair) * SIGNS..][..SIGNS], &mut tile);
            let strides = if i <= j { (TILE, 1) } else { (1, TILE) };
            let columns = TILE.min(positions - j * TILE);
            let zhat = &zhat[(image * positions + j * TILE) * channels..];
            gemm_serial(rows, channels, columns, &tile, strides, zhat, (channels, 1), pull, channels, j > 0);
        }
    });
}

/// The signs of a tile as numbers.
fn expand(signs: &[u32], tile: &mut [f32]) {
    for (word, tile) in signs.iter().zip(tile.chunks_exact_mut(16)) {
        for (i, v) in tile.iter_mut().enumerate() {
            *v = [0.0, 1.0, 0.0, -1.0][(word >> (2 * i) & 3) as usize];
        }
    }
}

pub(super) fn bwd_weight(
    p: &params::VfLossBwdWeight,
    [features, z, slope, weight, outer, dmcos]: [&[f32]; 6],
    [dweight]: [&mut [f32]; 1],
) {
    let (tokens, width, c) = (p.tokens as usize, p.width as usize, p.channels as usize);
    if let Some(dmcos) = dmcos.first() {
        let scale = -dmcos / tokens as f32;
        let toward = z.chunks(c).zip(slope).flat_map(|(z, slope)| z.iter().map(move |z| scale * slope * z));
        let toward: Vec<f32> = toward.collect();
        gemm(width, c, tokens, features, (1, width), &toward, (c, 1), dweight, c, false);
    }
    let mut sum = vec![0.0; c * c];
    for_upper(c, |row, column, at| (sum[row * c + column], sum[column * c + row]) = (outer[at], outer[at]));
    gemm(width, c, c, weight, (c, 1), &sum, (c, 1), dweight, c, !dmcos.is_empty());
}
