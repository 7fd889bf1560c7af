//! Settings: schedules, checks, and where reports go.

/// Which checks are on. Out-of-bounds, misaligned and freed memory is always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Reads of memory that nothing wrote.
    pub init: bool,
    /// Races between warps, within a warp, and between blocks.
    pub race: bool,
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which checks are on.
    pub checks: Checks,
    /// Of the order of warps and blocks.
    pub seed: u64,
    /// Host threads that run blocks.
    pub threads: usize,
}
