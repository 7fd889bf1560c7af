//! Rounding to narrower formats, and the small steps that modifiers ask for. Everything here is free of branches, so that loops
//! over lanes stay vectors.
//!
//! Source: IEEE 754-2019; PTX ISA 9.0, sections 5.2.3, "Alternate Floating-Point Data Formats", and 9.7.3, "Floating-Point
//! Instructions".

use half::{bf16, f16};

use crate::exec::Lane;

/// To nearest, ties to even.
pub const RN: u8 = 0;
/// Toward zero.
pub const RZ: u8 = 1;
/// Toward negative infinity.
pub const RM: u8 = 2;
/// Toward positive infinity.
pub const RP: u8 = 3;
/// To nearest, ties away from zero.
pub const RNA: u8 = 4;

/// `$body` with the constant `$m` for one of the first four modes.
macro_rules! by_mode {
    ($mode:expr, $m:ident, $body:expr) => {
        match $mode {
            $crate::isa::float::rounding::RN => {
                const $m: u8 = $crate::isa::float::rounding::RN;
                $body
            }
            $crate::isa::float::rounding::RZ => {
                const $m: u8 = $crate::isa::float::rounding::RZ;
                $body
            }
            $crate::isa::float::rounding::RM => {
                const $m: u8 = $crate::isa::float::rounding::RM;
                $body
            }
            _ => {
                const $m: u8 = $crate::isa::float::rounding::RP;
                $body
            }
        }
    };
}
pub(crate) use by_mode;

/// The NaN that f32 instructions give.
pub const NAN_F32: f32 = f32::from_bits(0x7fff_ffff);

/// The value, or [`NAN_F32`] for any NaN. It looks at the bits, because a compiler may take one NaN of arithmetic for another.
#[inline(always)]
pub fn canonical_f32(v: f32) -> f32 {
    let bits = v.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 { NAN_F32 } else { v }
}

/// The value, exactly.
#[inline(always)]
pub fn f16_to_f32(v: f16) -> f32 {
    let bits = u32::from(v.to_bits());
    let magnitude = bits & 0x7fff;
    // The exponents' biases differ by 112; the product is exact, for subnormals too.
    let finite = (f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = (magnitude << 13) | 0x7f80_0000;
    f32::from_bits(if magnitude >= 0x7c00 { special } else { finite } | ((bits & 0x8000) << 16))
}

/// The value, exactly.
#[inline(always)]
pub fn bf16_to_f32(v: bf16) -> f32 {
    f32::from_bits(u32::from(v.to_bits()) << 16)
}

/// The nearest f16; NaN becomes 0x7fff.
#[inline(always)]
pub fn f32_to_f16(v: f32) -> f16 {
    let bits = v.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let normal = (magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13).min(0x7c00);
    // Next to 0.5, the last place of f32 is that of f16's subnormals.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal } | ((bits >> 16) & 0x8000);
    f16::from_bits(if magnitude > 0x7f80_0000 { 0x7fff } else { finite as u16 })
}

/// The nearest bf16; NaN becomes 0x7fff.
#[inline(always)]
pub fn f32_to_bf16(v: f32) -> bf16 {
    let bits = v.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    bf16::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded as u16 })
}

/// Whether `MODE` rounds magnitudes of this sign up.
#[inline(always)]
pub const fn away<const MODE: u8>(negative: bool) -> bool {
    MODE == RM && negative || MODE == RP && !negative
}

/// `m` divided by 2 to the `shift`, which is from 1 to 63, as an integer; `m` is below 2 to the 62.
#[inline(always)]
fn shift_rounded<const MODE: u8>(m: u64, shift: u64, negative: bool) -> u64 {
    let half = 1u64 << (shift - 1);
    let add = match MODE {
        RN => half - 1 + ((m >> shift) & 1),
        RNA => half,
        _ if away::<MODE>(negative) => (half - 1) + half,
        _ => 0,
    };
    (m + add) >> shift
}

/// The bits of `v` in a format with `M` bits of mantissa (without the hidden one) and `E` of exponent; NaN becomes all ones but the
/// sign.
#[inline(always)]
pub fn narrow<const M: u32, const E: u32, const MODE: u8>(v: f64) -> u32 {
    let infinity = ((1u64 << E) - 1) << M;
    let bits = v.to_bits();
    let (negative, magnitude) = (bits >> 63 != 0, bits & !(1 << 63));
    let exponent = (magnitude >> 52) as i64;
    let hidden = if exponent == 0 { 0 } else { 1u64 << 52 };
    let m = (magnitude & ((1 << 52) - 1)) | hidden;
    // The exponent as the format holds it, which is 0 or less for its subnormals.
    let e = exponent.max(1) - 1023 + ((1 << (E - 1)) - 1);
    let shift = (i64::from(52 - M) + (1 - e).max(0)).min(63) as u64;
    let base = ((e - 1).max(0) as u64) << M;
    let finite = base + shift_rounded::<MODE>(m, shift, negative);
    let overflow = if matches!(MODE, RN | RNA) || away::<MODE>(negative) { infinity } else { infinity - 1 };
    let finite = if finite >= infinity { overflow } else { finite };
    let special = if magnitude > 0x7ff0_0000_0000_0000 { (1 << (M + E)) - 1 } else { infinity };
    let sign = if magnitude > 0x7ff0_0000_0000_0000 { 0 } else { u64::from(negative) << (M + E) };
    (if exponent == 2047 { special } else { finite } | sign) as u32
}

/// A value that is exact in f64, or rounded to odd there, as f32.
#[inline(always)]
pub fn to_f32<const MODE: u8>(v: f64) -> f32 {
    let nearest = v as f32;
    let bits = nearest.to_bits();
    let wide = f64::from(nearest);
    // One step toward zero or away from it; the sign is right already.
    let (less, more) = (f32::from_bits(bits.wrapping_sub(1)), f32::from_bits(bits.wrapping_add(1)));
    match MODE {
        RZ => {
            if wide.abs() > v.abs() {
                less
            } else {
                nearest
            }
        }
        RM => {
            let step = if v < 0.0 { more } else { less };
            if wide > v { step } else { nearest }
        }
        RP => {
            let step = if v < 0.0 { less } else { more };
            if wide < v { step } else { nearest }
        }
        _ => nearest,
    }
}

/// a + b rounded to odd: the last bit says whether the sum was inexact, so that rounding it once more, to a format with at least
/// two bits less, rounds the exact sum.
///
/// Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008.
#[inline(always)]
pub fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    let bits = sum.to_bits();
    // An inexact sum with an even last bit lies between two odd neighbours; the error says which one is meant.
    let outward = (error > 0.0) == (sum > 0.0);
    let neighbour = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let inexact = (error > 0.0) | (error < 0.0);
    f64::from_bits(if inexact & (bits & 1 == 0) { neighbour } else { bits })
}

/// What IEEE 754 says of a sum that is zero: toward negative infinity it is -0 unless both terms are +0.
#[inline(always)]
pub fn signed_zero<const MODE: u8>(sum: f64, a: f64, b: f64) -> f64 {
    let negative = a.is_sign_negative() | b.is_sign_negative();
    if MODE == RM && (sum == 0.0) & negative { -0.0 } else { sum }
}

/// `.ftz`: a subnormal becomes zero with its sign.
#[inline(always)]
pub fn flush_f32(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

/// `.sat`: into [0, 1]; NaN becomes 0.
#[inline(always)]
pub fn saturate_f32(v: f32) -> f32 {
    let v = if v > 0.0 { v } else { 0.0 };
    if v < 1.0 { v } else { 1.0 }
}

/// As [`saturate_f32`].
#[inline(always)]
pub fn saturate_f64(v: f64) -> f64 {
    let v = if v > 0.0 { v } else { 0.0 };
    if v < 1.0 { v } else { 1.0 }
}

/// The rounding to an integer that `MODE` names.
#[inline(always)]
pub fn integral_f32<const MODE: u8>(v: f32) -> f32 {
    match MODE {
        RN => v.round_ties_even(),
        RZ => v.trunc(),
        RM => v.floor(),
        _ => v.ceil(),
    }
}

/// As [`integral_f32`].
#[inline(always)]
pub fn integral_f64<const MODE: u8>(v: f64) -> f64 {
    match MODE {
        RN => v.round_ties_even(),
        RZ => v.trunc(),
        RM => v.floor(),
        _ => v.ceil(),
    }
}

/// An f32 whose subnormals are read and written as zeros.
#[derive(Debug, Clone, Copy)]
pub struct FlushF32(pub f32);

impl Lane for FlushF32 {
    type Word = u32;
    #[inline(always)]
    fn of(word: u32) -> Self {
        FlushF32(flush_f32(f32::from_bits(word)))
    }
    #[inline(always)]
    fn word(self) -> u32 {
        flush_f32(self.0).to_bits()
    }
}

/// An f16 whose subnormals are read and written as zeros.
#[derive(Debug, Clone, Copy)]
pub struct FlushF16(pub f16);

#[inline(always)]
fn flush_f16(v: f16) -> f16 {
    let bits = v.to_bits();
    f16::from_bits(if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits })
}

impl Lane for FlushF16 {
    type Word = u32;
    #[inline(always)]
    fn of(word: u32) -> Self {
        FlushF16(flush_f16(f16::of(word)))
    }
    #[inline(always)]
    fn word(self) -> u32 {
        flush_f16(self.0).word()
    }
}
