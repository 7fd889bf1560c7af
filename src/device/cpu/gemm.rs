//! Matrix product on the CPU: `C (+)= A·B` in f32.
//!
//! A register block of `MR`×`NR` outputs (24 of the 32 AVX-512 registers) is fed by one broadcast of A per row and
//! `NR`/16 vectors of B, so the FMA unit and not the load ports is the limit. B is repacked into panels of `NR`
//! columns, a few MB at a time; A is read in place where its rows are contiguous along k and repacked otherwise. The sum
//! over k runs in blocks of `KC` in ascending order for every element, whatever the number of threads, so results are
//! bitwise reproducible.

mod kernel;
mod scratch;
pub(super) mod simd;
#[cfg(test)]
pub(super) mod testing;

use self::simd::{F32x16, LANES, transpose};
use kernel::split;
pub(super) use kernel::{Block, MR, NR, Rows};
use rayon::prelude::*;
pub(super) use scratch::{Scratch, scratch};

/// Depth of a block along k: a panel of B (KC·NR floats) stays in L1 while the rows of A pass.
const KC: usize = 256;
/// Row distance of a copy of A: not a multiple of 1 KiB, so that the rows fall into different cache sets.
const COPY: usize = KC + 16;
/// Rows of C per task, and the most panels per task.
const MC: usize = 96;
const PANELS: usize = 8;
/// Tasks that a product is cut into where its size allows.
const TASKS: usize = 8;
/// Floats of B repacked at a time.
const PACK: usize = 1 << 20;

/// A raw pointer that tasks may share: each task touches elements no other task touches.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub *mut f32);
// SAFETY: every use hands disjoint elements to the tasks.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn at(self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}

/// Floats that [`pack_panel`] writes for all panels of a k×n matrix.
pub(super) fn packed_len(k: usize, n: usize) -> usize {
    n.div_ceil(NR) * NR * k
}

/// Writes panel `j` (columns `j·NR…`) of a k×n matrix as k rows of [`NR`] floats, zero past column n.
pub(super) fn pack_panel(to: &mut [f32], j: usize, n: usize, b: &[f32], (rs, cs): (usize, usize)) {
    let cols = NR.min(n - j * NR);
    let k = to.len() / NR;
    if cs == 1 {
        for (p, row) in to.chunks_exact_mut(NR).enumerate() {
            let from = p * rs + j * NR;
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

/// Writes k columns of A, m rows in groups of `tall`, each as [`Rows::Packed`].
fn pack_rows(to: &mut [f32], m: usize, tall: usize, a: &[f32], (rs, cs): (usize, usize)) {
    let k = to.len() / m;
    let blocks: Vec<_> = (0..m)
        .step_by(tall)
        .flat_map(|i0| split(tall.min(m - i0)).map(move |(first, len)| (i0 + first, len)))
        .collect();
    for p in 0..k {
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

fn span(rows: usize, cols: usize, (rs, cs): (usize, usize)) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * rs + (cols - 1) * cs + 1 }
}

/// `C = A·B`, or `C += A·B` with `accumulate`: A is m×k, B is k×n, C is m×n with rows `ldc` apart.
///
/// Strides are `(between rows, between columns)` in floats, so a transposed matrix is the same slice with its strides
/// swapped. Runs on rayon's pool; see [`gemm_serial`] for use inside a parallel loop.
///
/// # Panics
/// If a slice is too short for its matrix, or `ldc < n`.
#[allow(clippy::too_many_arguments, reason = "two operands, a result and their sizes, as every BLAS has them")]
pub fn gemm(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
) {
    run::<true>(m, n, k, a, a_strides, b, b_strides, c, ldc, &[], accumulate);
}

/// [`gemm`] on the calling thread alone, with the same result bit for bit.
///
/// # Panics
/// As [`gemm`].
#[allow(clippy::too_many_arguments, reason = "two operands, a result and their sizes, as every BLAS has them")]
pub fn gemm_serial(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: &mut [f32],
    ldc: usize,
    accumulate: bool,
) {
    run::<false>(m, n, k, a, a_strides, b, b_strides, c, ldc, &[], accumulate);
}

/// [`gemm`] and, when not accumulating, `+ bias` in every row (n elements, or empty for none).
#[allow(clippy::too_many_arguments, reason = "two operands, a result and their sizes, as every BLAS has them")]
pub(super) fn run<const PARALLEL: bool>(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: (usize, usize),
    b: &[f32],
    b_strides: (usize, usize),
    c: &mut [f32],
    ldc: usize,
    bias: &[f32],
    accumulate: bool,
) {
    assert!(bias.is_empty() || bias.len() == n, "gemm: {} elements of bias for {n} columns", bias.len());
    assert!(a.len() >= span(m, k, a_strides), "gemm: A is shorter than {m}×{k}");
    assert!(b.len() >= span(k, n, b_strides), "gemm: B is shorter than {k}×{n}");
    assert!(ldc >= n && c.len() >= span(m, n, (ldc, 1)), "gemm: C is shorter than {m}×{n}");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            for row in c.chunks_mut(ldc).take(m) {
                row[..n].fill(0.0);
                row.iter_mut().zip(bias).for_each(|(v, b)| *v = *b);
            }
        }
        return;
    }
    let panels = n.div_ceil(NR);
    let direct = a_strides.1 == 1;
    let widest = if direct { panels * NR } else { m.max(panels * NR) };
    let depth = (PACK / widest / KC * KC).max(KC).min(k);
    let mut packed = scratch(packed_len(depth, n));
    let mut packed_a = scratch(if direct { 0 } else { m * depth });
    let tall = if m >= 4 * MC { MC } else { 3 * MR };
    let mut wide = panels.div_ceil(panels.div_ceil(PANELS));
    while wide > 1 && m.div_ceil(tall) * panels.div_ceil(wide) < TASKS {
        wide = wide.div_ceil(2);
    }
    let (tasks_m, tasks_n) = (m.div_ceil(tall), panels.div_ceil(wide));
    let c = Shared(c.as_mut_ptr());

    for k0 in (0..k).step_by(depth) {
        let depth = depth.min(k - k0);
        // The k-blocks of this pass one after the other, each as panels.
        for p0 in (0..depth).step_by(KC) {
            let kc = KC.min(depth - p0);
            let to = &mut packed[p0 * panels * NR..(p0 + kc) * panels * NR];
            let pack =
                |(j, panel): (usize, &mut [f32])| pack_panel(panel, j, n, &b[(k0 + p0) * b_strides.0..], b_strides);
            if PARALLEL && kc * n > 16384 {
                to.par_chunks_mut(kc * NR).enumerate().for_each(pack);
            } else {
                to.chunks_mut(kc * NR).enumerate().for_each(pack);
            }
        }
        if !direct {
            // Likewise the row blocks of every task's share of A; whole rows are read at once.
            let pack = |(block, to): (usize, &mut [f32])| {
                let k0 = k0 + block * KC;
                pack_rows(to, m, tall, &a[k0 * a_strides.1..], a_strides);
            };
            if PARALLEL {
                packed_a[..m * depth].par_chunks_mut(m * KC).enumerate().for_each(pack);
            } else {
                packed_a[..m * depth].chunks_mut(m * KC).enumerate().for_each(pack);
            }
        }
        let (packed, packed_a) = (&packed, &packed_a);
        let task = |t: usize| {
            let (i0, j0) = (t / tasks_n * tall, t % tasks_n * wide);
            let rows = tall.min(m - i0);
            let cols = (wide * NR).min(n - j0 * NR);
            // Rows far apart share cache sets and cost a page each: with enough columns to pay for it, move them together.
            let gather = direct && wide >= 4 && a_strides.0 >= KC;
            let mut rows_of_a = scratch(if gather { rows * COPY } else { 0 });
            for p0 in (0..depth).step_by(KC) {
                let kc = KC.min(depth - p0);
                let (a, layout) = if gather {
                    for (i, row) in rows_of_a.chunks_exact_mut(COPY).take(rows).enumerate() {
                        row[..kc].copy_from_slice(&a[(i0 + i) * a_strides.0 + k0 + p0..][..kc]);
                    }
                    (rows_of_a.as_ptr(), Rows::KInner { stride: COPY })
                } else if direct {
                    (a[i0 * a_strides.0 + k0 + p0..].as_ptr(), Rows::KInner { stride: a_strides.0 })
                } else {
                    (packed_a[p0 * m + i0 * kc..].as_ptr(), Rows::Packed)
                };
                let block = Block {
                    m: rows,
                    n: cols,
                    k: kc,
                    a,
                    rows: layout,
                    b: packed[(p0 * panels + j0 * kc) * NR..].as_ptr(),
                    ldb: NR,
                    panel: kc * NR,
                    c: c.at(i0 * ldc + j0 * NR),
                    ldc,
                    bias: if bias.is_empty() { bias } else { &bias[j0 * NR..][..cols] },
                    accumulate: accumulate || k0 + p0 > 0,
                };
                // SAFETY: lengths were asserted above; tasks own disjoint rectangles of C.
                unsafe { block.run() };
            }
        };
        if PARALLEL && m * n * depth > 1 << 17 {
            (0..tasks_m * tasks_n).into_par_iter().for_each(task);
        } else {
            (0..tasks_m * tasks_n).for_each(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{error, noise};
    use super::*;

    fn check(m: usize, n: usize, k: usize, ta: bool, tb: bool, accumulate: bool) {
        let (a, b) = (noise(m * k, 1), noise(k * n, 2));
        let sa = if ta { (1, m) } else { (k, 1) };
        let sb = if tb { (1, k) } else { (n, 1) };
        let ldc = n + 3;
        let mut c = noise(m * ldc, 3);
        let before = c.clone();
        let mut serial = c.clone();
        gemm(m, n, k, &a, sa, &b, sb, &mut c, ldc, accumulate);
        gemm_serial(m, n, k, &a, sa, &b, sb, &mut serial, ldc, accumulate);
        assert_eq!(c, serial);
        let want: Vec<f64> = (0..m * ldc)
            .map(|at| {
                let (i, j) = (at / ldc, at % ldc);
                let old = f64::from(before[at]);
                if j >= n {
                    return old;
                }
                let dot: f64 =
                    (0..k).map(|p| f64::from(a[i * sa.0 + p * sa.1]) * f64::from(b[p * sb.0 + j * sb.1])).sum();
                if accumulate { old + dot } else { dot }
            })
            .collect();
        // f32 sums of up to 600 products of order one.
        assert!(error(&c, &want) < 1e-6, "{m}×{n}×{k} {ta} {tb}: {}", error(&c, &want));
    }

    #[test]
    fn every_layout_and_tail_agrees_with_f64() {
        for &(m, n, k) in &[
            (1, 1, 1),
            (5, 3, 0),
            (13, 33, 7),
            (64, 16, 300),
            (131, 47, 129),
            (401, 290, 600),
            (7, 129, 513),
            (150, 3, 70),
        ] {
            for bits in 0..8 {
                check(m, n, k, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            }
        }
    }
}
