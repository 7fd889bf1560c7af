//! Models that can be imitated.

/// A GPU model.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory that a block can have, in bytes.
    pub shared_per_block_optin: u32,
}

/// How many blocks fit.
#[derive(Debug, Clone, Copy)]
pub struct Occupancy {
    /// Blocks per multiprocessor.
    pub blocks: u32,
}

impl Gpu {
    /// What one multiprocessor holds at once.
    pub fn occupancy(&self, _registers: u32, _shared_bytes: u32, _threads: u32) -> Occupancy {
        Occupancy { blocks: 1 }
    }
}
