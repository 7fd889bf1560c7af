//! What a launch on a GPU moves.

use crate::tensor::Tensor;

/// A launch on a GPU as [`Device::record_launches`](super::Device::record_launches) saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's entry: its name and dtype.
    pub entry: String,
    /// Bytes of all tensors that it reads or writes, twice of those that it does both to, in the sectors in which memory moves: what it
    /// must move at least.
    pub bytes: u64,
}

/// Bytes in which device memory moves: a tensor of four costs as many.
const SECTOR_BYTES: usize = 32;

/// Bytes that a launch must move of a tensor that it reads or writes, or does both to.
pub(super) fn moved(tensor: &Tensor, both: bool) -> u64 {
    (if both { 2 } else { 1 }) * tensor.bytes().next_multiple_of(SECTOR_BYTES) as u64
}
