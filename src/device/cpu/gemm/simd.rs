//! Sixteen f32 lanes: one AVX-512 register, or an array that LLVM splits over narrower ones.
//!
//! The kernels of this folder are written once over [`F32x16`]; only this file knows the instruction set.

use std::ops::{Add, Mul, Sub};

/// Lanes of a vector.
pub const LANES: usize = 16;

#[cfg(target_feature = "avx512f")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one comment holds for every block of this thin layer")]
mod imp {
    use std::arch::x86_64::*;

    pub type Raw = __m512;

    // SAFETY (all of this module): avx512f is enabled for the whole build; pointers are the caller's promise.
    #[inline(always)]
    pub fn splat(x: f32) -> Raw {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    pub unsafe fn load(p: *const f32) -> Raw {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    pub unsafe fn load_n(p: *const f32, n: usize) -> Raw {
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    pub unsafe fn store(p: *mut f32, v: Raw) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    pub unsafe fn store_n(p: *mut f32, v: Raw, n: usize) {
        unsafe { _mm512_mask_storeu_ps(p, mask(n), v) }
    }
    #[inline(always)]
    pub fn mul_add(a: Raw, b: Raw, c: Raw) -> Raw {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    pub fn add(a: Raw, b: Raw) -> Raw {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    pub fn sub(a: Raw, b: Raw) -> Raw {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    pub fn mul(a: Raw, b: Raw) -> Raw {
        unsafe { _mm512_mul_ps(a, b) }
    }
    /// Four rounds of two-register shuffles: 32-bit, then 64-bit, then 128-bit units.
    #[inline(always)]
    pub fn transpose(r: [Raw; 16]) -> [Raw; 16] {
        use std::array::from_fn;
        unsafe {
            let pairs: [__m512; 16] = from_fn(|i| {
                let (a, b) = (r[i / 4 * 4 + i % 2 * 2], r[i / 4 * 4 + i % 2 * 2 + 1]);
                if i % 4 < 2 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) }
            });
            // quads[4q + e]: in each 128-bit part p, element 4p + e of rows 4q … 4q + 3.
            let quads: [__m512; 16] = from_fn(|i| {
                let (q, e) = (i / 4, i % 4);
                let (a, b) =
                    (_mm512_castps_pd(pairs[4 * q + e / 2 * 2]), _mm512_castps_pd(pairs[4 * q + e / 2 * 2 + 1]));
                _mm512_castpd_ps(if e % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
            });
            from_fn(|i| {
                let (p, e) = (i / 4, i % 4);
                let (lo, hi) = if p < 2 {
                    (
                        _mm512_shuffle_f32x4::<0x44>(quads[e], quads[4 + e]),
                        _mm512_shuffle_f32x4::<0x44>(quads[8 + e], quads[12 + e]),
                    )
                } else {
                    (
                        _mm512_shuffle_f32x4::<0xEE>(quads[e], quads[4 + e]),
                        _mm512_shuffle_f32x4::<0xEE>(quads[8 + e], quads[12 + e]),
                    )
                };
                if p % 2 == 0 { _mm512_shuffle_f32x4::<0x88>(lo, hi) } else { _mm512_shuffle_f32x4::<0xDD>(lo, hi) }
            })
        }
    }
    #[inline(always)]
    fn mask(n: usize) -> u16 {
        ((1u32 << n) - 1) as u16
    }
}

#[cfg(not(target_feature = "avx512f"))]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one comment holds for every block of this thin layer")]
mod imp {
    // SAFETY (all of this module): pointers are the caller's promise, and every access is unaligned or of one float.
    use std::array::from_fn;

    #[derive(Clone, Copy)]
    #[repr(align(64))]
    pub struct Raw([f32; 16]);

    #[inline(always)]
    pub fn splat(x: f32) -> Raw {
        Raw([x; 16])
    }
    #[inline(always)]
    pub unsafe fn load(p: *const f32) -> Raw {
        Raw(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    pub unsafe fn load_n(p: *const f32, n: usize) -> Raw {
        Raw(from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 }))
    }
    #[inline(always)]
    pub unsafe fn store(p: *mut f32, v: Raw) {
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v.0) }
    }
    #[inline(always)]
    pub unsafe fn store_n(p: *mut f32, v: Raw, n: usize) {
        for (i, x) in v.0.iter().enumerate().take(n) {
            unsafe { *p.add(i) = *x }
        }
    }
    // Without the FMA instruction `f32::mul_add` is a library call, a hundred times slower than two roundings.
    #[inline(always)]
    pub fn mul_add(a: Raw, b: Raw, c: Raw) -> Raw {
        Raw(from_fn(|i| {
            if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                a.0[i].mul_add(b.0[i], c.0[i])
            } else {
                a.0[i] * b.0[i] + c.0[i]
            }
        }))
    }
    #[inline(always)]
    pub fn add(a: Raw, b: Raw) -> Raw {
        Raw(from_fn(|i| a.0[i] + b.0[i]))
    }
    #[inline(always)]
    pub fn sub(a: Raw, b: Raw) -> Raw {
        Raw(from_fn(|i| a.0[i] - b.0[i]))
    }
    #[inline(always)]
    pub fn mul(a: Raw, b: Raw) -> Raw {
        Raw(from_fn(|i| a.0[i] * b.0[i]))
    }
    pub fn transpose(r: [Raw; 16]) -> [Raw; 16] {
        from_fn(|i| Raw(from_fn(|j| r[j].0[i])))
    }
}

/// Sixteen f32 lanes.
#[derive(Clone, Copy)]
pub struct F32x16(imp::Raw);

impl F32x16 {
    /// All lanes zero.
    #[inline(always)]
    pub fn zero() -> Self {
        Self::splat(0.0)
    }

    /// All lanes `x`.
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        Self(imp::splat(x))
    }

    /// Reads 16 floats at `p`, which needs no alignment.
    ///
    /// # Safety
    /// `p` is valid for reading 16 floats.
    #[inline(always)]
    pub unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { imp::load(p) })
    }

    /// Reads `n ≤ 16` floats at `p`; the other lanes are zero.
    ///
    /// # Safety
    /// `p` is valid for reading `n` floats.
    #[inline(always)]
    pub unsafe fn load_n(p: *const f32, n: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { imp::load_n(p, n) })
    }

    /// Writes 16 floats at `p`, which needs no alignment.
    ///
    /// # Safety
    /// `p` is valid for writing 16 floats.
    #[inline(always)]
    pub unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { imp::store(p, self.0) }
    }

    /// Writes the first `n ≤ 16` lanes at `p`.
    ///
    /// # Safety
    /// `p` is valid for writing `n` floats.
    #[inline(always)]
    pub unsafe fn store_n(self, p: *mut f32, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { imp::store_n(p, self.0, n) }
    }

    /// `self · b + c`, fused where the machine can.
    #[inline(always)]
    pub fn mul_add(self, b: Self, c: Self) -> Self {
        Self(imp::mul_add(self.0, b.0, c.0))
    }
}

/// Asks for the cache line at `p`, which may be any address.
#[inline(always)]
pub fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// The transpose of a 16×16 matrix given by its rows.
#[inline(always)]
pub fn transpose(rows: [F32x16; LANES]) -> [F32x16; LANES] {
    imp::transpose(rows.map(|r| r.0)).map(F32x16)
}

impl Add for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(imp::add(self.0, b.0))
    }
}

impl Sub for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(imp::sub(self.0, b.0))
    }
}

impl Mul for F32x16 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(imp::mul(self.0, b.0))
    }
}
