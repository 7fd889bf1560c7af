//! The register block: a small product of rows of A with a panel of B, held in registers while k runs.

use super::simd::{F32x16, LANES, prefetch};

/// Rows of the register block.
pub const MR: usize = if cfg!(target_feature = "avx512f") { 12 } else { 6 };
/// Columns of the register block and of a panel of B.
pub const NR: usize = if cfg!(target_feature = "avx512f") { 32 } else { 16 };
/// How the left matrix of a [`Block`] lies in memory.
#[derive(Clone, Copy)]
pub enum Rows {
    /// `a[i·stride + p]`: contiguous along k.
    KInner { stride: usize },
    /// `a[p·stride + i]`: contiguous along the rows.
    RowInner { stride: usize },
    /// Row blocks as [`split`] gives them, each `a[first·k + p·len + i]`.
    Packed,
}

/// One single-threaded product of an m×k by a k×n matrix.
pub struct Block<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const f32,
    pub rows: Rows,
    /// Panel j starts at `b + j·panel`; in it, row p of B is at `p·ldb`, [`NR`] readable floats (the last panel: n's
    /// remainder rounded up to 16).
    pub b: *const f32,
    pub ldb: usize,
    pub panel: usize,
    pub c: *mut f32,
    pub ldc: usize,
    /// Added to every row when not accumulating; empty for none.
    pub bias: &'a [f32],
    pub accumulate: bool,
}

/// Splits `m` rows into the fewest blocks of at most [`MR`], of nearly equal height: `(first, len)`.
pub fn split(m: usize) -> impl Iterator<Item = (usize, usize)> {
    let blocks = m.div_ceil(MR).max(1);
    let (base, longer) = (m / blocks, m % blocks);
    (0..blocks).map(move |i| (i * base + i.min(longer), base + usize::from(i < longer))).filter(|b| b.1 > 0)
}

impl Block<'_> {
    /// Computes the product.
    ///
    /// # Safety
    /// The pointers are valid for the extents the fields describe, and nobody else touches C's elements meanwhile.
    pub unsafe fn run(&self) {
        for j in 0..self.n.div_ceil(NR) {
            for (first, len) in split(self.m) {
                // SAFETY: the caller's promise.
                unsafe {
                    let b = self.b.add(j * self.panel);
                    let c = self.c.add(first * self.ldc + j * NR);
                    match self.rows {
                        Rows::KInner { stride } => self.tile::<false>(len, j, self.a.add(first * stride), stride, b, c),
                        Rows::RowInner { stride } => self.tile::<true>(len, j, self.a.add(first), stride, b, c),
                        Rows::Packed => self.tile::<true>(len, j, self.a.add(first * self.k), len, b, c),
                    }
                }
            }
        }
    }

    /// A row block of `len` rows times panel `j`.
    ///
    /// # Safety
    /// `a`, `b` and `c` are where the block's rows of A (`lda` apart), the panel and the rows of C start, all valid for
    /// the extents that the fields describe.
    unsafe fn tile<const ROW_INNER: bool>(
        &self,
        len: usize,
        j: usize,
        a: *const f32,
        lda: usize,
        b: *const f32,
        c: *mut f32,
    ) {
        macro_rules! dispatch {
            ($($r:literal)*) => {
                match (len, self.n - j * NR > LANES) {
                    $(
                        // SAFETY: the caller's promise; the block has `len` = R rows.
                        ($r, true) => unsafe { self.micro::<$r, { NR / LANES }, ROW_INNER>(j, a, lda, b, c) },
                        // SAFETY: the same, and the panel has at most one vector of columns left.
                        ($r, false) => unsafe { self.micro::<$r, 1, ROW_INNER>(j, a, lda, b, c) },
                    )*
                    _ => unreachable!("row blocks have 1 to MR rows"),
                }
            };
        }
        #[cfg(target_feature = "avx512f")]
        dispatch!(1 2 3 4 5 6 7 8 9 10 11 12);
        #[cfg(not(target_feature = "avx512f"))]
        dispatch!(1 2 3 4 5 6);
    }

    /// The product of R rows and V vectors of columns, in registers.
    ///
    /// # Safety
    /// As [`Block::tile`], with R rows.
    #[inline(never)]
    unsafe fn micro<const R: usize, const V: usize, const ROW_INNER: bool>(
        &self,
        panel: usize,
        a: *const f32,
        lda: usize,
        b: *const f32,
        c: *mut f32,
    ) {
        // SAFETY: A is read at R rows and k columns, B at k rows of V vectors (panels are padded to whole ones), C and the
        // bias at what is left of the n columns; all inside what the caller promised.
        unsafe {
            let mut acc = [[F32x16::zero(); V]; R];
            let (mut a, mut b) = (a, b);
            // Rows of A as four bases and two offsets: twelve pointers would not fit the integer registers.
            let mut bases: [*const f32; 4] = std::array::from_fn(|g| a.wrapping_add(3 * g * lda));
            for r in 0..R {
                (0..V).for_each(|j| prefetch(c.wrapping_add(r * self.ldc + j * LANES)));
            }
            for _ in 0..self.k {
                let mut bv = [F32x16::zero(); V];
                for (j, v) in bv.iter_mut().enumerate() {
                    *v = F32x16::load(b.add(j * LANES));
                }
                b = b.wrapping_add(self.ldb);
                for (r, row) in acc.iter_mut().enumerate() {
                    let x = F32x16::splat(if ROW_INNER { *a.add(r) } else { *bases[r / 3].add(r % 3 * lda) });
                    for (s, v) in row.iter_mut().zip(bv) {
                        *s = x.mul_add(v, *s);
                    }
                }
                if ROW_INNER {
                    a = a.wrapping_add(lda);
                } else {
                    bases = bases.map(|p| p.wrapping_add(1));
                }
            }
            for (r, row) in acc.into_iter().enumerate() {
                for (j, mut v) in row.into_iter().enumerate() {
                    let to = c.add(r * self.ldc + j * LANES);
                    let column = panel * NR + j * LANES;
                    let left = self.n - column;
                    if !self.accumulate && !self.bias.is_empty() {
                        v = v + F32x16::load_n(self.bias.as_ptr().add(column), left.min(LANES));
                    }
                    if left >= LANES {
                        if self.accumulate {
                            v = v + F32x16::load(to);
                        }
                        v.store(to);
                    } else {
                        if self.accumulate {
                            v = v + F32x16::load_n(to, left);
                        }
                        v.store_n(to, left);
                    }
                }
            }
        }
    }
}
