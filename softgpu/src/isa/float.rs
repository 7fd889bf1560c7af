//! Arithmetic on f32 and f64: add, sub, mul, fma, mad, div, abs, neg, min, max, copysign.
//!
//! Source: PTX ISA 9.0, section 9.7.3, "Floating-Point Instructions".

pub mod exact;
pub mod rounding;

use std::marker::PhantomData;

use self::rounding::{
    FlushF32, NAN_F32, RM, RN, RP, RZ, by_mode, canonical_f32, saturate_f32, signed_zero, sum_to_odd, to_f32,
};
use crate::exec::inst::Inst;
use crate::exec::{Class, Exec, Flow, Lane, Lower, Op, Warp, pick};
use crate::op;
use crate::ptx::{PtxError, Type};

/// `$body` with `$t` naming f32, or its type with flushes under `.ftz`.
macro_rules! flushing {
    ($l:expr, $t:ident, $body:expr) => {
        if $l.has("ftz") {
            type $t = FlushF32;
            $body
        } else {
            type $t = f32;
            $body
        }
    };
}
pub(super) use flushing;

/// `$body` with the constant `$s` for whether to saturate.
macro_rules! by_sat {
    ($sat:expr, $s:ident, $body:expr) => {
        if $sat {
            const $s: bool = true;
            $body
        } else {
            const $s: bool = false;
            $body
        }
    };
}
/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    let known = ["rn", "rz", "rm", "rp", "approx", "full", "ftz", "sat", "NaN", "xorsign", "abs"];
    only(l, &known)?;
    let ty = l.ty()?;
    if ty == Type::F64 && (l.has("ftz") || l.has("sat")) {
        return l.unsupported();
    }
    match l.instruction.opcode.as_str() {
        "add" => two(l, ty, ADD),
        "sub" => two(l, ty, SUB),
        "mul" => two(l, ty, MUL),
        "div" => two(l, ty, DIV),
        "fma" | "mad" => three(l, ty),
        "min" => extreme::<false>(l, ty),
        "max" => extreme::<true>(l, ty),
        "abs" => emit(l, ty, 2, 0, if ty == Type::F64 { pick::<Abs64>() } else { flushing!(l, T, pick::<Abs<T>>()) }),
        "neg" => emit(l, ty, 2, 0, if ty == Type::F64 { pick::<Neg64>() } else { flushing!(l, T, pick::<Neg<T>>()) }),
        "copysign" => emit(l, ty, 3, 0, if ty == Type::F64 { pick::<CopySign64>() } else { pick::<CopySign32>() }),
        _ => l.unsupported(),
    }
}

/// Refuses modifiers other than these and one type.
pub(super) fn only(l: &Lower, known: &[&str]) -> Result<(), PtxError> {
    let unknown = |m: &String| Type::parse(m).is_none() && !known.contains(&m.as_str());
    if l.types().len() != 1 || l.instruction.modifiers.iter().any(unknown) {
        return l.unsupported();
    }
    Ok(())
}

/// The rounding among the modifiers.
pub(super) fn mode(l: &Lower) -> Option<u8> {
    [("rn", RN), ("rz", RZ), ("rm", RM), ("rp", RP)].iter().find(|(name, _)| l.has(name)).map(|&(_, mode)| mode)
}

/// Emits an instruction with `operands` operands, all of one type.
pub(super) fn emit(l: &mut Lower, ty: Type, operands: usize, flops: u16, exec: Exec) -> Result<(), PtxError> {
    if l.operands() != operands {
        return l.err(format!("{} takes {operands} operands", l.text()));
    }
    let mut rows = vec![l.write(0, ty)?];
    for n in 1..operands {
        rows.push(l.read(n, ty)?);
    }
    let class = match ty {
        Type::F32 => Class::Float32,
        Type::F64 => Class::Float64,
        _ => Class::Half,
    };
    l.emit(class, exec, &rows).flops = flops;
    Ok(())
}

/// An f32 with or without flushes. PTX leaves open which NaN results; it is the one of an H100.
pub(super) trait Single: Lane<Word = u32> {
    fn get(self) -> f32;
    fn put(v: f32) -> Self;
}

impl Single for f32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
    #[inline(always)]
    fn put(v: f32) -> f32 {
        canonical_f32(v)
    }
}

impl Single for FlushF32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self.0
    }
    #[inline(always)]
    fn put(v: f32) -> FlushF32 {
        FlushF32(canonical_f32(v))
    }
}

/// Operations of two sources, as constants of types.
const ADD: u8 = 0;
const SUB: u8 = 1;
const MUL: u8 = 2;
const DIV: u8 = 3;

/// Directed roundings go through f64: products are exact there, sums are rounded to odd, and a quotient of two f32 is never close
/// enough to an f32 to become one unless it is one.
#[inline(always)]
fn arithmetic_f32<const K: u8, const MODE: u8>(a: f32, b: f32) -> f32 {
    let (x, y) = (f64::from(a), f64::from(b));
    match (K, MODE) {
        (ADD, RN) => a + b,
        (SUB, RN) => a - b,
        (MUL, RN) => a * b,
        (_, RN) => a / b,
        (ADD, _) => to_f32::<MODE>(signed_zero::<MODE>(sum_to_odd(x, y), x, y)),
        (SUB, _) => to_f32::<MODE>(signed_zero::<MODE>(sum_to_odd(x, -y), x, -y)),
        (MUL, _) => to_f32::<MODE>(x * y),
        _ => to_f32::<MODE>(x / y),
    }
}

#[inline(always)]
fn arithmetic_f64<const K: u8, const MODE: u8>(a: f64, b: f64) -> f64 {
    match (K, MODE) {
        (ADD, RN) => a + b,
        (SUB, RN) => a - b,
        (MUL, RN) => a * b,
        (_, RN) => a / b,
        (ADD, _) => exact::add::<MODE>(a, b),
        (SUB, _) => exact::add::<MODE>(a, negated(b)),
        (MUL, _) => exact::mul::<MODE>(a, b),
        _ => exact::div::<MODE>(a, b),
    }
}

/// d = a op b.
struct Two<T, const K: u8, const MODE: u8, const SAT: bool>(PhantomData<T>);

impl<T: Single, const K: u8, const MODE: u8, const SAT: bool> Op for Two<T, K, MODE, SAT> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe {
            w.map2(i, |a: T, b: T| {
                let d = arithmetic_f32::<K, MODE>(a.get(), b.get());
                T::put(if SAT { saturate_f32(d) } else { d })
            })
        }
    }
}

/// As [`Two`].
struct Two64<const K: u8, const MODE: u8>;

impl<const K: u8, const MODE: u8> Op for Two64<K, MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map2(i, arithmetic_f64::<K, MODE>) }
    }
}

/// a / b, where reciprocals of large b are zero, as for `div.approx`.
#[inline(always)]
fn div_approx(a: f32, b: f32) -> f32 {
    let large = f32::from_bits((127 + 126) << 23);
    if b.abs() > large { a * 0f32.copysign(b) } else { a / b }
}

struct DivApprox<T>(PhantomData<T>);

impl<T: Single> Op for DivApprox<T> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map2(i, |a: T, b: T| T::put(div_approx(a.get(), b.get()))) }
    }
}

fn two(l: &mut Lower, ty: Type, kind: u8) -> Result<(), PtxError> {
    let sat = l.has("sat");
    let mode = match mode(l) {
        Some(mode) => mode,
        None if kind != DIV || (ty == Type::F32 && l.has("full")) => RN,
        None if ty == Type::F32 && l.has("approx") => {
            return emit(l, ty, 3, 1, flushing!(l, T, pick::<DivApprox<T>>()));
        }
        None => return l.err("div needs a rounding, .approx or .full"),
    };
    if kind == DIV && sat {
        return l.unsupported();
    }
    let exec = match (ty, kind) {
        (Type::F32, ADD) => flushing!(l, T, by_sat!(sat, S, by_mode!(mode, M, pick::<Two<T, ADD, M, S>>()))),
        (Type::F32, SUB) => flushing!(l, T, by_sat!(sat, S, by_mode!(mode, M, pick::<Two<T, SUB, M, S>>()))),
        (Type::F32, MUL) => flushing!(l, T, by_sat!(sat, S, by_mode!(mode, M, pick::<Two<T, MUL, M, S>>()))),
        (Type::F32, _) => flushing!(l, T, by_mode!(mode, M, pick::<Two<T, DIV, M, false>>())),
        (_, ADD) => by_mode!(mode, M, pick::<Two64<ADD, M>>()),
        (_, SUB) => by_mode!(mode, M, pick::<Two64<SUB, M>>()),
        (_, MUL) => by_mode!(mode, M, pick::<Two64<MUL, M>>()),
        _ => by_mode!(mode, M, pick::<Two64<DIV, M>>()),
    };
    emit(l, ty, 3, 1, exec)
}

/// d = a * b + c, rounded once.
struct Fma<T, const MODE: u8, const SAT: bool>(PhantomData<T>);

impl<T: Single, const MODE: u8, const SAT: bool> Op for Fma<T, MODE, SAT> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe {
            w.map3(i, |a: T, b: T, c: T| {
                let (a, b, c) = (a.get(), b.get(), c.get());
                let d = if MODE == RN {
                    a.mul_add(b, c)
                } else {
                    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
                    to_f32::<MODE>(signed_zero::<MODE>(sum_to_odd(product, c), product, c))
                };
                T::put(if SAT { saturate_f32(d) } else { d })
            })
        }
    }
}

/// As [`Fma`].
struct Fma64<const MODE: u8>;

impl<const MODE: u8> Op for Fma64<MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let fma = |a: f64, b: f64, c: f64| if MODE == RN { a.mul_add(b, c) } else { exact::fma::<MODE>(a, b, c) };
        // SAFETY: as promised.
        unsafe { w.map3(i, fma) }
    }
}

fn three(l: &mut Lower, ty: Type) -> Result<(), PtxError> {
    let mode = match mode(l) {
        Some(mode) => mode,
        None if l.instruction.opcode == "mad" => RN,
        None => return l.err("fma needs a rounding"),
    };
    let exec = match ty {
        Type::F32 => flushing!(l, T, by_sat!(l.has("sat"), S, by_mode!(mode, M, pick::<Fma<T, M, S>>()))),
        _ => by_mode!(mode, M, pick::<Fma64<M>>()),
    };
    emit(l, ty, 4, 2, exec)
}

op! {
    Abs64 = |w, i| w.map1(i, f64::abs);
    Neg64 = |w, i| w.map1(i, negated);
    CopySign32 = |w, i| w.map2(i, |a: f32, b: f32| b.copysign(a));
    CopySign64 = |w, i| w.map2(i, |a: f64, b: f64| b.copysign(a));
}

/// -a; a NaN keeps its sign, as one that an instruction of f64 passes on.
#[inline(always)]
fn negated(a: f64) -> f64 {
    if a.is_nan() { a } else { -a }
}

struct Abs<T>(PhantomData<T>);

impl<T: Single> Op for Abs<T> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: T| T::put(a.get().abs())) }
    }
}

struct Neg<T>(PhantomData<T>);

impl<T: Single> Op for Neg<T> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: T| T::put(-a.get())) }
    }
}

macro_rules! extremes {
    ($($name:ident: $ty:ty, $nan:expr;)*) => {$(
        /// The lesser or greater; -0 is less than +0. One NaN gives the other operand or, with `NAN`, a NaN.
        #[inline(always)]
        pub(super) fn $name<const MAX: bool, const NAN: bool>(a: $ty, b: $ty) -> $ty {
            let chosen = if MAX && a > b || !MAX && a < b { a } else { b };
            // Equal values differ in the sign of a zero at most.
            let (x, y) = (a.to_bits(), b.to_bits());
            let chosen = if a == b { <$ty>::from_bits(if MAX { x & y } else { x | y }) } else { chosen };
            let chosen = if b.is_nan() { a } else { chosen };
            if (NAN && (a.is_nan() | b.is_nan())) | chosen.is_nan() { $nan } else { chosen }
        }
    )*};
}

extremes! {
    extreme_f32: f32, NAN_F32;
    extreme_f64: f64, f64::NAN;
}

/// What becomes of the sources' signs: they stay, are dropped, or their exclusive or becomes the result's.
pub(super) const SIGNED: u8 = 0;
const ABS: u8 = 1;
pub(super) const XORSIGN: u8 = 2;

/// The lesser or greater of two, by `SIGN`.
#[inline(always)]
pub(super) fn extreme_by<const MAX: bool, const NAN: bool, const SIGN: u8>(a: f32, b: f32) -> f32 {
    if SIGN == SIGNED {
        return extreme_f32::<MAX, NAN>(a, b);
    }
    let d = extreme_f32::<MAX, NAN>(a.abs(), b.abs());
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    if SIGN == XORSIGN && !d.is_nan() { f32::from_bits(d.to_bits() | sign) } else { d }
}

struct Extreme2<T, const MAX: bool, const NAN: bool, const SIGN: u8>(PhantomData<T>);

impl<T: Single, const MAX: bool, const NAN: bool, const SIGN: u8> Op for Extreme2<T, MAX, NAN, SIGN> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map2(i, |a: T, b: T| T::put(extreme_by::<MAX, NAN, SIGN>(a.get(), b.get()))) }
    }
}

struct Extreme3<T, const MAX: bool, const NAN: bool, const SIGN: u8>(PhantomData<T>);

impl<T: Single, const MAX: bool, const NAN: bool, const SIGN: u8> Op for Extreme3<T, MAX, NAN, SIGN> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe {
            w.map3(i, |a: T, b: T, c: T| {
                let d = extreme_by::<MAX, NAN, SIGN>(a.get(), b.get());
                T::put(extreme_by::<MAX, NAN, SIGN>(d, c.get()))
            })
        }
    }
}

struct Extreme64<const MAX: bool>;

impl<const MAX: bool> Op for Extreme64<MAX> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map2(i, extreme_f64::<MAX, false>) }
    }
}

fn extreme<const MAX: bool>(l: &mut Lower, ty: Type) -> Result<(), PtxError> {
    let (nan, xorsign, abs) = (l.has("NaN"), l.has("xorsign"), l.has("abs"));
    if ty == Type::F64 {
        if nan || xorsign || abs {
            return l.unsupported();
        }
        return emit(l, ty, 3, 0, pick::<Extreme64<MAX>>());
    }
    let operands = l.operands();
    let exec = flushing!(
        l,
        T,
        match (operands, nan, xorsign, abs) {
            (3, false, false, false) => pick::<Extreme2<T, MAX, false, SIGNED>>(),
            (3, true, false, false) => pick::<Extreme2<T, MAX, true, SIGNED>>(),
            (3, false, true, true) => pick::<Extreme2<T, MAX, false, XORSIGN>>(),
            (3, true, true, true) => pick::<Extreme2<T, MAX, true, XORSIGN>>(),
            (4, false, false, false) => pick::<Extreme3<T, MAX, false, SIGNED>>(),
            (4, true, false, false) => pick::<Extreme3<T, MAX, true, SIGNED>>(),
            (4, false, false, true) => pick::<Extreme3<T, MAX, false, ABS>>(),
            (4, true, false, true) => pick::<Extreme3<T, MAX, true, ABS>>(),
            _ => return l.unsupported(),
        }
    );
    emit(l, ty, operands, 0, exec)
}
