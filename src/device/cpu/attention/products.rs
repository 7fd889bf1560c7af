//! Products whose factors lie as attention makes them: plain, as panels, or packed by row blocks.

use super::super::gemm::simd::{F32x16, LANES, transpose};
use super::super::gemm::{Block, KC, NR, Rows, Scratch, pack_panel, pack_rows, packed_len, scratch};

/// A left factor of m rows and where it is.
#[derive(Clone, Copy)]
enum Left<'a> {
    /// (m, ld), of which k columns count.
    Plain(&'a [f32], usize),
    /// As [`transposed_rows`] leaves it.
    Packed(&'a [f32]),
}

/// A right factor.
#[derive(Clone, Copy)]
enum Right<'a> {
    /// (k, ld), of which n columns count; ld is a multiple of [`NR`].
    Plain(&'a [f32], usize),
    /// As [`panels`] leaves it.
    Panels(&'a [f32]),
}

/// C (+)= left·right for m×k by k×n; C has rows `ldc` apart.
fn product([m, n, k]: [usize; 3], left: Left, right: Right, c: &mut [f32], ldc: usize, accumulate: bool) {
    let last = |rows: usize, ld: usize, columns: usize| if rows == 0 { 0 } else { (rows - 1) * ld + columns };
    assert!(ldc >= n && c.len() >= last(m, ldc, n));
    let (b, ldb, panel) = match right {
        Right::Plain(b, ld) => {
            assert!(b.len() >= last(k, ld, n.next_multiple_of(NR)));
            (b, ld, NR)
        }
        Right::Panels(b) => {
            assert!(b.len() >= packed_len(k, n));
            (b, NR, k * NR)
        }
    };
    match left {
        Left::Plain(a, ld) => assert!(a.len() >= last(m, ld, k)),
        Left::Packed(a) => assert!(a.len() >= m * k),
    }
    for p0 in (0..k).step_by(KC) {
        let (a, rows) = match left {
            Left::Plain(a, stride) => (a[p0..].as_ptr(), Rows::KInner { stride }),
            Left::Packed(a) => (a[p0 * m..].as_ptr(), Rows::Packed),
        };
        let (b, c) = (b[p0 * ldb..].as_ptr(), c.as_mut_ptr());
        let accumulate = accumulate || p0 > 0;
        let block = Block { m, n, k: KC.min(k - p0), a, rows, b, ldb, panel, c, ldc, bias: &[], accumulate };
        // SAFETY: the lengths were asserted above, and C is borrowed.
        unsafe { block.run() };
    }
}

/// The transpose of rows (rows, d) as a right factor, (d, rows).
fn transposed_panels(rows: &[f32], d: usize) -> Scratch {
    let n = rows.len() / d;
    let mut to = scratch(packed_len(d, n));
    for (j, panel) in to[..packed_len(d, n)].chunks_exact_mut(d * NR).enumerate() {
        pack_panel(panel, j, n, rows, (1, d));
    }
    to
}

/// Rows (rows, d) as a right factor.
fn panels(rows: &[f32], d: usize) -> Scratch {
    let k = rows.len() / d;
    let mut to = scratch(packed_len(k, d));
    for (j, panel) in to[..packed_len(k, d)].chunks_exact_mut(k * NR).enumerate() {
        pack_panel(panel, j, d, rows, (d, 1));
    }
    to
}

/// The transpose of rows (rows, d) as a left factor, (d, rows).
pub(super) fn transposed_rows(rows: &[f32], d: usize) -> Scratch {
    let mut to = scratch(rows.len());
    for (to, rows) in to[..rows.len()].chunks_mut(KC * d).zip(rows.chunks(KC * d)) {
        pack_rows(to, d, rows, (1, d));
    }
    to
}

/// The transpose of (d, ld), of which as many columns count as `to` has rows of d.
fn transposed(from: &[f32], ld: usize, d: usize, to: &mut [f32]) {
    let len = to.len() / d;
    for c0 in (0..d).step_by(LANES) {
        for r0 in (0..len).step_by(LANES) {
            if c0 + LANES <= d && r0 + LANES <= len {
                // SAFETY: sixteen columns of sixteen rows are there on both sides.
                let rows =
                    std::array::from_fn(|i| unsafe { F32x16::load(from[(c0 + i) * ld + r0..][..LANES].as_ptr()) });
                for (i, row) in transpose(rows).into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { row.store(to[(r0 + i) * d + c0..][..LANES].as_mut_ptr()) };
                }
            } else {
                for r in r0..len.min(r0 + LANES) {
                    (c0..d.min(c0 + LANES)).for_each(|c| to[r * d + c] = from[c * ld + r]);
                }
            }
        }
    }
}

/// A block's scores, or their gradients: (keys, queries of the block).
pub(super) struct Scores {
    floats: Scratch,
    pub(super) keys: usize,
    pub(super) queries: usize,
}

impl Scores {
    /// rows·othersᵀ for rows (keys, d) and others (queries, d).
    pub(super) fn new(rows: &[f32], others: &[f32], d: usize) -> Scores {
        let (keys, queries) = (rows.len() / d, others.len() / d);
        // Room for a panel more behind the last row.
        let floats = scratch(keys * Scores::ld_of(queries) + NR);
        let mut scores = Scores { floats, keys, queries };
        let (ld, others) = (scores.ld(), transposed_panels(others, d));
        product([keys, queries, d], Left::Plain(rows, d), Right::Panels(&others), &mut scores.floats, ld, false);
        scores
    }

    /// Whole panels, an odd number of cache lines apart.
    fn ld_of(queries: usize) -> usize {
        queries.next_multiple_of(NR) + LANES
    }

    fn ld(&self) -> usize {
        Scores::ld_of(self.queries)
    }

    /// Every key's.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.floats[..self.keys * self.ld()].chunks_exact(self.ld()).map(|row| &row[..self.queries])
    }

    /// Every key's.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (ld, queries) = (self.ld(), self.queries);
        self.floats[..self.keys * ld].chunks_exact_mut(ld).map(move |row| &mut row[..queries])
    }

    /// sums (keys, d) (+)= scores·rows for rows (queries, d).
    pub(super) fn times(&self, rows: &[f32], d: usize, sums: &mut [f32], accumulate: bool) {
        let shape = [self.keys, d, self.queries];
        product(shape, Left::Plain(&self.floats, self.ld()), Right::Panels(&panels(rows, d)), sums, d, accumulate);
    }

    /// scoresᵀ·rows for rows (keys, d) as [`transposed_rows`] leaves them, to (queries, d).
    pub(super) fn transposed_times(&self, rows: &[f32], d: usize, to: &mut [f32]) {
        let (shape, ld) = ([d, self.queries, self.keys], self.ld());
        let mut made = scratch(d * ld);
        product(shape, Left::Packed(rows), Right::Plain(&self.floats, ld), &mut made, ld, false);
        transposed(&made, ld, d, to);
    }
}
