//! How the CUDA kernels of group norm and batch norm cut a channels-last tensor into blocks (`kernels/channel_tile.cuh`).

use crate::device::{Geometry, Math};
use crate::error::{Error, Result};
use crate::params;
use crate::tensor::Tensor;

/// What a block takes. Sums are made part by part of the positions, results slice by slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelTile {
    /// Channels.
    pub tile: u32,
    /// Parts of the positions, each with sums of its own.
    pub parts: u32,
    /// Slices of the positions.
    pub slices: u32,
}

/// Threads across a tile that fill a line of 128 bytes.
const LINE: usize = 8;

/// Groups of a tile whose sums fill a sector.
const SECTOR: usize = 4;

/// Blocks that sum, if there is work: two for each multiprocessor of a large GPU.
const SUM_BLOCKS: usize = 256;

/// Every block of the second pass reads the sums of all parts.
pub(super) const MOST_PARTS: usize = 128;

/// Blocks of the second pass, if there is work.
const SLICE_BLOCKS: usize = 1024;

/// Positions for each thread, so that what a block does before and after them is the smaller part.
const LEAST_POSITIONS: usize = 4;

/// The most channels of a tile: what the shared memory of a block has room for.
const MOST_CHANNELS: usize = 1024;

impl ChannelTile {
    /// For x (batch, .., channels) with statistics of `groups` per entry of the batch.
    ///
    /// # Errors
    /// On CUDA, where a tile of whole groups is too wide for a block.
    pub(super) fn new(op: &'static str, x: &Tensor, batch: usize, groups: usize) -> Result<ChannelTile> {
        let (rows, channels) = x.rows_cols();
        if x.device().is_cpu() {
            return Ok(ChannelTile { tile: channels as u32, parts: 1, slices: 1 });
        }
        let (positions, size) = (rows / batch, channels / groups);
        let chunk = chunk(channels, 16 / x.dtype().size());
        let fits = |tile: &usize| {
            let whole = channels.is_multiple_of(*tile) && tile.is_multiple_of(chunk);
            whole && tile / chunk >= LINE && tile / size >= SECTOR
        };
        let tile = (size..channels).step_by(size).find(fits).unwrap_or(channels);
        let threads = params::CHANNEL_TILE_THREADS as usize;
        if tile > MOST_CHANNELS || tile / chunk > threads {
            let message = format!(
                "on CUDA no block has room for a tile of {tile} channels ({channels} in {groups} groups, {}): the most are {}",
                x.dtype(),
                MOST_CHANNELS.min(threads * chunk)
            );
            return Err(Error::shape(op, message));
        }
        let side_by_side = threads / (tile / chunk);
        let columns = batch * (channels / tile);
        // Without an empty one at the end.
        let cut = |count: usize| positions.div_ceil(positions.div_ceil(count));
        let work = positions.div_ceil(LEAST_POSITIONS * side_by_side);
        let parts = cut(work.min(SUM_BLOCKS.div_ceil(columns)).min(MOST_PARTS));
        let slices = cut(work.min(SLICE_BLOCKS.div_ceil(columns)));
        Ok(ChannelTile { tile: tile as u32, parts: parts as u32, slices: slices as u32 })
    }
}

/// Channels that a thread takes: 16 bytes, or one where rows are no whole number of 16 bytes.
fn chunk(channels: usize, lanes: usize) -> usize {
    if channels.is_multiple_of(lanes) { lanes } else { 1 }
}

/// `blocks` along the positions and the batch, with shared memory for `arrays` of a tile's channels.
pub(super) fn geometry(channels: u32, tile: u32, blocks: [u32; 2], arrays: u32, math: Math) -> Geometry {
    let chunks = tile / chunk(channels as usize, math.lanes() as usize) as u32;
    Geometry {
        grid: [blocks[0], channels / tile, blocks[1]],
        block: [params::CHANNEL_TILE_THREADS / chunks * chunks, 1, 1],
        shared_bytes: arrays * 16 * (tile.div_ceil(4) + 16),
    }
}
