//! Into which tiles convolutions on a GPU are cut, and how blocks share the sums of weight gradients.

use super::phase_taps;
use crate::device::Math;
use crate::dtype::DType;
use crate::params::{self, CONV2D_TILE_FEW, CONV2D_TILE_LARGE, CONV2D_TILE_NARROW};

/// Rows and columns of a gather's tile.
pub(super) const fn shape(tile: u32, math: Math) -> [u32; 2] {
    match (tile, math) {
        (CONV2D_TILE_LARGE, Math::Bf16 | Math::Tf32) => [128, 128],
        (CONV2D_TILE_LARGE, Math::F32) | (CONV2D_TILE_NARROW, _) => [128, 64],
        _ => [128, 32],
    }
}

/// Rows and columns of a weight gradient's tile.
const fn weight_shape(tile: u32, math: Math) -> [u32; 2] {
    if tile == CONV2D_TILE_FEW { [64, 128] } else { shape(CONV2D_TILE_LARGE, math) }
}

/// What decides the tiles of a gather: of the forward or of the data gradient. See `Gather` in `kernels/conv2d.cu`.
pub(super) struct Gather {
    /// Of pixels, by the parity of rows and columns.
    classes: u32,
    /// Pixels of the largest class.
    pixels: u32,
    /// Of each pixel; of the class with most.
    pub(super) taps: u32,
    /// Channels that are summed over and that are written.
    channels: [u32; 2],
}

impl Gather {
    pub(super) fn forward(p: &params::Conv2dFwd) -> Gather {
        let steps = if p.phased == 1 { 2 } else { 1 };
        let taps =
            [p.kernel_height, p.kernel_width].map(|kernel| if p.phased == 1 { phase_taps(kernel) } else { kernel });
        Gather {
            classes: steps * steps,
            pixels: p.batch * p.out_height.div_ceil(steps) * p.out_width.div_ceil(steps),
            taps: taps[0] * taps[1],
            channels: [p.inputs, p.outputs],
        }
    }

    pub(super) fn backward(p: &params::Conv2dBwdData) -> Gather {
        let steps = if p.phased == 1 { 1 } else { p.stride };
        let taps = |kernel: u32| if p.phased == 1 { 2 * phase_taps(kernel) } else { kernel.div_ceil(steps) };
        Gather {
            classes: steps * steps,
            pixels: p.batch * p.height.div_ceil(steps) * p.width.div_ceil(steps),
            taps: taps(p.kernel_height) * taps(p.kernel_width),
            channels: [p.outputs, p.inputs],
        }
    }

    /// The number of tiles.
    pub(super) fn tiles(&self, tile: u32, math: Math) -> u32 {
        let [rows, columns] = shape(tile, math);
        self.classes * self.pixels.div_ceil(rows) * self.channels[1].div_ceil(columns)
    }

    /// The tile to use: the larger one, unless the narrow one fits better or keeps the multiprocessors busier.
    pub(super) fn tile(&self, multiprocessors: u32) -> u32 {
        // In f32 the two are the same, but on tensor cores, where the large one is meant for.
        match self.channels[1] {
            ..=32 => return CONV2D_TILE_FEW,
            33..=64 => return CONV2D_TILE_NARROW,
            _ => {}
        }
        let efficiency = |tile| {
            let tiles = self.tiles(tile, Math::Bf16);
            f64::from(tiles) / f64::from(tiles.next_multiple_of(multiprocessors))
        };
        match efficiency(CONV2D_TILE_LARGE) >= ENOUGH.min(efficiency(CONV2D_TILE_NARROW)) {
            true => CONV2D_TILE_LARGE,
            false => CONV2D_TILE_NARROW,
        }
    }
}

/// The parts of an image, one for each tile, of which a forward leaves statistics of `groups` groups of channels; 0 where some tile has pixels
/// of two images, pixels that are not there, or a part of a group.
pub(super) fn statistics_parts(p: &params::Conv2dFwd, groups: u32) -> u32 {
    let steps = if p.phased == 1 { 2 } else { 1 };
    let ([rows, most], [_, least]) = (shape(p.tile, Math::Bf16), shape(p.tile, Math::F32));
    let of_class = p.out_height / steps * (p.out_width / steps);
    let pixels =
        p.out_height.is_multiple_of(steps) && p.out_width.is_multiple_of(steps) && of_class.is_multiple_of(rows);
    let channels =
        p.outputs.is_multiple_of(most) && p.outputs.is_multiple_of(groups) && least.is_multiple_of(p.outputs / groups);
    if pixels && channels { of_class / rows * steps * steps } else { 0 }
}

/// As much efficiency as a narrower tile, which loads more for each product, is worth.
const ENOUGH: f64 = 0.95;

/// What decides the tiles of a weight gradient: outputs by taps and channels, summed over pixels.
pub(super) struct WeightTiles {
    /// Of pixels of y, by the parity of rows and columns; each has a gradient of its own.
    pub(super) classes: u32,
    /// Along each axis.
    pub(super) taps: [u32; 2],
    channels: [u32; 2],
    batch: u32,
    /// Rows and columns of the largest class in an image.
    pixels: [u32; 2],
}

impl WeightTiles {
    pub(super) fn of(p: &params::Conv2dBwdWeight) -> WeightTiles {
        let steps = if p.phased == 1 { 2 } else { 1 };
        let taps = |kernel: u32| if p.phased == 1 { phase_taps(kernel) } else { kernel };
        WeightTiles {
            classes: steps * steps,
            taps: [taps(p.kernel_height), taps(p.kernel_width)],
            channels: [p.inputs, p.outputs],
            batch: p.batch,
            pixels: [p.out_height.div_ceil(steps), p.out_width.div_ceil(steps)],
        }
    }

    /// The number of tiles.
    pub(super) fn count(&self, tile: u32, math: Math) -> u32 {
        let [rows, columns] = weight_shape(tile, math);
        self.classes
            * self.channels[1].div_ceil(rows)
            * (self.taps[0] * self.taps[1] * self.channels[0]).div_ceil(columns)
    }

    /// The tile to use, and in how many parts to cut the sum over pixels.
    pub(super) fn share(&self, dtype: DType, multiprocessors: u32) -> (u32, u32) {
        let math = if dtype == DType::Bf16 { Math::Bf16 } else { Math::F32 };
        // See conv2d.h.
        let [inputs, outputs] = self.channels;
        let tile = match (outputs % 128, inputs % 128) {
            (0, 0) => CONV2D_TILE_LARGE,
            (0, _) => CONV2D_TILE_NARROW,
            _ => CONV2D_TILE_FEW,
        };
        let (tiles, slabs) = (self.count(tile, math), self.slabs(4 * math.lanes()));
        // Blocks that a multiprocessor has at a time.
        let at_once = 2 * multiprocessors;
        let most = (slabs / LEAST_SLABS).clamp(1, (2 * at_once).div_ceil(tiles));
        let cost = |splits: u32| {
            let rounds = u64::from((tiles * splits).div_ceil(at_once));
            rounds * u64::from(slabs.div_ceil(splits)) * SLAB_COST + u64::from(tiles * splits)
        };
        (tile, (1..=most).min_by_key(|&splits| cost(splits)).unwrap_or(1))
    }

    /// Steps of the pipeline that all pixels of a class take, `k` pixels each. See `PixelSlabs` in `kernels/conv2d_weight.cu`.
    fn slabs(&self, k: u32) -> u32 {
        let [rows, columns] = self.pixels;
        let wide = columns.min(k);
        self.batch * columns.div_ceil(wide) * rows.div_ceil(k / wide)
    }
}

/// Steps of the pipeline that a block takes at least: fewer are not worth their part of a tile.
const LEAST_SLABS: u32 = 8;

/// A step's time over that to write a tile of f32 and read it again. On an A100, at its peaks: 2·128·128·32 operations of 216 blocks' share of
/// 312 TFLOP/s, and 128 KiB at 2 TB/s.
const SLAB_COST: u64 = 11;
