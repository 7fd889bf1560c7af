//! On the CPU: heads are embedded when they are brought together.

use rayon::prelude::*;

use crate::device::cpu::attention::{Embedding, Place, Saved, Shape, Target, backward, forward};
use crate::device::cpu::row_norm::{self, Join, RowNorm};
use crate::device::cpu::rows::{add_up, rows_per_task, store, sum1};
use crate::ops::attention;
use crate::ops::rope::turn;
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
        self.norm(weight, x).forward((x, Join::default()), eps, &mut y, [&mut [], &mut rstd], &mut []);
        (y, rstd)
    }

    /// What q and k are made of: rows of a head are normed and turned by the place of their token, as far as weights and tables are there.
    fn embed(self, norms: [&[f32]; 2], [cos, sin]: [&[f32]; 2], eps: f32) -> impl Embedding {
        let d = self.head_dim;
        move |which, first, rows| {
            for (token, row) in (first..).zip(rows.chunks_exact_mut(d)) {
                if !norms[which].is_empty() {
                    let rstd = 1.0 / (sum1(row, |x| x * x) / d as f32 + eps).sqrt();
                    row.iter_mut().zip(norms[which]).for_each(|(x, weight)| *x *= rstd * weight);
                }
                if !cos.is_empty() {
                    turn(false, row, &cos[token * d..][..d], &sin[token * d..][..d]);
                }
            }
        }
    }

    /// The turn's transpose, for gradients.
    fn turn_back(self, [cos, sin]: [&[f32]; 2]) -> impl Embedding {
        let d = self.head_dim;
        move |_, first, rows| {
            if !cos.is_empty() {
                for (token, row) in (first..).zip(rows.chunks_exact_mut(d)) {
                    turn(true, row, &cos[token * d..][..d], &sin[token * d..][..d]);
                }
            }
        }
    }

    /// Where q, k and v are in qkv.
    fn places(self) -> [Place; 3] {
        [0, 1, 2].map(|which| Place { stride: 3 * self.cols(), offset: which * self.cols() })
    }

    fn alone(self) -> Place {
        Place { stride: self.cols(), offset: 0 }
    }

    fn shape(self, batch: u32, tokens: u32) -> Shape {
        let [batch, tokens] = [batch, tokens].map(|n| n as usize);
        Shape { batch, queries: tokens, keys: tokens, heads: self.heads, head_dim: self.head_dim }
    }
}

pub fn fwd(
    p: &params::QkvAttentionFwd,
    [qkv, q_norm, k_norm, cos, sin]: [&[f32]; 5],
    [out, logsumexp]: [&mut [f32]; 2],
) {
    let heads = Heads { heads: p.heads as usize, head_dim: p.head_dim as usize };
    let embed = heads.embed([q_norm, k_norm], [cos, sin], p.eps);
    let inputs = heads.places().map(|place| (qkv, place));
    let s = heads.shape(p.batch, p.tokens);
    let [out] = Target::places(s, out, [heads.alone()], s.queries);
    forward(s, p.scale, inputs, embed, logsumexp, out);
}

pub fn bwd(
    p: &params::QkvAttentionBwd,
    [qkv, q_norm, k_norm, cos, sin, out, logsumexp, dout]: [&[f32]; 8],
    [dqkv, dq_parts, dk_normed]: [&mut [f32]; 3],
) {
    let heads = Heads { heads: p.heads as usize, head_dim: p.head_dim as usize };
    let (batch, queries) = (p.batch, p.tokens);
    let mut delta = vec![0.0; logsumexp.len()];
    let of = params::AttentionDelta { batch, queries, heads: p.heads, head_dim: p.head_dim, ..Default::default() };
    attention::cpu::delta(&of, [out, dout], [&mut delta]);
    let inputs = heads.places().map(|place| (qkv, place));
    let saved = Saved { inputs, logsumexp, delta: &delta, dout: (dout, heads.alone()) };
    let embed = heads.embed([q_norm, k_norm], [cos, sin], p.eps);
    let s = heads.shape(batch, queries);
    let [mut dq, mut dk, dv] = Target::places(s, dqkv, heads.places(), s.queries);
    if !dq_parts.is_empty() {
        // Both have a norm to go through.
        [dq, dk] = [dq_parts, dk_normed].map(|d| {
            let [d] = Target::places(s, d, [heads.alone()], s.queries);
            d
        });
    }
    backward(s, p.scale, &saved, embed, heads.turn_back([cos, sin]), [dq, dk, dv]);
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
            let saved = (&row_norm::Saved { x: &x, mean: &[], rstd: &rstd }, Join::default());
            heads.norm(norm, &x).backward(saved, [&d, &[]], blocks, &mut dx, &mut sums, &mut []);
            for (to, sums) in weight_sums.chunks_exact_mut(2 * cols).zip(sums.chunks_exact(2 * cols)) {
                to[which * cols..][..cols].copy_from_slice(&sums[cols..]);
            }
            d = dx;
        }
        heads.put(&d, which, dqkv);
    }
}
