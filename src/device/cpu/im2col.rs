//! Convolution as a matrix product over gathered patches, for every kernel size, stride and padding.
//!
//! Each pass is written as one or several [`Phase`]s: a regular grid of destination pixels, each the sum over a list of
//! taps of (source pixel) × (kernel element). A strided convolution's data gradient is stride² phases, one per residue of
//! the pixel's position, each with only the taps that reach it. A convolution that reads its input through a nearest ×2
//! upsample is four phases over the small input in which kernel elements that meet the same pixel are added first: for a
//! 3×3 kernel 4 taps instead of 9. Its data gradient, which sums 2×2 pixels of the large image, is one stride-2 phase
//! whose taps are sums of kernel elements.
//!
//! The patch matrix exists only as blocks of [`PIXELS`]×[`DEPTH`] floats that stay in L2.

use super::conv::ConvShape;
use super::gemm::simd::{F32x16, LANES, transpose};
use super::gemm::{Block, MR, NR, Rows, Scratch, Shared, pack_panel, packed_len, scratch};
use rayon::prelude::*;

/// Most pixels per task, a multiple of every register block's height.
const PIXELS: usize = 192;
/// Tasks that a phase is cut into where its size allows.
const TASKS: usize = 4;
/// Columns of the patch matrix gathered at a time.
const DEPTH: usize = 256;
/// Row distance of the gathered block: not a multiple of 1 KiB, so that the rows fall into different cache sets.
const PATCH: usize = DEPTH + 16;
/// Channels up to which a destination counts as thin, and the same extents for it.
const THIN: usize = 4;
const THIN_PIXELS: usize = 32;
const THIN_DEPTH: usize = 1024;
const THIN_PATCH: usize = THIN_DEPTH + 16;
/// Pixels per step, columns per task and most partial sums in the weight gradient.
const GRAD_PIXELS: usize = 192;
const GRAD_COLUMNS: usize = 384;
const GRAD_TASKS: usize = 16;

/// A source position relative to the destination's, and the kernel positions that are applied there.
struct Tap {
    offset: isize,
    kernel: Vec<usize>,
}

/// One axis of a [`Phase`]: destination `first + step·i` for `i < count` reads source `stride·i + offset`.
struct Axis {
    first: usize,
    step: usize,
    count: usize,
    stride: usize,
    taps: Vec<Tap>,
    /// The taps' offsets are consecutive.
    adjacent: bool,
}

struct Phase<'a> {
    y: &'a Axis,
    x: &'a Axis,
}

/// Extents of the source or the destination.
#[derive(Clone, Copy)]
struct Image {
    h: usize,
    w: usize,
    c: usize,
}

impl Axis {
    /// `taps` gives (offset, kernel position); those of equal offset are one tap.
    fn new(first: usize, step: usize, count: usize, stride: usize, taps: impl Iterator<Item = (isize, usize)>) -> Axis {
        let mut all: Vec<Tap> = Vec::new();
        for (offset, k) in taps {
            match all.iter_mut().find(|t| t.offset == offset) {
                Some(tap) => tap.kernel.push(k),
                None => all.push(Tap { offset, kernel: vec![k] }),
            }
        }
        let adjacent = all.windows(2).all(|t| t[1].offset == t[0].offset + 1);
        Axis { first, step, count, stride, taps: all, adjacent }
    }
}

fn forward_axis(out: usize, kernel: usize, pad: usize, s: &ConvShape) -> Vec<Axis> {
    let from_pad = |k: usize| k as isize - pad as isize;
    if !s.upsample {
        return vec![Axis::new(0, 1, out, s.stride, (0..kernel).map(|k| (from_pad(k), k)))];
    }
    (0..2)
        .map(|a| {
            let taps = (0..kernel).map(|k| ((a as isize + from_pad(k)).div_euclid(2), k));
            Axis::new(a, 2, (out + 1 - a) / 2, 1, taps)
        })
        .collect()
}

fn backward_axis(input: usize, kernel: usize, pad: usize, s: &ConvShape) -> Vec<Axis> {
    let offset = |a: usize, k: usize| (a + pad) as isize - k as isize;
    if s.upsample {
        // Ascending offsets a + pad − k.
        let taps = (0..kernel).rev().map(|k| (offset(0, k), k)).chain((0..kernel).rev().map(|k| (offset(1, k), k)));
        return vec![Axis::new(0, 1, input, 2, taps)];
    }
    let stride = s.stride as isize;
    (0..s.stride.min(input))
        .map(|p| {
            let taps = (0..kernel).rev().filter(|&k| offset(p, k) % stride == 0).map(|k| (offset(p, k) / stride, k));
            Axis::new(p, s.stride, (input - p).div_ceil(s.stride), 1, taps)
        })
        .collect()
}

fn phases<'a>(y: &'a [Axis], x: &'a [Axis]) -> impl Iterator<Item = Phase<'a>> {
    y.iter().flat_map(move |y| x.iter().map(move |x| Phase { y, x }))
}

impl Phase<'_> {
    fn taps(&self) -> usize {
        self.y.taps.len() * self.x.taps.len()
    }

    fn pixels(&self, batch: usize) -> usize {
        batch * self.y.count * self.x.count
    }

    /// Batch, row and column of the phase's pixel `p`.
    fn position(&self, p: usize) -> (usize, usize, usize) {
        let row = p / self.x.count;
        (row / self.y.count, row % self.y.count, p % self.x.count)
    }

    /// Index of the phase's pixel `p` among the destination's pixels.
    fn destination(&self, p: usize, dst: Image) -> usize {
        let (b, i, j) = self.position(p);
        (b * dst.h + self.y.first + self.y.step * i) * dst.w + self.x.first + self.x.step * j
    }

    /// Kernel positions `ky·kernel_w + kx` summed in tap `t`.
    fn kernel(&self, t: usize, kernel_w: usize) -> impl Iterator<Item = usize> {
        let (y, x) = (&self.y.taps[t / self.x.taps.len()], &self.x.taps[t % self.x.taps.len()]);
        y.kernel.iter().flat_map(move |ky| x.kernel.iter().map(move |kx| ky * kernel_w + kx))
    }

    /// Columns `[k0, k0 + row.len())` of the patch of pixel `p`: channels within taps.
    fn gather(&self, p: usize, k0: usize, row: &mut [f32], src: Image, x: &[f32]) {
        let (b, i, j) = self.position(p);
        let (y0, x0) = ((self.y.stride * i) as isize, (self.x.stride * j) as isize);
        let taps = &self.x.taps;
        let inside = |at: isize, limit: usize| (0..limit as isize).contains(&at);
        // Neighbouring taps that are all inside are one run of memory.
        let first = x0 + taps[0].offset;
        let run = self.x.adjacent && inside(first, src.w) && inside(first + taps.len() as isize - 1, src.w);
        let unit = if run { taps.len() * src.c } else { src.c };
        let mut to = 0;
        while to < row.len() {
            let (t, at) = ((k0 + to) / unit, (k0 + to) % unit);
            let (ty, tx) = if run { (t, 0) } else { (t / taps.len(), t % taps.len()) };
            let part = &mut row[to..];
            let len = (unit - at).min(part.len());
            let (y, column) = (y0 + self.y.taps[ty].offset, x0 + taps[tx].offset);
            if inside(y, src.h) && inside(column, src.w) {
                copy(&mut part[..len], &x[((b * src.h + y as usize) * src.w + column as usize) * src.c + at..][..len]);
            } else {
                part[..len].fill(0.0);
            }
            to += len;
        }
    }
}

/// `to.copy_from_slice(from)`, quicker for the short runs of few channels.
fn copy(to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len());
    let whole = to.len() / LANES * LANES;
    // SAFETY: both slices have the same length.
    unsafe {
        for i in (0..whole).step_by(LANES) {
            F32x16::load(from.as_ptr().add(i)).store(to.as_mut_ptr().add(i));
        }
        let rest = to.len() - whole;
        F32x16::load_n(from.as_ptr().add(whole), rest).store_n(to.as_mut_ptr().add(whole), rest);
    }
}

/// `y`, overwritten; see [`conv2d_fwd`](super::conv::conv2d_fwd).
pub(super) fn forward(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], y: &mut [f32]) {
    let (ys, xs) = (forward_axis(s.out_h, s.kernel_h, s.pad_top, s), forward_axis(s.out_w, s.kernel_w, s.pad_left, s));
    let src = Image { h: s.in_h, w: s.in_w, c: s.in_c };
    let dst = Image { h: s.out_h, w: s.out_w, c: s.out_c };
    let per_filter = s.kernel_h * s.kernel_w * s.in_c;
    for phase in phases(&ys, &xs) {
        let add = |k: usize, first: usize, row: &mut [f32]| {
            for tap in phase.kernel(k / s.in_c, s.kernel_w) {
                for (v, filter) in row.iter_mut().zip(w[first * per_filter..].chunks(per_filter)) {
                    *v += filter[tap * s.in_c + k % s.in_c];
                }
            }
        };
        // Without an upsample the taps are the kernel's own: w is the weight matrix transposed, as it lies.
        let plain = if s.upsample { &[] } else { w };
        Product { phase: &phase, batch: s.batch, src, x, dst, bias, y: Shared(y.as_mut_ptr()) }.run(plain, add);
    }
}

/// `gx`, overwritten; see [`conv2d_bwd_data`](super::conv::conv2d_bwd_data).
pub(super) fn backward_data(s: &ConvShape, gy: &[f32], w: &[f32], gx: &mut [f32]) {
    let (ys, xs) = (backward_axis(s.in_h, s.kernel_h, s.pad_top, s), backward_axis(s.in_w, s.kernel_w, s.pad_left, s));
    let src = Image { h: s.out_h, w: s.out_w, c: s.out_c };
    let dst = Image { h: s.in_h, w: s.in_w, c: s.in_c };
    let area = s.kernel_h * s.kernel_w;
    for phase in phases(&ys, &xs) {
        let add = |k: usize, first: usize, row: &mut [f32]| {
            for tap in phase.kernel(k / s.out_c, s.kernel_w) {
                let from = ((k % s.out_c) * area + tap) * s.in_c + first;
                row.iter_mut().zip(&w[from..]).for_each(|(v, w)| *v += w);
            }
        };
        Product { phase: &phase, batch: s.batch, src, x: gy, dst, bias: &[], y: Shared(gx.as_mut_ptr()) }.run(&[], add);
    }
}

/// Destination pixels of a phase = patches × weights (+ bias).
struct Product<'a> {
    phase: &'a Phase<'a>,
    batch: usize,
    src: Image,
    x: &'a [f32],
    dst: Image,
    bias: &'a [f32],
    y: Shared,
}

impl Product<'_> {
    /// `add(k, first, row)` adds row k of the weight matrix, columns from `first`, to `row`. `transposed`, unless empty,
    /// is the same matrix as [columns][k].
    fn run(&self, transposed: &[f32], add: impl Fn(usize, usize, &mut [f32]) + Sync) {
        if self.dst.c <= THIN { self.thin(add) } else { self.wide(transposed, add) }
    }

    fn wide(&self, transposed: &[f32], add: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let (pixels, k, n) = (self.phase.pixels(self.batch), self.phase.taps() * self.src.c, self.dst.c);
        if pixels == 0 {
            return;
        }
        let packed = &pack(k, n, transposed, add);
        let in_place = self.phase.y.step == 1 && self.phase.x.step == 1;
        // Weights are read once per task: large tasks, but enough of them for several threads.
        let most = pixels.div_ceil(TASKS).next_multiple_of(MR).min(PIXELS);
        let buffers = || (scratch(most * PATCH), scratch(if in_place { 0 } else { most * n }));
        (0..pixels.div_ceil(most)).into_par_iter().for_each_init(buffers, |(patches, result), task| {
            let first = task * most;
            let m = most.min(pixels - first);
            let c = if in_place { self.y.at(first * n) } else { result.as_mut_ptr() };
            // SAFETY: the m rows of n floats at `c` are this task's own (scratch, or its pixels of the destination).
            let rows = unsafe { std::slice::from_raw_parts_mut(c, m * n) };
            if k == 0 {
                rows.fill(0.0);
                rows.chunks_exact_mut(n).for_each(|row| row.iter_mut().zip(self.bias).for_each(|(v, b)| *v = *b));
            }
            for k0 in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - k0);
                for (i, row) in patches.chunks_exact_mut(PATCH).take(m).enumerate() {
                    self.phase.gather(first + i, k0, &mut row[..depth], self.src, self.x);
                }
                let block = Block {
                    m,
                    n,
                    k: depth,
                    a: patches.as_ptr(),
                    rows: Rows::KInner { stride: PATCH },
                    b: packed[k0 * n.div_ceil(NR) * NR..].as_ptr(),
                    ldb: NR,
                    panel: depth * NR,
                    c,
                    ldc: n,
                    bias: self.bias,
                    accumulate: k0 > 0,
                };
                // SAFETY: patches and panels have the extents above; C is the task's own.
                unsafe { block.run() };
            }
            if !in_place {
                for (i, row) in rows.chunks_exact(n).enumerate() {
                    let to = self.y.at(self.phase.destination(first + i, self.dst) * n);
                    // SAFETY: a pixel belongs to one phase and to one task of it.
                    unsafe { to.copy_from_nonoverlapping(row.as_ptr(), n) };
                }
            }
        });
    }

    /// At most [`THIN`] channels: a panel of columns would be mostly empty, so vectors run along k instead.
    fn thin(&self, add: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let (pixels, k, n) = (self.phase.pixels(self.batch), self.phase.taps() * self.src.c, self.dst.c);
        let ldw = k.next_multiple_of(LANES);
        let mut weights = vec![0.0; THIN * ldw];
        for at in 0..k {
            let mut row = [0.0; THIN];
            add(at, 0, &mut row[..n]);
            (0..n).for_each(|j| weights[j * ldw + at] = row[j]);
        }
        let buffers = || scratch(THIN_PIXELS * THIN_PATCH);
        (0..pixels.div_ceil(THIN_PIXELS)).into_par_iter().for_each_init(buffers, |patches, task| {
            let first = task * THIN_PIXELS;
            let m = THIN_PIXELS.min(pixels - first);
            let mut sums = [[0.0f32; THIN]; THIN_PIXELS];
            for row in &mut sums {
                row.iter_mut().zip(self.bias).for_each(|(v, b)| *v = *b);
            }
            for k0 in (0..k).step_by(THIN_DEPTH) {
                let depth = THIN_DEPTH.min(k - k0);
                for (i, row) in patches.chunks_exact_mut(THIN_PATCH).take(m).enumerate() {
                    self.phase.gather(first + i, k0, &mut row[..depth], self.src, self.x);
                    row[depth..depth.next_multiple_of(LANES)].fill(0.0);
                }
                for (rows, sums) in
                    patches.chunks_exact(4 * THIN_PATCH).zip(sums.chunks_exact_mut(4)).take(m.div_ceil(4))
                {
                    let weights = &weights[k0..];
                    let dots = match n {
                        1 => dots::<1>(rows, weights, ldw, depth),
                        2 => dots::<2>(rows, weights, ldw, depth),
                        3 => dots::<3>(rows, weights, ldw, depth),
                        _ => dots::<4>(rows, weights, ldw, depth),
                    };
                    sums.as_flattened_mut().iter_mut().zip(dots).for_each(|(s, d)| *s += d);
                }
            }
            for (i, row) in sums.iter().take(m).enumerate() {
                let to = self.y.at(self.phase.destination(first + i, self.dst) * n);
                // SAFETY: a pixel belongs to one phase and to one task of it.
                unsafe { to.copy_from_nonoverlapping(row.as_ptr(), n) };
            }
        });
    }
}

/// The products of 4 patches with N weight columns over `depth` elements, as [4][THIN].
fn dots<const N: usize>(patches: &[f32], weights: &[f32], ldw: usize, depth: usize) -> [f32; 4 * THIN] {
    let steps = depth.div_ceil(LANES);
    assert!(patches.len() >= 4 * THIN_PATCH && weights.len() >= (N - 1) * ldw + steps * LANES);
    let mut acc = [[F32x16::zero(); N]; 4];
    for p in (0..steps * LANES).step_by(LANES) {
        // SAFETY: the lengths just asserted; p + 16 ≤ THIN_DEPTH < THIN_PATCH.
        unsafe {
            let w: [F32x16; N] = std::array::from_fn(|j| F32x16::load(weights.as_ptr().add(j * ldw + p)));
            for (i, acc) in acc.iter_mut().enumerate() {
                let x = F32x16::load(patches.as_ptr().add(i * THIN_PATCH + p));
                acc.iter_mut().zip(w).for_each(|(a, w)| *a = x.mul_add(w, *a));
            }
        }
    }
    let all = std::array::from_fn(|at| if at % THIN < N { acc[at / THIN][at % THIN] } else { F32x16::zero() });
    let lanes = transpose(all);
    let mut sums = [0.0; 4 * THIN];
    let sum = |range: std::ops::Range<usize>| lanes[range].iter().fold(F32x16::zero(), |a, v| a + *v);
    // SAFETY: sixteen elements.
    unsafe { ((sum(0..4) + sum(4..8)) + (sum(8..12) + sum(12..16))).store(sums.as_mut_ptr()) };
    sums
}

/// The k×n weight matrix in panels, one block of [`DEPTH`] rows after the other.
fn pack(k: usize, n: usize, transposed: &[f32], add: impl Fn(usize, usize, &mut [f32]) + Sync) -> Scratch {
    let mut packed = scratch(packed_len(k, n));
    let panels = n.div_ceil(NR);
    packed[..packed_len(k, n)].chunks_mut(DEPTH * panels * NR).enumerate().for_each(|(block, to)| {
        let kc = to.len() / (panels * NR);
        to.par_chunks_mut(kc * NR).enumerate().for_each(|(j, panel)| {
            if !transposed.is_empty() {
                return pack_panel(panel, j, n, &transposed[block * DEPTH..], (1, k));
            }
            let cols = NR.min(n - j * NR);
            for (p, row) in panel.chunks_exact_mut(NR).enumerate() {
                row.fill(0.0);
                add(block * DEPTH + p, j * NR, &mut row[..cols]);
            }
        });
    });
    packed
}

/// `gw`, overwritten; see [`conv2d_bwd_weight`](super::conv::conv2d_bwd_weight).
pub(super) fn backward_weight(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32]) {
    let (ys, xs) = (forward_axis(s.out_h, s.kernel_h, s.pad_top, s), forward_axis(s.out_w, s.kernel_w, s.pad_left, s));
    let src = Image { h: s.in_h, w: s.in_w, c: s.in_c };
    let dst = Image { h: s.out_h, w: s.out_w, c: s.out_c };
    gw.fill(0.0);
    for phase in phases(&ys, &xs) {
        let columns = phase.taps() * s.in_c;
        for partial in grad_product(&phase, s.batch, src, x, dst, gy) {
            gw.par_chunks_mut(s.kernel_h * s.kernel_w * s.in_c).zip(partial.par_chunks(columns)).for_each(
                |(gw, row)| {
                    for (t, g) in row.chunks_exact(s.in_c).enumerate() {
                        for tap in phase.kernel(t, s.kernel_w) {
                            gw[tap * s.in_c..][..s.in_c].iter_mut().zip(g).for_each(|(v, g)| *v += g);
                        }
                    }
                },
            );
        }
    }
}

/// gyᵀ × patches, [out_c × columns], as partial sums over fixed ranges of pixels.
fn grad_product(phase: &Phase, batch: usize, src: Image, x: &[f32], dst: Image, gy: &[f32]) -> Vec<Vec<f32>> {
    let (pixels, m, columns) = (phase.pixels(batch), dst.c, phase.taps() * src.c);
    if pixels == 0 || columns == 0 {
        return Vec::new();
    }
    let slabs = columns.div_ceil(GRAD_COLUMNS);
    let width = columns.div_ceil(slabs).next_multiple_of(NR);
    let slabs = columns.div_ceil(width);
    let steps = pixels.div_ceil(GRAD_PIXELS);
    let chunk = steps.div_ceil((GRAD_TASKS / slabs).clamp(1, steps)) * GRAD_PIXELS;
    let mut partials = vec![vec![0.0f32; m * columns]; pixels.div_ceil(chunk)];
    let outs: Vec<Shared> = partials.iter_mut().map(|p| Shared(p.as_mut_ptr())).collect();
    let patch = width + 16;
    let buffers = || (scratch(GRAD_PIXELS * patch), scratch(GRAD_PIXELS * m));
    (0..outs.len() * slabs).into_par_iter().for_each_init(buffers, |(patches, grads), task| {
        let (part, k0) = (task / slabs, task % slabs * width);
        let n = width.min(columns - k0);
        let end = pixels.min((part + 1) * chunk);
        for first in (part * chunk..end).step_by(GRAD_PIXELS) {
            let depth = GRAD_PIXELS.min(end - first);
            for (i, (row, g)) in patches.chunks_exact_mut(patch).zip(grads.chunks_exact_mut(m)).take(depth).enumerate()
            {
                phase.gather(first + i, k0, &mut row[..n], src, x);
                let from = phase.destination(first + i, dst) * m;
                g.copy_from_slice(&gy[from..from + m]);
            }
            let block = Block {
                m,
                n,
                k: depth,
                a: grads.as_ptr(),
                rows: Rows::RowInner { stride: m },
                b: patches.as_ptr(),
                ldb: patch,
                panel: NR,
                c: outs[part].at(k0),
                ldc: columns,
                bias: &[],
                accumulate: first > part * chunk,
            };
            // SAFETY: rows of `patches` have 16 floats beyond `width`, so whole vectors may be read; the columns
            // [k0, k0 + n) of this partial sum are the task's own.
            unsafe { block.run() };
        }
    });
    partials
}
