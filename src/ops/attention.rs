//! out = softmax(q·kᵀ·d^−½)·v per head (Vaswani et al., 2017), in blocks of queries against all keys, so that the matrix of
//! all scores never exists; backward recomputes the probabilities from the rows' logsumexp L (Dao et al., 2022):
//!
//! P = exp(d^−½·q·kᵀ − L), dv = Pᵀ·dout, dS = P ∘ (dout·vᵀ − Σ_d dout ∘ out)·d^−½, dq = dS·k, dk = dSᵀ·q.
//!
//! On the CPU a block's scores lie transposed, (keys, queries of the block): both products that make scores then read
//! keys and values in place, and the softmax runs along columns, sixteen queries to a vector.

use std::ops::Range;

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads};
use crate::device::cpu::gemm::gemm_serial;
use crate::device::cpu::math::exp;
use crate::device::cpu::rows::sum2;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Multi-head attention: q (B, N, heads·d), k and v (B, M, heads·d) → (B, N, heads·d).
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Heads, which split the last dimension evenly.
    pub heads: usize,
}

const FWD: Kernel<params::AttentionFwd, 3, 2> = Kernel {
    name: "attention_fwd",
    reads: ["q", "k", "v"],
    writes: ["out", "logsumexp"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("attention", |p, math| wide(p.queries.div_ceil(params::ATTENTION_WIDE_ROWS), p.heads, p.batch, math))),
};

const DELTA: Kernel<params::AttentionDelta, 2, 1> = Kernel {
    name: "attention_delta",
    reads: ["out", "dout"],
    writes: ["delta"],
    cpu: delta_cpu,
    cuda: Some(CudaKernel::new("attention", |p, _| Geometry {
        grid: [p.queries.div_ceil(params::ATTENTION_DELTA_ROWS), p.heads, p.batch],
        block: [params::ATTENTION_THREADS, 1, 1],
        shared_bytes: 0,
    })),
};

const BWD: Kernel<params::AttentionBwd, 6, 3> = Kernel {
    name: "attention_bwd",
    reads: ["q", "k", "v", "dout", "logsumexp", "delta"],
    writes: ["dq", "dk", "dv"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("attention", |p, math| {
        let [keys, queries] = [p.keys, p.queries].map(|rows| rows.div_ceil(params::ATTENTION_WIDE_ROWS));
        wide(keys + queries, p.heads, p.batch, math)
    })),
};

fn wide(blocks: u32, heads: u32, batch: u32, math: Math) -> Geometry {
    let shared_bytes = match math {
        Math::Bf16 => params::ATTENTION_WIDE_BYTES_BF16,
        Math::F32 | Math::Tf32 => params::ATTENTION_WIDE_BYTES_F32,
    };
    Geometry { grid: [blocks, heads, batch], block: [params::ATTENTION_THREADS, 1, 1], shared_bytes }
}

impl Attention {
    fn shape(&self, q: &Tensor, k: &Tensor) -> Result<Shape> {
        let ([batch, queries, cols], [_, keys, _]) = (q.dims(Self::NAME)?, k.dims(Self::NAME)?);
        Ok(Shape { batch, queries, keys, heads: self.heads, head_dim: cols / self.heads })
    }
}

impl Op<3> for Attention {
    const NAME: &'static str = "attention";
    /// q, k, v, out and logsumexp.
    type Saved = [Tensor; 5];

    fn forward(&self, [q, k, v]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "q", q)?;
        check::matrix(Self::NAME, "k", k)?;
        let ([batch, _, cols], [_, keys, _]) = (q.dims(Self::NAME)?, k.dims::<3>(Self::NAME)?);
        if self.heads == 0 || !cols.is_multiple_of(self.heads) {
            return Err(Error::shape(Self::NAME, format!("{cols} channels do not split into {} heads", self.heads)));
        }
        check::shape(Self::NAME, "k", k, &[batch, keys, cols])?;
        check::shape(Self::NAME, "v", v, k.shape())?;
        let head_dim = cols / self.heads;
        check::aligned(Self::NAME, "the head size", head_dim, q)?;
        if !q.device().is_cpu() && head_dim > params::ATTENTION_MAX_HEAD as usize {
            let message = format!("heads of {head_dim} channels; CUDA takes up to {}", params::ATTENTION_MAX_HEAD);
            return Err(Error::shape(Self::NAME, message));
        }
        let s = self.shape(q, k)?;
        let p = params::AttentionFwd {
            batch: s.batch as u32,
            queries: s.queries as u32,
            keys: s.keys as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            scale: s.scale(),
            ..Default::default()
        };
        let mut out = q.uninit_like()?;
        let mut logsumexp = Tensor::uninit(q.device(), &[s.batch, s.heads, s.queries], DType::F32)?;
        q.device().launch(&FWD, p, [q, k, v], [&mut out, &mut logsumexp])?;
        Ok(([out.clone()], [q.clone(), k.clone(), v.clone(), out, logsumexp]))
    }

    fn backward(
        &self,
        [q, k, v, out, logsumexp]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let s = self.shape(q, k)?;
        let p = params::AttentionBwd {
            batch: s.batch as u32,
            queries: s.queries as u32,
            keys: s.keys as u32,
            heads: s.heads as u32,
            head_dim: s.head_dim as u32,
            scale: s.scale(),
            ..Default::default()
        };
        let device = q.device();
        let mut delta = Tensor::absent(device)?;
        if needs[0] || needs[1] {
            delta = logsumexp.uninit_like()?;
            let p = params::AttentionDelta {
                batch: s.batch as u32,
                queries: s.queries as u32,
                heads: s.heads as u32,
                head_dim: s.head_dim as u32,
                ..Default::default()
            };
            device.launch(&DELTA, p, [out, only(grads)], [&mut delta])?;
        }
        let mut gradients = grads::allocate([q, k, v], needs)?;
        device.launch(&BWD, p, [q, k, v, only(grads), logsumexp, &delta], gradients.each_mut())?;
        Ok(grads::asked(gradients, needs))
    }
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    head_dim: usize,
}

/// Parallel tasks worth having, where the shape gives as many.
const TASKS: usize = 8;

impl Shape {
    fn scale(self) -> f32 {
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

fn fwd_cpu(p: &params::AttentionFwd, [q, k, v]: [&[f32]; 3], [out, logsumexp]: [&mut [f32]; 2]) {
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

fn delta_cpu(p: &params::AttentionDelta, [out, dout]: [&[f32]; 2], [delta]: [&mut [f32]; 1]) {
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

fn bwd_cpu(p: &params::AttentionBwd, reads: [&[f32]; 6], [dq, dk, dv]: [&mut [f32]; 3]) {
    let [batch, queries, keys, heads, head_dim] = [p.batch, p.queries, p.keys, p.heads, p.head_dim].map(|n| n as usize);
    let s = Shape { batch, queries, keys, heads, head_dim };
    let split = s.split();
    let splits = queries.div_ceil(split);
    let needs = [!dq.is_empty(), !dk.is_empty(), !dv.is_empty()];
    let mut parts: Vec<Part> = (0..batch * heads * splits)
        .into_par_iter()
        .map(|task| {
            let first = task % splits * split;
            bwd_part(s, p.scale, reads, task / splits, first..queries.min(first + split), needs)
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

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), DELTA.info(), BWD.info()]
}

fn case(label: &'static str, [batch, queries, keys]: [usize; 3], heads: usize, head_dim: usize, bench: bool) -> Case {
    let cols = heads * head_dim;
    Case {
        op: "attention",
        label,
        inputs: vec![
            Input::normal("q", &[batch, queries, cols]),
            Input::normal("k", &[batch, keys, cols]),
            Input::normal("v", &[batch, keys, cols]),
        ],
        settings: vec![("heads", heads as f64)],
        run: Box::new(move |tape, x| Ok(tape.apply(Attention { heads }, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 4 * (batch * queries * keys * cols) as u64,
        bytes: 8 * (batch * (queries + keys) * cols) as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", [2, 5, 5], 1, 7, false),
        case("odd heads", [1, 9, 9], 3, 5, false),
        case("fewer keys than queries", [2, 7, 3], 2, 6, false),
        case("several blocks, head size 64", [1, 70, 70], 2, 64, false),
        case("head size 72", [2, 33, 33], 1, 72, false),
        case("head size 512, one head", [1, 16, 16], 1, 512, false),
        case("VA-VAE f16d32 at 256×256", [2, 256, 256], 1, 512, true),
        case("DiT-B/1", [8, 256, 256], 12, 64, true),
        case("DiT-XL/1", [4, 256, 256], 16, 72, true),
        case("DiT-B/1 at 512×512", [1, 1024, 1024], 12, 64, true),
    ]
}
