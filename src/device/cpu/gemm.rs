//! Matrix product on the CPU: `C (+)= A·B` in f32.
//!
//! A register block of `MR`×`NR` outputs (24 of the 32 AVX-512 registers) is fed by one broadcast of A per row and
//! `NR`/16 vectors of B, so the FMA unit and not the load ports is the limit. B is repacked into panels of `NR`
//! columns, a few MB at a time; a task is a strip of rows, which are brought together first, so that strip and panel stay in
//! the caches. The sum over k runs in blocks of `KC` in ascending order for every element, whatever the number of threads, so
//! results are bitwise reproducible.

mod kernel;
mod panels;
mod scratch;
pub(super) mod simd;
#[cfg(test)]
pub(super) mod testing;

use self::simd::LANES;
pub(super) use kernel::{Block, MR, NR, Rows};
pub use panels::Panels;
pub(super) use panels::{pack_panel, pack_rows, packed_len};
use rayon::prelude::*;
pub use scratch::{Scratch, scratch};

/// Depth of a block along k: a panel of B (KC·NR floats) stays in L1 while the rows of A pass.
pub(super) const KC: usize = 256;
/// Rows in a strip at most: the columns that are brought together at a time (`panels::DEPTH`) take less than half a megabyte of L2.
const MC: usize = 96;
/// Tasks that a product is cut into at least, where its size allows.
const TASKS: usize = 8;
/// Floats of B repacked at a time.
const PACK: usize = 1 << 22;

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

/// Tasks that keep all threads busy to the end. No sum depends on how many they are.
pub(super) fn tasks() -> usize {
    rayon::current_num_threads().next_power_of_two().max(TASKS)
}

/// Whether strips of m rows alone are tasks enough.
pub fn many_rows(m: usize) -> bool {
    m.div_ceil(MC) > tasks() / 2
}

/// Rows of the strips that m rows are cut into: as many for each thread, where there are enough.
pub fn strip_rows(m: usize) -> usize {
    let strips = m.div_ceil(MC);
    m.div_ceil(if many_rows(m) { strips.next_multiple_of(tasks()) } else { strips.next_power_of_two() })
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
    if m <= LANES && n > LANES && b_strides.0 == 1 {
        // So few rows do not pay for repacking B: Cᵀ (+)= Bᵀ·Aᵀ reads it in place. It begins with what is added, so that every sum has
        // the order that it has among more rows.
        let mut transposed = scratch(n * m);
        let transposed = &mut transposed[..n * m];
        for (j, column) in transposed.chunks_exact_mut(m).enumerate() {
            let added = |i: usize| if accumulate { c[i * ldc + j] } else { bias.get(j).copied().unwrap_or(0.0) };
            column.iter_mut().enumerate().for_each(|(i, v)| *v = added(i));
        }
        let (a_strides, b_strides) = ((a_strides.1, a_strides.0), (b_strides.1, 1));
        run::<PARALLEL>(n, m, k, b, b_strides, a, a_strides, transposed, m, &[], true);
        for (i, row) in c.chunks_mut(ldc).take(m).enumerate() {
            row[..n].iter_mut().zip(transposed[i..].iter().step_by(m)).for_each(|(c, sum)| *c = *sum);
        }
        return;
    }
    let panels = n.div_ceil(NR);
    let depth = (PACK / (panels * NR) / KC * KC).max(KC).min(k);
    let tall = strip_rows(m);
    let strips = m.div_ceil(tall);
    // Few rows: columns make tasks, too.
    let wide = panels.div_ceil(tasks().div_ceil(strips).min(panels));
    let tasks_n = panels.div_ceil(wide);
    let c = Shared(c.as_mut_ptr());
    let mut packed = Panels::empty(n, depth);
    for k0 in (0..k).step_by(depth) {
        packed.pack::<PARALLEL>(depth.min(k - k0), &b[k0 * b_strides.0..], b_strides);
        let task = |t: usize| {
            let (i0, first) = (t / tasks_n * tall, t % tasks_n * wide);
            let a = &a[i0 * a_strides.0 + k0 * a_strides.1..];
            let c = Shared(c.at(i0 * ldc + first * NR));
            let of = first..panels.min(first + wide);
            // SAFETY: tasks own disjoint rectangles of C, whose length was asserted above.
            unsafe { packed.strip(tall.min(m - i0), (a, a_strides), of, (c, ldc), bias, accumulate || k0 > 0) };
        };
        if PARALLEL && m * n * packed.k > 1 << 17 {
            (0..strips * tasks_n).into_par_iter().for_each(task);
        } else {
            (0..strips * tasks_n).for_each(task);
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

    /// An image's samples do not depend on what else is in its batch.
    #[test]
    fn a_row_has_the_same_bits_among_any_number_of_rows() {
        let (n, k, many) = (70, 600, 600);
        let (a, b, bias) = (noise(many * k, 1), noise(n * k, 2), noise(n, 3));
        let product = |m: usize| {
            let mut c: Vec<f32> = bias.iter().copied().cycle().take(m * n).collect();
            gemm(m, n, k, &a[..m * k], (k, 1), &b, (1, k), &mut c, n, true);
            c
        };
        let all = product(many);
        for m in [1, 4, 16, 17, 100, 300] {
            assert_eq!(product(m), all[..m * n], "{m} rows");
        }
        let mut strips = vec![0.0; many * n];
        let panels = Panels::new(n, k, &b, (1, k));
        for (c, a) in strips.chunks_mut(strip_rows(many) * n).zip(a.chunks(strip_rows(many) * k)) {
            panels.product(a, c, &bias, false);
        }
        assert_eq!(strips, all);
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
