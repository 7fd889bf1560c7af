//! Attention on the CPU. A block's scores lie transposed, (keys, queries of the block): both products that make scores then
//! read keys and values in place, and the softmax runs along columns, sixteen queries to a vector.

use std::ops::Range;

use rayon::prelude::*;

use crate::device::cpu::gemm::gemm_serial;
use crate::device::cpu::math::exp;
use crate::device::cpu::rows::sum2;
use crate::params;

/// Queries, keys and heads.
#[derive(Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub head_dim: usize,
}

/// Parallel tasks worth having, where the shape gives as many.
const TASKS: usize = 8;

impl Shape {
    pub fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn cols(self) -> usize {
        self.heads * self.head_dim
    }

    /// Queries per block: enough that keys and values are read seldom, fewer where that leaves cores idle.
    fn block(self) -> usize {
        let tasks = self.batch * self.heads * self.queries.div_ceil(256);
        if tasks >= TASKS { 256 } else { 64 }
    }

    /// Queries per backward task, which accumulates dk and dv of its own: all of a head's, unless heads are few.
    fn split(self) -> usize {
        let splits = TASKS.div_ceil(self.batch * self.heads).min(self.queries.div_ceil(self.block()));
        self.queries.div_ceil(self.block()).div_ceil(splits) * self.block()
    }

    /// Where the rows of a head from `row` on begin in a tensor of `rows` rows per batch entry.
    fn offset(self, batch_head: usize, rows: usize, row: usize) -> usize {
        let (batch, head) = (batch_head / self.heads, batch_head % self.heads);
        (batch * rows + row) * self.cols() + head * self.head_dim
    }

    /// q·kᵀ of the block's queries, transposed: (keys, block).
    fn scores(self, q: &[f32], k: &[f32], batch_head: usize, block: &Range<usize>) -> Vec<f32> {
        let q = &q[self.offset(batch_head, self.queries, block.start)..];
        self.against_keys(q, &k[self.offset(batch_head, self.keys, 0)..], block.len())
    }

    /// right·leftᵀ, (keys, len), for `right` (keys, d) and `left` (len, d).
    fn against_keys(self, left: &[f32], right: &[f32], len: usize) -> Vec<f32> {
        let (d, cols) = (self.head_dim, self.cols());
        let mut out = vec![0.0; self.keys * len];
        gemm_serial(self.keys, len, d, right, (cols, 1), left, (1, cols), &mut out, len, false);
        out
    }

    /// Writes scoresᵀ·rows for scores (keys, len) and the head's rows (keys, d) to (len, d).
    ///
    /// Made transposed, (d, len): so the small factor is the one that the product repacks element by element.
    fn weighted_rows(self, scores: &[f32], rows: &[f32], to: &mut [f32]) {
        let (d, len) = (self.head_dim, scores.len() / self.keys);
        let mut transposed = vec![0.0; d * len];
        gemm_serial(d, len, self.keys, rows, (1, self.cols()), scores, (len, 1), &mut transposed, len, false);
        // Sixteen rows at a time, a cache line of the source.
        for (block, rows) in to.chunks_mut(16 * d).enumerate() {
            for (c, from) in transposed.chunks_exact(len).enumerate() {
                for (row, from) in rows.chunks_exact_mut(d).zip(&from[16 * block..]) {
                    row[c] = *from;
                }
            }
        }
    }

    /// Puts per-head parts of `rows_per_part` rows together as (batch, rows, heads, d).
    fn assemble(self, parts: &[&[f32]], rows: usize, rows_per_part: usize, to: &mut [f32]) {
        let (d, per_head) = (self.head_dim, rows.div_ceil(rows_per_part));
        to.par_chunks_mut(self.cols()).with_min_len(16).enumerate().for_each(|(at, to)| {
            let (batch, row) = (at / rows, at % rows);
            for (head, to) in to.chunks_exact_mut(d).enumerate() {
                let part = parts[(batch * self.heads + head) * per_head + row / rows_per_part];
                to.copy_from_slice(&part[row % rows_per_part * d..][..d]);
            }
        });
    }
}

pub fn fwd(p: &params::AttentionFwd, [q, k, v]: [&[f32]; 3], [out, logsumexp]: [&mut [f32]; 2]) {
    let [batch, queries, keys, heads, head_dim] = [p.batch, p.queries, p.keys, p.heads, p.head_dim].map(|n| n as usize);
    let s = Shape { batch, queries, keys, heads, head_dim };
    let block = s.block();
    let work: Vec<_> = logsumexp
        .chunks_mut(queries)
        .enumerate()
        .flat_map(|(head, lse)| lse.chunks_mut(block).enumerate().map(move |(i, lse)| (head, i * block, lse)))
        .collect();
    let parts: Vec<Vec<f32>> = work
        .into_par_iter()
        .map(|(batch_head, first, logsumexp)| {
            let len = logsumexp.len();
            let mut scores = s.scores(q, k, batch_head, &(first..first + len));
            let sums = softmax_columns(&mut scores, p.scale, logsumexp);
            let mut out = vec![0.0; len * head_dim];
            s.weighted_rows(&scores, &v[s.offset(batch_head, keys, 0)..], &mut out);
            for (row, sum) in out.chunks_exact_mut(head_dim).zip(&sums) {
                row.iter_mut().for_each(|out| *out /= sum);
            }
            out
        })
        .collect();
    let parts: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
    s.assemble(&parts, queries, block, out);
}

/// Turns scores (keys, block) into exp(scale·(score − the column's largest)); writes the columns' logsumexp and returns
/// their sums.
fn softmax_columns(scores: &mut [f32], scale: f32, logsumexp: &mut [f32]) -> Vec<f32> {
    let len = logsumexp.len();
    let mut largest = vec![f32::NEG_INFINITY; len];
    for row in scores.chunks_exact(len) {
        largest_of(row, &mut largest);
    }
    let mut sums = vec![0f32; len];
    for row in scores.chunks_exact_mut(len) {
        exponentials(row, scale, &largest, &mut sums);
    }
    for ((logsumexp, largest), sum) in logsumexp.iter_mut().zip(&largest).zip(&sums) {
        *logsumexp = scale * largest + sum.ln();
    }
    sums
}

// Functions of their own, whose arguments the compiler knows not to overlap: inlined these loops do not vectorise.

#[inline(never)]
fn largest_of(row: &[f32], largest: &mut [f32]) {
    for (largest, &score) in largest.iter_mut().zip(row) {
        *largest = if score > *largest { score } else { *largest };
    }
}

/// score ← exp(scale·(score − largest)), added to `sums`.
#[inline(never)]
fn exponentials(row: &mut [f32], scale: f32, largest: &[f32], sums: &mut [f32]) {
    for ((score, sum), largest) in row.iter_mut().zip(sums).zip(largest) {
        *score = exp(scale * (*score - largest));
        *sum += *score;
    }
}

/// score ← exp(scale·score − logsumexp): the probabilities again.
#[inline(never)]
fn probabilities(row: &mut [f32], scale: f32, logsumexp: &[f32]) {
    for (score, logsumexp) in row.iter_mut().zip(logsumexp) {
        *score = exp(scale * *score - logsumexp);
    }
}

/// probability ← the gradient of its score.
#[inline(never)]
fn score_gradients(row: &mut [f32], dprobabilities: &[f32], delta: &[f32], scale: f32) {
    for ((probability, dprobability), delta) in row.iter_mut().zip(dprobabilities).zip(delta) {
        *probability *= (dprobability - delta) * scale;
    }
}

pub fn delta(p: &params::AttentionDelta, [out, dout]: [&[f32]; 2], [delta]: [&mut [f32]; 1]) {
    let [queries, heads, d] = [p.queries, p.heads, p.head_dim].map(|n| n as usize);
    delta.par_chunks_mut(queries).enumerate().for_each(|(batch_head, delta)| {
        let (batch, head) = (batch_head / heads, batch_head % heads);
        for (row, delta) in delta.iter_mut().enumerate() {
            let at = ((batch * queries + row) * heads + head) * d;
            *delta = sum2(&dout[at..at + d], &out[at..at + d], |dout, out| dout * out);
        }
    });
}

/// What one backward task makes: rows of dq, and its share of a head's dk and dv; empty where not asked for.
struct Part {
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

pub fn bwd(p: &params::AttentionBwd, 
    [q, k, v, _, logsumexp, delta, dout]: [&[f32]; 7],
    [dq, dk, dv, _]: [&mut [f32]; 4],
) {
    let [batch, queries, keys, heads, head_dim] = [p.batch, p.queries, p.keys, p.heads, p.head_dim].map(|n| n as usize);
    let s = Shape { batch, queries, keys, heads, head_dim };
    let split = s.split();
    let splits = queries.div_ceil(split);
    let needs = [!dq.is_empty(), !dk.is_empty(), !dv.is_empty()];
    let mut parts: Vec<Part> = (0..batch * heads * splits)
        .into_par_iter()
        .map(|task| {
            let first = task % splits * split;
            bwd_part(s, p.scale, [q, k, v, dout, logsumexp, delta], task / splits, first..queries.min(first + split), needs)
        })
        .collect();
    // The shares of one head, added to the first in order.
    parts.par_chunks_mut(splits).for_each(|head| {
        let (sum, others) = head.split_first_mut().expect("a head has at least one split");
        for other in others {
            for (sum, share) in sum.dk.iter_mut().zip(&other.dk).chain(sum.dv.iter_mut().zip(&other.dv)) {
                *sum += share;
            }
        }
    });
    let all_dq: Vec<&[f32]> = parts.iter().map(|part| &part.dq[..]).collect();
    let all_dk: Vec<&[f32]> = parts.iter().step_by(splits).map(|part| &part.dk[..]).collect();
    let all_dv: Vec<&[f32]> = parts.iter().step_by(splits).map(|part| &part.dv[..]).collect();
    s.assemble(&all_dq, queries, split, dq);
    s.assemble(&all_dk, keys, keys, dk);
    s.assemble(&all_dv, keys, keys, dv);
}

fn bwd_part(
    s: Shape,
    scale: f32,
    [q, k, v, dout, logsumexp, delta]: [&[f32]; 6],
    batch_head: usize,
    queries: Range<usize>,
    [needs_dq, needs_dk, needs_dv]: [bool; 3],
) -> Part {
    let (d, cols, keys) = (s.head_dim, s.cols(), s.keys);
    let sized = |needed: bool, rows: usize| vec![0f32; if needed { rows * d } else { 0 }];
    let mut part = Part { dq: sized(needs_dq, queries.len()), dk: sized(needs_dk, keys), dv: sized(needs_dv, keys) };
    for first in queries.clone().step_by(s.block()) {
        let block = first..queries.end.min(first + s.block());
        let len = block.len();
        let at = s.offset(batch_head, s.queries, first);
        let (block_q, block_dout) = (&q[at..], &dout[at..]);
        let rows = batch_head * s.queries + first..batch_head * s.queries + first + len;
        let lse = &logsumexp[rows.clone()];
        let mut scores = s.scores(q, k, batch_head, &block);
        scores.chunks_exact_mut(len).for_each(|row| probabilities(row, scale, lse));
        if needs_dv {
            gemm_serial(keys, d, len, &scores, (len, 1), block_dout, (cols, 1), &mut part.dv, d, true);
        }
        if !needs_dq && !needs_dk {
            continue;
        }
        let dprobabilities = s.against_keys(block_dout, &v[s.offset(batch_head, keys, 0)..], len);
        for (row, dprobabilities) in scores.chunks_exact_mut(len).zip(dprobabilities.chunks_exact(len)) {
            score_gradients(row, dprobabilities, &delta[rows.clone()], scale);
        }
        if needs_dk {
            gemm_serial(keys, d, len, &scores, (len, 1), block_q, (cols, 1), &mut part.dk, d, true);
        }
        if needs_dq {
            let dq = &mut part.dq[(first - queries.start) * d..][..len * d];
            s.weighted_rows(&scores, &k[s.offset(batch_head, keys, 0)..], dq);
        }
    }
    part
}

pub fn bwd_sum(p: &params::AttentionBwdSum, []: [&[f32]; 0], [dq, dq_parts]: [&mut [f32]; 2]) {
    let elements = p.elements as usize;
    for (i, dq) in dq.iter_mut().enumerate() {
        *dq = dq_parts.iter().skip(i).step_by(elements).sum();
    }
}
