//! Cutting matrices into parallel tasks, and sums over rows. The cuts depend on shapes alone and partial sums are added
//! in order, so results are the same bits on any number of threads.

use rayon::prelude::*;

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

/// Accumulators of [`sum2`]: enough vectors in flight to hide an addition's latency.
const LANES: usize = 64;

/// Rows of `cols` elements that make up one parallel task.
pub fn rows_per_task(cols: usize) -> usize {
    (GRAIN / cols.max(1)).max(1)
}

/// `count` consecutive chunks of at most `len` elements of `slice`; empty ones where the slice is empty, which stands for
/// an optional output that nobody asked for.
pub fn chunks_mut(slice: &mut [f32], len: usize, count: usize) -> Vec<&mut [f32]> {
    if slice.is_empty() {
        return (0..count).map(|_| Default::default()).collect();
    }
    let chunks: Vec<&mut [f32]> = slice.chunks_mut(len).collect();
    debug_assert_eq!(chunks.len(), count);
    chunks
}

/// Adds partial sums up, element by element and in f64.
pub fn add_up<'a>(partials: impl Iterator<Item = &'a [f32]>, len: usize) -> Vec<f64> {
    let mut total = vec![0f64; len];
    for partial in partials {
        for (total, &part) in total.iter_mut().zip(partial) {
            *total += f64::from(part);
        }
    }
    total
}

/// Writes f64 sums to an output; does nothing where it is empty.
pub fn store(to: &mut [f32], from: &[f64]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from as f32;
    }
}

/// `sum += x`; does nothing where x is empty, which stands for an optional input that is absent.
pub fn add(sum: &mut [f32], x: &[f32]) {
    sum.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(sum, x)| {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    });
}

/// Σ_rows of a (rows, cols) matrix.
pub fn column_sums(x: &[f32], cols: usize) -> Vec<f64> {
    let partials: Vec<Vec<f32>> = x
        .par_chunks(rows_per_task(cols) * cols)
        .map(|chunk| {
            let mut sums = vec![0.0; cols];
            for row in chunk.chunks_exact(cols) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            sums
        })
        .collect();
    add_up(partials.iter().map(Vec::as_slice), cols)
}

/// Σ f(aᵢ, bᵢ) over slices of one length.
#[inline]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for ((acc, &a), &b) in acc.iter_mut().zip(a_blocks.remainder()).zip(b_blocks.remainder()) {
        *acc = f(a, b);
    }
    for (a, b) in a_blocks.zip(b_blocks) {
        for ((acc, &a), &b) in acc.iter_mut().zip(a).zip(b) {
            *acc += f(a, b);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = acc.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
        width /= 2;
    }
    acc[0]
}

/// Σ f(xᵢ).
#[inline]
pub fn sum1(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(x, x, |x, _| f(x))
}
