//! What rounding means, from its definition: the two neighbours of an exact value, and which of them a mode takes. Exact values are
//! compared as sums of big integers, so that nothing here shares a method with what is tested.

use std::cmp::Ordering;

/// A binary format: bits of mantissa without the hidden one, bits of exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub mantissa: u32,
    pub exponent: u32,
}

pub const F16: Format = Format { mantissa: 10, exponent: 5 };
pub const BF16: Format = Format { mantissa: 7, exponent: 8 };
pub const TF32: Format = Format { mantissa: 10, exponent: 8 };
pub const F32: Format = Format { mantissa: 23, exponent: 8 };
pub const F64: Format = Format { mantissa: 52, exponent: 11 };

/// Roundings as PTX spells them.
pub const MODES: [&str; 4] = ["rn", "rz", "rm", "rp"];

/// A term of a sum: sign, mantissa, exponent.
pub type Term = (bool, u128, i32);

/// The sign of a sum.
pub fn sign(terms: &[Term]) -> Ordering {
    let terms: Vec<&Term> = terms.iter().filter(|t| t.1 != 0).collect();
    let Some(base) = terms.iter().map(|t| t.2).min() else { return Ordering::Equal };
    let words = terms.iter().map(|t| (t.2 - base) as usize / 64).max().unwrap_or(0) + 4;
    let mut sums = [vec![0u64; words], vec![0u64; words]];
    for &&(negative, mantissa, exponent) in &terms {
        let (at, shift) = ((exponent - base) as usize / 64, (exponent - base) as u32 % 64);
        let low = mantissa << shift;
        let high = if shift == 0 { 0 } else { mantissa >> (128 - shift) };
        let mut carry = 0u128;
        let parts = [low as u64, (low >> 64) as u64, high as u64].into_iter().chain(std::iter::repeat(0));
        for (word, part) in sums[usize::from(negative)][at..].iter_mut().zip(parts) {
            let sum = u128::from(*word) + u128::from(part) + carry;
            *word = sum as u64;
            carry = sum >> 64;
        }
    }
    sums[0].iter().rev().cmp(sums[1].iter().rev())
}

impl Format {
    pub fn bits(self) -> u32 {
        1 + self.mantissa + self.exponent
    }

    pub fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    pub fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    pub fn is_nan(self, bits: u64) -> bool {
        bits & (self.sign() - 1) > self.infinity()
    }

    pub fn is_finite(self, bits: u64) -> bool {
        bits & (self.sign() - 1) < self.infinity()
    }

    pub fn is_zero(self, bits: u64) -> bool {
        bits & (self.sign() - 1) == 0
    }

    pub fn is_negative(self, bits: u64) -> bool {
        bits & self.sign() != 0
    }

    /// Subnormals become zeros.
    pub fn flush(self, bits: u64) -> u64 {
        if bits & self.infinity() == 0 { bits & self.sign() } else { bits }
    }

    /// The exact value; an infinity as the number that would come next.
    pub fn term(self, bits: u64) -> Term {
        let fraction = bits & ((1 << self.mantissa) - 1);
        let exponent = (bits >> self.mantissa & ((1 << self.exponent) - 1)) as i32;
        let hidden = if exponent == 0 { 0 } else { 1 << self.mantissa };
        let bias = (1 << (self.exponent - 1)) - 1 + self.mantissa as i32;
        (self.is_negative(bits), (fraction | hidden).into(), exponent.max(1) - bias)
    }

    /// The value as f64; it is exact.
    pub fn value(self, bits: u64) -> f64 {
        if self.is_nan(bits) {
            return f64::NAN;
        }
        let (negative, mantissa, exponent) = self.term(bits);
        // In two steps, because 2^-1074 is not a power that powi reaches from above.
        let value = mantissa as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
        let value = if self.is_finite(bits) { value } else { f64::INFINITY };
        if negative { -value } else { value }
    }

    /// Rounds the number that `compare` knows: it tells how a number that is not negative compares with its magnitude. `near` is
    /// about that magnitude.
    pub fn round(self, mode: &str, negative: bool, near: f64, compare: impl Fn(u128, i32) -> Ordering) -> u64 {
        let at = |bits: u64| {
            let (_, mantissa, exponent) = self.term(bits);
            compare(mantissa, exponent)
        };
        let mut below = self.guess(near);
        while at(below) == Ordering::Greater {
            below -= 1;
        }
        while below + 1 < self.infinity() && at(below + 1) != Ordering::Greater {
            below += 1;
        }
        let up = match mode {
            _ if at(below) == Ordering::Equal => false,
            "rz" => false,
            "rm" => negative,
            "rp" => !negative,
            _ => {
                let (_, mantissa, exponent) = self.term(below);
                match compare(2 * mantissa + 1, exponent - 1) {
                    Ordering::Less => true,
                    Ordering::Equal => mode == "rna" || mantissa & 1 == 1,
                    Ordering::Greater => false,
                }
            }
        };
        (below + u64::from(up)) | if negative { self.sign() } else { 0 }
    }

    /// A finite number somewhere near.
    fn guess(self, near: f64) -> u64 {
        let bits = near.abs().to_bits();
        if self == F64 {
            return bits.min(self.infinity() - 1);
        }
        let exponent = (bits >> 52) as i64 - 1023 + (1 << (self.exponent - 1)) - 1;
        let fraction = (bits & ((1 << 52) - 1)) >> (52 - self.mantissa);
        match exponent {
            e if e >= (1 << self.exponent) - 1 => self.infinity() - 1,
            e if e <= 0 => {
                let shift = (1 - e).min(63) as u32;
                (fraction | 1 << self.mantissa) >> shift
            }
            e => (e as u64) << self.mantissa | fraction,
        }
    }

    /// The sum of exact terms.
    pub fn sum(self, mode: &str, terms: &[Term], near: f64) -> u64 {
        match sign(terms) {
            Ordering::Equal => {
                let negative = terms.iter().any(|t| t.0);
                let both = terms.iter().all(|t| t.0);
                if both || mode == "rm" && negative { self.sign() } else { 0 }
            }
            order => {
                let negative = order == Ordering::Less;
                self.round(mode, negative, near, |mantissa, exponent| {
                    let mut all: Vec<Term> = terms.iter().map(|t| (t.0 == negative, t.1, t.2)).collect();
                    all.push((false, mantissa, exponent));
                    sign(&all)
                })
            }
        }
    }
}

/// The exact product.
pub fn product(a: Term, b: Term) -> Term {
    (a.0 != b.0, a.1 * b.1, a.2 + b.2)
}

impl Format {
    /// A finite number near `v`, with its sign.
    pub fn near(self, v: f64) -> u64 {
        self.guess(v) | if v < 0.0 { self.sign() } else { 0 }
    }
}
