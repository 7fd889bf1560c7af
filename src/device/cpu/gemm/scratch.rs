//! Working memory of the kernels, kept per thread.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::simd::LANES;

/// A cache line: a vector that crosses two costs as much as two.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

thread_local! {
    static POOL: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Working memory that goes back to its thread's pool when dropped: fresh pages cost more than the arithmetic on them.
pub struct Scratch(Vec<Line>);

/// At least `len` floats of unspecified content, from the start of a cache line.
pub fn scratch(len: usize) -> Scratch {
    let len = len.div_ceil(LANES);
    let mut block = POOL.with_borrow_mut(|pool| {
        let fitting = pool.iter().position(|b| b.len() >= len).or(pool.len().checked_sub(1));
        fitting.map_or(Vec::new(), |i| pool.remove(i))
    });
    if block.len() < len {
        block = bytemuck::zeroed_vec(len);
    }
    Scratch(block)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.0);
        if block.is_empty() {
            return;
        }
        // A thread that is going down may have lost its pool already; the block is then simply freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let at = pool.partition_point(|b| b.len() < block.len());
            pool.insert(at, block);
        });
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
