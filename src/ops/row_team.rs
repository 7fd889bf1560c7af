//! How ops that reduce rows cut them into parts, and the blocks of their CUDA kernels (`kernels/row_team.cuh`).

use super::{Input, check};
use crate::device::{Geometry, Math};
use crate::error::{Error, Result};
use crate::params;
use crate::tensor::Tensor;

/// Groups of rows that share a scale and shift, and the parts that their rows are cut into.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowParts {
    pub rows: u32,
    pub dim: u32,
    pub rows_per_group: u32,
    pub groups: u32,
    /// Parts of a group that forward takes.
    pub forward: u32,
    /// Parts of a group that backward sums.
    pub backward: u32,
}

/// Rows per part on the CPU: few enough for parallelism, enough that the sums are a small part of the traffic.
const CPU_ROWS: usize = 32;

/// The most parts of a group on the CPU.
const CPU_PARTS: usize = 128;

/// Blocks of the forward, if there is work.
const FORWARD_BLOCKS: usize = 512;

/// Blocks of the backward, if there is work: two for each multiprocessor of a large GPU. Each writes two sums per column.
const BACKWARD_BLOCKS: usize = 256;

impl RowParts {
    /// For x (B, .., C) with scale (B, C) and shift (B, C), where they are there.
    ///
    /// # Errors
    /// When the shapes do not fit; on CUDA also when a row is too long for a block.
    pub(super) fn modulated(op: &'static str, x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<RowParts> {
        // What a block does for its columns before the first row should be the smaller part.
        RowParts::new(op, x, check::modulation(op, scale, shift, x)?, 2)
    }

    /// As [`RowParts::modulated`], where a branch like x with a gate (B, C) may join x first; of both or neither.
    pub(super) fn joined(
        op: &'static str,
        x: &Tensor,
        [scale, shift]: [&Tensor; 2],
        [branch, gate]: [&Tensor; 2],
    ) -> Result<RowParts> {
        let of = RowParts::modulated(op, x, scale, shift)?;
        if branch.is_absent() && gate.is_absent() {
            return Ok(of);
        }
        check::shape(op, "branch", branch, x.shape())?;
        for (name, tensor) in [("branch", branch), ("gate", gate)] {
            check::dtype(op, name, tensor, x.dtype())?;
        }
        RowParts::new(op, x, check::rows_per_batch(op, "gate", gate, x)?, 2)
    }

    /// For x (.., C), all of it one group.
    ///
    /// # Errors
    /// As [`RowParts::modulated`].
    pub(super) fn plain(op: &'static str, x: &Tensor) -> Result<RowParts> {
        RowParts::new(op, x, check::matrix(op, "x", x)?.0, 1)
    }

    fn new(op: &'static str, x: &Tensor, rows_per_group: usize, turns: usize) -> Result<RowParts> {
        let (rows, dim) = x.rows_cols();
        let groups = rows / rows_per_group;
        // Parts of whole multiples of `step` rows, none of them empty.
        let cut = |count: usize, step: usize| {
            let length = rows_per_group.div_ceil(count).next_multiple_of(step);
            rows_per_group.div_ceil(length) as u32
        };
        let (forward, backward) = if x.device().is_cpu() {
            (1, cut(rows_per_group.div_ceil(CPU_ROWS).min(CPU_PARTS), 1))
        } else {
            let lanes = 16 / x.dtype().size();
            let chunk = chunk(dim, lanes);
            let most = params::ROW_TEAM_THREADS as usize * chunk;
            if dim > most {
                let message = format!("the last dimension is {dim}; on CUDA the most for {} is {most}", x.dtype());
                return Err(Error::shape(op, message));
            }
            let (_, teams) = team(dim / chunk);
            let step = teams * params::ROW_TEAM_ROWS as usize * if chunk == 8 { 1 } else { 2 };
            let blocks = |most: usize, step: usize| cut(most.div_ceil(groups), step);
            (blocks(FORWARD_BLOCKS, turns * step), blocks(BACKWARD_BLOCKS, step))
        };
        let [rows, dim, rows_per_group, groups] = [rows, dim, rows_per_group, groups].map(|n| n as u32);
        Ok(RowParts { rows, dim, rows_per_group, groups, forward, backward })
    }

    /// Sums of each column: of dy, of dy·x̂, and where a branch joins of dx·branch.
    pub(super) fn values(joins: bool) -> u32 {
        if joins { 3 } else { 2 }
    }

    /// The shape of the parts' sums.
    pub(super) fn sums(&self, joins: bool) -> [usize; 4] {
        [self.groups, self.backward, RowParts::values(joins), self.dim].map(|n| n as usize)
    }
}

/// Columns that a thread takes: 16 bytes, or one where rows are no whole number of 16 bytes.
fn chunk(dim: usize, lanes: usize) -> usize {
    if dim.is_multiple_of(lanes) { lanes } else { 1 }
}

/// Threads of a team for a row of this many chunks, and teams of a block, as `RowTeam` in `row_team.cuh` has them.
fn team(chunks: usize) -> (usize, usize) {
    let threads = if chunks > 32 { chunks.next_multiple_of(32) } else { chunks.next_power_of_two().max(2) };
    (threads, ((BLOCK_THREADS + threads / 2) / threads).max(1))
}

/// Threads of a block, about.
const BLOCK_THREADS: usize = 256;

/// The entry that serves a norm after a branch, or without one.
pub(super) fn variant(joins: u32) -> Option<&'static str> {
    (joins != 0).then_some("joined")
}

/// The inputs of a case for [`RowParts::joined`]: a branch like x and its gate, or neither.
pub(super) fn branch_inputs(x: &[usize], joins: bool) -> [Input; 2] {
    let gate = [x[0], x[x.len() - 1]];
    [("branch", x), ("gate", &gate)]
        .map(|(name, shape)| if joins { Input::normal(name, shape) } else { Input::absent(name) })
}

/// Of the kernels that walk over rows.
pub(super) fn geometry(rows: u32, dim: u32, rows_per_group: u32, parts: u32, math: Math) -> Geometry {
    let (threads, teams) = team(dim as usize / chunk(dim as usize, math.lanes() as usize));
    Geometry { grid: [parts, rows / rows_per_group, 1], block: [(threads * teams) as u32, 1, 1], shared_bytes: 0 }
}

/// Of the kernels that add up the sums of parts: blocks for the scale and shift of `modulated` groups, and for weight and bias if `affine`.
pub(super) fn sums_geometry(dim: u32, modulated: u32, affine: u32) -> Geometry {
    Geometry {
        grid: [dim.div_ceil(params::ROW_NORM_SUM_COLUMNS), modulated + affine, 1],
        block: [params::ROW_NORM_SUM_THREADS, 1, 1],
        shared_bytes: 0,
    }
}
