//! Conversions: cvt, cvt.pack.
//!
//! Source: PTX ISA 9.0, section 9.7.9, "Data Movement and Conversion Instructions", cvt and cvt.pack.

use std::marker::PhantomData;

use half::{bf16, f16};

use super::float::exact;
use super::float::rounding::{self as round, RM, RN, RNA, RP, RZ, by_mode};
use crate::exec::inst::Inst;
use crate::exec::{Class, Exec, Flow, Lane, Lower, Op, Warp, Width, pick};
use crate::op;
use crate::ptx::{PtxError, Type};

/// `$body` with `$t` naming the Rust type of an integer type.
macro_rules! by_int {
    ($ty:expr, $t:ident, $body:expr) => {
        match $ty {
            Type::U8 | Type::B8 => {
                type $t = u8;
                $body
            }
            Type::S8 => {
                type $t = i8;
                $body
            }
            Type::U16 | Type::B16 => {
                type $t = u16;
                $body
            }
            Type::S16 => {
                type $t = i16;
                $body
            }
            Type::U32 | Type::B32 => {
                type $t = u32;
                $body
            }
            Type::S32 => {
                type $t = i32;
                $body
            }
            Type::S64 => {
                type $t = i64;
                $body
            }
            _ => {
                type $t = u64;
                $body
            }
        }
    };
}

/// `$body` with `$t` naming the Rust type of a scalar floating-point type.
macro_rules! by_float {
    ($ty:expr, $t:ident, $body:expr, $other:expr) => {
        match $ty {
            Type::F16 => {
                type $t = f16;
                Ok($body)
            }
            Type::Bf16 => {
                type $t = bf16;
                Ok($body)
            }
            Type::F32 => {
                type $t = f32;
                Ok($body)
            }
            Type::F64 => {
                type $t = f64;
                Ok($body)
            }
            _ => $other,
        }
    };
}

/// Lowers the opcode.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    let known = ["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", "ftz", "sat", "relu", "satfinite", "pack"];
    if l.instruction.modifiers.iter().any(|m| Type::parse(m).is_none() && !known.contains(&m.as_str())) {
        return l.unsupported();
    }
    if l.has("pack") {
        return pack_integers(l);
    }
    let types = l.types();
    let &[to, from] = types.as_slice() else { return l.unsupported() };
    match (to, from) {
        (Type::F16x2 | Type::Bf16x2, Type::F32) => pack_floats(l, to),
        _ => scalar(l, to, from),
    }
}

/// In [`Inst::tag`]: what the modifiers ask for beside a rounding.
const FTZ_IN: u32 = 1;
const FTZ_OUT: u32 = 2;
const SAT: u32 = 4;
const RELU: u32 = 8;
const SATFINITE: u32 = 16;

fn flags(l: &Lower, to: Type, from: Type) -> u32 {
    let flag = |name: &str, bits: u32| if l.has(name) { bits } else { 0 };
    let ftz_in = if from == Type::F32 { FTZ_IN } else { 0 };
    let ftz_out = if to == Type::F32 && from.is_float() { FTZ_OUT } else { 0 };
    flag("ftz", ftz_in | ftz_out) | flag("sat", SAT) | flag("relu", RELU) | flag("satfinite", SATFINITE)
}

/// The rounding among the modifiers; `None` where there is none.
fn mode(l: &Lower, integral: bool) -> Option<u8> {
    let names = if integral { ["rni", "rzi", "rmi", "rpi", ""] } else { ["rn", "rz", "rm", "rp", "rna"] };
    names.iter().zip([RN, RZ, RM, RP, RNA]).find(|(name, _)| l.has(name)).map(|(_, mode)| mode)
}

/// One value. A destination register may be wider than the type, and gets it extended; so may the source register.
fn scalar(l: &mut Lower, to: Type, from: Type) -> Result<(), PtxError> {
    let exec = conversion(l, to, from)?;
    let source = l.operand(1)?;
    let wide_source = l.register_type(1).is_some_and(|r| r.bytes() == 8) && from.bytes() < 8 && !from.is_float();
    let a = if wide_source {
        let a = l.read_operand(source, Type::B64)?;
        let narrowed = l.temporary(Width::W32);
        l.writes_to(narrowed);
        l.emit(Class::Convert, pick::<Wrap<u64, u32>>(), &[narrowed, a]);
        l.reads_from(narrowed);
        narrowed
    } else {
        l.read_operand(source, from)?
    };
    let tag = flags(l, to, from);
    let (low, high) = limits(to);
    let fill = |inst: &mut Inst| {
        (inst.tag, inst.imm, inst.aux) = (tag, low, high);
    };
    let register = l.register_type(0).map_or(to.bytes(), Type::bytes);
    // Rows of 32 bits hold unsigned values zero-extended already.
    let extended = !to.is_float() && to.bytes() < register && (to.is_signed() || register == 8);
    if !extended {
        let d = l.write(0, to)?;
        fill(l.emit(Class::Convert, exec, &[d, a]));
        return Ok(());
    }
    let part = l.temporary(Width::W32);
    l.writes_to(part);
    fill(l.emit(Class::Convert, exec, &[part, a]));
    l.reads_from(part);
    let widest = match register {
        2 => Type::U16,
        4 => Type::U32,
        _ => Type::U64,
    };
    let d = l.write(0, widest)?;
    l.emit(Class::Convert, wrap(widest, to), &[d, part]);
    Ok(())
}

/// The least and the greatest integer of a type, as 64 bits; unused for others.
fn limits(ty: Type) -> (i64, i64) {
    match ty {
        Type::S8 => (i8::MIN.into(), i8::MAX.into()),
        Type::S16 => (i16::MIN.into(), i16::MAX.into()),
        Type::S32 => (i32::MIN.into(), i32::MAX.into()),
        Type::S64 => (i64::MIN, i64::MAX),
        Type::U8 => (0, u8::MAX.into()),
        Type::U16 => (0, u16::MAX.into()),
        Type::U32 => (0, u32::MAX.into()),
        _ => (0, -1),
    }
}

fn conversion(l: &Lower, to: Type, from: Type) -> Result<Exec, PtxError> {
    let integer = |ty: Type| !ty.is_float() && !matches!(ty, Type::Pred | Type::B128);
    if integer(to) && integer(from) {
        return Ok(if l.has("sat") { saturate(to, from) } else { wrap(to, from) });
    }
    if integer(from) {
        let Some(mode) = mode(l, false).filter(|&m| m != RNA) else {
            return l.err("cvt needs .rn, .rz, .rm or .rp here");
        };
        return int_to_float(l, to, from, mode);
    }
    if integer(to) {
        let Some(mode) = mode(l, true) else { return l.err("cvt needs .rni, .rzi, .rmi or .rpi here") };
        return float_to_int(l, to, from, mode);
    }
    let plain = flags(l, to, from) == 0;
    if let Some(mode) = mode(l, true) {
        if to != from {
            return l.unsupported();
        }
        return by_float!(from, S, by_mode!(mode, M, pick::<Integral<S, M>>()), l.unsupported());
    }
    let narrowing = to.bytes() < from.bytes() || to == Type::Tf32 || (to.bytes() == 2 && to != from);
    let mode = match mode(l, false) {
        Some(RNA) if to != Type::Tf32 => return l.unsupported(),
        Some(mode) => mode,
        None if narrowing => return l.err("cvt needs a rounding here"),
        None => RN,
    };
    match (to, from, mode, plain) {
        (Type::F32, Type::F16, ..) if plain => Ok(pick::<F16ToF32>()),
        (Type::F32, Type::Bf16, ..) if plain => Ok(pick::<Bf16ToF32>()),
        (Type::F16, Type::F32, RN, true) => Ok(pick::<F32ToF16>()),
        (Type::Bf16, Type::F32, RN, true) => Ok(pick::<F32ToBf16>()),
        (Type::Tf32, Type::F32, RNA, _) => Ok(pick::<Narrow<f32, Tf32, RNA>>()),
        (Type::Tf32, Type::F32, ..) => Ok(by_mode!(mode, M, pick::<Narrow<f32, Tf32, M>>())),
        (Type::F16, ..) => by_float!(from, S, by_mode!(mode, M, pick::<Narrow<S, f16, M>>()), l.unsupported()),
        (Type::Bf16, ..) => by_float!(from, S, by_mode!(mode, M, pick::<Narrow<S, bf16, M>>()), l.unsupported()),
        (Type::F32, ..) => by_float!(from, S, by_mode!(mode, M, pick::<Narrow<S, f32, M>>()), l.unsupported()),
        (Type::F64, ..) => by_float!(from, S, pick::<Narrow<S, f64, RN>>(), l.unsupported()),
        _ => l.unsupported(),
    }
}

op! {
    F16ToF32 = |w, i| w.map1(i, |a: f16| round::canonical_f32(round::f16_to_f32(a)));
    Bf16ToF32 = |w, i| w.map1(i, round::bf16_to_f32);
    F32ToF16 = |w, i| w.map1(i, round::f32_to_f16);
    F32ToBf16 = |w, i| w.map1(i, round::f32_to_bf16);
}

/// An integer type as a source or a destination.
trait Int: Lane {
    const SIGNED: bool;
    /// Sign- or zero-extended.
    fn extend(self) -> i64;
    /// The low bits.
    fn wrap(v: i64) -> Self;
    fn f32(self) -> f32;
    fn f64(self) -> f64;
}

macro_rules! ints {
    ($($ty:ty),*) => {$(
        impl Int for $ty {
            const SIGNED: bool = <$ty>::MIN != 0;
            #[inline(always)]
            fn extend(self) -> i64 { self as i64 }
            #[inline(always)]
            fn wrap(v: i64) -> Self { v as $ty }
            #[inline(always)]
            fn f32(self) -> f32 { self as f32 }
            #[inline(always)]
            fn f64(self) -> f64 { self as f64 }
        }
    )*};
}

ints!(u8, i8, u16, i16, u32, i32, u64, i64);

/// d = the low bits of a, extended by a's sign where d is wider.
struct Wrap<S, D>(PhantomData<(S, D)>);

impl<S: Int, D: Int> Op for Wrap<S, D> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: S| D::wrap(a.extend())) }
    }
}

fn wrap(to: Type, from: Type) -> Exec {
    by_int!(from, S, {
        match to.bytes() {
            1 => pick::<Wrap<S, u8>>(),
            2 => pick::<Wrap<S, u16>>(),
            4 => pick::<Wrap<S, u32>>(),
            _ => pick::<Wrap<S, u64>>(),
        }
    })
}

/// d = a, at least `imm` and at most `aux`.
struct Saturate<S, D>(PhantomData<(S, D)>);

impl<S: Int, D: Int> Op for Saturate<S, D> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let (low, high) = (i.imm, i.aux as u64);
        // SAFETY: as promised.
        unsafe {
            w.map1(i, |a: S| {
                let v = a.extend();
                let v = if S::SIGNED {
                    v.max(low).min(high.min(i64::MAX as u64) as i64)
                } else {
                    (v as u64).min(high) as i64
                };
                D::wrap(v)
            })
        }
    }
}

fn saturate(to: Type, from: Type) -> Exec {
    by_int!(from, S, {
        match to.bytes() {
            1 => pick::<Saturate<S, u8>>(),
            2 => pick::<Saturate<S, u16>>(),
            4 => pick::<Saturate<S, u32>>(),
            _ => pick::<Saturate<S, u64>>(),
        }
    })
}

/// The magnitude in f64, the sticky last of its at most 53 bits standing for those below: enough to be rounded to any narrower format.
#[inline(always)]
fn to_odd<S: Int>(a: S) -> f64 {
    let v = a.extend();
    let negative = S::SIGNED && v < 0;
    let magnitude = if negative { v.wrapping_neg() } else { v } as u64;
    let sticky = (magnitude & !0x7ff) | (u64::from(magnitude & 0x7ff != 0) << 11);
    let kept = if magnitude >> 53 != 0 { sticky } else { magnitude } as f64;
    if negative { -kept } else { kept }
}

/// d = a rounded to a float.
struct FromInt<S, D, const MODE: u8>(PhantomData<(S, D)>);

impl<S: Int, D: Float, const MODE: u8> Op for FromInt<S, D, MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: S| D::from_int::<S, MODE>(a)) }
    }
}

fn int_to_float(l: &Lower, to: Type, from: Type, mode: u8) -> Result<Exec, PtxError> {
    if flags(l, to, from) & !SAT != 0 || l.has("sat") {
        return l.unsupported();
    }
    by_int!(from, S, by_float!(to, D, by_mode!(mode, M, pick::<FromInt<S, D, M>>()), l.unsupported()))
}

/// A floating-point type as a source or a destination.
trait Float: Lane {
    /// Whether every value is an f32.
    const SINGLE: bool;
    const MAX: f64;
    fn f32(self) -> f32;
    fn f64(self) -> f64;
    fn nearest(v: f32) -> Self;
    fn narrow<const MODE: u8>(v: f64) -> Self;
    /// The NaN that instructions of this type give, for any NaN.
    #[inline(always)]
    fn canonical(self) -> Self {
        self
    }
    #[inline(always)]
    fn from_int<S: Int, const MODE: u8>(a: S) -> Self {
        Self::narrow::<MODE>(to_odd(a))
    }
}

impl Float for f16 {
    const SINGLE: bool = true;
    const MAX: f64 = 65504.0;
    #[inline(always)]
    fn f32(self) -> f32 {
        round::f16_to_f32(self)
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self.f32().into()
    }
    #[inline(always)]
    fn nearest(v: f32) -> Self {
        round::f32_to_f16(v)
    }
    #[inline(always)]
    fn narrow<const MODE: u8>(v: f64) -> Self {
        f16::from_bits(round::narrow::<10, 5, MODE>(v) as u16)
    }
}

impl Float for bf16 {
    const SINGLE: bool = true;
    const MAX: f64 = f32::from_bits(0x7f7f_0000) as f64;
    #[inline(always)]
    fn f32(self) -> f32 {
        round::bf16_to_f32(self)
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self.f32().into()
    }
    #[inline(always)]
    fn nearest(v: f32) -> Self {
        round::f32_to_bf16(v)
    }
    #[inline(always)]
    fn narrow<const MODE: u8>(v: f64) -> Self {
        bf16::from_bits(round::narrow::<7, 8, MODE>(v) as u16)
    }
}

impl Float for f32 {
    const SINGLE: bool = true;
    const MAX: f64 = f32::MAX as f64;
    #[inline(always)]
    fn f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn nearest(v: f32) -> Self {
        v
    }
    #[inline(always)]
    fn narrow<const MODE: u8>(v: f64) -> Self {
        round::to_f32::<MODE>(v)
    }
    #[inline(always)]
    fn canonical(self) -> Self {
        round::canonical_f32(self)
    }
    #[inline(always)]
    fn from_int<S: Int, const MODE: u8>(a: S) -> Self {
        if MODE == RN { a.f32() } else { round::to_f32::<MODE>(to_odd(a)) }
    }
}

impl Float for f64 {
    const SINGLE: bool = false;
    const MAX: f64 = f64::MAX;
    #[inline(always)]
    fn f32(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn nearest(v: f32) -> Self {
        v.into()
    }
    #[inline(always)]
    fn narrow<const MODE: u8>(v: f64) -> Self {
        v
    }
    #[inline(always)]
    fn from_int<S: Int, const MODE: u8>(a: S) -> Self {
        if MODE == RN || size_of::<S>() < 8 { a.f64() } else { exact::from_int::<MODE>(a.extend(), S::SIGNED) }
    }
}

/// The bits of an f32 with ten bits of mantissa.
#[derive(Clone, Copy)]
struct Tf32(f32);

impl Lane for Tf32 {
    type Word = u32;
    #[inline(always)]
    fn of(word: u32) -> Self {
        Tf32(f32::from_bits(word))
    }
    #[inline(always)]
    fn word(self) -> u32 {
        self.0.to_bits()
    }
}

impl Float for Tf32 {
    const SINGLE: bool = true;
    const MAX: f64 = f32::from_bits(0x7f7f_e000) as f64;
    #[inline(always)]
    fn f32(self) -> f32 {
        self.0
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self.0.into()
    }
    #[inline(always)]
    fn nearest(v: f32) -> Self {
        Self::narrow::<RN>(v.into())
    }
    #[inline(always)]
    fn narrow<const MODE: u8>(v: f64) -> Self {
        let bits = round::narrow::<10, 8, MODE>(v);
        // A NaN is all ones, in the bits below the mantissa too.
        Tf32(if v.is_nan() { round::NAN_F32 } else { f32::from_bits(bits << 13) })
    }
}

/// What flags ask for before rounding; the limits are exact in every format, so that the order makes no difference.
#[inline(always)]
fn limited<D: Float>(v: f64, tag: u32) -> f64 {
    let v = if tag & SAT != 0 { round::saturate_f64(v) } else { v };
    let v = if tag & RELU != 0 && v <= 0.0 { 0.0 } else { v };
    if tag & SATFINITE != 0 && v.abs() > D::MAX { D::MAX.copysign(v) } else { v }
}

/// d = a in another format, with all flags.
struct Narrow<S, D, const MODE: u8>(PhantomData<(S, D)>);

impl<S: Float, D: Float, const MODE: u8> Op for Narrow<S, D, MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let tag = i.tag;
        // SAFETY: as promised.
        unsafe { w.map1(i, |a: S| convert::<S, D, MODE>(a, tag)) }
    }
}

#[inline(always)]
fn flushed(v: f32) -> f32 {
    round::canonical_f32(round::flush_f32(v))
}

#[inline(always)]
fn convert<S: Float, D: Float, const MODE: u8>(a: S, tag: u32) -> D {
    let v = if tag & FTZ_IN != 0 { flushed(a.f32()).into() } else { a.f64() };
    let v = limited::<D>(v, tag);
    let d = if S::SINGLE && MODE == RN { D::nearest(v as f32) } else { D::narrow::<MODE>(v) };
    if tag & FTZ_OUT != 0 { D::nearest(flushed(d.f32())) } else { d }
}

/// d = a rounded to an integer, in the same format.
struct Integral<S, const MODE: u8>(PhantomData<S>);

impl<S: Float, const MODE: u8> Op for Integral<S, MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let tag = i.tag;
        // SAFETY: as promised.
        unsafe {
            w.map1(i, |a: S| {
                let v = if tag & FTZ_IN != 0 { round::flush_f32(a.f32()).into() } else { a.f64() };
                S::narrow::<RN>(limited::<S>(round::integral_f64::<MODE>(v), tag)).canonical()
            })
        }
    }
}

/// An integer type that floats are converted to. NaN becomes 0, or the highest bit alone where a type of 64 bits is involved.
trait FromFloat: Lane {
    const WIDE: bool;
    const NAN: Self;
    fn from_f32(v: f32) -> Self;
    fn from_f64(v: f64) -> Self;
}

macro_rules! from_float {
    ($($ty:ty: $nan:expr),*) => {$(
        impl FromFloat for $ty {
            const WIDE: bool = size_of::<$ty>() == 8;
            const NAN: $ty = $nan;
            // `as` clamps.
            #[inline(always)]
            fn from_f32(v: f32) -> Self { v as $ty }
            #[inline(always)]
            fn from_f64(v: f64) -> Self { v as $ty }
        }
    )*};
}

from_float!(u8: 1 << 7, i8: i8::MIN, u16: 1 << 15, i16: i16::MIN, u32: 1 << 31, i32: i32::MIN, u64: 1 << 63, i64: i64::MIN);

/// d = a rounded to an integer, clamped to what d can hold.
struct ToInt<S, D, const MODE: u8>(PhantomData<(S, D)>);

impl<S: Float, D: FromFloat, const MODE: u8> Op for ToInt<S, D, MODE> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let tag = i.tag;
        // SAFETY: as promised.
        unsafe {
            w.map1(i, |a: S| {
                if !S::SINGLE {
                    let v = a.f64();
                    return if v.is_nan() { D::NAN } else { D::from_f64(round::integral_f64::<MODE>(v)) };
                }
                let v = a.f32();
                // Only these modes tell a subnormal from zero.
                let v = if matches!(MODE, RM | RP) && tag & FTZ_IN != 0 { round::flush_f32(v) } else { v };
                if D::WIDE && v.is_nan() { D::NAN } else { D::from_f32(round::integral_f32::<MODE>(v)) }
            })
        }
    }
}

fn float_to_int(l: &Lower, to: Type, from: Type, mode: u8) -> Result<Exec, PtxError> {
    if l.has("relu") || l.has("satfinite") {
        return l.unsupported();
    }
    by_int!(to, D, by_float!(from, S, by_mode!(mode, M, pick::<ToInt<S, D, M>>()), l.unsupported()))
}

/// d = {b, a}, both rounded: the first source is the upper half.
struct PackFloats<D, const MODE: u8, const FLAGS: bool>(PhantomData<D>);

impl<D: Float + Lane<Word = u32>, const MODE: u8, const FLAGS: bool> Op for PackFloats<D, MODE, FLAGS> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let tag = if FLAGS { i.tag } else { 0 };
        // SAFETY: as promised.
        unsafe {
            w.map2(i, |a: f32, b: f32| {
                let (a, b) = match (FLAGS, MODE) {
                    (false, RN) => (D::nearest(a), D::nearest(b)),
                    _ => (convert::<f32, D, MODE>(a, tag), convert::<f32, D, MODE>(b, tag)),
                };
                (a.word() << 16) | b.word()
            })
        }
    }
}

fn pack_floats(l: &mut Lower, to: Type) -> Result<(), PtxError> {
    let tag = flags(l, to, Type::F32);
    let exec = match (to, mode(l, false), tag != 0) {
        (Type::F16x2, Some(RN), false) => pick::<PackFloats<f16, RN, false>>(),
        (Type::F16x2, Some(RN), true) => pick::<PackFloats<f16, RN, true>>(),
        (Type::F16x2, Some(RZ), _) => pick::<PackFloats<f16, RZ, true>>(),
        (Type::Bf16x2, Some(RN), false) => pick::<PackFloats<bf16, RN, false>>(),
        (Type::Bf16x2, Some(RN), true) => pick::<PackFloats<bf16, RN, true>>(),
        (Type::Bf16x2, Some(RZ), _) => pick::<PackFloats<bf16, RZ, true>>(),
        _ => return l.unsupported(),
    };
    let rows = [l.write(0, to)?, l.read(1, Type::F32)?, l.read(2, Type::F32)?];
    l.emit(Class::Convert, exec, &rows).tag = tag;
    Ok(())
}

/// d = c, a, b from the highest bits to the lowest: a and b saturated to `tag` bits, within `imm` and `aux`.
struct PackIntegers;

impl Op for PackIntegers {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let (low, high, bits) = (i.imm as i32, i.aux as i32, i.tag);
        let part = |v: i32| v.max(low).min(high) as u32 & ((1 << bits) - 1);
        // SAFETY: as promised.
        unsafe {
            w.map3(i, |a: i32, b: i32, c: u32| {
                let upper = if bits == 16 { 0 } else { c << (2 * bits) };
                upper | (part(a) << bits) | part(b)
            })
        }
    }
}

fn pack_integers(l: &mut Lower) -> Result<(), PtxError> {
    let types = l.types();
    let (to, four) = match types.as_slice() {
        [to, Type::S32] => (*to, false),
        [to, Type::S32, Type::B32] => (*to, true),
        _ => return l.unsupported(),
    };
    if !l.has("sat") || four != matches!(to, Type::U8 | Type::S8) || !four && !matches!(to, Type::U16 | Type::S16) {
        return l.unsupported();
    }
    let (a, b) = (l.read(1, Type::S32)?, l.read(2, Type::S32)?);
    let c = if four { l.read(3, Type::B32)? } else { a };
    let d = l.write(0, Type::B32)?;
    let inst = l.emit(Class::Convert, pick::<PackIntegers>(), &[d, a, b, c]);
    (inst.imm, inst.aux) = limits(to);
    inst.tag = to.bytes() * 8;
    Ok(())
}
