//! What the CPU can do at best: fused multiply-adds on registers alone.

use std::time::Instant;

use rayon::prelude::*;

use super::gemm::simd::{F32x16, LANES};

/// Independent sums per thread: enough to hide the latency of a fused multiply-add on two units.
const CHAINS: usize = 12;
const ROUNDS: usize = 1 << 21;
const REPEATS: usize = 8;

/// GFLOP/s of f32 fused multiply-adds on all threads, two operations each; the best of several runs.
pub fn fma_gflops() -> f64 {
    let threads = rayon::current_num_threads();
    let fastest = (0..REPEATS).map(|_| one_run(threads)).fold(f64::INFINITY, f64::min);
    (2 * LANES * CHAINS * ROUNDS * threads) as f64 / fastest / 1e9
}

fn one_run(threads: usize) -> f64 {
    let start = Instant::now();
    let results: Vec<[F32x16; CHAINS]> = (0..threads)
        .into_par_iter()
        .map(|_| {
            let mut sums = std::hint::black_box([F32x16::splat(1.0); CHAINS]);
            let (a, b) = (F32x16::splat(std::hint::black_box(0.999)), F32x16::splat(std::hint::black_box(0.001)));
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = sum.mul_add(a, b);
                }
            }
            sums
        })
        .collect();
    std::hint::black_box(results);
    start.elapsed().as_secs_f64()
}
