//! Attention on the CPU: a head is a task, or some of its queries are, and a block of queries goes through all keys at once.
//!
//! A block's scores lie transposed, (keys, queries of the block). So they are at once the left factor of the products that sum
//! over queries (dk, dv) and, as panels, the right one of those that sum over keys (outᵀ, dqᵀ), and the softmax runs along columns,
//! sixteen queries to a vector. A head's rows are brought together first: keys, values and scores then stay in L2.

mod products;

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use self::products::{Scores, transposed_rows};
use super::gemm::{NR, Scratch, Shared, scratch, tasks};
use super::math::exp;

/// The lengths of the axes.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Batch entries.
    pub batch: usize,
    /// Rows of q.
    pub queries: usize,
    /// Rows of k and v.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

/// Where heads are in a tensor: channel c of head h of row r, counted over the batch, at `r·stride + offset + h·head_dim + c`.
#[derive(Clone, Copy)]
pub struct Place {
    /// From row to row.
    pub stride: usize,
    /// From a row's beginning to its first head.
    pub offset: usize,
}

/// What is done to a head's rows of q (0) or k (1), whose first is the given one: (rows, head_dim), in place.
pub trait Embedding: Fn(usize, usize, &mut [f32]) + Sync {}
impl<F: Fn(usize, usize, &mut [f32]) + Sync> Embedding for F {}

/// Parallel tasks of the backward, where the shape gives as many: of a head that several share, the order of sums depends on them.
const TASKS: usize = 8;
/// Scores of a block at most, so that two blocks of them fit into L2, and the most queries.
const SCORES: usize = 1 << 15;
const MOST_QUERIES: usize = 128;

impl Shape {
    /// d^−½, by which scores are multiplied.
    pub fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Queries of a block.
    fn block(self) -> usize {
        (SCORES / self.keys.max(1) / NR * NR).clamp(NR, MOST_QUERIES)
    }

    /// Queries of a task, where `tasks` are worth having: all of a head's, unless heads are few.
    fn task(self, tasks: usize) -> usize {
        let blocks = self.queries.div_ceil(self.block());
        let tasks = tasks.div_ceil((self.batch * self.heads).max(1)).min(blocks);
        blocks.div_ceil(tasks.max(1)) * self.block()
    }

    /// A head's rows of a tensor with `rows` rows in a batch entry.
    fn gather(self, x: &[f32], place: Place, rows: usize, batch_head: usize, range: Range<usize>) -> Scratch {
        let d = self.head_dim;
        let mut to = scratch(range.len() * d);
        let first =
            (batch_head / self.heads * rows + range.start) * place.stride + place.offset + batch_head % self.heads * d;
        for (r, to) in to[..range.len() * d].chunks_exact_mut(d).enumerate() {
            to.copy_from_slice(&x[first + r * place.stride..][..d]);
        }
        to
    }
}

/// A tensor, or a part of its columns, of which tasks write the rows of different heads.
pub struct Target<'a> {
    to: Shared,
    place: Place,
    rows: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

impl<'a> Target<'a> {
    /// Places of a tensor that has `rows` rows in a batch entry; none where it is empty.
    ///
    /// # Panics
    /// If the tensor is too short, or places overlap.
    pub fn places<const N: usize>(
        s: Shape,
        x: &'a mut [f32],
        places: [Place; N],
        rows: usize,
    ) -> [Option<Target<'a>>; N] {
        let (all, cols) = (s.batch * rows, s.heads * s.head_dim);
        let mut end = 0;
        for place in places {
            assert!(
                place.offset >= end && place.offset + cols <= place.stride,
                "attention: heads of an output overlap"
            );
            end = place.offset + cols;
            assert!(
                x.is_empty() || all == 0 || x.len() >= (all - 1) * place.stride + end,
                "attention: an output is too short"
            );
        }
        let to = Shared(x.as_mut_ptr());
        places.map(|place| (!x.is_empty() && all > 0).then_some(Target { to, place, rows, borrowed: PhantomData }))
    }

    /// Writes rows of a head, the first of them row `first`.
    ///
    /// # Safety
    /// Nobody else writes them meanwhile.
    unsafe fn put(&self, s: Shape, batch_head: usize, first: usize, from: &[f32]) {
        let (batch, head, d) = (batch_head / s.heads, batch_head % s.heads, s.head_dim);
        assert!(batch < s.batch && first + from.len() / d <= self.rows, "attention: rows that an output does not have");
        for (row, from) in (batch * self.rows + first..).zip(from.chunks_exact(d)) {
            let to = self.to.at(row * self.place.stride + self.place.offset + head * d);
            // SAFETY: the row is within what was asserted in `places` and above; the caller's promise.
            unsafe { std::slice::from_raw_parts_mut(to, d) }.copy_from_slice(from);
        }
    }
}

/// out = softmax(scale·q·kᵀ)·v per head, after `embed`, and the logarithms of the softmax' denominators, (batch, heads, queries).
///
/// # Panics
/// If a slice is too short for its rows.
pub fn forward(
    s: Shape,
    scale: f32,
    [q, k, v]: [(&[f32], Place); 3],
    embed: impl Embedding,
    logsumexp: &mut [f32],
    out: Option<Target>,
) {
    let Shape { queries, keys, head_dim: d, .. } = s;
    let (task, block) = (s.task(tasks()), s.block());
    let Some(out) = out else { return };
    let of_head = |(head, all): (usize, _)| {
        <[f32]>::chunks_mut(all, task).enumerate().map(move |(i, logsumexp)| (head, i * task, logsumexp))
    };
    let work: Vec<_> = logsumexp.chunks_mut(queries).enumerate().flat_map(of_head).collect();
    work.into_par_iter().for_each(|(head, first, logsumexp)| {
        let mut k_rows = s.gather(k.0, k.1, keys, head, 0..keys);
        embed(1, 0, &mut k_rows[..keys * d]);
        let values = transposed_rows(&s.gather(v.0, v.1, keys, head, 0..keys)[..keys * d], d);
        for (first, logsumexp) in (first..).step_by(block).zip(logsumexp.chunks_mut(block)) {
            let len = logsumexp.len();
            let mut q_rows = s.gather(q.0, q.1, queries, head, first..first + len);
            let q_rows = &mut q_rows[..len * d];
            embed(0, first, q_rows);
            let mut p = Scores::new(&k_rows[..keys * d], q_rows, d);
            let sums = softmax_columns(&mut p, scale, logsumexp);
            p.transposed_times(&values, d, q_rows);
            for (row, sum) in q_rows.chunks_exact_mut(d).zip(&sums) {
                row.iter_mut().for_each(|out| *out /= sum);
            }
            // SAFETY: the queries of this task.
            unsafe { out.put(s, head, first, q_rows) };
        }
    });
}

/// Turns scores into exp(scale·(score − the column's largest)); writes the columns' logsumexp and returns their sums.
fn softmax_columns(scores: &mut Scores, scale: f32, logsumexp: &mut [f32]) -> Vec<f32> {
    let mut largest = vec![f32::NEG_INFINITY; scores.queries];
    scores.rows().for_each(|row| largest_of(row, &mut largest));
    let mut sums = vec![0f32; scores.queries];
    scores.rows_mut().for_each(|row| exponentials(row, scale, &largest, &mut sums));
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

/// What backward reads.
pub struct Saved<'a> {
    /// q, k and v, and where they are.
    pub inputs: [(&'a [f32], Place); 3],
    /// (batch, heads, queries), from [`forward`].
    pub logsumexp: &'a [f32],
    /// Σ out·dout of every row, (batch, heads, queries); empty where neither dq nor dk is wanted.
    pub delta: &'a [f32],
    /// The gradient of out.
    pub dout: (&'a [f32], Place),
}

/// dq, dk and dv, as far as they are asked for; `embed_back` makes of a gradient by embedded rows that by the rows.
///
/// # Panics
/// If a slice is too short for its rows.
pub fn backward(
    s: Shape,
    scale: f32,
    saved: &Saved,
    embed: impl Embedding,
    embed_back: impl Embedding,
    [dq, dk, dv]: [Option<Target>; 3],
) {
    let Shape { batch, heads, queries, keys, head_dim: d } = s;
    let of = Backward { s, scale, saved, embed, needs: [dq.is_some(), dk.is_some(), dv.is_some()] };
    let finish = |head: usize, [dk_rows, dv_rows]: &mut [Scratch; 2]| {
        if let Some(dk) = &dk {
            embed_back(1, 0, &mut dk_rows[..keys * d]);
            // SAFETY: a head is finished by one task.
            unsafe { dk.put(s, head, 0, &dk_rows[..keys * d]) };
        }
        if let Some(dv) = &dv {
            // SAFETY: as above.
            unsafe { dv.put(s, head, 0, &dv_rows[..keys * d]) };
        }
    };
    let task = s.task(TASKS);
    let tasks = queries.div_ceil(task);
    let parts = (0..batch * heads * tasks).into_par_iter().map(|t| {
        let (head, first) = (t / tasks, t % tasks * task);
        let mut sums = of.part(head, first..queries.min(first + task), |first, dq_rows| {
            if let Some(dq) = &dq {
                embed_back(0, first, dq_rows);
                // SAFETY: the queries of this task.
                unsafe { dq.put(s, head, first, dq_rows) };
            }
        });
        if tasks > 1 {
            return Some(sums);
        }
        finish(head, &mut sums);
        None
    });
    let mut parts: Vec<[Scratch; 2]> = parts.flatten().collect();
    // Of a head that several tasks share, the sums are added to the first's in order.
    parts.par_chunks_mut(tasks).enumerate().for_each(|(head, parts)| {
        let (sum, others) = parts.split_first_mut().expect("a head has at least one task");
        for other in others {
            for (sum, other) in sum.iter_mut().zip(other) {
                sum.iter_mut().zip(&other[..]).take(keys * d).for_each(|(sum, other)| *sum += other);
            }
        }
        finish(head, sum);
    });
}

/// What all tasks of the backward share.
struct Backward<'a, E> {
    s: Shape,
    scale: f32,
    saved: &'a Saved<'a>,
    embed: E,
    /// Of dq, dk and dv.
    needs: [bool; 3],
}

impl<E: Embedding> Backward<'_, E> {
    /// Some queries' share of a head's dk and dv, as far as they are needed; their dq goes to `put_dq`, block by block.
    fn part(&self, head: usize, queries: Range<usize>, put_dq: impl Fn(usize, &mut [f32])) -> [Scratch; 2] {
        let Backward { s, scale, saved, .. } = *self;
        let ([needs_dq, needs_dk, needs_dv], [q, k, v]) = (self.needs, saved.inputs);
        let (d, keys) = (s.head_dim, s.keys);
        let mut k_rows = s.gather(k.0, k.1, keys, head, 0..keys);
        let k_rows = &mut k_rows[..keys * d];
        (self.embed)(1, 0, k_rows);
        let k_transposed = needs_dq.then(|| transposed_rows(k_rows, d));
        let v_rows = s.gather(v.0, v.1, keys, head, 0..keys);
        let [mut dk, mut dv] = [needs_dk, needs_dv].map(|needed| scratch(if needed { keys * d } else { 0 }));
        for first in queries.clone().step_by(s.block()) {
            let block = first..queries.end.min(first + s.block());
            let (len, more) = (block.len(), first > queries.start);
            let of_head = head * s.queries + first..head * s.queries + first + len;
            let mut q_rows = s.gather(q.0, q.1, s.queries, head, block.clone());
            let q_rows = &mut q_rows[..len * d];
            (self.embed)(0, first, q_rows);
            let dout = s.gather(saved.dout.0, saved.dout.1, s.queries, head, block);
            let dout = &dout[..len * d];
            let mut p = Scores::new(k_rows, q_rows, d);
            let logsumexp = &saved.logsumexp[of_head.clone()];
            p.rows_mut().for_each(|row| probabilities(row, scale, logsumexp));
            if needs_dv {
                p.times(dout, d, &mut dv, more);
            }
            if !needs_dq && !needs_dk {
                continue;
            }
            let (dp, delta) = (Scores::new(&v_rows[..keys * d], dout, d), &saved.delta[of_head]);
            p.rows_mut().zip(dp.rows()).for_each(|(p, dp)| score_gradients(p, dp, delta, scale));
            if needs_dk {
                p.times(q_rows, d, &mut dk, more);
            }
            if let Some(k_transposed) = &k_transposed {
                p.transposed_times(k_transposed, d, q_rows);
                put_dq(first, q_rows);
            }
        }
        [dk, dv]
    }
}
