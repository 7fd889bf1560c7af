//! Into which tiles matrix products on a GPU are cut, and how blocks share them.

use crate::device::Geometry;
use crate::dtype::DType;
use crate::params;

/// The launch of so many blocks for each of `batch` products.
pub(super) fn geometry(blocks: u32, batch: u32) -> Geometry {
    Geometry { grid: [blocks, batch, 1], block: [params::MATRIX_THREADS, 1, 1], shared_bytes: params::MATRIX_SHARED }
}

/// Whether rows of these lengths all start at multiples of 16 bytes.
pub(super) fn aligned(dtype: DType, lengths: [u32; 2]) -> bool {
    lengths.iter().all(|length| (*length as usize * dtype.size()).is_multiple_of(16))
}

/// Rows, columns and bytes along K per step of the pipeline of a tile of `kernels/matrix_tile.h`.
pub(super) const fn shape(tile: u32) -> [u32; 3] {
    match tile {
        params::MATRIX_128X128 => [128, 128, 64],
        params::MATRIX_128X64 => [128, 64, 128],
        params::MATRIX_64X64 => [64, 64, 128],
        _ => [64, 32, 128],
    }
}

/// How the rows of (rows, columns) products are cut: the first `bulk` of them into whole 128×128 tiles, the others into tiles of shape `tile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) tile: u32,
    pub(super) bulk: u32,
}

/// Blocks that a multiprocessor has room for at a time: `VF_EXPORT_MATRIX` sees to it.
const RESIDENT: u32 = 2;

/// Small tiles load more for each product: they must be worth it.
const ENOUGH: f64 = 0.95;

impl Cut {
    /// Of one product.
    pub(super) fn new(rows: u32, columns: u32, aligned: bool, dtype: DType, multiprocessors: u32) -> Cut {
        Cut::of_batch([1, rows, columns], aligned, dtype, multiprocessors)
    }

    /// Of a (batch, rows, columns) result: the cut with the largest tiles that is efficient enough, or else the most efficient one. `aligned`:
    /// all rows of all matrices start at multiples of 16 bytes.
    pub(super) fn of_batch(result: [u32; 3], aligned: bool, dtype: DType, multiprocessors: u32) -> Cut {
        let [batch, rows, columns] = result;
        let whole = |tile: u32| Cut { tile, bulk: 0 };
        let large = count(params::MATRIX_128X128, rows, columns);
        // As many of the large tiles as go round, in whole rows of them.
        let [height, width, _] = shape(params::MATRIX_128X128);
        let slots = RESIDENT * multiprocessors;
        let bulk = large / slots * slots / columns.div_ceil(width) * height;
        let candidates: &[Cut] = match dtype {
            _ if !aligned => &[whole(params::MATRIX_RAGGED)],
            // One entry follows the other: they do not begin with the large tiles of all.
            DType::Bf16 if batch > 1 => {
                &[whole(params::MATRIX_128X128), whole(params::MATRIX_128X64), whole(params::MATRIX_64X64)]
            }
            DType::Bf16 => &[
                whole(params::MATRIX_128X128),
                Cut { tile: params::MATRIX_64X64, bulk: bulk.min(rows / height * height) },
                whole(params::MATRIX_128X64),
                whole(params::MATRIX_64X64),
            ],
            _ => &[whole(params::MATRIX_128X64)],
        };
        let efficiency = |cut: Cut| cut.efficiency(result, multiprocessors);
        let mut best = candidates[0];
        for &cut in candidates {
            if efficiency(best) < ENOUGH && efficiency(cut) > efficiency(best) {
                best = cut;
            }
        }
        best
    }

    /// Blocks for a product, one for each tile.
    pub(super) fn tiles(self, rows: u32, columns: u32) -> u32 {
        count(params::MATRIX_128X128, self.bulk, columns) + count(self.tile, rows - self.bulk, columns)
    }

    /// The product over what a GPU could compute in the same time: waves of blocks, as many as there is room for at a time, each as long as a
    /// tile is large. What of a tile lies beyond the product is idle, too.
    fn efficiency(self, [batch, rows, columns]: [u32; 3], multiprocessors: u32) -> f64 {
        let slots = u64::from(RESIDENT * multiprocessors);
        let time = |tile: u32, rows: u32| {
            let [height, width, _] = shape(tile);
            (u64::from(batch) * u64::from(count(tile, rows, columns))).div_ceil(slots) * u64::from(height * width)
        };
        let time = time(params::MATRIX_128X128, self.bulk) + time(self.tile, rows - self.bulk);
        [batch, rows, columns].map(f64::from).iter().product::<f64>() / (time * slots) as f64
    }
}

/// Tiles of a (rows, columns) product.
pub(super) fn count(tile: u32, rows: u32, columns: u32) -> u32 {
    rows.div_ceil(shape(tile)[0]) * columns.div_ceil(shape(tile)[1])
}

/// First row and column of a tile, as `tile_place` of `kernels/matrix_tile.cuh` has it: bands of eight tiles' height, down and then across.
pub(super) fn place(index: u32, [tiles_m, tiles_n]: [u32; 2], [rows, columns]: [u32; 2]) -> [u32; 2] {
    const BAND: u32 = 8;
    let (band, within) = (index / (BAND * tiles_n), index % (BAND * tiles_n));
    let height = (tiles_m - band * BAND).min(BAND);
    [(band * BAND + within % height) * rows, within / height * columns]
}

/// How blocks share the tiles of a weight's gradient: see `LinearBwdWeight`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharing {
    pub(super) tile: u32,
    pub(super) blocks: u32,
    /// Steps of the pipeline that a tile takes.
    pub(super) slabs: u32,
    /// Tiles that are left when whole ones have been dealt out; blocks share these.
    pub(super) rest: u32,
}

/// Steps for which a part of a tile is worth the way to memory and back: about as long as that takes.
const LEAST_SLABS: u32 = 32;

impl Sharing {
    /// For the gradient of a weight (outputs, inputs) over `rows`.
    pub(super) fn new([rows, inputs, outputs]: [u32; 3], aligned: bool, dtype: DType, multiprocessors: u32) -> Sharing {
        let tile = match dtype {
            _ if !aligned => params::MATRIX_RAGGED,
            DType::Bf16 => params::MATRIX_128X128,
            _ => params::MATRIX_64X64,
        };
        let (tiles, slabs) = (count(tile, outputs, inputs), rows.div_ceil(shape(tile)[2] / dtype.size() as u32));
        let resident = RESIDENT * multiprocessors;
        let rest = tiles % resident;
        let blocks = if tiles < resident {
            (tiles * slabs / LEAST_SLABS).clamp(tiles, resident)
        } else if rest == 0 || rest * slabs >= LEAST_SLABS * resident {
            resident
        } else {
            tiles
        };
        Sharing { tile, blocks, slabs, rest: tiles % blocks }
    }

    /// The most steps of shared tiles that a block takes.
    fn share(&self) -> u32 {
        (self.rest * self.slabs).div_ceil(self.blocks)
    }

    /// Parts of tiles for which there must be memory: none where each block has a tile for itself.
    pub(super) fn parts(&self) -> usize {
        if self.rest == 0 || self.share() == self.slabs { 0 } else { (self.blocks + self.rest - 1) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MULTIPROCESSORS: [u32; 2] = [108, 132];

    /// (inputs, outputs) of LightningDiT-XL/1's layers over all tokens: qkv, proj, w12, w3.
    const LAYERS: [[u32; 2]; 4] = [[1152, 3456], [1152, 1152], [1152, 6144], [3072, 1152]];

    /// Forward, dx and dW of each layer, at 32 and at 128 images of 256 tokens, keep an A100 and an H100 busy 95 % of the time: work over
    /// waves × resident blocks, where those that share the tiles of dW count by their steps.
    #[test]
    fn waves_are_full_in_lightningdit_xl() {
        for (batch, multiprocessors) in
            [32, 128].into_iter().flat_map(|batch| MULTIPROCESSORS.map(|count| (batch, count)))
        {
            let rows = 256 * batch;
            for [inputs, outputs] in LAYERS {
                for columns in [outputs, inputs] {
                    let cut = Cut::new(rows, columns, true, DType::Bf16, multiprocessors);
                    let busy = cut.efficiency([1, rows, columns], multiprocessors);
                    let what = format!("{rows}×{columns} on {multiprocessors}: {busy:.3}, {cut:?}");
                    println!("{what}");
                    assert!(busy >= 0.95, "{what}");
                }
                let shared = Sharing::new([rows, inputs, outputs], true, DType::Bf16, multiprocessors);
                let tiles = count(shared.tile, outputs, inputs);
                let longest = tiles / shared.blocks * shared.slabs + shared.share();
                let busy = f64::from(tiles * shared.slabs) / f64::from(longest * RESIDENT * multiprocessors);
                println!("d({outputs}×{inputs}) over {rows} on {multiprocessors}: {busy:.3}");
                assert!(shared.blocks <= RESIDENT * multiprocessors, "one wave");
                assert!(busy >= 0.95, "d({outputs}×{inputs}) over {rows} on {multiprocessors}: {busy:.3}");
            }
        }
    }

    /// The tiles of a cut cover its rows, and none is beyond them.
    #[test]
    fn bulk_is_whole_tiles() {
        for (rows, columns) in [(3973, 1024), (8192, 1152), (100_000, 8), (128 * 216, 128), (1, 1)] {
            for multiprocessors in [1, 5, 108, 132] {
                let Cut { bulk, .. } = Cut::new(rows, columns, true, DType::Bf16, multiprocessors);
                assert!(bulk <= rows && bulk.is_multiple_of(128), "{bulk} of {rows}");
            }
        }
    }

    /// Every place once, whatever the numbers of tiles.
    #[test]
    fn places_cover_the_matrix() {
        for (m, n) in [(1, 1), (3, 5), (8, 2), (9, 4), (17, 3)] {
            let mut places: Vec<_> = (0..m * n).map(|index| place(index, [m, n], [2, 3])).collect();
            places.sort_unstable();
            let every: Vec<_> = (0..m).flat_map(|i| (0..n).map(move |j| [2 * i, 3 * j])).collect();
            assert_eq!(places, every, "{m}×{n}");
        }
    }
}
