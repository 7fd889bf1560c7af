//! How heads of every size are shared out among blocks on CUDA: the constants of `kernels/attention_*.cuh`.

use crate::device::Geometry;
use crate::dtype::DType;
use crate::params;

/// The kernels for heads up to a size, which is that of their tiles; or, beyond 128 channels, those in slabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    Narrow(u32),
    Wide,
}

/// What one block owns and needs.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Queries, or keys in backward.
    pub rows: u32,
    pub threads: u32,
    pub shared_bytes: u32,
}

impl Block {
    pub fn geometry(self, blocks: u32, heads: u32, batch: u32) -> Geometry {
        Geometry { grid: [blocks, heads, batch], block: [self.threads, 1, 1], shared_bytes: self.shared_bytes }
    }
}

/// Rows of a fragment.
const FRAGMENT: u32 = 16;

/// What a block does for its keys, however few its queries are, over what it does for one query. By the software GPU's counts a block
/// of 64 queries takes 0.6 to 0.8 of the time of one of 128, and 0.4 to 0.5 of that of one of 256.
const KEYS_TIME: u32 = 80;

impl Head {
    pub fn of(head_dim: u32) -> Head {
        match head_dim {
            0..=64 => Head::Narrow(64),
            65..=72 => Head::Narrow(72),
            73..=128 => Head::Narrow(128),
            _ => Head::Wide,
        }
    }

    /// The part of the entries' names that tells the sizes apart.
    pub fn variant(self) -> Option<&'static str> {
        Some(match self {
            Head::Narrow(64) => "64",
            Head::Narrow(72) => "72",
            Head::Narrow(_) => "128",
            Head::Wide => "wide",
        })
    }

    /// Queries of a block of forward's: as many as `threads` threads have, or few, whichever the busiest multiprocessor is done with sooner.
    pub fn block_queries(self, threads: u32, [queries, heads, batch]: [u32; 3], multiprocessors: u32) -> u32 {
        let many = threads / 32 * FRAGMENT * if matches!(self, Head::Narrow(..=72)) { 2 } else { 1 };
        let time = |block: u32| {
            let blocks = queries.div_ceil(block) * heads * batch;
            blocks.div_ceil(multiprocessors) * (block + KEYS_TIME)
        };
        if time(params::ATTENTION_FEW_QUERIES) < time(many) { params::ATTENTION_FEW_QUERIES } else { many }
    }

    /// `Forward<T, D, THREADS, M>` of attention_narrow.cuh, with so many queries.
    pub fn forward(self, dtype: DType, threads: u32, queries: u32) -> Block {
        let Head::Narrow(channels) = self else { return wide(dtype) };
        let keys = match dtype {
            DType::Bf16 => 64,
            _ if channels <= 72 => 32,
            _ => 16,
        };
        let threads = if queries == params::ATTENTION_FEW_QUERIES { params::ATTENTION_FWD_THREADS } else { threads };
        Block { rows: queries, threads, shared_bytes: (queries + 4 * keys) * row_bytes(channels, dtype) }
    }

    /// `Backward<T, D>` of attention_narrow_bwd.cuh.
    pub fn backward(self, dtype: DType) -> Block {
        let Head::Narrow(channels) = self else { return wide(dtype) };
        let bf16 = dtype == DType::Bf16;
        let warps = if bf16 { 8 } else { 4 };
        let keys = warps * FRAGMENT * if bf16 && channels <= 72 { 2 } else { 1 };
        let queries = if bf16 || channels <= 72 { 32 } else { 16 };
        let row = row_bytes(channels, dtype);
        // Of bf16 the rows of dS are swizzled in place of padding, and dq takes their place.
        let dscores = if bf16 { (keys * 2 * queries).max(queries * row) } else { keys * row_bytes(queries, dtype) };
        let shared_bytes = 2 * (keys + queries) * row + dscores + 2 * 4 * queries;
        Block { rows: keys, threads: 32 * warps, shared_bytes }
    }
}

fn wide(dtype: DType) -> Block {
    let shared_bytes =
        if dtype == DType::Bf16 { params::ATTENTION_WIDE_BYTES_BF16 } else { params::ATTENTION_WIDE_BYTES_F32 };
    Block { rows: params::ATTENTION_WIDE_ROWS, threads: params::ATTENTION_THREADS, shared_bytes }
}

/// A row of a tile: an odd number of 16-byte chunks.
fn row_bytes(columns: u32, dtype: DType) -> u32 {
    ((columns * dtype.size() as u32 / 16) | 1) * 16
}
