//! The CPU bodies: tiles of both Gram matrices by `gemm_serial`, one strip of rows per parallel task.

use rayon::prelude::*;

use crate::device::cpu::gemm::{gemm, gemm_serial};
use crate::ops::l2_normalize::dot;
use crate::params;

const TILE: usize = params::VF_LOSS_TILE as usize;
/// The least lengths that cosines divide by: in the Gram matrices, and between f and z′.
const GRAM_EPS: f32 = 1e-12;
const COS_EPS: f32 = 1e-8;
/// Tokens per parallel task of what is done token by token, at least.
const GRAIN: usize = 64;

pub(super) fn gram(p: &params::VfLossGram, [proj]: [&[f32]; 1], [gram]: [&mut [f32]; 1]) {
    let (cf, cz) = (p.cf as usize, p.cz as usize);
    gemm(cz, cz, cf, proj, (1, cz), proj, (cz, 1), gram, cz, false);
}

pub(super) fn tokens(
    p: &params::VfLossTokens,
    [z, proj, f, gram]: [&[f32]; 4],
    [zm, q, norms]: [&mut [f32]; 3],
) {
    let (tokens, cz, cf) = (p.tokens as usize, p.cz as usize, p.cf as usize);
    if !proj.is_empty() {
        gemm(tokens, cz, cz, z, (cz, 1), gram, (cz, 1), zm, cz, false);
        gemm(tokens, cz, cf, f, (cf, 1), proj, (cz, 1), q, cz, false);
    }
    let zm: &[f32] = if proj.is_empty() { z } else { zm };
    norms.par_chunks_mut(2).enumerate().with_min_len(GRAIN).for_each(|(i, norms)| {
        let (z, zm, f) = (&z[i * cz..][..cz], &zm[i * cz..][..cz], &f[i * cf..][..cf]);
        // zᵀMz cannot be negative, but its rounding can.
        norms[0] = dot(z, zm).max(0.0).sqrt() as f32;
        norms[1] = dot(f, f).sqrt() as f32;
    });
}

/// One image's tokens.
#[derive(Clone, Copy)]
struct Image<'a> {
    z: &'a [f32],
    zm: &'a [f32],
    q: &'a [f32],
    f: &'a [f32],
    norms: &'a [f32],
    n: usize,
    cz: usize,
    cf: usize,
}

impl<'a> Image<'a> {
    fn of(i: usize, [z, zm, q, f, norms]: [&'a [f32]; 5], [n, cz, cf]: [u32; 3]) -> Image<'a> {
        let [n, cz, cf] = [n, cz, cf].map(|size| size as usize);
        let part = |all: &'a [f32], width: usize| &all[i * n * width..][..n * width];
        Image { z: part(z, cz), zm: part(zm, cz), q: part(q, cz), f: part(f, cf), norms: part(norms, 2), n, cz, cf }
    }

    /// 1/‖z′ᵢ‖ and 1/‖fᵢ‖, the lengths bounded from below.
    fn inverse_norms(&self, i: usize, eps: f32) -> [f32; 2] {
        [1.0 / self.norms[2 * i].max(eps), 1.0 / self.norms[2 * i + 1].max(eps)]
    }

    /// cos(fᵢ, z′ᵢ).
    fn cosine(&self, i: usize) -> f32 {
        let [inverse_z, inverse_f] = self.inverse_norms(i, COS_EPS);
        let (z, q) = (&self.z[i * self.cz..][..self.cz], &self.q[i * self.cz..][..self.cz]);
        dot(z, q) as f32 * inverse_z * inverse_f
    }

    /// cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ) for `rows` × `cols` tokens from (i0, j0) on, into rows of `cols`.
    fn differences(&self, [i0, rows]: [usize; 2], [j0, cols]: [usize; 2], tile: &mut [f32], scratch: &mut [f32]) {
        let Image { cz, cf, .. } = *self;
        let (zi, zmj) = (&self.z[i0 * cz..], &self.zm[j0 * cz..]);
        gemm_serial(rows, cols, cz, zi, (cz, 1), zmj, (1, cz), tile, cols, false);
        let (fi, fj) = (&self.f[i0 * cf..], &self.f[j0 * cf..]);
        gemm_serial(rows, cols, cf, fi, (cf, 1), fj, (1, cf), scratch, cols, false);
        for (i, (tile, scratch)) in tile.chunks_exact_mut(cols).zip(scratch.chunks_exact(cols)).take(rows).enumerate() {
            let [zi, fi] = self.inverse_norms(i0 + i, GRAM_EPS);
            for (j, (z, f)) in tile.iter_mut().zip(scratch).enumerate() {
                let [zj, fj] = self.inverse_norms(j0 + j, GRAM_EPS);
                *z = *z * zi * zj - f * fi * fj;
            }
        }
    }

    /// `out[i] += Σⱼ sᵢⱼ xⱼ/‖·ⱼ‖` for the rows of `out` (from token i0 on), with x and the lengths those of z′ (`of` 0) or f (1).
    fn gather_signs(&self, i0: usize, of: usize, margin: f32, x: &[f32], width: usize, out: &mut [f32]) {
        let rows = out.len() / width;
        let (mut tile, mut scratch) = (vec![0.0; rows * TILE], vec![0.0; rows * TILE]);
        out.fill(0.0);
        for j0 in (0..self.n).step_by(TILE) {
            let cols = TILE.min(self.n - j0);
            self.differences([i0, rows], [j0, cols], &mut tile, &mut scratch);
            for row in tile.chunks_exact_mut(cols).take(rows) {
                for (j, d) in row.iter_mut().enumerate() {
                    let scale = self.inverse_norms(j0 + j, GRAM_EPS)[of];
                    *d = if d.abs() > margin { scale.copysign(*d) } else { *d * 0.0 };
                }
            }
            gemm_serial(rows, width, cols, &tile, (cols, 1), &x[j0 * width..], (width, 1), out, width, true);
        }
    }
}

pub(super) fn fwd(p: &params::VfLossFwd, reads: [&[f32]; 5], [mdms, mcos]: [&mut [f32]; 2]) {
    let (batch, n) = (p.batch as usize, p.n as usize);
    let strips = n.div_ceil(TILE);
    let sums: Vec<[f64; 2]> = (0..batch * strips)
        .into_par_iter()
        .map(|task| {
            let image = Image::of(task / strips, reads, [p.n, p.cz, p.cf]);
            let i0 = task % strips * TILE;
            let rows = TILE.min(n - i0);
            let (mut tile, mut scratch) = (vec![0.0; rows * TILE], vec![0.0; rows * TILE]);
            let mut apart = 0.0;
            // Both matrices are symmetric: tiles right of the diagonal count for those left of it.
            for j0 in (i0..n).step_by(TILE) {
                let cols = TILE.min(n - j0);
                image.differences([i0, rows], [j0, cols], &mut tile, &mut scratch);
                let sum: f64 = tile[..rows * cols].iter().map(|d| f64::from(relu(d.abs() - p.distmat_margin))).sum();
                apart += if i0 == j0 { sum } else { 2.0 * sum };
            }
            let askew = |i| f64::from(relu(1.0 - p.cos_margin - image.cosine(i)));
            [apart, (i0..i0 + rows).map(askew).sum()]
        })
        .collect();
    let total = |part: usize| sums.iter().map(|sum| sum[part]).sum::<f64>();
    mdms[0] = (total(0) / (batch * n * n) as f64) as f32;
    mcos[0] = (total(1) / (batch * n) as f64) as f32;
}

/// max(v, 0) that keeps NaN.
fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

/// κ and −dmcos/(B·N) of the module's formulas.
fn factors(batch: u32, n: u32, dmdms: &[f32], dmcos: &[f32]) -> (f32, f32) {
    let (batch, n) = (f64::from(batch), f64::from(n));
    let grad = |grad: &[f32]| grad.first().map_or(0.0, |&grad| f64::from(grad));
    ((2.0 * grad(dmdms) / (batch * n * n)) as f32, (-grad(dmcos) / (batch * n)) as f32)
}

pub(super) fn bwd(
    p: &params::VfLossBwd,
    [z, zm, q, f, norms, gram, dmdms, dmcos]: [&[f32]; 8],
    [a, b, dz]: [&mut [f32]; 3],
) {
    let (n, cz) = (p.n as usize, p.cz as usize);
    let (kappa, lambda) = factors(p.batch, p.n, dmdms, dmcos);
    let images = a.par_chunks_mut(n * cz).zip(b.par_chunks_mut(n)).enumerate();
    images.for_each(|(i, (a, b))| {
        let image = Image::of(i, [z, zm, q, f, norms], [p.n, p.cz, p.cf]);
        let strips = a.par_chunks_mut(TILE * cz).zip(b.par_chunks_mut(TILE)).enumerate();
        strips.for_each(|(strip, (a, b))| {
            let i0 = strip * TILE;
            image.gather_signs(i0, 0, p.distmat_margin, image.z, cz, a);
            for (i, (a, b)) in a.chunks_exact_mut(cz).zip(b).enumerate() {
                let i = i0 + i;
                let (z, zm) = (&image.z[i * cz..][..cz], &image.zm[i * cz..][..cz]);
                let norm = image.norms[2 * i];
                let inverse = image.inverse_norms(i, GRAM_EPS)[0];
                let along = if norm > GRAM_EPS { dot(zm, a) as f32 * inverse * inverse } else { 0.0 };
                let [inverse_z, inverse_f] = image.inverse_norms(i, COS_EPS);
                let cosine = image.cosine(i);
                let lambda = if relu(1.0 - p.cos_margin - cosine) == 0.0 { 0.0 } else { lambda };
                let shrink = if norm > COS_EPS { lambda * cosine * inverse_z * inverse_z } else { 0.0 };
                *b = lambda * inverse_f * inverse_z;
                for (a, z) in a.iter_mut().zip(z) {
                    *a = kappa * inverse * (*a - z * along) - shrink * z;
                }
            }
        });
    });
    if dz.is_empty() {
        return;
    }
    match gram.is_empty() {
        true => dz.copy_from_slice(a),
        false => gemm(a.len() / cz, cz, cz, a, (cz, 1), gram, (cz, 1), dz, cz, false),
    }
    let tokens = q.par_chunks(cz).zip(b.par_iter());
    dz.par_chunks_mut(cz).zip(tokens).with_min_len(GRAIN).for_each(|(dz, (q, b))| {
        for (dz, q) in dz.iter_mut().zip(q) {
            *dz += b * q;
        }
    });
}

pub(super) fn bwd_proj(
    p: &params::VfLossBwdProj,
    [z, proj, f, a, b]: [&[f32]; 5],
    [dproj]: [&mut [f32]; 1],
) {
    let (tokens, cz, cf) = (p.tokens as usize, p.cz as usize, p.cf as usize);
    let mut outer = vec![0.0; cz * cz];
    gemm(cz, cz, tokens, a, (1, cz), z, (cz, 1), &mut outer, cz, false);
    gemm(cf, cz, cz, proj, (cz, 1), &outer, (cz, 1), dproj, cz, false);
    let weighted: Vec<f32> = z.chunks_exact(cz).zip(b).flat_map(|(z, b)| z.iter().map(move |z| b * z)).collect();
    gemm(cf, cz, tokens, f, (1, cf), &weighted, (cz, 1), dproj, cz, true);
}

pub(super) fn bwd_features(
    p: &params::VfLossBwdFeatures,
    [z, zm, q, f, norms, proj, dmdms, dmcos]: [&[f32]; 8],
    [df]: [&mut [f32]; 1],
) {
    let (n, cz, cf) = (p.n as usize, p.cz as usize, p.cf as usize);
    let (kappa, lambda) = factors(p.batch, p.n, dmdms, dmcos);
    df.par_chunks_mut(n * cf).enumerate().for_each(|(i, df)| {
        let image = Image::of(i, [z, zm, q, f, norms], [p.n, p.cz, p.cf]);
        df.par_chunks_mut(TILE * cf).enumerate().for_each(|(strip, df)| {
            let i0 = strip * TILE;
            let rows = df.len() / cf;
            image.gather_signs(i0, 1, p.distmat_margin, image.f, cf, df);
            let mut weighted = image.z[i0 * cz..][..rows * cz].to_vec();
            for (i, (df, weighted)) in df.chunks_exact_mut(cf).zip(weighted.chunks_exact_mut(cz)).enumerate() {
                let i = i0 + i;
                let f = &image.f[i * cf..][..cf];
                let norm = image.norms[2 * i + 1];
                let inverse = image.inverse_norms(i, GRAM_EPS)[1];
                let along = if norm > GRAM_EPS { dot(f, df) as f32 * inverse * inverse } else { 0.0 };
                let [inverse_z, inverse_f] = image.inverse_norms(i, COS_EPS);
                let cosine = image.cosine(i);
                let lambda = if relu(1.0 - p.cos_margin - cosine) == 0.0 { 0.0 } else { lambda };
                let shrink = if norm > COS_EPS { lambda * cosine * inverse_f * inverse_f } else { 0.0 };
                for (df, f) in df.iter_mut().zip(f) {
                    *df = -kappa * inverse * (*df - f * along) - shrink * f;
                }
                weighted.iter_mut().for_each(|z| *z *= lambda * inverse_f * inverse_z);
            }
            match proj.is_empty() {
                true => df.iter_mut().zip(&weighted).for_each(|(df, z)| *df += z),
                false => gemm_serial(rows, cf, cz, &weighted, (cz, 1), proj, (1, cz), df, cf, true),
            }
        });
    });
}
