//! What a launch did.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::exec::{Class, Inst};

/// Counts of one launch.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counters {
    /// Warp instructions, and those of each class.
    pub warp_instructions: u64,
    /// Instructions times executing threads.
    pub thread_instructions: u64,
    /// Warp instructions by class.
    pub by_class: BTreeMap<Class, u64>,
    /// Floating-point operations in FP32 units; a fused multiply-add is two.
    pub fp32_flops: u64,
    /// Floating-point operations on tensor cores.
    pub tensor_flops: u64,
    /// Bytes that threads asked of global memory, loads and stores and atomics.
    pub global_load_bytes: u64,
    /// As above.
    pub global_store_bytes: u64,
    /// 32-byte sectors that warps' loads touched, summed over requests.
    pub global_load_sectors: u64,
    /// As above, stores and atomics.
    pub global_store_sectors: u64,
    /// Warp requests that loaded from global memory.
    pub global_load_requests: u64,
    /// As above, stores and atomics.
    pub global_store_requests: u64,
    /// Sectors that the fewest requests could have touched for the bytes asked for.
    pub ideal_load_sectors: u64,
    /// As above.
    pub ideal_store_sectors: u64,
    /// Different sectors that the whole launch read and wrote: what DRAM must move at least.
    pub unique_load_sectors: u64,
    /// As above.
    pub unique_store_sectors: u64,
    /// Warp requests to shared memory.
    pub shared_requests: u64,
    /// Cycles that they took.
    pub shared_cycles: u64,
    /// Cycles that they took beyond the fewest possible.
    pub bank_conflict_cycles: u64,
    /// Bytes of local memory read and written.
    pub local_bytes: u64,
    /// Barriers that warps came to.
    pub barriers: u64,
    /// Branches at which a warp's lanes went different ways.
    pub divergent_branches: u64,
}

impl Counters {
    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Counters) {
        let Counters {
            warp_instructions,
            thread_instructions,
            by_class,
            fp32_flops,
            tensor_flops,
            global_load_bytes,
            global_store_bytes,
            global_load_sectors,
            global_store_sectors,
            global_load_requests,
            global_store_requests,
            ideal_load_sectors,
            ideal_store_sectors,
            unique_load_sectors,
            unique_store_sectors,
            shared_requests,
            shared_cycles,
            bank_conflict_cycles,
            local_bytes,
            barriers,
            divergent_branches,
        } = other;
        for (class, count) in by_class {
            *self.by_class.entry(*class).or_default() += count;
        }
        let all = [
            (&mut self.warp_instructions, warp_instructions),
            (&mut self.thread_instructions, thread_instructions),
            (&mut self.fp32_flops, fp32_flops),
            (&mut self.tensor_flops, tensor_flops),
            (&mut self.global_load_bytes, global_load_bytes),
            (&mut self.global_store_bytes, global_store_bytes),
            (&mut self.global_load_sectors, global_load_sectors),
            (&mut self.global_store_sectors, global_store_sectors),
            (&mut self.global_load_requests, global_load_requests),
            (&mut self.global_store_requests, global_store_requests),
            (&mut self.ideal_load_sectors, ideal_load_sectors),
            (&mut self.ideal_store_sectors, ideal_store_sectors),
            (&mut self.unique_load_sectors, unique_load_sectors),
            (&mut self.unique_store_sectors, unique_store_sectors),
            (&mut self.shared_requests, shared_requests),
            (&mut self.shared_cycles, shared_cycles),
            (&mut self.bank_conflict_cycles, bank_conflict_cycles),
            (&mut self.local_bytes, local_bytes),
            (&mut self.barriers, barriers),
            (&mut self.divergent_branches, divergent_branches),
        ];
        for (sum, part) in all {
            *sum += part;
        }
    }

    /// Adds what follows from how often each instruction ran, for `warps` and for `lanes`.
    pub fn finish(&mut self, insts: &[Inst], warps: &[u64], lanes: &[u64]) {
        for ((inst, &warps), &lanes) in insts.iter().zip(warps).zip(lanes).filter(|((_, warps), _)| **warps > 0) {
            self.warp_instructions += warps;
            self.thread_instructions += lanes;
            *self.by_class.entry(inst.class).or_default() += warps;
            match inst.class {
                Class::Tensor => self.tensor_flops += warps * u64::from(inst.flops),
                Class::Barrier => self.barriers += warps,
                Class::Float32 => self.fp32_flops += lanes * u64::from(inst.flops),
                _ => {}
            }
        }
    }
}
