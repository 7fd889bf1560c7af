//! On the CPU: the pieces one after the other, as `split`, `rms_norm`, `rope` and `attention` have them.

use rayon::prelude::*;

use crate::device::cpu::row_norm::{RowNorm, Saved};
use crate::device::cpu::rows::{add_up, chunks_mut, rows_per_task, store};
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
        let (cols, rows_per_batch) = (self.head_dim, x.len() / self.head_dim);
        RowNorm { cols, rows_per_batch, weight, bias: &[], scale: &[], shift: &[] }
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
    let mut gradients = [vec![0.0; q.len()], vec![0.0; q.len()], vec![0.0; q.len()]];
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
    let (cols, blocks) = (heads.head_dim, p.blocks as usize);
    let mut sums_left = chunks_mut(weight_sums, blocks * cols, 2).into_iter();
    for (which, (norm, parts)) in [(q_norm, dq_parts), (k_norm, dk_normed)].into_iter().enumerate() {
        let sums = sums_left.next().expect("one for each of q and k");
        if parts.is_empty() {
            continue;
        }
        let mut d = vec![0.0; qkv.len() / 3];
        store(&mut d, &add_up(parts.chunks(qkv.len() / 3), qkv.len() / 3));
        if !norm.is_empty() {
            let x = heads.part(qkv, which);
            let (_, rstd) = heads.normed(norm, p.eps, &x);
            let (saved, by) = (Saved { x: &x, mean: &[], rstd: &rstd }, heads.norm(norm, &x));
            let mut dx = vec![0.0; x.len()];
            let rows = params::QKV_ATTENTION_ROWS_PER_BLOCK as usize;
            let work: Vec<_> = dx.chunks_mut(rows * cols).zip(chunks_mut(sums, cols, blocks)).enumerate().collect();
            work.into_par_iter().for_each(|(block, (dx, sum))| {
                let first = block * rows;
                sum.fill(0.0);
                by.backward_rows(&saved, &d, 0, first..first + dx.len() / cols, dx, [&mut vec![0.0; cols], sum]);
            });
            d = dx;
        }
        heads.put(&d, which, dqkv);
    }
}

pub fn bwd_weight(
    p: &params::QkvAttentionBwdWeight,
    [weight_sums]: [&[f32]; 1],
    [dq_norm, dk_norm]: [&mut [f32]; 2],
) {
    let cols = p.head_dim as usize;
    for (sums, dweight) in weight_sums.chunks(p.blocks as usize * cols).zip([dq_norm, dk_norm]) {
        store(dweight, &add_up(sums.chunks(cols), cols));
    }
}
