//! The weight gradient: `∂g = Gᵀ[Σ (A ∂Y Aᵀ) ⊙ (Bᵀ d B)]G`, summed over tiles in their order.

use super::super::conv::ConvShape;
use super::super::gemm::simd::{F32x16 as V, LANES};
use super::super::gemm::{Block, NR, Rows, Shared, scratch};
use super::points::{Adjoint, Plain, Upsampled, both_axes};
use super::{Grid, Layout, TILE, images, input_grid, transform};
use rayon::prelude::*;

/// Filters and channels per side of a block of sums.
const SIDE: usize = 64;
/// Floats of transformed tiles up to which one step takes them all, and floats per step beyond that.
const ALL_TILES: usize = 2 << 20;
const TILES: usize = 3 << 18;
/// Floats of sums that are kept at once.
const SUMS: usize = 5 << 19;
/// Blocks from which on each can be a task of its own.
const MANY_BLOCKS: usize = 8;
/// Tiles from which on reading them once per block costs more than keeping the sums of all blocks.
const MANY_TILES: usize = 96;

/// `gw`, overwritten; see [`conv2d_bwd_weight`](crate::device::cpu::conv::conv2d_bwd_weight).
pub(crate) fn backward_weight(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    if s.upsample { run::<Upsampled, 4, 5>(s, x, gy, gw) } else { run::<Plain, 6, 6>(s, x, gy, gw) }
}

fn run<T: Adjoint<N, P>, const N: usize, const P: usize>(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    let (src, dst) = images(s);
    let (src_step, pad) = input_grid(s);
    let grid = Grid::new(s.batch, s.out_h, s.out_w);
    let points = P * P;
    let per_tile = |filters: usize| points * (s.in_c.next_multiple_of(NR) + filters.next_multiple_of(NR));
    // Filters per round: their sums are kept until all tiles have been added. Every round transforms x again, so there
    // is only one where all tiles fit at once and sums need not be kept.
    let blocks_in = s.in_c.div_ceil(SIDE);
    let (round, most) = if per_tile(s.out_c) * grid.tiles <= ALL_TILES {
        (s.out_c, grid.tiles)
    } else {
        let round = (SUMS / (points * blocks_in * SIDE) / SIDE * SIDE).clamp(SIDE, s.out_c.next_multiple_of(SIDE));
        (round, (TILES / per_tile(round)).next_multiple_of(8).min(grid.tiles))
    };
    let mut v = scratch(points * Layout::panels(most, s.in_c).point);
    let mut h = scratch(points * Layout::panels(most, round).point);
    let block_len = points * SIDE * SIDE;
    let zeros = vec![0.0; s.in_c.max(s.out_c)];
    let gw = Shared(gw.as_mut_ptr());

    for o0 in (0..s.out_c).step_by(round) {
        let filters = round.min(s.out_c - o0);
        let blocks = filters.div_ceil(SIDE) * blocks_in;
        // Tasks are points, whose tiles are then read once, or blocks, whose sums then need not be kept.
        let keep = blocks < MANY_BLOCKS || grid.tiles > MANY_TILES || most < grid.tiles;
        let mut sums = scratch(if keep { blocks * block_len } else { 0 });
        let kept = Shared(sums.as_mut_ptr());
        let corner = |block: usize| (block / blocks_in * SIDE, block % blocks_in * SIDE);
        let finish = |block: usize, sums: *const f32| {
            let (o, c) = corner(block);
            finish_block::<T, N, P>(s, o0 + o, SIDE.min(filters - o), c, sums, gw);
        };
        for first in (0..grid.tiles).step_by(most) {
            let tiles = most.min(grid.tiles - first);
            let (at_v, at_h) = (Layout::panels(tiles, s.in_c), Layout::panels(tiles, filters));
            let (to_v, to_h) = (Shared(v.as_mut_ptr()), Shared(h.as_mut_ptr()));
            (0..tiles).into_par_iter().for_each(|t| {
                let (of_x, of_y) = (grid.corner(first + t, src_step, pad), grid.corner(first + t, TILE, (0, 0)));
                // SAFETY: both buffers hold their layout for `tiles` tiles, and this is tile t's place.
                unsafe {
                    transform(src, x, of_x, 0, &zeros[..s.in_c], T::inputs, at_v, to_v.at(t * NR));
                    transform(dst, gy, of_y, o0, &zeros[..filters], T::grads, at_h, to_h.at(t * NR));
                }
            });
            let product = |block: usize, point: usize, sums: *mut f32| {
                let (o, c) = corner(block);
                for panel in (o..filters.min(o + SIDE)).step_by(NR) {
                    let product = Block {
                        m: NR.min(filters - panel),
                        n: SIDE.min(s.in_c - c).next_multiple_of(LANES),
                        k: tiles,
                        a: to_h.at(point * at_h.point + panel / NR * at_h.panel),
                        rows: Rows::RowInner { stride: NR },
                        b: to_v.at(point * at_v.point + c / NR * at_v.panel),
                        ldb: NR,
                        panel: at_v.panel,
                        c: sums.wrapping_add((point * SIDE + panel - o) * SIDE),
                        ldc: SIDE,
                        bias: &[],
                        accumulate: first > 0,
                    };
                    // SAFETY: the layouts' extents; (block, point) belongs to one task.
                    unsafe { product.run() };
                }
            };
            if keep {
                (0..points).into_par_iter().for_each(|point| {
                    (0..blocks).for_each(|block| product(block, point, kept.at(block * block_len)));
                });
            } else {
                (0..blocks).into_par_iter().for_each(|block| {
                    let mut sums = scratch(block_len);
                    (0..points).for_each(|point| product(block, point, sums.as_mut_ptr()));
                    finish(block, sums.as_ptr());
                });
            }
        }
        if keep {
            (0..blocks).into_par_iter().for_each(|block| finish(block, kept.at(block * block_len)));
        }
    }
}

/// Gᵀ · G of a block's sums, [P²][SIDE filters][SIDE channels], to gw for `filters` filters from `o`, channels from `c0`.
fn finish_block<T: Adjoint<N, P>, const N: usize, const P: usize>(
    s: &ConvShape,
    o: usize,
    filters: usize,
    c0: usize,
    sums: *const f32,
    gw: Shared,
) {
    for filter in 0..filters {
        for c in (0..SIDE.min(s.in_c - c0)).step_by(LANES) {
            let lanes = LANES.min(s.in_c - c0 - c);
            // SAFETY: inside the block; `lanes` channels of a kernel element of one filter, which belong to one block.
            unsafe {
                let load = |i: usize, j: usize| V::load(sums.add(((i * P + j) * SIDE + filter) * SIDE + c));
                both_axes(load, T::kernel_grads, |i, j, v| {
                    v.store_n(gw.at(((o + filter) * 9 + i * 3 + j) * s.in_c + c0 + c), lanes);
                });
            }
        }
    }
}
