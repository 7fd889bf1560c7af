//! Arithmetic on f64 with directed roundings: rare, so in integers of 128 bits, where one function rounds.
//!
//! Source: IEEE 754-2019. Bits that do not fit are kept as one sticky bit, the lowest; every operation leaves enough bits above it.

use super::rounding::{RM, RN, RNA, away};

/// A finite number: mantissa times two to the exponent. The lowest bit of the mantissa may stand for more bits below it.
#[derive(Clone, Copy)]
struct Exact {
    negative: bool,
    mantissa: u128,
    exponent: i32,
}

impl Exact {
    fn of(v: f64) -> Exact {
        let bits = v.to_bits();
        let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
        let hidden = if exponent == 0 { 0 } else { 1 << 52 };
        Exact { negative: v.is_sign_negative(), mantissa: (fraction | hidden).into(), exponent: exponent.max(1) - 1075 }
    }

    /// With bit `top` of the mantissa the highest that is set, which must not drop bits.
    fn at(self, top: u32) -> Exact {
        let shift = top as i32 - (127 - self.mantissa.leading_zeros() as i32);
        Exact { mantissa: self.mantissa << shift, exponent: self.exponent - shift, ..self }
    }

    fn times(self, other: Exact) -> Exact {
        Exact {
            negative: self.negative != other.negative,
            mantissa: self.mantissa * other.mantissa,
            exponent: self.exponent + other.exponent,
        }
    }

    /// Neither is zero. The sum has the sign of a positive zero if it is one.
    fn plus(self, other: Exact) -> Exact {
        // Products have 106 bits, so 20 bits and more lie below them: what is shifted out is far below the result's last place.
        let (mut large, mut small) = (self.at(125), other.at(125));
        if (small.exponent, small.mantissa) > (large.exponent, large.mantissa) {
            (large, small) = (small, large);
        }
        let aligned = shift_sticky(small.mantissa, (large.exponent - small.exponent) as u32);
        if large.negative == small.negative {
            return Exact { mantissa: large.mantissa + aligned, ..large };
        }
        let mantissa = large.mantissa - aligned;
        Exact { mantissa, negative: large.negative && mantissa != 0, ..large }
    }

    fn round<const MODE: u8>(self) -> f64 {
        let bits = self.magnitude::<MODE>() | u64::from(self.negative) << 63;
        f64::from_bits(bits)
    }

    fn magnitude<const MODE: u8>(self) -> u64 {
        const INFINITY: u64 = 0x7ff << 52;
        if self.mantissa == 0 {
            return 0;
        }
        // The exponent of the last place: 53 bits from the highest, or that of subnormals.
        let last = (self.exponent + 127 - self.mantissa.leading_zeros() as i32 - 52).max(-1074);
        let shift = last - self.exponent;
        let kept = if shift <= 0 {
            self.mantissa << -shift
        } else {
            let shift = shift.min(126) as u32;
            let (kept, rest, half) = (self.mantissa >> shift, self.mantissa & ((1 << shift) - 1), 1 << (shift - 1));
            let up = match MODE {
                RN => rest > half || (rest == half && kept & 1 == 1),
                RNA => rest >= half,
                _ => away::<MODE>(self.negative) && rest != 0,
            };
            kept + u128::from(up)
        };
        if last > 1023 - 52 {
            return overflow::<MODE>(self.negative);
        }
        // The hidden bit counts the exponent up by one, and a carry out of the mantissa does so once more.
        let bits = (((last + 1074) as u64) << 52) + kept as u64;
        if bits >= INFINITY { overflow::<MODE>(self.negative) } else { bits }
    }
}

fn overflow<const MODE: u8>(negative: bool) -> u64 {
    let infinity = MODE == RN || MODE == RNA || away::<MODE>(negative);
    (0x7ff << 52) - u64::from(!infinity)
}

fn shift_sticky(v: u128, shift: u32) -> u128 {
    if shift > 127 {
        return u128::from(v != 0);
    }
    v >> shift | u128::from(v & ((1 << shift) - 1) != 0)
}

/// a + b.
pub fn add<const MODE: u8>(a: f64, b: f64) -> f64 {
    fma::<MODE>(a, 1.0, b)
}

/// a * b.
pub fn mul<const MODE: u8>(a: f64, b: f64) -> f64 {
    if !a.is_finite() || !b.is_finite() {
        return a * b;
    }
    Exact::of(a).times(Exact::of(b)).round::<MODE>()
}

/// a * b + c.
pub fn fma<const MODE: u8>(a: f64, b: f64, c: f64) -> f64 {
    if !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return a.mul_add(b, c);
    }
    let (product, c) = (Exact::of(a).times(Exact::of(b)), Exact::of(c));
    let sum = match (product.mantissa, c.mantissa) {
        (0, 0) => Exact { negative: zero_sign::<MODE>(product.negative, c.negative), ..c },
        (0, _) => c,
        (_, 0) => product,
        _ => {
            let sum = product.plus(c);
            Exact { negative: sum.negative || (sum.mantissa == 0 && MODE == RM), ..sum }
        }
    };
    sum.round::<MODE>()
}

/// The sign of a sum of two zeros.
fn zero_sign<const MODE: u8>(a: bool, b: bool) -> bool {
    if MODE == RM { a || b } else { a && b }
}

/// a / b.
pub fn div<const MODE: u8>(a: f64, b: f64) -> f64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return a / b;
    }
    let (a, b) = (Exact::of(a).at(120), Exact::of(b).at(52));
    let (quotient, rest) = (a.mantissa / b.mantissa, a.mantissa % b.mantissa);
    let mantissa = quotient | u128::from(rest != 0);
    Exact { negative: a.negative != b.negative, mantissa, exponent: a.exponent - b.exponent }.round::<MODE>()
}

/// The square root.
pub fn sqrt<const MODE: u8>(a: f64) -> f64 {
    // Zeros keep their sign; the rest of these is infinite or NaN.
    if !a.is_finite() || a <= 0.0 {
        return a.sqrt();
    }
    let a = Exact::of(a);
    let a = a.at(if (a.at(120).exponent) % 2 == 0 { 120 } else { 121 });
    let root = a.mantissa.isqrt();
    let mantissa = root | u128::from(root * root != a.mantissa);
    Exact { negative: false, mantissa, exponent: a.exponent / 2 }.round::<MODE>()
}

/// 64 bits as a signed or unsigned integer.
pub fn from_int<const MODE: u8>(v: i64, signed: bool) -> f64 {
    let negative = signed && v < 0;
    let magnitude = if negative { v.wrapping_neg() } else { v } as u64;
    Exact { negative, mantissa: magnitude.into(), exponent: 0 }.round::<MODE>()
}
