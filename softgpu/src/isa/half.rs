//! Arithmetic on f16 and bf16, alone and in pairs: add, sub, mul, fma, abs, neg, min, max, ex2, tanh.
//!
//! Source: PTX ISA 9.0, section 9.7.4, "Half Precision Floating-Point Instructions".
//!
//! Sums and products of two are exact in f32 or have enough bits there that rounding twice makes no difference (2 p + 2 <= 24 for p
//! bits of precision: Figueroa, "When is double rounding innocuous?", 1995).

use std::marker::PhantomData;

use half::{bf16, f16};

use super::float::rounding::{
    FlushF16, RN, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, narrow, saturate_f32, saturate_f64, sum_to_odd,
};
use super::float::{SIGNED, XORSIGN, emit, extreme_by, mode, only};
use super::math::{ex2, tanh};
use crate::exec::inst::Inst;
use crate::exec::{Exec, Flow, Lane, Lower, Op, Warp, pick};
use crate::ptx::{PtxError, Type};

/// `$body` with `$h` naming the format, flushed under `.ftz`, and the constant `$p` for whether rows hold pairs.
macro_rules! by_type {
    ($l:expr, $ty:expr, $h:ident, $p:ident, $body:expr) => {
        match ($ty, $l.has("ftz")) {
            (Type::F16, false) => {
                type $h = f16;
                const $p: bool = false;
                $body
            }
            (Type::F16, true) => {
                type $h = FlushF16;
                const $p: bool = false;
                $body
            }
            (Type::F16x2, false) => {
                type $h = f16;
                const $p: bool = true;
                $body
            }
            (Type::F16x2, true) => {
                type $h = FlushF16;
                const $p: bool = true;
                $body
            }
            (Type::Bf16, false) => {
                type $h = bf16;
                const $p: bool = false;
                $body
            }
            (Type::Bf16, true) => {
                type $h = FlushBf16;
                const $p: bool = false;
                $body
            }
            (_, false) => {
                type $h = bf16;
                const $p: bool = true;
                $body
            }
            (_, true) => {
                type $h = FlushBf16;
                const $p: bool = true;
                $body
            }
        }
    };
}
/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.ty()?;
    let is_bf16 = matches!(ty, Type::Bf16 | Type::Bf16x2);
    let opcode = l.instruction.opcode.as_str();
    let allowed: &[&str] = match opcode {
        "add" | "sub" | "mul" if is_bf16 => &["rn"],
        "add" | "sub" | "mul" => &["rn", "ftz", "sat"],
        "fma" if is_bf16 => &["rn", "relu"],
        "fma" => &["rn", "ftz", "sat", "relu"],
        "abs" | "neg" if !is_bf16 => &["ftz"],
        "min" | "max" if is_bf16 => &["NaN", "xorsign", "abs"],
        "min" | "max" => &["ftz", "NaN", "xorsign", "abs"],
        "ex2" if is_bf16 => &["approx", "ftz"],
        "ex2" | "tanh" => &["approx"],
        _ => &[],
    };
    only(l, allowed)?;
    let approx = l.has("approx");
    let (operands, flops, exec) = match opcode {
        "add" => (3, 1, saturating::<ADD>(l, ty)),
        "sub" => (3, 1, saturating::<SUB>(l, ty)),
        "mul" => (3, 1, saturating::<MUL>(l, ty)),
        "fma" if mode(l).is_some() => (4, 2, fma(l, ty)?),
        "abs" => (2, 0, by_type!(l, ty, H, P, pick::<Each1<H, P, F_ABS>>())),
        "neg" => (2, 0, by_type!(l, ty, H, P, pick::<Each1<H, P, F_NEG>>())),
        "ex2" if approx && is_bf16 == l.has("ftz") => (2, 0, by_type!(l, ty, H, P, pick::<Each1<H, P, F_EX2>>())),
        "tanh" if approx => (2, 0, by_type!(l, ty, H, P, pick::<Each1<H, P, F_TANH>>())),
        "min" => (3, 0, extreme::<false>(l, ty)?),
        "max" => (3, 0, extreme::<true>(l, ty)?),
        _ => return l.unsupported(),
    };
    let flops = if matches!(ty, Type::F16x2 | Type::Bf16x2) { 2 * flops } else { flops };
    emit(l, ty, operands, flops, exec)
}

/// A format of 16 bits, with or without flushes.
trait Half: Lane<Word = u32> {
    fn get(self) -> f32;
    fn put(v: f32) -> Self;
    /// a * b + c rounded once, after `LIMIT`.
    fn fma<const LIMIT: u8>(a: f64, b: f64, c: f64) -> Self;
}

/// What becomes of a result before it is rounded.
const FREE: u8 = 0;
const SAT: u8 = 1;
const RELU: u8 = 2;

#[inline(always)]
fn limited<const LIMIT: u8>(v: f64) -> f64 {
    match LIMIT {
        SAT => saturate_f64(v),
        RELU if v <= 0.0 => 0.0,
        _ => v,
    }
}

impl Half for f16 {
    #[inline(always)]
    fn get(self) -> f32 {
        f16_to_f32(self)
    }
    #[inline(always)]
    fn put(v: f32) -> f16 {
        f32_to_f16(v)
    }
    /// f64 rounds a sum to the middle of two f16 only where it is that: the product's 22 bits can make one, but then c, which is 2^-24
    /// or more, is not lost beside it, as results are below 2^16; c's 11 bits cannot.
    #[inline(always)]
    fn fma<const LIMIT: u8>(a: f64, b: f64, c: f64) -> f16 {
        f16::from_bits(narrow::<10, 5, RN>(limited::<LIMIT>(a * b + c)) as u16)
    }
}

impl Half for FlushF16 {
    #[inline(always)]
    fn get(self) -> f32 {
        f16_to_f32(self.0)
    }
    #[inline(always)]
    fn put(v: f32) -> FlushF16 {
        FlushF16(f32_to_f16(v))
    }
    #[inline(always)]
    fn fma<const LIMIT: u8>(a: f64, b: f64, c: f64) -> FlushF16 {
        FlushF16(<f16 as Half>::fma::<LIMIT>(a, b, c))
    }
}

impl Half for bf16 {
    #[inline(always)]
    fn get(self) -> f32 {
        bf16_to_f32(self)
    }
    #[inline(always)]
    fn put(v: f32) -> bf16 {
        f32_to_bf16(v)
    }
    /// Exponents reach so far that the sum must be rounded to odd first.
    #[inline(always)]
    fn fma<const LIMIT: u8>(a: f64, b: f64, c: f64) -> bf16 {
        bf16::from_bits(narrow::<7, 8, RN>(limited::<LIMIT>(sum_to_odd(a * b, c))) as u16)
    }
}

/// A bf16 whose subnormals are read and written as zeros.
#[derive(Clone, Copy)]
struct FlushBf16(bf16);

#[inline(always)]
fn flush_bf16(bits: u32) -> u32 {
    if bits & 0x7f80 == 0 { bits & 0x8000 } else { bits }
}

impl Lane for FlushBf16 {
    type Word = u32;
    #[inline(always)]
    fn of(word: u32) -> Self {
        FlushBf16(bf16::of(flush_bf16(word & 0xffff)))
    }
    #[inline(always)]
    fn word(self) -> u32 {
        flush_bf16(self.0.word())
    }
}

impl Half for FlushBf16 {
    #[inline(always)]
    fn get(self) -> f32 {
        bf16_to_f32(self.0)
    }
    #[inline(always)]
    fn put(v: f32) -> FlushBf16 {
        FlushBf16(f32_to_bf16(v))
    }
    #[inline(always)]
    fn fma<const LIMIT: u8>(a: f64, b: f64, c: f64) -> FlushBf16 {
        FlushBf16(<bf16 as Half>::fma::<LIMIT>(a, b, c))
    }
}

/// f of the lower half and, in pairs, of the upper one.
#[inline(always)]
fn each<H: Half, const PAIR: bool, const N: usize>(words: [u32; N], f: impl Fn([H; N]) -> H) -> u32 {
    let lower = f(words.map(H::of)).word();
    if PAIR { lower | (f(words.map(|word| H::of(word >> 16))).word() << 16) } else { lower }
}

const F_ABS: u8 = 0;
const F_NEG: u8 = 1;
const F_EX2: u8 = 2;
const F_TANH: u8 = 3;

/// d = f(a).
struct Each1<H, const PAIR: bool, const F: u8>(PhantomData<H>);

impl<H: Half, const PAIR: bool, const F: u8> Op for Each1<H, PAIR, F> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let f = |[a]: [H; 1]| match F {
            F_ABS | F_NEG if a.get().is_nan() => H::put(f32::NAN),
            F_ABS => H::of(a.word() & 0x7fff),
            F_NEG => H::of(a.word() ^ 0x8000),
            F_EX2 => H::put(ex2(a.get())),
            _ => H::put(tanh(a.get())),
        };
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: u32| each::<H, PAIR, 1>([a], f)) }
    }
}

const ADD: u8 = 0;
const SUB: u8 = 1;
const MUL: u8 = 2;

/// d = a op b.
struct Each2<H, const PAIR: bool, const F: u8, const SATURATE: bool>(PhantomData<H>);

impl<H: Half, const PAIR: bool, const F: u8, const SATURATE: bool> Op for Each2<H, PAIR, F, SATURATE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let f = |[a, b]: [H; 2]| {
            let (a, b) = (a.get(), b.get());
            let d = match F {
                ADD => a + b,
                SUB => a - b,
                _ => a * b,
            };
            H::put(if SATURATE { saturate_f32(d) } else { d })
        };
        // SAFETY: as promised.
        unsafe { w.map2(i, |a: u32, b: u32| each::<H, PAIR, 2>([a, b], f)) }
    }
}

fn saturating<const F: u8>(l: &Lower, ty: Type) -> Exec {
    if l.has("sat") {
        by_type!(l, ty, H, P, pick::<Each2<H, P, F, true>>())
    } else {
        by_type!(l, ty, H, P, pick::<Each2<H, P, F, false>>())
    }
}

/// d = a * b + c.
struct Fma<H, const PAIR: bool, const LIMIT: u8>(PhantomData<H>);

impl<H: Half, const PAIR: bool, const LIMIT: u8> Op for Fma<H, PAIR, LIMIT> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let f = |v: [H; 3]| {
            let [a, b, c] = v.map(|v| f64::from(v.get()));
            H::fma::<LIMIT>(a, b, c)
        };
        // SAFETY: as promised.
        unsafe { w.map3(i, |a: u32, b: u32, c: u32| each::<H, PAIR, 3>([a, b, c], f)) }
    }
}

fn fma(l: &Lower, ty: Type) -> Result<Exec, PtxError> {
    Ok(match (l.has("sat"), l.has("relu")) {
        (false, false) => by_type!(l, ty, H, P, pick::<Fma<H, P, FREE>>()),
        (true, false) => by_type!(l, ty, H, P, pick::<Fma<H, P, SAT>>()),
        (false, true) => by_type!(l, ty, H, P, pick::<Fma<H, P, RELU>>()),
        _ => return l.unsupported(),
    })
}

/// The lesser or greater.
struct Extreme<H, const PAIR: bool, const MAX: bool, const NAN: bool, const SIGN: u8>(PhantomData<H>);

impl<H: Half, const PAIR: bool, const MAX: bool, const NAN: bool, const SIGN: u8> Op
    for Extreme<H, PAIR, MAX, NAN, SIGN>
{
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let f = |[a, b]: [H; 2]| H::put(extreme_by::<MAX, NAN, SIGN>(a.get(), b.get()));
        // SAFETY: as promised.
        unsafe { w.map2(i, |a: u32, b: u32| each::<H, PAIR, 2>([a, b], f)) }
    }
}

fn extreme<const MAX: bool>(l: &Lower, ty: Type) -> Result<Exec, PtxError> {
    Ok(match (l.has("NaN"), l.has("xorsign") && l.has("abs"), l.has("xorsign") || l.has("abs")) {
        (false, false, false) => by_type!(l, ty, H, P, pick::<Extreme<H, P, MAX, false, SIGNED>>()),
        (true, false, false) => by_type!(l, ty, H, P, pick::<Extreme<H, P, MAX, true, SIGNED>>()),
        (false, true, _) => by_type!(l, ty, H, P, pick::<Extreme<H, P, MAX, false, XORSIGN>>()),
        (true, true, _) => by_type!(l, ty, H, P, pick::<Extreme<H, P, MAX, true, XORSIGN>>()),
        _ => return l.unsupported(),
    })
}
