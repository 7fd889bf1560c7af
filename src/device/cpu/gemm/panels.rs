//! Factors repacked: the right one as panels, rows of the left one by register blocks; and the product of a strip of rows with panels.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Block, NR, Rows, split};
use super::scratch::{Scratch, scratch};
use super::simd::{F32x16, LANES, prefetch, transpose};
use super::{KC, Shared};

/// Depth to which rows of A are brought together at a time.
const DEPTH: usize = 4 * KC;
/// Panels that pay for bringing rows together which could be read in place.
const WORTH_A_COPY: usize = 4;
/// Rows ahead for which a strided copy asks.
const AHEAD: usize = 12;

/// Floats that [`pack_panel`] writes for all panels of a k×n matrix.
pub(in super::super) fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(NR) * NR * k
}

/// Writes panel `j` (columns `j·NR…`) of a k×n matrix as k rows of [`NR`] floats, zero past column n.
pub(in super::super) fn pack_panel(to: &mut [f32], j: usize, n: usize, b: &[f32], (rs, cs): (usize, usize)) {
    let cols = NR.min(n - j * NR);
    let k = to.len() / NR;
    if cs == 1 {
        for (p, row) in to.chunks_exact_mut(NR).enumerate() {
            let from = p * rs + j * NR;
            let ahead = b.as_ptr().wrapping_add(from + AHEAD * rs);
            (0..NR).step_by(LANES).for_each(|i| prefetch(ahead.wrapping_add(i)));
            row[..cols].copy_from_slice(&b[from..from + cols]);
            row[cols..].fill(0.0);
        }
    } else {
        for lane in (0..NR).step_by(LANES) {
            let lanes = cols.saturating_sub(lane).min(LANES);
            for p in (0..k).step_by(LANES) {
                let depth = LANES.min(k - p);
                let columns = std::array::from_fn(|i| {
                    if i >= lanes {
                        return F32x16::zero();
                    }
                    let from = (j * NR + lane + i) * cs + p * rs;
                    if rs == 1 {
                        let from = &b[from..from + depth];
                        // SAFETY: the slice has `depth` elements.
                        unsafe { F32x16::load_n(from.as_ptr(), depth) }
                    } else {
                        let mut column = [0.0; LANES];
                        column.iter_mut().zip(b[from..].iter().step_by(rs)).take(depth).for_each(|(v, b)| *v = *b);
                        // SAFETY: sixteen elements.
                        unsafe { F32x16::load(column.as_ptr()) }
                    }
                });
                for (row, to) in transpose(columns).into_iter().zip(to[p * NR..].chunks_exact_mut(NR)) {
                    // SAFETY: lane + 16 ≤ NR.
                    unsafe { row.store(to[lane..].as_mut_ptr()) };
                }
            }
        }
    }
}

/// Writes k columns of A, m rows, as [`Rows::Packed`].
pub(in super::super) fn pack_rows(to: &mut [f32], m: usize, a: &[f32], (rs, cs): (usize, usize)) {
    let k = to.len() / m;
    let blocks: Vec<_> = split(m).collect();
    for p in 0..k {
        if rs == 1 {
            let ahead = a.as_ptr().wrapping_add((p + AHEAD) * cs);
            (0..m).step_by(LANES).for_each(|i| prefetch(ahead.wrapping_add(i)));
        }
        for &(first, len) in &blocks {
            let row = &mut to[first * k + p * len..][..len];
            if rs == 1 {
                let from = &a[p * cs + first..][..len];
                // SAFETY: both slices have len ≤ MR ≤ 16 elements.
                unsafe { F32x16::load_n(from.as_ptr(), len).store_n(row.as_mut_ptr(), len) };
            } else {
                row.iter_mut().enumerate().for_each(|(i, v)| *v = a[(first + i) * rs + p * cs]);
            }
        }
    }
}

/// The right factor of products, k×n and repacked as panels, one after the other.
pub struct Panels {
    floats: Scratch,
    n: usize,
    pub(super) k: usize,
}

impl Panels {
    /// Repacks B, whose strides are as in [`gemm`](super::gemm), on rayon's pool.
    ///
    /// # Panics
    /// If the slice is too short for k×n.
    pub fn new(n: usize, k: usize, b: &[f32], strides: (usize, usize)) -> Panels {
        let mut panels = Panels::empty(n, k);
        panels.pack::<true>(k, b, strides);
        panels
    }

    /// Room for k rows.
    pub(super) fn empty(n: usize, k: usize) -> Panels {
        Panels { floats: scratch(packed_len(k, n)), n, k }
    }

    fn count(&self) -> usize {
        self.n.div_ceil(NR)
    }

    pub(super) fn pack<const PARALLEL: bool>(&mut self, k: usize, b: &[f32], strides: (usize, usize)) {
        let (n, len) = (self.n, self.count() * k * NR);
        self.k = k;
        let pack = |(j, panel): (usize, &mut [f32])| pack_panel(panel, j, n, b, strides);
        if PARALLEL && k * n > 16384 {
            self.floats[..len].par_chunks_mut(k * NR).enumerate().for_each(pack);
        } else {
            self.floats[..len].chunks_mut(k * NR).enumerate().for_each(pack);
        }
    }

    /// `C = A·B + bias`, or `C += A·B` with `accumulate`, for a strip of rows, on this thread: A is m×k, C is m×n, the bias (n)
    /// or empty.
    ///
    /// # Panics
    /// If a slice has another length, or B no rows.
    pub fn product(&self, a: &[f32], c: &mut [f32], bias: &[f32], accumulate: bool) {
        let m = c.len() / self.n;
        assert!(c.len() == m * self.n && a.len() == m * self.k && self.k > 0, "panels: A·B is not C");
        assert!(
            bias.is_empty() || bias.len() == self.n,
            "panels: {} elements of bias for {} columns",
            bias.len(),
            self.n
        );
        // SAFETY: C is m rows of n floats, and borrowed.
        unsafe { self.strip(m, (a, (self.k, 1)), 0..self.count(), (Shared(c.as_mut_ptr()), self.n), bias, accumulate) }
    }

    /// [`Panels::product`] of some of the panels, with `bias` (n elements or none) added when not accumulating; `c` is where the
    /// first of their columns begins.
    ///
    /// # Safety
    /// Nobody else touches these columns of m rows of C, `ldc` apart, meanwhile.
    pub(super) unsafe fn strip(
        &self,
        m: usize,
        (a, a_strides): (&[f32], (usize, usize)),
        panels: Range<usize>,
        (c, ldc): (Shared, usize),
        bias: &[f32],
        accumulate: bool,
    ) {
        let direct = a_strides.1 == 1;
        // Rows far apart share cache sets and cost a page each: with enough columns to pay for it, move them together, an odd
        // number of cache lines apart, so that they fall into different sets.
        let copied = !direct || (panels.len() >= WORTH_A_COPY && a_strides.0 >= KC);
        let apart = |depth: usize| (depth.div_ceil(LANES) | 1) * LANES;
        let mut copy = scratch(if copied { m * apart(self.k.min(DEPTH)) } else { 0 });
        for g0 in (0..self.k).step_by(DEPTH) {
            let depth = DEPTH.min(self.k - g0);
            let stride = apart(depth);
            if !direct {
                for (block, to) in copy[..m * depth].chunks_mut(m * KC).enumerate() {
                    pack_rows(to, m, &a[(g0 + block * KC) * a_strides.1..], a_strides);
                }
            } else if copied {
                for (i, row) in copy.chunks_exact_mut(stride).take(m).enumerate() {
                    row[..depth].copy_from_slice(&a[i * a_strides.0 + g0..][..depth]);
                }
            }
            for j in panels.clone() {
                let columns = NR.min(self.n - j * NR);
                for p0 in (0..depth).step_by(KC) {
                    let kc = KC.min(depth - p0);
                    let (a, rows) = if !direct {
                        (copy[p0 * m..].as_ptr(), Rows::Packed)
                    } else if copied {
                        (copy[p0..].as_ptr(), Rows::KInner { stride })
                    } else {
                        (a[g0 + p0..].as_ptr(), Rows::KInner { stride: a_strides.0 })
                    };
                    let block = Block {
                        m,
                        n: columns,
                        k: kc,
                        a,
                        rows,
                        b: self.floats[(j * self.k + g0 + p0) * NR..].as_ptr(),
                        ldb: NR,
                        panel: 0,
                        c: c.at((j - panels.start) * NR),
                        ldc,
                        bias: if bias.is_empty() { bias } else { &bias[j * NR..][..columns] },
                        accumulate: accumulate || g0 + p0 > 0,
                    };
                    // SAFETY: the caller's promise of C; A and B are as long as the panels say.
                    unsafe { block.run() };
                }
            }
        }
    }
}
