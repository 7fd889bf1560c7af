//! The CPU bodies: tiles of both Gram matrices by `gemm_serial`, one column of tiles per parallel task.

use rayon::prelude::*;

use crate::device::cpu::gemm::{gemm, gemm_serial};
use crate::ops::l2_normalize::dot;
use crate::params;

const TILE: usize = params::VF_LOSS_TILE as usize;
/// The least lengths that cosines divide by: in the Gram matrices, and between f and z′.
const EPS_DISTMAT: f32 = params::VF_LOSS_EPS_DISTMAT as f32;
const EPS_COS: f32 = params::VF_LOSS_EPS_COS as f32;

pub(super) fn transpose(p: &params::VfLossTranspose, [weight]: [&[f32]; 1], [weight_t]: [&mut [f32]; 1]) {
    let (width, channels) = (p.width as usize, p.channels as usize);
    weight_t.par_chunks_mut(width).enumerate().for_each(|(c, row)| {
        for (w, to) in row.iter_mut().enumerate() {
            *to = weight[w * channels + c];
        }
    });
}

pub(super) fn project(
    p: &params::VfLossProject,
    [features, weight_t]: [&[f32]; 2],
    [projected, feature_norm, gram]: [&mut [f32]; 3],
) {
    let (tokens, width, channels) = (p.tokens as usize, p.width as usize, p.channels as usize);
    gemm(tokens, channels, width, features, (width, 1), weight_t, (1, width), projected, channels, false);
    gemm(channels, channels, width, weight_t, (width, 1), weight_t, (1, width), gram, channels, false);
    feature_norm.par_iter_mut().zip(features.par_chunks(width)).with_min_len(TILE).for_each(|(norm, f)| {
        *norm = dot(f, f).sqrt() as f32;
    });
}

pub(super) fn normalize(p: &params::VfLossNormalize, [z, gram]: [&[f32]; 2], [norm, zhat, qhat]: [&mut [f32]; 3]) {
    let (tokens, channels) = (p.tokens as usize, p.channels as usize);
    gemm(tokens, channels, channels, z, (channels, 1), gram, (channels, 1), qhat, channels, false);
    let vectors = zhat.par_chunks_mut(channels).zip(qhat.par_chunks_mut(channels));
    norm.par_iter_mut().zip(vectors).zip(z.par_chunks(channels)).with_min_len(TILE).for_each(
        |((norm, (zhat, qhat)), z)| {
            // zᵀMz cannot be negative, but its rounding can.
            *norm = dot(z, qhat).max(0.0).sqrt() as f32;
            let inverse = 1.0 / norm.max(EPS_DISTMAT);
            for ((zhat, qhat), z) in zhat.iter_mut().zip(qhat).zip(z) {
                *zhat = z * inverse;
                *qhat *= inverse;
            }
        },
    );
}

pub(super) fn pairs(
    p: &params::VfLossPairs,
    [features, feature_norm, zhat, qhat]: [&[f32]; 4],
    [pull, pair_loss]: [&mut [f32]; 2],
) {
    let (positions, width, channels) = (p.positions as usize, p.width as usize, p.channels as usize);
    let tiles = positions.div_ceil(TILE);
    let pairs = tiles * (tiles + 1) / 2;
    let columns = pull.par_chunks_mut(positions * channels).enumerate();
    let losses: Vec<Vec<f32>> = columns
        .map(|(task, pull)| {
            let (first, tile_j) = (task / tiles * positions, task % tiles);
            let (j0, cols) = (first + tile_j * TILE, TILE.min(positions - tile_j * TILE));
            let (mut cosines, mut apart) = (vec![0.0; TILE * cols], vec![0.0; TILE * cols]);
            let inverse = |token: usize| 1.0 / feature_norm[token].max(EPS_DISTMAT);
            let mut losses = Vec::with_capacity(tile_j + 1);
            for (tile_i, pull) in pull.chunks_mut(TILE * channels).enumerate() {
                let (i0, rows) = (first + tile_i * TILE, pull.len() / channels);
                let (fi, fj) = (&features[i0 * width..], &features[j0 * width..]);
                gemm_serial(rows, cols, width, fi, (width, 1), fj, (1, width), &mut cosines, cols, false);
                let (qi, zj) = (&qhat[i0 * channels..], &zhat[j0 * channels..]);
                gemm_serial(rows, cols, channels, qi, (channels, 1), zj, (1, channels), &mut apart, cols, false);
                let mut loss = 0.0;
                for i in 0..rows {
                    let scale = inverse(i0 + i);
                    for (j, d) in apart[i * cols..][..cols].iter_mut().enumerate() {
                        *d -= cosines[i * cols + j] * scale * inverse(j0 + j);
                        let beyond = d.abs() - p.distmat_margin;
                        loss += f64::from(relu(beyond));
                        *d = if beyond > 0.0 { 1f32.copysign(*d) } else { 0.0 };
                    }
                }
                // The matrices are symmetric: a tile right of the diagonal counts for the one left of it.
                if tile_i <= tile_j {
                    losses.push(if tile_i == tile_j { loss } else { 2.0 * loss } as f32);
                }
                gemm_serial(rows, channels, cols, &apart, (cols, 1), zj, (channels, 1), pull, channels, false);
            }
            losses
        })
        .collect();
    for (task, losses) in losses.into_iter().enumerate() {
        let (image, tile_j) = (task / tiles, task % tiles);
        for (tile_i, loss) in losses.into_iter().enumerate() {
            // Before the pairs of tile I come those of the tiles 0..I, which have tiles, tiles − 1, … of them.
            let before = pairs - (tiles - tile_i) * (tiles - tile_i + 1) / 2;
            pair_loss[image * pairs + before + tile_j - tile_i] = loss;
        }
    }
}

/// max(v, 0) that keeps NaN.
fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

pub(super) fn tokens(
    p: &params::VfLossTokens,
    [z, projected, feature_norm, gram, norm, qhat, pull, dmdms, dmcos]: [&[f32]; 9],
    [token_loss, dz, toward, residual]: [&mut [f32]; 4],
) {
    let (positions, channels) = (p.positions as usize, p.channels as usize);
    let (tokens, tiles) = (p.batch as usize * positions, positions.div_ceil(TILE));
    let row = |token: usize| token * channels..(token + 1) * channels;
    let norms = |token: usize| norm[token].max(EPS_COS) * feature_norm[token].max(EPS_COS);
    let cosine = |token: usize| dot(&z[row(token)], &projected[row(token)]) as f32 / norms(token);
    token_loss.par_iter_mut().enumerate().for_each(|(block, loss)| {
        let tokens = block * TILE..tokens.min((block + 1) * TILE);
        *loss = tokens.map(|token| f64::from(relu(1.0 - p.cos_margin - cosine(token)))).sum::<f64>() as f32;
    });

    let upstream = |grad: &[f32]| grad.first().copied().unwrap_or(0.0) / tokens as f32;
    let (pull_weight, cosine_weight) = (2.0 * upstream(dmdms) / positions as f32, -upstream(dmcos));
    let rows = dz.par_chunks_mut(channels).zip(toward.par_chunks_mut(channels)).zip(residual.par_chunks_mut(channels));
    rows.enumerate().with_min_len(TILE).for_each(|(token, ((dz, toward), r))| {
        let (image, position) = (token / positions, token % positions);
        r.fill(0.0);
        for tile in 0..tiles {
            let slot = (image * tiles + tile) * positions + position;
            r.iter_mut().zip(&pull[row(slot)]).for_each(|(r, pull)| *r += pull_weight * pull);
        }
        let (z, projected) = (&z[row(token)], &projected[row(token)]);
        let n = norm[token].max(EPS_DISTMAT);
        let mut radial = if norm[token] > EPS_DISTMAT { dot(&qhat[row(token)], r) as f32 / n } else { 0.0 };
        let cosine = cosine(token);
        let active = 1.0 - p.cos_margin - cosine > 0.0;
        let pulled = if active { cosine_weight / norms(token) } else { 0.0 };
        if active && norm[token] > EPS_COS {
            radial += cosine_weight * cosine / n;
        }
        // r·n, for Σ r zᵀ is residualᵀ·ẑ.
        for ((r, toward), z) in r.iter_mut().zip(toward).zip(z) {
            *r -= radial * z;
            *toward = pulled * z;
        }
        for (c, (dz, p)) in dz.iter_mut().zip(projected).enumerate() {
            *dz = dot(&gram[c * channels..][..channels], r) as f32 / n + pulled * p;
        }
    });
}

pub(super) fn sum(p: &params::VfLossSum, [pair_loss, token_loss]: [&[f32]; 2], [mdms, mcos]: [&mut [f32]; 2]) {
    let total = |parts: &[f32]| parts.iter().map(|&part| f64::from(part)).sum::<f64>();
    let tokens = f64::from(p.batch) * f64::from(p.positions);
    mdms[0] = (total(pair_loss) / (tokens * f64::from(p.positions))) as f32;
    mcos[0] = (total(token_loss) / tokens) as f32;
}

pub(super) fn bwd_weight(
    p: &params::VfLossBwdWeight,
    [features, toward, residual, zhat]: [&[f32]; 4],
    [partial]: [&mut [f32]; 1],
) {
    let (tokens, width, c) = (p.tokens as usize, p.width as usize, p.channels as usize);
    let share = tokens.div_ceil(p.splits as usize);
    for (split, partial) in partial.chunks_mut((width + c) * c).enumerate() {
        let begin = tokens.min(split * share);
        let count = tokens.min(begin + share) - begin;
        let (of_features, of_weight) = partial.split_at_mut(width * c);
        let (features, toward) = (&features[begin * width..], &toward[begin * c..]);
        gemm(width, c, count, features, (1, width), toward, (c, 1), of_features, c, false);
        let (residual, zhat) = (&residual[begin * c..], &zhat[begin * c..]);
        gemm(c, c, count, residual, (1, c), zhat, (c, 1), of_weight, c, false);
    }
}

pub(super) fn bwd_weight_sum(
    p: &params::VfLossBwdWeightSum,
    [weight, partial]: [&[f32]; 2],
    [dweight]: [&mut [f32]; 1],
) {
    let (width, c) = (p.width as usize, p.channels as usize);
    let mut total = vec![0.0; (width + c) * c];
    for partial in partial.chunks(total.len()) {
        total.iter_mut().zip(partial).for_each(|(total, part)| *total += part);
    }
    let (of_features, of_weight) = total.split_at(width * c);
    dweight.copy_from_slice(of_features);
    gemm(width, c, c, weight, (c, 1), of_weight, (c, 1), dweight, c, true);
}
