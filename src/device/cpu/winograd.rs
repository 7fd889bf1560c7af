//! Winograd's F(4×4, 3×3): convolution with a 3×3 kernel and stride 1 in a quarter of the multiplications.
//!
//! A tile of 6×6 inputs `d` gives 4×4 outputs `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A`: polynomials multiplied by their values at
//! six points along each axis. Summed over channels, the ⊙ is 36 matrix products, tiles × channels × filters. The data
//! gradient is the same convolution with the kernel turned by 180° and its channels swapped. The weight gradient is the
//! adjoint in the weights: `∂g = Gᵀ[Σ (A ∂Y Aᵀ) ⊙ (Bᵀ d B)]G`, 36 products summed over tiles.
//!
//! **Through a nearest ×2 upsample** rows and columns come in equal pairs: five products per axis are enough, 25 instead
//! of 36, on 16 stored pixels; the data gradient, which sums 2×2 pixels, needs 25 as well (see `points`).
//!
//! **Error** against f64, max |error| / max |value| on uniform noise, 32 to 512 channels: at most 2.4e-6 in all three
//! passes with the points 0, ±3/4, ±3/2, ∞ (squares exact in f32); on the same Gaussian noise the textbook's 0, ±1, ±2, ∞
//! has five times the error of these in the forward pass and three times in the weight gradient. Through the upsample the
//! transforms only add and halve, and the error is at most 7.3e-7.
//!
//! **Cost** per 4×4 outputs, C inputs and O filters: 72·C·O FLOPs in products (25/36 of that through the upsample) where
//! the definition has 288·C·O, and some 150 vector operations per 16 channels of input or output for the transforms. What
//! keeps it from the full factor of four is memory: transformed weights are read again for every block of tiles.
//!
//! Transformed tiles and products exist only as blocks that fit L2 or L3.

mod points;
mod weight_gradient;

use super::conv::ConvShape;
use super::gemm::simd::{F32x16 as V, LANES, prefetch, transpose};
use super::gemm::{Block, MR, NR, Rows, Shared, scratch};
use points::{Axis, Paired, Plain, Upsampled, both_axes};
use rayon::prelude::*;
pub(super) use weight_gradient::backward_weight;

/// Outputs of a tile per axis.
const TILE: usize = 4;
/// Input channels per partial product.
const DEPTH: usize = 128;
/// Floats of transformed weights that are kept for a whole pass; beyond it they are made again per block of tiles.
const WEIGHTS: usize = 1 << 20;
/// Floats of transformed tiles per task (stays in L2) and shared between tasks (stays in L3).
const OWN_TILES: usize = 100 << 10;
const SHARED_TILES: usize = 2 << 20;
/// Tiles per product with shared tiles.
const PRODUCT_TILES: usize = 128;

/// A channels-last image.
#[derive(Clone, Copy)]
struct Image {
    h: usize,
    w: usize,
    c: usize,
}

/// The grid of tiles that covers the convolution's output.
#[derive(Clone, Copy)]
struct Grid {
    rows: usize,
    columns: usize,
    tiles: usize,
}

impl Grid {
    fn new(batch: usize, h: usize, w: usize) -> Grid {
        let (rows, columns) = (h.div_ceil(TILE), w.div_ceil(TILE));
        Grid { rows, columns, tiles: batch * rows * columns }
    }

    /// Batch, and the first row and column of the tile's patch in an image that advances `step` pixels per tile.
    fn corner(&self, tile: usize, step: usize, pad: (isize, isize)) -> (usize, isize, isize) {
        let row = tile / self.columns;
        let (i, j) = (row % self.rows * step, tile % self.columns * step);
        (row / self.rows, i as isize - pad.0, j as isize - pad.1)
    }
}

/// Where transformed tiles lie: value `p` of tile `t`, channel `c` at `p·point + c/NR·panel + t·tile + c%NR`.
#[derive(Clone, Copy)]
struct Layout {
    point: usize,
    panel: usize,
    tile: usize,
}

impl Layout {
    /// Channels of a tile side by side: the left matrix of a product.
    fn rows(tiles: usize, channels: usize) -> Layout {
        // The extra 16 keep rows of a power of two out of the same cache sets.
        let tile = channels.next_multiple_of(LANES) + LANES;
        Layout { point: tiles * tile, panel: NR, tile }
    }

    /// Panels of NR channels: either matrix of a product over tiles.
    fn panels(tiles: usize, channels: usize) -> Layout {
        let panel = tiles * NR;
        // A skew of 16 again: the P² values of a channel, written together, must not share one cache set.
        Layout { point: channels.div_ceil(NR) * panel + LANES, panel, tile: NR }
    }
}

/// Distance of the products of consecutive points, each [tiles][NR], with the same skew.
fn products_len(tiles: usize) -> usize {
    tiles * NR + LANES
}

/// Transforms the N×N patch of `image` whose corner is (batch, y, x), channels `[c0, c0 + zeros.len())`, and writes P²
/// values per channel at `to` + layout. Pixels outside the image read `zeros`.
///
/// # Safety
/// `to` is valid for the layout's extent of one tile, channels rounded up to 16.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "inlined into loops that hold all of these")]
unsafe fn transform<const N: usize, const P: usize>(
    image: Image,
    pixels: &[f32],
    (b, y, x): (usize, isize, isize),
    c0: usize,
    zeros: &[f32],
    axis: impl Fn([V; N]) -> [V; P],
    layout: Layout,
    to: *mut f32,
) {
    let rows = (0..N).map(|i| y + i as isize).map(|y| (0..image.h as isize).contains(&y));
    let columns = (0..N).map(|j| x + j as isize).map(|x| (0..image.w as isize).contains(&x));
    if rows.clone().all(|inside| inside) && columns.clone().all(|inside| inside) {
        let row = image.w * image.c;
        let first = (b * image.h + y as usize) * row + x as usize * image.c + c0;
        let patch = &pixels[first..first + (N - 1) * (row + image.c) + zeros.len()];
        let at = |i: usize, j: usize| patch.as_ptr().wrapping_add(i * row + j * image.c);
        // SAFETY: the patch holds the channels of all N×N pixels.
        return unsafe { transform_channels(zeros.len(), at, axis, layout, to) };
    }
    let mut from = [[zeros.as_ptr(); N]; N];
    for (i, _) in rows.enumerate().filter(|r| r.1) {
        for (j, _) in columns.clone().enumerate().filter(|c| c.1) {
            let (y, x) = ((y + i as isize) as usize, (x + j as isize) as usize);
            from[i][j] = pixels[((b * image.h + y) * image.w + x) * image.c + c0..][..zeros.len()].as_ptr();
        }
    }
    // SAFETY: every pointer starts as many floats as there are channels.
    unsafe { transform_channels(zeros.len(), |i, j| from[i][j], axis, layout, to) }
}

/// Transforms the patch whose pixels start at `at(i, j)`.
///
/// # Safety
/// Every `at(i, j)` is valid for reading `channels` floats, and `to` as for [`transform`].
#[inline(always)]
unsafe fn transform_channels<const N: usize, const P: usize>(
    channels: usize,
    at: impl Fn(usize, usize) -> *const f32,
    axis: impl Fn([V; N]) -> [V; P],
    layout: Layout,
    to: *mut f32,
) {
    // SAFETY: c is below the channels rounded up to 16, which the layout has room for.
    let to = |c: usize| unsafe { to.add(c / NR * layout.panel + c % NR) };
    let whole = channels / LANES * LANES;
    for c in (0..whole).step_by(LANES) {
        // SAFETY: 16 channels from c on are there.
        let load = |i: usize, j: usize| unsafe { V::load(at(i, j).add(c)) };
        // SAFETY: every point of the layout has room for them.
        both_axes(load, &axis, |i, j, v| unsafe { v.store(to(c).add((i * P + j) * layout.point)) });
    }
    if whole < channels {
        // SAFETY: `channels - whole` channels are left.
        let load = |i: usize, j: usize| unsafe { V::load_n(at(i, j).add(whole), channels - whole) };
        // SAFETY: every point of the layout has room for 16.
        both_axes(load, &axis, |i, j, v| unsafe { v.store(to(whole).add((i * P + j) * layout.point)) });
    }
}

/// One pass `dst = conv(src, kernel) + bias`: forward, or the data gradient with `turned`.
struct Pass<'a> {
    grid: Grid,
    src: Image,
    x: &'a [f32],
    /// Stored pixels of src per tile, and those before the first.
    src_step: usize,
    pad: (isize, isize),
    dst: Image,
    y: Shared,
    bias: &'a [f32],
    /// (O, 3, 3, I).
    w: &'a [f32],
    turned: bool,
    /// One zero per channel of src.
    zeros: Vec<f32>,
}

impl Pass<'_> {
    fn run<T: Axis<N, P, O>, const N: usize, const P: usize, const O: usize>(&self) {
        let channels = self.src.c;
        let panels = self.dst.c.div_ceil(NR);
        let weights_len = |channels: usize| P * P * (channels * NR + LANES);
        let panel_len = P * P * (channels * NR + channels.div_ceil(DEPTH) * LANES);
        let per_tile = P * P * Layout::rows(1, channels).tile;
        if panels * panel_len <= WEIGHTS {
            let mut kept = scratch(panels * panel_len);
            kept[..panels * panel_len].par_chunks_mut(panel_len).enumerate().for_each(|(j, panel)| {
                for (block, to) in panel.chunks_mut(weights_len(DEPTH)).enumerate() {
                    self.transform_weights::<T, N, P, O>(j, block * DEPTH, to);
                }
            });
            let kept = &kept;
            let most = (OWN_TILES / per_tile).min(self.grid.tiles.div_ceil(8)).next_multiple_of(MR);
            (0..self.grid.tiles.div_ceil(most)).into_par_iter().for_each(|task| {
                let first = task * most;
                let tiles = most.min(self.grid.tiles - first);
                let layout = Layout::rows(tiles, channels);
                let (mut v, mut m) = (scratch(per_tile * tiles), scratch(P * P * products_len(tiles)));
                for (t, to) in v.chunks_mut(layout.tile).take(tiles).enumerate() {
                    self.transform_tile::<T, N, P, O>(first + t, layout, to.as_mut_ptr());
                }
                for j in 0..panels {
                    for k0 in (0..channels).step_by(DEPTH) {
                        self.products(
                            P * P,
                            layout,
                            &v,
                            tiles,
                            j,
                            k0,
                            &kept[j * panel_len + k0 / DEPTH * weights_len(DEPTH)..],
                            &mut m,
                        );
                    }
                    (0..tiles).for_each(|t| self.finish_tile::<T, N, P, O>(first + t, j, &m[t * NR..], tiles));
                }
            });
            return;
        }
        let most = (SHARED_TILES / per_tile).next_multiple_of(MR).min(self.grid.tiles);
        let mut v = scratch(per_tile * most);
        for first in (0..self.grid.tiles).step_by(most) {
            let tiles = most.min(self.grid.tiles - first);
            let layout = Layout::rows(tiles, channels);
            let to = Shared(v.as_mut_ptr());
            (0..tiles)
                .into_par_iter()
                .for_each(|t| self.transform_tile::<T, N, P, O>(first + t, layout, to.at(t * layout.tile)));
            let (v, parts) = (&v, tiles.div_ceil(PRODUCT_TILES));
            (0..panels * parts).into_par_iter().for_each(|task| {
                let (j, skip) = (task / parts, task % parts * PRODUCT_TILES);
                let count = PRODUCT_TILES.min(tiles - skip);
                let (mut weights, mut m) =
                    (scratch(weights_len(DEPTH.min(channels))), scratch(P * P * products_len(count)));
                for k0 in (0..channels).step_by(DEPTH) {
                    let depth = DEPTH.min(channels - k0);
                    self.transform_weights::<T, N, P, O>(j, k0, &mut weights[..weights_len(depth)]);
                    self.products(P * P, layout, &v[skip * layout.tile..], count, j, k0, &weights, &mut m);
                }
                (0..count).for_each(|t| self.finish_tile::<T, N, P, O>(first + skip + t, j, &m[t * NR..], count));
            });
        }
    }

    #[inline(never)]
    fn transform_tile<T: Axis<N, P, O>, const N: usize, const P: usize, const O: usize>(
        &self,
        tile: usize,
        layout: Layout,
        to: *mut f32,
    ) {
        let corner = self.grid.corner(tile, self.src_step, self.pad);
        // SAFETY: `to` is this tile's place in a buffer of `layout`.
        unsafe { transform(self.src, self.x, corner, 0, &self.zeros, T::inputs, layout, to) }
    }

    /// Panel `j` of the transformed weights for input channels from `k0`: `to` is P² times
    /// [channels][NR] and a skew of 16.
    #[inline(never)]
    fn transform_weights<T: Axis<N, P, O>, const N: usize, const P: usize, const O: usize>(
        &self,
        j: usize,
        k0: usize,
        to: &mut [f32],
    ) {
        let (point, n0) = (to.len() / (P * P), j * NR);
        let depth = (point - LANES) / NR;
        let to = to.as_mut_ptr();
        let store = |k: usize, lane: usize, g: [V; 9]| {
            let to = to.wrapping_add(k * NR + lane);
            // SAFETY: (point, k, lane) is inside the panel.
            both_axes(|i, j| g[i * 3 + j], T::kernel, |i, j, v| unsafe { v.store(to.add((i * P + j) * point)) });
        };
        let columns = NR.min(self.dst.c - n0);
        if self.turned {
            for k in 0..depth {
                for lane in (0..columns).step_by(LANES) {
                    let lanes = LANES.min(columns - lane);
                    let g = std::array::from_fn(|tap| {
                        let at = ((k0 + k) * 9 + 8 - tap) * self.dst.c + n0 + lane;
                        // The weights are 9·C floats apart per channel, too far for the hardware to foresee.
                        prefetch(self.w.as_ptr().wrapping_add(at + 4 * 9 * self.dst.c));
                        let from = &self.w[at..][..lanes];
                        // SAFETY: the slice has `lanes` elements.
                        unsafe { V::load_n(from.as_ptr(), lanes) }
                    });
                    store(k, lane, g);
                }
            }
            return;
        }
        for lane in (0..columns).step_by(LANES) {
            let lanes = LANES.min(columns - lane);
            for k in (0..depth).step_by(LANES) {
                let count = LANES.min(depth - k);
                let taps: [[V; LANES]; 9] = std::array::from_fn(|tap| {
                    transpose(std::array::from_fn(|n| {
                        if n >= lanes {
                            return V::zero();
                        }
                        let at = ((n0 + lane + n) * 9 + tap) * self.src.c + k0 + k;
                        prefetch(self.w.as_ptr().wrapping_add(at + LANES));
                        let from = &self.w[at..][..count];
                        // SAFETY: the slice has `count` elements.
                        unsafe { V::load_n(from.as_ptr(), count) }
                    }))
                });
                (0..count).for_each(|i| store(k + i, lane, std::array::from_fn(|tap| taps[tap][i])));
            }
        }
    }

    /// The products of a block: m, [points][tiles][NR], gets (or with k0 > 0 gains) v × weights.
    #[allow(clippy::too_many_arguments, reason = "a step of loops that hold all of these")]
    fn products(
        &self,
        points: usize,
        layout: Layout,
        v: &[f32],
        tiles: usize,
        j: usize,
        k0: usize,
        weights: &[f32],
        m: &mut [f32],
    ) {
        let depth = DEPTH.min(self.src.c - k0);
        for point in 0..points {
            let block = Block {
                m: tiles,
                n: NR.min(self.dst.c - j * NR).next_multiple_of(LANES),
                k: depth,
                a: v[point * layout.point + k0..].as_ptr(),
                rows: Rows::KInner { stride: layout.tile },
                b: weights[point * (depth * NR + LANES)..][..depth * NR].as_ptr(),
                ldb: NR,
                panel: 0,
                c: m[point * products_len(tiles)..][..tiles * NR].as_mut_ptr(),
                ldc: NR,
                bias: &[],
                accumulate: k0 > 0,
            };
            // SAFETY: the extents are those of `layout` and of the slices just taken.
            unsafe { block.run() };
        }
    }

    /// Output pixels of a tile, panel `j`, from its products at `m`.
    #[inline(never)]
    fn finish_tile<T: Axis<N, P, O>, const N: usize, const P: usize, const O: usize>(
        &self,
        tile: usize,
        j: usize,
        m: &[f32],
        tiles: usize,
    ) {
        let (b, y, x) = self.grid.corner(tile, O, (0, 0));
        let (rows, columns) = (O.min(self.dst.h - y as usize), O.min(self.dst.w - x as usize));
        let pixel = (b * self.dst.h + y as usize) * self.dst.w + x as usize;
        for lane in (0..NR.min(self.dst.c - j * NR)).step_by(LANES) {
            let c = j * NR + lane;
            let lanes = LANES.min(self.dst.c - c);
            let to = self.y.at(pixel * self.dst.c + c);
            let at = |i: usize, j: usize| to.wrapping_add((i * self.dst.w + j) * self.dst.c);
            // SAFETY: of the bias and of the tile's pixels at most `lanes` channels from `c` are touched; m holds
            // [P²][tiles][NR] from this tile on.
            unsafe {
                let bias = if self.bias.is_empty() { V::zero() } else { V::load_n(self.bias[c..].as_ptr(), lanes) };
                let from = m.as_ptr().add(lane);
                let load = |i: usize, j: usize| V::load(from.add((i * P + j) * products_len(tiles)));
                if lanes == LANES && (rows, columns) == (O, O) {
                    both_axes(load, T::outputs, |i, j, v| (v + bias).store(at(i, j)));
                } else {
                    both_axes(load, T::outputs, |i, j, v| {
                        if i < rows && j < columns {
                            (v + bias).store_n(at(i, j), lanes);
                        }
                    });
                }
            }
        }
    }
}

/// Whether this module does the shape, and faster than the plain method.
pub(super) fn suits(s: &ConvShape) -> bool {
    let tiled = s.batch * s.out_h.div_ceil(TILE) * s.out_w.div_ceil(TILE) * 36;
    tiled > 0
        && (s.kernel_h, s.kernel_w, s.stride) == (3, 3, 1)
        && s.pad_top <= 2
        && s.pad_left <= 2
        && s.in_c.min(s.out_c) >= 12
        // Tiles that stick out of a small image eat the gain.
        && 2 * tiled <= 9 * s.batch * s.out_h * s.out_w
        && (!s.upsample || (s.pad_top, s.pad_left, s.out_h, s.out_w) == (1, 1, 2 * s.in_h, 2 * s.in_w))
}

fn images(s: &ConvShape) -> (Image, Image) {
    (Image { h: s.in_h, w: s.in_w, c: s.in_c }, Image { h: s.out_h, w: s.out_w, c: s.out_c })
}

/// Stored pixels of x per tile, and those before the first: through the upsample, large row −1 is stored row −1 too.
fn input_grid(s: &ConvShape) -> (usize, (isize, isize)) {
    let step = if s.upsample { TILE / 2 } else { TILE };
    (step, (s.pad_top as isize, s.pad_left as isize))
}

/// `y`, overwritten; see [`conv2d_fwd`](super::conv::conv2d_fwd).
pub(super) fn forward(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], y: &mut [f32]) {
    let (src, dst) = images(s);
    let (src_step, pad) = input_grid(s);
    let grid = Grid::new(s.batch, s.out_h, s.out_w);
    let zeros = vec![0.0; src.c];
    let pass = Pass { grid, src, x, src_step, pad, dst, y: Shared(y.as_mut_ptr()), bias, w, turned: false, zeros };
    if s.upsample { pass.run::<Upsampled, 4, 5, 4>() } else { pass.run::<Plain, 6, 6, 4>() }
}

/// `gx`, overwritten; see [`conv2d_bwd_data`](super::conv::conv2d_bwd_data).
pub(super) fn backward_data(s: &ConvShape, gy: &[f32], w: &[f32], gx: &mut [f32]) {
    let (dst, src) = images(s);
    let zoom = if s.upsample { 2 } else { 1 };
    let grid = Grid::new(s.batch, zoom * s.in_h, zoom * s.in_w);
    let pad = (2 - s.pad_top as isize, 2 - s.pad_left as isize);
    let (y, zeros) = (Shared(gx.as_mut_ptr()), vec![0.0; src.c]);
    let pass = Pass { grid, src, x: gy, src_step: TILE, pad, dst, y, bias: &[], w, turned: true, zeros };
    if s.upsample { pass.run::<Paired, 6, 5, 2>() } else { pass.run::<Plain, 6, 6, 4>() }
}
