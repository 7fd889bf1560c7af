//! The weight gradient: `∂g = Gᵀ[Σ (A ∂Y Aᵀ) ⊙ (Bᵀ d B)]G`, summed over tiles in their order.

use super::super::conv::ConvShape;
use super::super::gemm::simd::{F32x16 as V, LANES};
use super::super::gemm::{Block, NR, Rows, Shared, scratch};
use super::points::{Adjoint, Plain, Upsampled, both_axes};
use super::{Grid, Layout, TILE, images, input_grid, transform};
use rayon::prelude::*;

/// Filters and channels per side of a block of sums.
const SIDE: usize = 64;
/// Floats of transformed tiles, and of sums, that are kept at once.
const TILES: usize = 2 << 20;
const SUMS: usize = 5 << 19;

/// `gw`, overwritten; see [`conv2d_bwd_weight`](crate::device::cpu::conv::conv2d_bwd_weight).
pub(crate) fn backward_weight(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    if s.upsample { run::<Upsampled, 4, 5>(s, x, gy, gw) } else { run::<Plain, 6, 6>(s, x, gy, gw) }
}

fn run<T: Adjoint<N, P>, const N: usize, const P: usize>(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    let (src, dst) = images(s);
    let (src_step, pad) = input_grid(s);
    let grid = Grid::new(s.batch, s.out_h, s.out_w);
    let points = P * P;
    let tiles_at_once = |filters: usize| (TILES / (points * (s.in_c.next_multiple_of(NR) + filters))).next_multiple_of(8);
    // Filters per round: their sums are kept until all tiles have been added. Every round transforms x again, so there
    // is only one where all tiles fit at once and sums need not be kept.
    let blocks_in = s.in_c.div_ceil(SIDE);
    let all = s.out_c.next_multiple_of(SIDE);
    let round = if tiles_at_once(all) >= grid.tiles {
        all
    } else {
        (SUMS / (points * blocks_in * SIDE) / SIDE * SIDE).clamp(SIDE, all)
    };
    let most = tiles_at_once(round).min(grid.tiles);
    let mut v = scratch(points * s.in_c.next_multiple_of(NR) * most);
    let mut h = scratch(points * round * most);
    let block_len = points * SIDE * SIDE;
    let zeros = vec![0.0; s.in_c.max(s.out_c)];
    let gw = Shared(gw.as_mut_ptr());

    for o0 in (0..s.out_c).step_by(round) {
        let filters = round.min(s.out_c - o0);
        let blocks = filters.div_ceil(SIDE) * blocks_in;
        // With few blocks the points are tasks of their own, and the sums are transformed back at the end.
        let split = if blocks < 16 { points } else { 1 };
        let keep = split > 1 || most < grid.tiles;
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
            (0..blocks * split).into_par_iter().for_each(|task| {
                let block = task / split;
                let (o, c) = corner(block);
                let mut own = scratch(if keep { 0 } else { block_len });
                let sums = if keep { kept.at(block * block_len) } else { own.as_mut_ptr() };
                let mine = if split > 1 { task % split..task % split + 1 } else { 0..points };
                for point in mine {
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
                            accumulate: first > 0,
                        };
                        // SAFETY: the layouts' extents; (block, point) is this task's own part of the sums.
                        unsafe { product.run() };
                    }
                }
                if !keep {
                    finish(block, sums);
                }
            });
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
