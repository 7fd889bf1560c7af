//! Launch geometry of kernels over rows (`kernels/vectors.cuh`): up to a warp across a row, each thread with its vector of columns, and as
//! many rows side by side as have room.

use crate::device::{Geometry, Math};
use crate::params::ROWS_THREADS;

/// The columns of a thread: 16 bytes where rows are made of whole ones, or one.
pub(super) fn width(cols: u32, math: Math) -> u32 {
    if cols.is_multiple_of(math.lanes()) { math.lanes() } else { 1 }
}

/// The same for kernels that take columns in fours, or one by one.
pub(super) fn fours(cols: u32) -> u32 {
    if cols.is_multiple_of(4) { 4 } else { 1 }
}

/// The same for kernels that take columns 16 bytes at a time, in fours, or one by one.
pub(super) fn width_or_fours(cols: u32, math: Math) -> u32 {
    width(cols, math).max(fours(cols))
}

/// (threads across a row, rows side by side) and the blocks that cover a row.
fn across(cols: u32, width: u32) -> ([u32; 3], u32) {
    let vectors = cols / width;
    let across = vectors.next_power_of_two().min(32);
    ([across, ROWS_THREADS / across, 1], vectors.div_ceil(across))
}

/// Rows in x, their columns in y, and `layers` of both in z.
pub(super) fn rows(rows: u32, cols: u32, width: u32, layers: u32) -> Geometry {
    let (block, blocks) = across(cols, width);
    Geometry { grid: [rows.div_ceil(block[1]), blocks, layers], block, shared_bytes: 0 }
}

/// The threads of `rows`, which take all of a row together: (threads across a row, rows side by side).
pub(super) fn team(cols: u32, width: u32) -> [u32; 3] {
    across(cols, width).0
}

/// Columns in x, and rows in y that are long enough for blocks of their own.
pub(super) fn long(rows: u32, cols: u32, width: u32) -> Geometry {
    Geometry { grid: [(cols / width).div_ceil(ROWS_THREADS), rows, 1], block: [ROWS_THREADS, 1, 1], shared_bytes: 0 }
}

/// Lines of an image in x, their pixels in y, and the channels of a pixel in z.
pub(super) fn pixels(lines: u32, pixels: u32, channels: u32, math: Math) -> Geometry {
    let (block, blocks) = across(channels, width(channels, math));
    Geometry { grid: [lines, pixels.div_ceil(block[1]), blocks], block, shared_bytes: 0 }
}
