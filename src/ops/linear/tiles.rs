//! Into which tiles matrix products on a GPU are cut, and how blocks share them.

use crate::dtype::DType;
use crate::params;

/// Rows, columns and bytes along K per step of the pipeline of a tile of `kernels/linear.h`.
pub(super) const fn shape(tile: u32) -> [u32; 3] {
    match tile {
        params::LINEAR_128X128 => [128, 128, 64],
        params::LINEAR_128X64 => [128, 64, 128],
        params::LINEAR_64X64 => [64, 64, 128],
        _ => [64, 32, 128],
    }
}

/// The part of a GPU's time in which tiles of equal work keep it busy. Blocks are dealt out to its multiprocessors evenly, and each works off its
/// own at one rate, however many of them are there at a time; so the last round is as long as the others.
fn efficiency(tiles: u32, multiprocessors: u32) -> f64 {
    f64::from(tiles) / f64::from(tiles.next_multiple_of(multiprocessors))
}

/// As much efficiency as a smaller tile, which loads more for each product, is worth.
const ENOUGH: f64 = 0.95;

/// The tile for a (rows, columns) product: the largest whose rounds are full, or else the one that fills them best. `aligned`: all rows of all
/// matrices start at multiples of 16 bytes.
pub(super) fn choose(rows: u32, columns: u32, aligned: bool, dtype: DType, multiprocessors: u32) -> u32 {
    let candidates: &[u32] = match dtype {
        _ if !aligned => &[params::LINEAR_RAGGED],
        DType::Bf16 => &[params::LINEAR_128X128, params::LINEAR_128X64, params::LINEAR_64X64],
        _ => &[params::LINEAR_128X64],
    };
    let efficiency = |tile: u32| efficiency(count(tile, rows, columns), multiprocessors);
    let mut best = candidates[0];
    for &tile in candidates {
        if efficiency(best) < ENOUGH && efficiency(tile) > efficiency(best) {
            best = tile;
        }
    }
    best
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

/// Steps that a block takes at least: fewer are not worth their part of a tile.
const LEAST_SLABS: u32 = 8;

impl Sharing {
    /// For the gradient of a weight (outputs, inputs) over `rows`.
    pub(super) fn new([rows, inputs, outputs]: [u32; 3], aligned: bool, dtype: DType, multiprocessors: u32) -> Sharing {
        let tile = match dtype {
            _ if !aligned => params::LINEAR_RAGGED,
            DType::Bf16 => params::LINEAR_128X128,
            _ => params::LINEAR_128X64,
        };
        let (tiles, slabs) = (count(tile, outputs, inputs), rows.div_ceil(shape(tile)[2] / dtype.size() as u32));
        let blocks = (tiles * slabs / LEAST_SLABS).clamp(1, 2 * multiprocessors);
        Sharing { tile, blocks, slabs, rest: tiles % blocks }
    }

    /// Parts of tiles for which there must be memory.
    pub(super) fn parts(&self) -> usize {
        if self.rest == 0 { 0 } else { (self.blocks + self.rest - 1) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MULTIPROCESSORS: [u32; 2] = [108, 132];

    /// (inputs, outputs) of LightningDiT-XL/1's layers over all tokens: qkv, proj, w12, w3.
    const LAYERS: [[u32; 2]; 4] = [[1152, 3456], [1152, 1152], [1152, 6144], [3072, 1152]];

    /// Forward, dx and dW of each layer, at 32 and at 128 images of 256 tokens, keep an A100 and an H100 busy 95 % of the time.
    #[test]
    fn rounds_are_full_in_lightningdit_xl() {
        for (batch, multiprocessors) in [32, 128].into_iter().flat_map(|batch| MULTIPROCESSORS.map(|count| (batch, count))) {
            let rows = 256 * batch;
            for [inputs, outputs] in LAYERS {
                for columns in [outputs, inputs] {
                    let tile = choose(rows, columns, true, DType::Bf16, multiprocessors);
                    let busy = efficiency(count(tile, rows, columns), multiprocessors);
                    let what = format!("{rows}×{columns} on {multiprocessors} in {:?}: {busy:.3}", shape(tile));
                    println!("{what}");
                    assert!(busy >= 0.95, "{what}");
                }
                let shared = Sharing::new([rows, inputs, outputs], true, DType::Bf16, multiprocessors);
                let tiles = count(shared.tile, outputs, inputs);
                let longest = tiles / shared.blocks * shared.slabs + (shared.rest * shared.slabs).div_ceil(shared.blocks);
                let busy = f64::from(tiles * shared.slabs) / f64::from(longest * shared.blocks);
                println!("d({outputs}×{inputs}) over {rows} on {multiprocessors}: {busy:.3}");
                assert_eq!(shared.blocks, 2 * multiprocessors, "both blocks of a multiprocessor work");
                assert!(busy >= 0.95, "d({outputs}×{inputs}) over {rows} on {multiprocessors}: {busy:.3}");
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
