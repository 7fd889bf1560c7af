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
use super::gemm::{Block, NR, Rows, Shared, packed_len};
use rayon::prelude::*;

/// Pixels per task.
const PIXELS: usize = 96;
/// Columns of the patch matrix gathered at a time.
const DEPTH: usize = 256;
/// Row distance of the gathered block: not a multiple of 1 KiB, so that the rows fall into different cache sets.
const PATCH: usize = DEPTH + 16;
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

fn taps(positions: impl Iterator<Item = (isize, usize)>) -> Vec<Tap> {
    let mut taps: Vec<Tap> = Vec::new();
    for (offset, k) in positions {
        match taps.iter_mut().find(|t| t.offset == offset) {
            Some(tap) => tap.kernel.push(k),
            None => taps.push(Tap { offset, kernel: vec![k] }),
        }
    }
    taps
}

fn forward_axis(out: usize, kernel: usize, pad: usize, s: &ConvShape) -> Vec<Axis> {
    let from_pad = |k: usize| k as isize - pad as isize;
    if !s.upsample {
        let taps = taps((0..kernel).map(|k| (from_pad(k), k)));
        return vec![Axis { first: 0, step: 1, count: out, stride: s.stride, taps }];
    }
    (0..2)
        .map(|a| Axis {
            first: a,
            step: 2,
            count: (out + 1 - a) / 2,
            stride: 1,
            taps: taps((0..kernel).map(|k| ((a as isize + from_pad(k)).div_euclid(2), k))),
        })
        .collect()
}

fn backward_axis(input: usize, kernel: usize, pad: usize, s: &ConvShape) -> Vec<Axis> {
    let offset = |a: usize, k: usize| (a + pad) as isize - k as isize;
    if s.upsample {
        let taps = taps((0..2).flat_map(|a| (0..kernel).map(move |k| (offset(a, k), k))));
        return vec![Axis { first: 0, step: 1, count: input, stride: 2, taps }];
    }
    let stride = s.stride as isize;
    (0..s.stride.min(input))
        .map(|p| Axis {
            first: p,
            step: s.stride,
            count: (input - p).div_ceil(s.stride),
            stride: 1,
            taps: taps((0..kernel).filter(|&k| offset(p, k) % stride == 0).map(|k| (offset(p, k) / stride, k))),
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
        let mut to = 0;
        while to < row.len() {
            let (t, c) = ((k0 + to) / src.c, (k0 + to) % src.c);
            let len = (src.c - c).min(row.len() - to);
            let at = |axis: &Axis, i: usize, t: usize, limit: usize| {
                let at = (axis.stride * i) as isize + axis.taps[t].offset;
                (0..limit as isize).contains(&at).then_some(at as usize)
            };
            let (ty, tx) = (t / self.x.taps.len(), t % self.x.taps.len());
            match (at(self.y, i, ty, src.h), at(self.x, j, tx, src.w)) {
                (Some(y), Some(column)) => {
                    let from = ((b * src.h + y) * src.w + column) * src.c + c;
                    row[to..to + len].copy_from_slice(&x[from..from + len]);
                }
                _ => row[to..to + len].fill(0.0),
            }
            to += len;
        }
    }
}

/// `y`, overwritten; see [`conv2d_fwd`](super::conv::conv2d_fwd).
pub(super) fn forward(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], y: &mut [f32]) {
    let (ys, xs) = (forward_axis(s.out_h, s.kernel_h, s.pad_top, s), forward_axis(s.out_w, s.kernel_w, s.pad_left, s));
    let src = Image { h: s.in_h, w: s.in_w, c: s.in_c };
    let dst = Image { h: s.out_h, w: s.out_w, c: s.out_c };
    let per_filter = s.kernel_h * s.kernel_w * s.in_c;
    for phase in phases(&ys, &xs) {
        let packed = pack(phase.taps() * s.in_c, s.out_c, |k, first, row| {
            row.fill(0.0);
            for tap in phase.kernel(k / s.in_c, s.kernel_w) {
                for (v, filter) in row.iter_mut().zip(w[first * per_filter..].chunks(per_filter)) {
                    *v += filter[tap * s.in_c + k % s.in_c];
                }
            }
        });
        product(&phase, s.batch, src, x, dst, &packed, bias, y);
    }
}

/// `gx`, overwritten; see [`conv2d_bwd_data`](super::conv::conv2d_bwd_data).
pub(super) fn backward_data(s: &ConvShape, gy: &[f32], w: &[f32], gx: &mut [f32]) {
    let (ys, xs) = (backward_axis(s.in_h, s.kernel_h, s.pad_top, s), backward_axis(s.in_w, s.kernel_w, s.pad_left, s));
    let src = Image { h: s.out_h, w: s.out_w, c: s.out_c };
    let dst = Image { h: s.in_h, w: s.in_w, c: s.in_c };
    let area = s.kernel_h * s.kernel_w;
    for phase in phases(&ys, &xs) {
        let packed = pack(phase.taps() * s.out_c, s.in_c, |k, first, row| {
            row.fill(0.0);
            for tap in phase.kernel(k / s.out_c, s.kernel_w) {
                let from = ((k % s.out_c) * area + tap) * s.in_c + first;
                row.iter_mut().zip(&w[from..]).for_each(|(v, w)| *v += w);
            }
        });
        product(&phase, s.batch, src, gy, dst, &packed, &[], gx);
    }
}

/// The k×n weight matrix in panels, one block of [`DEPTH`] rows after the other; `fill(row, first column, columns)`.
fn pack(k: usize, n: usize, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut packed = vec![0.0; packed_len(k, n)];
    let panels = n.div_ceil(NR);
    packed.chunks_mut((DEPTH * panels * NR).max(1)).enumerate().for_each(|(block, to)| {
        let kc = to.len() / (panels * NR);
        to.par_chunks_mut(kc * NR).enumerate().for_each(|(j, panel)| {
            let cols = NR.min(n - j * NR);
            for (p, row) in panel.chunks_exact_mut(NR).enumerate() {
                fill(block * DEPTH + p, j * NR, &mut row[..cols]);
            }
        });
    });
    packed
}

/// Destination pixels of the phase = patches × packed weights (+ bias).
#[allow(clippy::too_many_arguments)]
fn product(phase: &Phase, batch: usize, src: Image, x: &[f32], dst: Image, packed: &[f32], bias: &[f32], y: &mut [f32]) {
    let (pixels, k, n) = (phase.pixels(batch), phase.taps() * src.c, dst.c);
    let in_place = phase.y.step == 1 && phase.x.step == 1;
    let y = Shared(y.as_mut_ptr());
    let scratch = || (vec![0.0f32; PIXELS * PATCH], vec![0.0f32; if in_place { 0 } else { PIXELS * n }]);
    (0..pixels.div_ceil(PIXELS)).into_par_iter().for_each_init(scratch, |(patches, result), task| {
        let first = task * PIXELS;
        let m = PIXELS.min(pixels - first);
        let c = if in_place { y.at(first * n) } else { result.as_mut_ptr() };
        // SAFETY: the m rows of n floats at `c` are this task's own (scratch, or its pixels of the destination).
        let rows = unsafe { std::slice::from_raw_parts_mut(c, m * n) };
        if k == 0 {
            rows.fill(0.0);
        }
        for k0 in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - k0);
            for (i, row) in patches.chunks_exact_mut(PATCH).take(m).enumerate() {
                phase.gather(first + i, k0, &mut row[..depth], src, x);
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
                accumulate: k0 > 0,
            };
            // SAFETY: patches and panels have the extents above; C is the task's own.
            unsafe { block.run() };
        }
        if !bias.is_empty() {
            for row in rows.chunks_exact_mut(n) {
                row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        if !in_place {
            for (i, row) in rows.chunks_exact(n).enumerate() {
                let to = y.at(phase.destination(first + i, dst) * n);
                // SAFETY: a pixel belongs to one phase and to one task of it.
                unsafe { to.copy_from_nonoverlapping(row.as_ptr(), n) };
            }
        }
    });
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
            gw.par_chunks_mut(s.kernel_h * s.kernel_w * s.in_c).zip(partial.par_chunks(columns)).for_each(|(gw, row)| {
                for (t, g) in row.chunks_exact(s.in_c).enumerate() {
                    for tap in phase.kernel(t, s.kernel_w) {
                        gw[tap * s.in_c..][..s.in_c].iter_mut().zip(g).for_each(|(v, g)| *v += g);
                    }
                }
            });
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
    let scratch = || (vec![0.0f32; GRAD_PIXELS * patch], vec![0.0f32; GRAD_PIXELS * m]);
    (0..outs.len() * slabs).into_par_iter().for_each_init(scratch, |(patches, grads), task| {
        let (part, k0) = (task / slabs, task % slabs * width);
        let n = width.min(columns - k0);
        let end = pixels.min((part + 1) * chunk);
        for first in (part * chunk..end).step_by(GRAD_PIXELS) {
            let depth = GRAD_PIXELS.min(end - first);
            for (i, (row, g)) in patches.chunks_exact_mut(patch).zip(grads.chunks_exact_mut(m)).take(depth).enumerate() {
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
                accumulate: first > part * chunk,
            };
            // SAFETY: rows of `patches` have 16 floats beyond `width`, so whole vectors may be read; the columns
            // [k0, k0 + n) of this partial sum are the task's own.
            unsafe { block.run() };
        }
    });
    partials
}
