//! How many blocks of a function a multiprocessor holds.

use std::ffi::{c_int, c_uint};

use super::{Driver, Handle, INVALID_VALUE, Result, export, give, refuse};
use crate::exec::launch::{Config, blocks_per_multiprocessor};

/// Bytes of dynamic shared memory that a program wants for blocks of so many threads.
type BlockSizeToShared = Option<unsafe extern "C" fn(c_int) -> usize>;

impl Driver {
    /// Blocks of `threads` threads.
    fn resident(&self, function: Handle, threads: u32, dynamic: usize) -> Result<u32> {
        let function = self.find(function)?;
        let shared_bytes = u32::try_from(dynamic).map_err(|_| INVALID_VALUE)?;
        if threads == 0 {
            return Err(INVALID_VALUE);
        }
        let config = Config { grid: [1; 3], block: [threads, 1, 1], shared_bytes, cooperative: false };
        Ok(blocks_per_multiprocessor(&self.machine.gpu, &function.program, &config))
    }

    /// The largest blocks of those of which a multiprocessor holds most threads, and how many fill the GPU: grid and block.
    ///
    /// # Safety
    /// The function may be called.
    unsafe fn best_block(
        &self,
        function: Handle,
        shared: BlockSizeToShared,
        dynamic: usize,
        limit: c_int,
    ) -> Result<(c_int, c_int)> {
        let most = self.find(function)?.program.max_threads.min(if limit > 0 { limit as u32 } else { 1024 });
        let fit = |threads: u32| {
            // SAFETY: as promised.
            let dynamic = shared.map_or(dynamic, |shared| unsafe { shared(threads as c_int) });
            Ok((threads * self.resident(function, threads, dynamic)?, threads))
        };
        let all = (1..=most / 32).map(|warps| fit(32 * warps)).collect::<Result<Vec<_>>>()?;
        let (resident, threads) = all.into_iter().max().ok_or(INVALID_VALUE)?;
        Ok(((resident / threads * self.machine.gpu.multiprocessors) as c_int, threads as c_int))
    }

    /// The most dynamic shared memory with which a multiprocessor holds `blocks` blocks.
    fn dynamic_for(&self, function: Handle, blocks: u32, threads: u32) -> Result<usize> {
        if blocks == 0 || self.resident(function, threads, 0)? < blocks {
            return Err(INVALID_VALUE);
        }
        let gpu = &self.machine.gpu;
        let most = gpu.shared_per_block_optin.saturating_sub(self.find(function)?.program.shared_bytes) as usize;
        let fits = |dynamic: usize| self.resident(function, threads, dynamic).map(|resident| resident >= blocks);
        // The more memory, the fewer blocks: the highest that still fits lies between these two.
        let (mut low, mut high) = (0, most + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(middle)? { low = middle } else { high = middle }
        }
        Ok(low)
    }
}

export! {
    /// `cuOccupancyMaxActiveBlocksPerMultiprocessor`.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut c_int, function: Handle, threads: c_int, dynamic: usize) |driver| {
        give(blocks, driver.resident(function, threads.max(0) as u32, dynamic)? as c_int)
    }
    /// `cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags`.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut c_int, function: Handle, threads: c_int, dynamic: usize, _flags: c_uint,
    ) |driver| {
        give(blocks, driver.resident(function, threads.max(0) as u32, dynamic)? as c_int)
    }
    /// `cuOccupancyMaxPotentialBlockSize`.
    fn cuOccupancyMaxPotentialBlockSize(
        grid: *mut c_int, block: *mut c_int, function: Handle, shared: BlockSizeToShared, dynamic: usize, limit: c_int,
    ) |driver| {
        let best = driver.best_block(function, shared, dynamic, limit)?;
        give(grid, best.0)?;
        give(block, best.1)
    }
    /// `cuOccupancyMaxPotentialBlockSizeWithFlags`.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: *mut c_int, block: *mut c_int, function: Handle, shared: BlockSizeToShared, dynamic: usize, limit: c_int, _flags: c_uint,
    ) |driver| {
        let best = driver.best_block(function, shared, dynamic, limit)?;
        give(grid, best.0)?;
        give(block, best.1)
    }
    /// `cuOccupancyAvailableDynamicSMemPerBlock`.
    fn cuOccupancyAvailableDynamicSMemPerBlock(dynamic: *mut usize, function: Handle, blocks: c_int, threads: c_int) |driver| {
        give(dynamic, driver.dynamic_for(function, blocks.max(0) as u32, threads.max(0) as u32)?)
    }
}

refuse! { cuOccupancyMaxActiveClusters cuOccupancyMaxPotentialClusterSize }
