//! Sums whose order depends on the length alone, never on the thread count, so that the same
//! input gives the same bits on any number of cores.

use rayon::prelude::*;

/// Elements per partial sum.
const CHUNK: usize = 1 << 14;
const LANES: usize = 16;

/// Σ f(xᵢ): f32 lanes within a chunk, f64 across chunks.
pub fn sum(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> f64 {
    let partial: Vec<f64> = x.par_chunks(CHUNK).map(|chunk| lanes(chunk, &f)).collect();
    partial.iter().sum()
}

/// Σ xᵢ².
pub fn sum_of_squares(x: &[f32]) -> f64 {
    sum(x, |v| v * v)
}

fn lanes(x: &[f32], f: &impl Fn(f32) -> f32) -> f64 {
    let mut acc = [0f32; LANES];
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for block in whole {
        for (a, &v) in acc.iter_mut().zip(block) {
            *a += f(v);
        }
    }
    let tail: f64 = rest.iter().map(|&v| f64::from(f(v))).sum();
    acc.iter().map(|&a| f64::from(a)).sum::<f64>() + tail
}
