//! Winograd's F(4×4, 3×3): convolution with a 3×3 kernel and stride 1 in a quarter of the multiplications.
//!
//! A tile of 6×6 inputs `d` gives 4×4 outputs `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A`: polynomials multiplied by their values at
//! the points 0, ±a, ±b, ∞ along each axis. Summed over channels, the ⊙ is 36 matrix products, tiles × channels × filters.
//! The data gradient is the same convolution with the kernel turned by 180° and its channels swapped. The weight gradient
//! is the adjoint in the weights: `∂g = Gᵀ[Σ (A ∂Y Aᵀ) ⊙ (Bᵀ d B)]G`, 36 products summed over tiles.
//!
//! **Through a nearest ×2 upsample** the value at the point −1 is always zero (rows come in equal pairs, and
//! `p(z²)(1 + z)` vanishes there), so with a = 1 eleven of the 36 products drop out, for 25; the data gradient's sum over
//! 2×2 pixels has no use for that point either.
//!
//! Points: ±3/4, ±3/2, whose squares are exact in f32, have a fifth of the error of the textbook's ±1, ±2 (against f64,
//! max |error| / max |value| with 128 channels: 2.0e-6 forward, 3.0e-6 weight gradient, against 1.1e-5 and 8.5e-6).
//! Through the upsample ±1, ±3/2.
//!
//! Transformed tiles and products exist only as blocks that fit L2 or L3.

use super::conv::ConvShape;
use super::gemm::simd::{F32x16, LANES, transpose};
use super::gemm::{Block, MR, NR, Rows, Shared, scratch};
use rayon::prelude::*;

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
/// Channels per side of a block of the weight gradient, and floats of partial sums kept at once.
const GRAD_CHANNELS: usize = 64;
const GRAD_SUMS: usize = 5 << 19;

type V = F32x16;

/// The points ±a, ±b. P is the number of points in use per axis: 6, or 5 without −a.
const fn points<const P: usize>() -> (f32, f32) {
    if P == 6 { (0.75, 1.5) } else { (1.0, 1.5) }
}

/// Position of the i-th point in use among 0, a, −a, b, −b, ∞; `None` for one left out.
const fn rank<const P: usize>(i: usize) -> Option<usize> {
    match (P, i) {
        (5, 2) => None,
        (5, 3..) => Some(i - 1),
        _ => Some(i),
    }
}

fn times(x: f32, v: V) -> V {
    V::splat(x) * v
}

/// One axis of Bᵀ.
#[inline(always)]
fn to_points<const P: usize>(d: [V; 6]) -> [V; 6] {
    let (a, b) = points::<P>();
    let (aa, bb) = (a * a, b * b);
    let (minus_aa, minus_bb) = (V::splat(-aa), V::splat(-bb));
    let (product, minus_sum) = (V::splat(aa * bb), V::splat(-aa - bb));
    let (even_a, odd_a) = (minus_bb.mul_add(d[2], d[4]), times(a, minus_bb.mul_add(d[1], d[3])));
    let (even_b, odd_b) = (minus_aa.mul_add(d[2], d[4]), times(b, minus_aa.mul_add(d[1], d[3])));
    [
        product.mul_add(d[0], minus_sum.mul_add(d[2], d[4])),
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        product.mul_add(d[1], minus_sum.mul_add(d[3], d[5])),
    ]
}

/// One axis of Aᵀ.
#[inline(always)]
fn to_outputs<const P: usize>(m: [V; 6]) -> [V; 4] {
    let (a, b) = points::<P>();
    let (sum_a, sum_b) = (m[1] + m[2], m[3] + m[4]);
    let (diff_a, diff_b) = (m[1] - m[2], m[3] - m[4]);
    [
        m[0] + sum_a + sum_b,
        V::splat(a).mul_add(diff_a, times(b, diff_b)),
        V::splat(a * a).mul_add(sum_a, times(b * b, sum_b)),
        V::splat(a * a * a).mul_add(diff_a, V::splat(b * b * b).mul_add(diff_b, m[5])),
    ]
}

/// One axis of Aᵀ followed by the sum of neighbours.
#[inline(always)]
fn to_output_pairs<const P: usize>(m: [V; 6]) -> [V; 2] {
    let y = to_outputs::<P>(m);
    [y[0] + y[1], y[2] + y[3]]
}

/// One axis of A, the adjoint of [`to_outputs`].
#[inline(always)]
fn from_outputs<const P: usize>(y: [V; 4]) -> [V; 6] {
    let (a, b) = points::<P>();
    let (even_a, odd_a) = (V::splat(a * a).mul_add(y[2], y[0]), times(a, V::splat(a * a).mul_add(y[3], y[1])));
    let (even_b, odd_b) = (V::splat(b * b).mul_add(y[2], y[0]), times(b, V::splat(b * b).mul_add(y[3], y[1])));
    [y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]]
}

/// 1/(a²b²), 1/N(±a), 1/N(±b): the interpolation weights, N(p) = Π (p − q) over the other finite points.
fn weights<const P: usize>() -> [f32; 3] {
    let (a, b) = points::<P>();
    let (aa, bb) = (a * a, b * b);
    [1.0 / (aa * bb), 0.5 / (aa * (aa - bb)), 0.5 / (bb * (bb - aa))]
}

/// One axis of G.
#[inline(always)]
fn kernel_to_points<const P: usize>(g: [V; 3]) -> [V; 6] {
    let (a, b) = points::<P>();
    let [n0, na, nb] = weights::<P>();
    let (even_a, odd_a) = (V::splat(a * a * na).mul_add(g[2], times(na, g[0])), times(a * na, g[1]));
    let (even_b, odd_b) = (V::splat(b * b * nb).mul_add(g[2], times(nb, g[0])), times(b * nb, g[1]));
    [times(n0, g[0]), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g[2]]
}

/// One axis of Gᵀ.
#[inline(always)]
fn points_to_kernel<const P: usize>(u: [V; 6]) -> [V; 3] {
    let (a, b) = points::<P>();
    let [n0, na, nb] = weights::<P>();
    let (sum_a, sum_b) = (times(na, u[1] + u[2]), times(nb, u[3] + u[4]));
    let (diff_a, diff_b) = (times(na, u[1] - u[2]), times(nb, u[3] - u[4]));
    [
        V::splat(n0).mul_add(u[0], sum_a + sum_b),
        V::splat(a).mul_add(diff_a, times(b, diff_b)),
        V::splat(a * a).mul_add(sum_a, V::splat(b * b).mul_add(sum_b, u[5])),
    ]
}

/// Applies `axis` to the columns, then to the rows, of an I×I matrix.
#[inline(always)]
fn both_axes<const I: usize, const O: usize>(
    load: impl Fn(usize, usize) -> V,
    axis: impl Fn([V; I]) -> [V; O],
    mut store: impl FnMut(usize, usize, V),
) {
    let mut half = [[V::zero(); I]; O];
    for j in 0..I {
        let column = axis(std::array::from_fn(|i| load(i, j)));
        for (row, v) in half.iter_mut().zip(column) {
            row[j] = v;
        }
    }
    for (i, row) in half.into_iter().enumerate() {
        for (j, v) in axis(row).into_iter().enumerate() {
            store(i, j, v);
        }
    }
}

/// A channels-last image, cut into tiles of 4×4 pixels of the convolution's output.
#[derive(Clone, Copy)]
struct Image {
    h: usize,
    w: usize,
    c: usize,
    /// Large pixels per stored pixel and axis: 2 through the upsample.
    zoom: usize,
}

impl Image {
    /// Element of large pixel (y, x), or `None` outside.
    fn at(&self, b: usize, y: isize, x: isize) -> Option<usize> {
        let inside = (0..(self.h * self.zoom) as isize).contains(&y) && (0..(self.w * self.zoom) as isize).contains(&x);
        inside.then(|| ((b * self.h + y as usize / self.zoom) * self.w + x as usize / self.zoom) * self.c)
    }
}

/// The grid of tiles that covers the output.
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

    /// Batch and first output pixel of a tile.
    fn origin(&self, tile: usize) -> (usize, isize, isize) {
        let row = tile / self.columns;
        (row / self.rows, (row % self.rows * TILE) as isize, (tile % self.columns * TILE) as isize)
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
        Layout { point: channels.div_ceil(NR) * panel, panel, tile: NR }
    }
}

/// Transforms one N×N patch whose first pixel is (y, x), all channels, to P² values at `to` + layout.
///
/// # Safety
/// `to` is valid for the layout's extent of one tile.
#[inline(always)]
unsafe fn transform<const P: usize, const N: usize>(
    image: Image,
    pixels: &[f32],
    (b, y, x): (usize, isize, isize),
    axis: impl Fn([V; N]) -> [V; 6],
    layout: Layout,
    to: *mut f32,
) {
    let at: [[Option<usize>; N]; N] =
        std::array::from_fn(|i| std::array::from_fn(|j| image.at(b, y + i as isize, x + j as isize)));
    // Outside pixels read a line of zeros at stride 0, inside ones their channels.
    let zeros = [0.0f32; LANES];
    let from = at.map(|row| row.map(|at| at.map_or((zeros.as_ptr(), 0), |at| (pixels[at..at + image.c].as_ptr(), 1))));
    for c in (0..image.c).step_by(LANES) {
        let left = image.c - c;
        let to = unsafe { to.add(c / NR * layout.panel + c % NR) };
        let store = |i: usize, j: usize, v: V| {
            if let (Some(i), Some(j)) = (rank::<P>(i), rank::<P>(j)) {
                unsafe { v.store(to.add((i * P + j) * layout.point)) }
            }
        };
        if left >= LANES {
            let load = |i: usize, j: usize| unsafe { V::load(from[i][j].0.add(from[i][j].1 * c)) };
            both_axes(load, &axis, store);
        } else {
            let load = |i: usize, j: usize| unsafe { V::load_n(from[i][j].0.add(from[i][j].1 * c), left) };
            both_axes(load, &axis, store);
        }
    }
}

/// One pass `dst = conv(src, kernel) + bias`: forward, or the data gradient with `turned`.
struct Pass<'a> {
    grid: Grid,
    pad: (isize, isize),
    src: Image,
    x: &'a [f32],
    dst: Image,
    y: Shared,
    bias: &'a [f32],
    /// (O, 3, 3, I).
    w: &'a [f32],
    turned: bool,
}

impl<const P: usize> PassOf<'_, P> {
    const POINTS: usize = P * P;

    fn run(&self) {
        let p = &self.0;
        let panels = p.dst.c.div_ceil(NR);
        let slab = Self::POINTS * NR;
        let per_tile = Self::POINTS * Layout::rows(1, p.src.c).tile;
        if slab * panels * p.src.c <= WEIGHTS {
            let mut kept = scratch(slab * panels * p.src.c);
            kept[..slab * panels * p.src.c].par_chunks_mut(slab * p.src.c).enumerate().for_each(|(j, panel)| {
                for (block, to) in panel.chunks_mut(slab * DEPTH).enumerate() {
                    self.transform_weights(j, block * DEPTH, to);
                }
            });
            let kept = &kept;
            let most = (OWN_TILES / per_tile).min(p.grid.tiles.div_ceil(8)).next_multiple_of(MR).max(MR);
            (0..p.grid.tiles.div_ceil(most)).into_par_iter().for_each(|task| {
                let first = task * most;
                let tiles = most.min(p.grid.tiles - first);
                let layout = Layout::rows(tiles, p.src.c);
                let mut v = scratch(per_tile * tiles);
                (0..tiles).for_each(|t| self.transform_tile(first + t, layout, v[t * layout.tile..].as_mut_ptr()));
                let mut m = scratch(slab * tiles);
                for j in 0..panels {
                    for k0 in (0..p.src.c).step_by(DEPTH) {
                        let weights = kept[slab * (j * p.src.c + k0)..].as_ptr();
                        self.products(layout, &v, tiles, j, k0, weights, &mut m, tiles);
                    }
                    (0..tiles).for_each(|t| self.finish_tile(first + t, j, &m[t * NR..], tiles));
                }
            });
            return;
        }
        let most = (SHARED_TILES / per_tile).next_multiple_of(MR).min(p.grid.tiles);
        let mut v = scratch(per_tile * most);
        for first in (0..p.grid.tiles).step_by(most) {
            let tiles = most.min(p.grid.tiles - first);
            let layout = Layout::rows(tiles, p.src.c);
            let to = Shared(v.as_mut_ptr());
            (0..tiles).into_par_iter().for_each(|t| self.transform_tile(first + t, layout, to.at(t * layout.tile)));
            let (v, parts) = (&v, tiles.div_ceil(PRODUCT_TILES));
            (0..panels * parts).into_par_iter().for_each(|task| {
                let (j, part) = (task / parts, task % parts);
                let skip = part * PRODUCT_TILES;
                let count = PRODUCT_TILES.min(tiles - skip);
                let (mut weights, mut m) = (scratch(slab * DEPTH.min(p.src.c)), scratch(slab * count));
                for k0 in (0..p.src.c).step_by(DEPTH) {
                    let depth = DEPTH.min(p.src.c - k0);
                    self.transform_weights(j, k0, &mut weights[..slab * depth]);
                    self.products(layout, &v[skip * layout.tile..], count, j, k0, weights.as_ptr(), &mut m, count);
                }
                (0..count).for_each(|t| self.finish_tile(first + skip + t, j, &m[t * NR..], count));
            });
        }
    }

    fn transform_tile(&self, tile: usize, layout: Layout, to: *mut f32) {
        let p = &self.0;
        let (b, y, x) = p.grid.origin(tile);
        // SAFETY: `to` is inside a buffer of `layout` for more tiles than this one.
        unsafe { transform::<P, 6>(p.src, p.x, (b, y - p.pad.0, x - p.pad.1), to_points::<P>, layout, to) }
    }

    /// Panel `j` of the transformed weights for input channels from `k0`: `to` is [P²][channels][NR].
    fn transform_weights(&self, j: usize, k0: usize, to: &mut [f32]) {
        let p = &self.0;
        let depth = to.len() / (Self::POINTS * NR);
        let store = |to: &mut [f32], k: usize, lane: usize, g: &[V; 9]| {
            let to = to.as_mut_ptr();
            both_axes(|i, j| g[i * 3 + j], kernel_to_points::<P>, |i, j, v| {
                if let (Some(i), Some(j)) = (rank::<P>(i), rank::<P>(j)) {
                    // SAFETY: (point, k, lane) is inside [P²][depth][NR].
                    unsafe { v.store(to.add(((i * P + j) * depth + k) * NR + lane)) }
                }
            });
        };
        for lane in (0..NR.min(p.dst.c - j * NR)).step_by(LANES) {
            let n0 = j * NR + lane;
            let lanes = LANES.min(p.dst.c - n0);
            if p.turned {
                for k in 0..depth {
                    let g = std::array::from_fn(|tap| {
                        let from = &p.w[((k0 + k) * 9 + 8 - tap) * p.dst.c + n0..][..lanes];
                        // SAFETY: the slice has `lanes` elements.
                        unsafe { V::load_n(from.as_ptr(), lanes) }
                    });
                    store(to, k, lane, &g);
                }
                continue;
            }
            for k in (0..depth).step_by(LANES) {
                let count = LANES.min(depth - k);
                let taps: [[V; LANES]; 9] = std::array::from_fn(|tap| {
                    transpose(std::array::from_fn(|n| {
                        if n >= lanes {
                            return V::zero();
                        }
                        let from = &p.w[((n0 + n) * 9 + tap) * p.src.c + k0 + k..][..count];
                        // SAFETY: the slice has `count` elements.
                        unsafe { V::load_n(from.as_ptr(), count) }
                    }))
                });
                for i in 0..count {
                    store(to, k + i, lane, &std::array::from_fn(|tap| taps[tap][i]));
                }
            }
        }
    }

    /// The P² products of a block: m, [P²][tiles][NR], gets (or with k0 > 0 gains) v × weights.
    #[allow(clippy::too_many_arguments)]
    fn products(&self, layout: Layout, v: &[f32], tiles: usize, j: usize, k0: usize, weights: *const f32, m: &mut [f32], stride: usize) {
        let p = &self.0;
        let depth = DEPTH.min(p.src.c - k0);
        for point in 0..Self::POINTS {
            let block = Block {
                m: tiles,
                n: NR.min(p.dst.c - j * NR).next_multiple_of(LANES),
                k: depth,
                a: v[point * layout.point + k0..].as_ptr(),
                rows: Rows::KInner { stride: layout.tile },
                b: weights.wrapping_add(point * depth * NR),
                ldb: NR,
                panel: 0,
                c: m[point * stride * NR..][..tiles * NR].as_mut_ptr(),
                ldc: NR,
                accumulate: k0 > 0,
            };
            // SAFETY: the extents are those of `layout`, `transform_weights` and the slice just taken.
            unsafe { block.run() };
        }
    }

    /// Output pixels of a tile, panel `j`, from its products at `m`.
    fn finish_tile(&self, tile: usize, j: usize, m: &[f32], tiles: usize) {
        let p = &self.0;
        let (b, y, x) = p.grid.origin(tile);
        for lane in (0..NR.min(p.dst.c - j * NR)).step_by(LANES) {
            let c = j * NR + lane;
            let lanes = LANES.min(p.dst.c - c);
            // SAFETY: of the bias and of every pixel at most `lanes` channels from `c` are touched; m holds
            // [P²][tiles][NR] from this tile on.
            unsafe {
                let bias = if p.bias.is_empty() { V::zero() } else { V::load_n(p.bias[c..].as_ptr(), lanes) };
                let from = m.as_ptr().add(lane);
                let load = |i: usize, j: usize| match (rank::<P>(i), rank::<P>(j)) {
                    (Some(i), Some(j)) => V::load(from.add((i * P + j) * tiles * NR)),
                    _ => V::zero(),
                };
                let step = p.dst.zoom;
                let store = |i: usize, j: usize, v: V| {
                    if let Some(at) = p.dst.at(b, y + (i * step) as isize, x + (j * step) as isize) {
                        let v = v + bias;
                        match lanes {
                            LANES => v.store(p.y.at(at + c)),
                            _ => v.store_n(p.y.at(at + c), lanes),
                        }
                    }
                };
                if step == 2 {
                    both_axes(load, to_output_pairs::<P>, store);
                } else {
                    both_axes(load, to_outputs::<P>, store);
                }
            }
        }
    }
}

/// A [`Pass`] with P points per axis.
struct PassOf<'a, const P: usize>(Pass<'a>);

/// Whether this module does the shape, and faster than the plain method.
pub(super) fn suits(s: &ConvShape) -> bool {
    let tiled = s.batch * s.out_h.div_ceil(TILE) * s.out_w.div_ceil(TILE) * 36;
    tiled > 0
        && (s.kernel_h, s.kernel_w, s.stride) == (3, 3, 1)
        && s.pad_top <= 2
        && s.pad_left <= 2
        && s.in_c.min(s.out_c) >= 12
        // Tiles that stick out of a small image, and weights transformed for few tiles, eat the gain.
        && 2 * tiled <= 9 * s.batch * s.out_h * s.out_w
        && (!s.upsample || (s.pad_top, s.pad_left, s.out_h, s.out_w) == (1, 1, 2 * s.in_h, 2 * s.in_w))
}

fn images(s: &ConvShape) -> (Image, Image) {
    let zoom = if s.upsample { 2 } else { 1 };
    (Image { h: s.in_h, w: s.in_w, c: s.in_c, zoom }, Image { h: s.out_h, w: s.out_w, c: s.out_c, zoom: 1 })
}

/// `y`, overwritten; see [`conv2d_fwd`](super::conv::conv2d_fwd).
pub(super) fn forward(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], y: &mut [f32]) {
    let (src, dst) = images(s);
    let pass = Pass {
        grid: Grid::new(s.batch, s.out_h, s.out_w),
        pad: (s.pad_top as isize, s.pad_left as isize),
        src,
        x,
        dst,
        y: Shared(y.as_mut_ptr()),
        bias,
        w,
        turned: false,
    };
    if s.upsample { PassOf::<5>(pass).run() } else { PassOf::<6>(pass).run() }
}

/// `gx`, overwritten; see [`conv2d_bwd_data`](super::conv::conv2d_bwd_data).
pub(super) fn backward_data(s: &ConvShape, gy: &[f32], w: &[f32], gx: &mut [f32]) {
    let (dst, src) = images(s);
    let pass = Pass {
        grid: Grid::new(s.batch, s.in_h * dst.zoom, s.in_w * dst.zoom),
        pad: (2 - s.pad_top as isize, 2 - s.pad_left as isize),
        src,
        x: gy,
        dst,
        y: Shared(gx.as_mut_ptr()),
        bias: &[],
        w,
        turned: true,
    };
    if s.upsample { PassOf::<5>(pass).run() } else { PassOf::<6>(pass).run() }
}

/// `gw`, overwritten; see [`conv2d_bwd_weight`](super::conv::conv2d_bwd_weight).
pub(super) fn backward_weight(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    if s.upsample { weight_gradient::<5>(s, x, gy, gw) } else { weight_gradient::<6>(s, x, gy, gw) }
}

fn weight_gradient<const P: usize>(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    let (src, dst) = images(s);
    let grid = Grid::new(s.batch, s.out_h, s.out_w);
    let count = P * P;
    let padded_in = s.in_c.next_multiple_of(NR);
    // Filters per round: their partial sums are kept until all tiles have been added. Rounds transform x again.
    let sums_per_filter = count * s.in_c.next_multiple_of(GRAD_CHANNELS);
    let all = s.out_c.next_multiple_of(GRAD_CHANNELS);
    let tiles_at_once = |filters: usize| (SHARED_TILES / (count * (padded_in + filters))).next_multiple_of(8);
    let one_go = tiles_at_once(all) >= grid.tiles;
    let round = if one_go { all } else { (GRAD_SUMS / sums_per_filter / GRAD_CHANNELS * GRAD_CHANNELS).clamp(GRAD_CHANNELS, all) };
    let most = tiles_at_once(round).min(grid.tiles);
    let mut v = scratch(count * padded_in * most);
    let mut h = scratch(count * round * most);
    let blocks_in = s.in_c.div_ceil(GRAD_CHANNELS);
    let block_len = count * GRAD_CHANNELS * GRAD_CHANNELS;
    let gw = Shared(gw.as_mut_ptr());
    for o0 in (0..s.out_c).step_by(round) {
        let filters = round.min(s.out_c - o0);
        let blocks = filters.div_ceil(GRAD_CHANNELS) * blocks_in;
        // With few blocks the points are tasks of their own, and the sums are transformed back at the end.
        let split = if blocks < 16 { count } else { 1 };
        let keep = split > 1 || most < grid.tiles;
        let mut sums = scratch(if keep { blocks * block_len } else { 0 });
        let kept = Shared(sums.as_mut_ptr());
        let finish = |block: usize, sums: *const f32| {
            let (o, c) = (o0 + block / blocks_in * GRAD_CHANNELS, block % blocks_in * GRAD_CHANNELS);
            finish_weights::<P>(s, o, (o0 + filters).min(o + GRAD_CHANNELS), c, sums, gw);
        };
        for first in (0..grid.tiles).step_by(most) {
            let tiles = most.min(grid.tiles - first);
            let (at_v, at_h) = (Layout::panels(tiles, s.in_c), Layout::panels(tiles, filters));
            let (to_v, to_h) = (Shared(v.as_mut_ptr()), Shared(h.as_mut_ptr()));
            (0..tiles).into_par_iter().for_each(|t| {
                let (b, y, x0) = grid.origin(first + t);
                let corner = (b, y - s.pad_top as isize, x0 - s.pad_left as isize);
                // SAFETY: both buffers hold their layout for `tiles` tiles, and this is tile t's place.
                unsafe {
                    transform::<P, 6>(src, x, corner, to_points::<P>, at_v, to_v.at(t * NR));
                    transform_grads::<P>(dst, gy, o0, filters, (b, y, x0), at_h, to_h.at(t * NR));
                }
            });
            (0..blocks * split).into_par_iter().for_each(|task| {
                let block = task / split;
                let (o, c) = (block / blocks_in * GRAD_CHANNELS, block % blocks_in * GRAD_CHANNELS);
                let mut own = scratch(if keep { 0 } else { block_len });
                let sums = if keep { kept.at(block * block_len) } else { own.as_mut_ptr() };
                for point in if split > 1 { task % split..task % split + 1 } else { 0..count } {
                    for panel in (o..filters.min(o + GRAD_CHANNELS)).step_by(NR) {
                        let product = Block {
                            m: NR.min(filters - panel),
                            n: GRAD_CHANNELS.min(s.in_c - c).next_multiple_of(LANES),
                            k: tiles,
                            a: to_h.at(point * at_h.point + panel / NR * at_h.panel),
                            rows: Rows::RowInner { stride: NR },
                            b: to_v.at(point * at_v.point + c / NR * at_v.panel),
                            ldb: NR,
                            panel: at_v.panel,
                            c: sums.wrapping_add((point * GRAD_CHANNELS + panel - o) * GRAD_CHANNELS),
                            ldc: GRAD_CHANNELS,
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

/// A ∂Y Aᵀ of one tile for filters `[o0, o0 + filters)`.
///
/// # Safety
/// As [`transform`].
unsafe fn transform_grads<const P: usize>(
    image: Image,
    gy: &[f32],
    o0: usize,
    filters: usize,
    corner: (usize, isize, isize),
    layout: Layout,
    to: *mut f32,
) {
    if o0 == 0 && filters == image.c {
        return unsafe { transform::<P, TILE>(image, gy, corner, from_outputs::<P>, layout, to) };
    }
    let (b, y, x) = corner;
    let at: [[Option<usize>; TILE]; TILE] =
        std::array::from_fn(|i| std::array::from_fn(|j| image.at(b, y + i as isize, x + j as isize)));
    for c in (0..filters).step_by(LANES) {
        let lanes = LANES.min(filters - c);
        let load = |i: usize, j: usize| at[i][j].map_or(V::zero(), |at| unsafe { V::load_n(gy[at + o0 + c..][..lanes].as_ptr(), lanes) });
        both_axes(load, from_outputs::<P>, |i, j, v| {
            if let (Some(i), Some(j)) = (rank::<P>(i), rank::<P>(j)) {
                unsafe { v.store(to.add((i * P + j) * layout.point + c / NR * layout.panel + c % NR)) }
            }
        });
    }
}

/// Gᵀ · G of a block's sums, [P²][64 filters][64 channels], to gw for filters `o..end` and channels from `c0`.
fn finish_weights<const P: usize>(s: &ConvShape, o: usize, end: usize, c0: usize, sums: *const f32, gw: Shared) {
    for filter in o..end {
        for c in (c0..s.in_c.min(c0 + GRAD_CHANNELS)).step_by(LANES) {
            let lanes = LANES.min(s.in_c - c);
            let load = |i: usize, j: usize| match (rank::<P>(i), rank::<P>(j)) {
                // SAFETY: inside the block.
                (Some(i), Some(j)) => unsafe {
                    V::load(sums.add(((i * P + j) * GRAD_CHANNELS + filter - o) * GRAD_CHANNELS + c - c0))
                },
                _ => V::zero(),
            };
            both_axes(load, points_to_kernel::<P>, |i, j, v| {
                // SAFETY: `lanes` channels of one kernel element of one filter, which belongs to one block.
                unsafe { v.store_n(gw.at((filter * 9 + i * 3 + j) * s.in_c + c), lanes) }
            });
        }
    }
}
