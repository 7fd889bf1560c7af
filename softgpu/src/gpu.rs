//! Models that can be imitated: their limits, and their peaks for a roofline.

use serde::Serialize;

use crate::counters::Counters;

/// A GPU model.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// As its driver calls it.
    pub name: &'static str,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: u32,
    /// Shared memory that a block can have, in bytes.
    pub shared_per_block_optin: u32,
    /// L2 cache in bytes.
    pub l2_bytes: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Width of the memory bus in bits, and its clock in kHz.
    pub memory_bus: (u32, u32),
    /// Boost clock in Hz.
    pub clock: f64,
    /// Peak of device memory in bytes per second.
    pub dram: f64,
    /// Peak of tensor cores on bf16 and f16, dense, in FLOP/s.
    pub tensor: f64,
    /// Peak of tensor cores on tf32, dense, in FLOP/s. Counters do not tell it from bf16, so a roofline takes the higher peak.
    pub tensor_tf32: f64,
    /// Peak of the FP32 units in FLOP/s.
    pub fp32: f64,
}

/// NVIDIA A100 80GB SXM. Source: "NVIDIA A100 Tensor Core GPU" datasheet (2021) for the peaks; "NVIDIA A100 Tensor Core GPU
/// Architecture" whitepaper (2020), table 4, for the rest.
const A100: Gpu = Gpu {
    name: "NVIDIA A100-SXM4-80GB",
    capability: (8, 0),
    multiprocessors: 108,
    shared_per_multiprocessor: 164 << 10,
    shared_per_block_optin: 163 << 10,
    l2_bytes: 40 << 20,
    memory_bytes: 80 << 30,
    memory_bus: (5120, 1_593_000),
    clock: 1.41e9,
    dram: 2.039e12,
    tensor: 312e12,
    tensor_tf32: 156e12,
    fp32: 19.5e12,
};

/// NVIDIA H100 SXM5. Source: "NVIDIA H100 Tensor Core GPU" datasheet (2023) for memory, "NVIDIA H100 Tensor Core GPU Architecture"
/// whitepaper (2022), table 2, for the rest; 3352 GB/s is what the bus and its clock give, rounded to 3.35 TB/s there. mma.sync, which is what runs here, reaches about two thirds of the tensor peak; wgmma all of it.
const H100: Gpu = Gpu {
    name: "NVIDIA H100 80GB HBM3",
    capability: (9, 0),
    multiprocessors: 132,
    shared_per_multiprocessor: 228 << 10,
    shared_per_block_optin: 227 << 10,
    l2_bytes: 50 << 20,
    memory_bytes: 80 << 30,
    memory_bus: (5120, 2_619_000),
    clock: 1.83e9,
    dram: 3.352e12,
    tensor: 989.4e12,
    tensor_tf32: 494.7e12,
    fp32: 66.9e12,
};

/// Threads, warps' registers and blocks that a multiprocessor holds; the same for both models.
const MAX_THREADS: u32 = 2048;
const REGISTERS: u32 = 65536;
const MAX_BLOCKS: u32 = 32;
/// Parts of a multiprocessor, each with a scheduler and its share of the registers.
const PARTITIONS: u32 = 4;
/// Registers are given out to warps in units of this many, and shared memory to blocks in units of so many bytes.
const REGISTER_UNIT: u32 = 256;
const SHARED_UNIT: u32 = 128;
/// The most registers of a thread.
const THREAD_REGISTERS: u32 = 255;
/// Shared memory of every block that the system keeps for itself.
pub const RESERVED_SHARED: u32 = 1 << 10;
/// How many blocks a multiprocessor holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Occupancy {
    /// Blocks.
    pub blocks: u32,
    /// Their warps, as a part of all that it can hold.
    pub fraction: f64,
    /// What allows no more: `threads`, `registers`, `shared memory` or `blocks`.
    pub limit: &'static str,
}

/// The least time that a launch takes by each of its demands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Roofline {
    /// Different sectors over the peak of device memory, in seconds.
    pub dram_s: f64,
    /// Tensor-core operations over their peak.
    pub tensor_s: f64,
    /// FP32 operations over their peak.
    pub fp32_s: f64,
    /// Warp instructions over what can be issued: one in a cycle by each of a multiprocessor's four schedulers that has a warp.
    pub issue_s: f64,
    /// Cycles of shared memory, which moves 128 bytes in each, on every multiprocessor.
    pub shared_s: f64,
    /// The largest of them.
    pub time_s: f64,
    /// Which one that is: `dram`, `tensor`, `fp32`, `issue` or `shared`.
    pub binding: &'static str,
}

impl Gpu {
    /// `a100` or `h100`.
    pub fn named(name: &str) -> Option<Gpu> {
        match name {
            "a100" => Some(A100),
            "h100" => Some(H100),
            _ => None,
        }
    }

    /// What one multiprocessor holds at once of blocks that need this many registers per thread, bytes of shared memory, and threads:
    /// as `cuda_occupancy.h` of the CUDA toolkit computes it.
    pub fn occupancy(&self, registers: u32, shared_bytes: u32, threads: u32) -> Occupancy {
        let warps = threads.div_ceil(32).max(1);
        let per_warp = registers.clamp(1, THREAD_REGISTERS) * 32;
        let per_warp = per_warp.next_multiple_of(REGISTER_UNIT);
        // Each part gives registers to its own warps only; a block is refused by its size rounded up to all parts.
        let register_warps = REGISTERS / PARTITIONS / per_warp * PARTITIONS;
        let refused = registers > THREAD_REGISTERS || warps.next_multiple_of(PARTITIONS) > REGISTERS / per_warp;
        let shared = u64::from(shared_bytes) + u64::from(RESERVED_SHARED);
        let shared = shared.next_multiple_of(SHARED_UNIT.into());
        let limits = [
            (MAX_THREADS / 32 / warps, "threads"),
            (if refused { 0 } else { register_warps / warps }, "registers"),
            ((u64::from(self.shared_per_multiprocessor) / shared) as u32, "shared memory"),
            (MAX_BLOCKS, "blocks"),
        ];
        let (blocks, limit) = limits.into_iter().min_by_key(|(blocks, _)| *blocks).unwrap_or((0, "blocks"));
        Occupancy { blocks, fraction: f64::from(blocks * warps) / f64::from(MAX_THREADS / 32), limit }
    }

    /// The least time of a launch of `blocks` blocks. Multiprocessors without a block do nothing, nor do schedulers without a warp.
    pub fn roofline(&self, counters: &Counters, blocks: u32, occupancy: &Occupancy) -> Roofline {
        let busy = f64::from(blocks.clamp(1, self.multiprocessors)) / f64::from(self.multiprocessors);
        let cycles = f64::from(self.multiprocessors) * self.clock * busy;
        let resident = occupancy.blocks.clamp(1, blocks.div_ceil(self.multiprocessors).max(1));
        let block_warps = occupancy.fraction * f64::from(MAX_THREADS / 32) / f64::from(occupancy.blocks.max(1));
        let issue = (block_warps * f64::from(resident)).clamp(1.0, PARTITIONS.into());
        let dram_s = 32.0 * (counters.unique_load_sectors + counters.unique_store_sectors) as f64 / self.dram;
        let tensor_s = counters.tensor_flops as f64 / (self.tensor * busy);
        let fp32_s = counters.fp32_flops as f64 / (self.fp32 * busy);
        let issue_s = counters.warp_instructions as f64 / (issue * cycles);
        let shared_s = counters.shared_cycles as f64 / cycles;
        let terms =
            [(dram_s, "dram"), (tensor_s, "tensor"), (fp32_s, "fp32"), (issue_s, "issue"), (shared_s, "shared")];
        let (time_s, binding) =
            terms.into_iter().fold((0.0, "dram"), |most, term| if term.0 > most.0 { term } else { most });
        Roofline { dram_s, tensor_s, fp32_s, issue_s, shared_s, time_s, binding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occupancy_is_what_the_calculator_says() {
        let a100 = Gpu::named("a100").unwrap();
        let of = |registers, shared, threads| {
            let o = a100.occupancy(registers, shared, threads);
            (o.blocks, o.limit)
        };
        assert_eq!(of(32, 0, 256), (8, "threads"));
        assert_eq!(of(255, 0, 256), (1, "registers"));
        assert_eq!(of(128, 0, 128), (4, "registers"));
        assert_eq!(of(32, 48 << 10, 128), (3, "shared memory"));
        assert_eq!(of(16, 0, 32), (32, "blocks"));
        assert_eq!(of(64, 200 << 10, 32), (0, "shared memory"));
        // Two warps fit a part, not the ten that all registers together would do.
        assert_eq!(of(200, 0, 64), (4, "registers"));
        assert_eq!(of(64, 0, 1024), (1, "registers"));
        assert_eq!((of(256, 0, 32), of(32, u32::MAX, 32)), ((0, "registers"), (0, "shared memory")));
    }

    #[test]
    fn what_a_launch_needs_most_bounds_it() {
        let a100 = Gpu::named("a100").unwrap();
        let full = a100.occupancy(32, 0, 256);
        let copy = Counters { unique_load_sectors: 1 << 20, warp_instructions: 1 << 20, ..Counters::default() };
        let bound = a100.roofline(&copy, 1 << 16, &full);
        assert_eq!(bound.binding, "dram");
        assert!((bound.time_s - 32.0 * 1048576.0 / 2.039e12).abs() < 1e-12);
        let product = Counters { tensor_flops: 312 << 30, warp_instructions: 1 << 20, ..Counters::default() };
        assert_eq!(a100.roofline(&product, 108, &full).binding, "tensor");
        // One block keeps one multiprocessor busy; a block of one warp keeps one scheduler busy.
        let loops = Counters { warp_instructions: 1 << 30, ..Counters::default() };
        let time = |blocks, threads| a100.roofline(&loops, blocks, &a100.occupancy(32, 0, threads)).issue_s;
        assert!((time(1, 256) / time(108, 256) - 108.0).abs() < 1e-9);
        assert!((time(1, 32) / time(1, 256) - 4.0).abs() < 1e-9);
        assert_eq!(a100.roofline(&Counters::default(), 1, &full).time_s, 0.0);
    }
}
