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
    fp32: 19.5e12,
};

/// NVIDIA H100 SXM5. Source: "NVIDIA H100 Tensor Core GPU" datasheet (2023) for the peaks; "NVIDIA H100 Tensor Core GPU Architecture"
/// whitepaper (2022), for the rest. mma.sync, which is what runs here, reaches about two thirds of the tensor peak; wgmma all of it.
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
    dram: 3.35e12,
    tensor: 989.4e12,
    fp32: 66.9e12,
};

/// Threads, warps' registers and blocks that a multiprocessor holds; the same for both models.
const MAX_THREADS: u32 = 2048;
const REGISTERS: u32 = 65536;
const MAX_BLOCKS: u32 = 32;
/// Registers are given out to warps in units of this many.
const REGISTER_UNIT: u32 = 256;
/// Shared memory of every block that the system keeps for itself.
pub const RESERVED_SHARED: u32 = 1 << 10;
/// Warp instructions that a multiprocessor issues in a cycle, at best.
const ISSUE: f64 = 4.0;

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
    /// Warp instructions over what can be issued.
    pub issue_s: f64,
    /// Shared-memory cycles.
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

    /// What one multiprocessor holds at once of blocks that need this many registers per thread, bytes of shared memory, and threads.
    pub fn occupancy(&self, registers: u32, shared_bytes: u32, threads: u32) -> Occupancy {
        let warps = threads.div_ceil(32).max(1);
        let per_warp = (registers.max(1) * 32).next_multiple_of(REGISTER_UNIT);
        let shared = shared_bytes + RESERVED_SHARED;
        let limits = [
            (MAX_THREADS / 32 / warps, "threads"),
            (REGISTERS / per_warp / warps, "registers"),
            (self.shared_per_multiprocessor / shared, "shared memory"),
            (MAX_BLOCKS, "blocks"),
        ];
        let (blocks, limit) = limits.into_iter().min_by_key(|(blocks, _)| *blocks).unwrap_or((0, "blocks"));
        Occupancy { blocks, fraction: f64::from(blocks * warps) / f64::from(MAX_THREADS / 32), limit }
    }

    /// The least time of a launch of `blocks` blocks. Multiprocessors without a block do nothing.
    pub fn roofline(&self, counters: &Counters, blocks: u32) -> Roofline {
        let busy = f64::from(blocks.clamp(1, self.multiprocessors)) / f64::from(self.multiprocessors);
        let cycles = f64::from(self.multiprocessors) * self.clock * busy;
        let dram_s = 32.0 * (counters.unique_load_sectors + counters.unique_store_sectors) as f64 / self.dram;
        let tensor_s = counters.tensor_flops as f64 / (self.tensor * busy);
        let fp32_s = counters.fp32_flops as f64 / (self.fp32 * busy);
        let issue_s = counters.warp_instructions as f64 / (ISSUE * cycles);
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
    }
}
