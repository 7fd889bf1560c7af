//! Timing of ops and training steps against peaks measured in the same run, and counting of kernels on the software GPU.

mod kernels;
mod sample;
mod step;
mod untaped;

pub use kernels::{KernelCount, Timing, cases, count_case, launches, time_case};
pub use sample::{SampleTiming, time_sampling};
pub use step::{StepTiming, time_step};

use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use crate::device::Device;
use crate::device::cpu::peak::fma_gflops;
use crate::error::{Error, Result};

/// The median seconds of `runs` runs of `body`.
///
/// # Errors
/// No runs, or what `body` fails with.
fn median_s(device: &Device, runs: usize, mut body: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut seconds = (0..runs).map(|_| device.time(&mut body)).collect::<Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    seconds.get(runs / 2).copied().ok_or_else(|| Error::Config("0 runs measure nothing: ask for at least 1".to_owned()))
}

/// What the machine can do at best, measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Peaks {
    /// f32 fused multiply-adds on all threads, counted as two operations each, in GFLOP/s.
    pub gflops: f64,
    /// Sum of what is read and written by y = a + b over arrays far larger than any cache, in GB/s.
    pub gbytes_per_s: f64,
}

/// Measures [`Peaks`] on the CPU in about a second.
pub fn cpu_peaks() -> Peaks {
    Peaks { gflops: fma_gflops(), gbytes_per_s: copy_gbytes() }
}

fn copy_gbytes() -> f64 {
    const COUNT: usize = 1 << 25;
    const CHUNK: usize = 1 << 16;
    let (a, b, mut y) = (vec![1f32; COUNT], vec![2f32; COUNT], vec![0f32; COUNT]);
    let best = (0..5).map(|_| {
        let start = Instant::now();
        let inputs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
        y.par_chunks_mut(CHUNK).zip(inputs).for_each(|(y, (a, b))| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        });
        std::hint::black_box(&y);
        start.elapsed().as_secs_f64()
    });
    (12 * COUNT) as f64 / best.fold(f64::INFINITY, f64::min) / 1e9
}
