//! On the CPU: the pieces one after the other, as `split`, `rms_norm`, `rope` and `attention` have them.

use rayon::prelude::*;

use crate::device::cpu::row_norm::{RowNorm, Saved};
use crate::device::cpu::rows::{add_up, rows_per_task, store};
use crate::ops::attention;
use crate::ops::rope::turn_heads;
use crate::params;

/// Heads and their size.
#[derive(Clone, Copy)]
struct Heads {
    heads: usize,
    head_dim: usize,
}

impl Heads {
    fn cols(self) -> usize {
        self.heads * self.head_dim
    }

    /// One of the three tensors that are packed, (rows, heads·head_dim).
    fn part(self, qkv: &[f32], which: usize) -> Vec<f32> {
        let cols = self.cols();
        let mut part = vec![0.0; qkv.len() / 3];
        let task = rows_per_task(3 * cols);
        part.par_chunks_mut(task * cols).zip(qkv.par_chunks(task * 3 * cols)).for_each(|(part, qkv)| {
            for (part, row) in part.chunks_exact_mut(cols).zip(qkv.chunks_exact(3 * cols)) {
                part.copy_from_slice(&row[which * cols..][..cols]);
            }
        });
        part
    }

    /// The inverse of [`Heads::part`].
    fn put(self, part: &[f32], which: usize, qkv: &mut [f32]) {
        let cols = self.cols();
        let task = rows_per_task(3 * cols);
        qkv.par_chunks_mut(task * 3 * cols).zip(part.par_chunks(task * cols)).for_each(|(qkv, part)| {
            for (row, part) in qkv.chunks_exact_mut(3 * cols).zip(part.chunks_exact(cols)) {
                row[which * cols..][..cols].copy_from_slice(part);
            }
        });
    }

    /// The norm over the heads of `x`, all in one group.
    fn norm<'a>(self, weight: &'a [f32], x: &[f32]) -> RowNorm<'a> {
        let (cols, rows_per_group) = (self.head_dim, x.len() / self.head_dim);
        RowNorm { cols, rows_per_group, weight, bias: &[], scale: &[], shift: &[] }
    }

    /// The normed rows, and their rstd.
    fn normed(self, weight: &[f32], eps: f32, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (mut y, mut rstd) = (vec![0.0; x.len()], vec![0.0; x.len() / self.head_dim]);
        self.norm(weight, x).forward(x, eps, &mut y, &mut [], &mut rstd);
        (y, rstd)
    }

    fn turned(self, transpose: bool, x: Vec<f32>, tables: [&[f32]; 2]) -> Vec<f32> {
        if tables[0].is_empty() {
            return x;
        }
        let mut y = vec![0.0; x.len()];
        turn_heads(transpose, [self.heads, self.head_dim], &x, tables, &mut y);
        y
    }

    /// q̂, k̂ and v.
    fn embedded(self, qkv: &[f32], norms: [&[f32]; 2], tables: [&[f32]; 2], eps: f32) -> [Vec<f32>; 3] {
        let embed = |which: usize| {
            let mut x = self.part(qkv, which);
            if !norms[which].is_empty() {
                x = self.normed(norms[which], eps, &x).0;
            }
            self.turned(false, x, tables)
        };
        [embed(0), embed(1), self.part(qkv, 2)]
    }
}

pub fn fwd(
    p: &params::QkvAttentionFwd,
    [qkv, q_norm, k_norm, cos, sin]: [&[f32]; 5],
    [out, logsumexp]: [&mut [f32]; 2],
) {
    let heads = Heads { heads: p.heads as usize, head_dim: p.head_dim as usize };
    let [q, k, v] = heads.embedded(qkv, [q_norm, k_norm], [cos, sin], p.eps);
    let of = params::AttentionFwd {
        batch: p.batch,
        queries: p.tokens,
        keys: p.tokens,
        heads: p.heads,
        head_dim: p.head_dim,
        scale: p.scale,
        ..Default::default()
    };
    attention::cpu::fwd(&of, [&q, &k, &v], [out, logsumexp]);
}

pub fn bwd(
    p: &params::QkvAttentionBwd,
    [qkv, q_norm, k_norm, cos, sin, out, logsumexp, dout]: [&[f32]; 8],
    [dqkv, dq_parts, dk_normed]: [&mut [f32]; 3],
) {
    let heads = Heads { heads: p.heads as usize, head_dim: p.head_dim as usize };
    let [q, k, v] = heads.embedded(qkv, [q_norm, k_norm], [cos, sin], p.eps);
    let (batch, queries) = (p.batch, p.tokens);
    let mut delta = vec![0.0; logsumexp.len()];
    let of = params::AttentionDelta { batch, queries, heads: p.heads, head_dim: p.head_dim, ..Default::default() };
    attention::cpu::delta(&of, [out, dout], [&mut delta]);
    let mut gradients = [vec![0.0; q.len()], vec![0.0; q.len()], vec![0.0; dqkv.len() / 3]];
    let [dq, dk, dv] = &mut gradients;
    let of = params::AttentionBwd {
        batch,
        queries,
        keys: queries,
        heads: p.heads,
        head_dim: p.head_dim,
        scale: p.scale,
        ..Default::default()
    };
    attention::cpu::bwd(&of, [&q, &k, &v, &[], logsumexp, &delta, dout], [dq, dk, dv, &mut []]);
    let [dq, dk, dv] = gradients;
    for (which, (d, normed)) in [(dq, dq_parts), (dk, dk_normed)].into_iter().enumerate() {
        let d = heads.turned(true, d, [cos, sin]);
        if normed.is_empty() { heads.put(&d, which, dqkv) } else { normed.copy_from_slice(&d) }
    }
    heads.put(&dv, 2, dqkv);
}

pub fn bwd_embedding(
    p: &params::QkvAttentionBwdEmbedding,
    [qkv, q_norm, k_norm, dq_parts, dk_normed]: [&[f32]; 5],
    [dqkv, weight_sums]: [&mut [f32]; 2],
) {
    let heads = Heads { heads: p.heads as usize, head_dim: p.head_dim as usize };
    let (cols, blocks, len) = (heads.head_dim, p.blocks as usize, qkv.len() / 3);
    for (which, (norm, parts)) in [(q_norm, dq_parts), (k_norm, dk_normed)].into_iter().enumerate() {
        if parts.is_empty() {
            continue;
        }
        let mut d = vec![0.0; len];
        store(&mut d, &add_up(parts.chunks(len), len));
        if !norm.is_empty() {
            let x = heads.part(qkv, which);
            let (_, rstd) = heads.normed(norm, p.eps, &x);
            // Of every block the sums of d and of d·x̂, of which the second are the weight's.
            let (mut dx, mut sums) = (vec![0.0; len], vec![0.0; weight_sums.len()]);
            heads.norm(norm, &x).backward(&Saved { x: &x, mean: &[], rstd: &rstd }, &d, &[], blocks, &mut dx, &mut sums);
            for (to, sums) in weight_sums.chunks_exact_mut(2 * cols).zip(sums.chunks_exact(2 * cols)) {
                to[which * cols..][..cols].copy_from_slice(&sums[cols..]);
            }
            d = dx;
        }
        heads.put(&d, which, dqkv);
    }
}
