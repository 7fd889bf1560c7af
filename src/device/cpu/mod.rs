//! The CPU device: pooled host memory, and the numerical routines that the ops' CPU bodies share.

pub mod attention;
pub mod conv;
pub mod gemm;
mod im2col;
pub mod math;
pub mod peak;
pub mod reduce;
pub mod row_norm;
pub mod rows;
mod winograd;

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Host memory, kept between uses: a training step asks for the same blocks every time, and a
/// fresh page costs more than the arithmetic on it.
pub(super) struct Cpu {
    pool: Mutex<Pool>,
    poison: bool,
}

#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<Vec<f32>>>,
    cached: usize,
    live: usize,
    peak: usize,
}

/// Blocks below this many words (64 KiB) are left to the system allocator, which is quick at them.
const SMALLEST_POOLED: usize = 1 << 14;

impl Cpu {
    pub(super) fn new(poison: bool) -> Cpu {
        Cpu { pool: Mutex::default(), poison }
    }

    /// At least `words` words; their contents are unspecified (NaN when poisoned).
    pub(super) fn allocate(&self, words: usize) -> Vec<f32> {
        let mut block = if words < SMALLEST_POOLED {
            vec![0.0; words]
        } else {
            let reused = self.pool.lock().expect("the pool is never poisoned").take(words);
            reused.unwrap_or_else(|| vec![0.0; words])
        };
        if self.poison {
            block.fill(f32::NAN);
        }
        block
    }

    pub(super) fn free(&self, block: Vec<f32>) {
        if block.len() >= SMALLEST_POOLED {
            self.pool.lock().expect("the pool is never poisoned").put(block);
        }
    }
}

impl Pool {
    /// A kept block of `words` up to a quarter more, or `None` after making room for a fresh one.
    fn take(&mut self, words: usize) -> Option<Vec<f32>> {
        let fitting = self.free.range(words..=words + words / 4).next().map(|(&len, _)| len);
        let Some(len) = fitting else {
            self.live += words;
            self.peak = self.peak.max(self.live);
            self.shrink();
            return None;
        };
        self.cached -= len;
        self.live += len;
        self.peak = self.peak.max(self.live);
        self.pop(len)
    }

    fn put(&mut self, block: Vec<f32>) {
        self.live -= block.len();
        self.cached += block.len();
        self.free.entry(block.len()).or_default().push(block);
    }

    fn pop(&mut self, len: usize) -> Option<Vec<f32>> {
        let blocks = self.free.get_mut(&len)?;
        let block = blocks.pop();
        if blocks.is_empty() {
            self.free.remove(&len);
        }
        block
    }

    /// Gives the largest kept blocks back to the system until what is held stays within a tenth
    /// over the peak that was ever live, so that pooling never decides a program's footprint.
    fn shrink(&mut self) {
        while self.live + self.cached > self.peak + self.peak / 10 {
            let Some((&len, _)) = self.free.last_key_value() else { return };
            self.cached -= len;
            self.pop(len);
        }
    }
}
