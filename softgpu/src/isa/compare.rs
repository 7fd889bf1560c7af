//! Comparing: setp, set, slct, testp.
//!
//! Source: PTX ISA 9.0, sections 9.7.6, "Comparison and Selection Instructions", 9.7.7, "Half Precision Comparison
//! Instructions", and 9.7.3 for testp.
//!
//! Few comparisons are compiled: others swap the operands or negate the result.

use std::marker::PhantomData;
use std::num::FpCategory;

use half::{bf16, f16};

use super::float::rounding::{FlushF16, FlushF32, bf16_to_f32, f16_to_f32};
use crate::exec::inst::Inst;
use crate::exec::{Class, Exec, Flow, LANES, Lane, Lower, Op, Row, Warp, Width, pick};
use crate::op;
use crate::ptx::{Operand, PtxError, Type};

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    match l.instruction.opcode.as_str() {
        "setp" => setp(l),
        "set" => set(l),
        "slct" => slct(l),
        "testp" => testp(l),
        _ => l.unsupported(),
    }
}

/// The comparisons that are compiled, for [`Cmp`].
const EQ: u8 = 0;
const LT: u8 = 1;
const LE: u8 = 2;
const NUM: u8 = 3;
const EQU: u8 = 4;

/// A comparison of two operands.
struct Comparison {
    base: u8,
    swap: bool,
    negate: bool,
}

/// The comparison among the modifiers. Ordered ones are false for NaN, and an unordered one negates the ordered opposite.
fn comparison(l: &Lower, float: bool) -> Result<Comparison, PtxError> {
    let (base, swap, negate) = match l.instruction.modifiers.first().map(String::as_str) {
        Some("eq") => (EQ, false, false),
        Some("lt" | "lo") => (LT, false, false),
        Some("gt" | "hi") => (LT, true, false),
        Some("le" | "ls") if float => (LE, false, false),
        Some("ge" | "hs") if float => (LE, true, false),
        Some("le" | "ls") => (LT, true, true),
        Some("ge" | "hs") => (LT, false, true),
        Some("ne") if float => (EQU, false, true),
        Some("ne") => (EQ, false, true),
        Some("equ") if float => (EQU, false, false),
        Some("neu") if float => (EQ, false, true),
        Some("ltu") if float => (LE, true, true),
        Some("leu") if float => (LT, true, true),
        Some("gtu") if float => (LE, false, true),
        Some("geu") if float => (LT, false, true),
        Some("num") if float => (NUM, false, false),
        Some("nan") if float => (NUM, false, true),
        _ => return l.unsupported(),
    };
    Ok(Comparison { base, swap, negate })
}

/// What a source type is compared as.
trait Compared: Lane {
    type As: PartialOrd + Copy;
    fn get(self) -> Self::As;
}

macro_rules! compared {
    ($($ty:ty: $as:ty, $get:expr;)*) => {$(
        impl Compared for $ty {
            type As = $as;
            #[inline(always)]
            fn get(self) -> $as { let f: fn($ty) -> $as = $get; f(self) }
        }
    )*};
}

compared! {
    u16: u16, |v| v;
    i16: i16, |v| v;
    u32: u32, |v| v;
    i32: i32, |v| v;
    u64: u64, |v| v;
    i64: i64, |v| v;
    f32: f32, |v| v;
    f64: f64, |v| v;
    f16: f32, f16_to_f32;
    bf16: f32, bf16_to_f32;
    FlushF32: f32, |v| v.0;
    FlushF16: f32, |v| f16_to_f32(v.0);
}

/// The upper half of a pair.
#[derive(Clone, Copy)]
struct Upper<T>(T);

impl<T: Lane<Word = u32>> Lane for Upper<T> {
    type Word = u32;
    #[inline(always)]
    fn of(word: u32) -> Self {
        Upper(T::of(word >> 16))
    }
    #[inline(always)]
    fn word(self) -> u32 {
        self.0.word() << 16
    }
}

impl<T: Compared + Lane<Word = u32>> Compared for Upper<T> {
    type As = T::As;
    #[inline(always)]
    fn get(self) -> T::As {
        self.0.get()
    }
}

/// A comparison of rows: what the first and the second destination get, one bit per lane, before negation.
trait Test {
    /// # Safety
    /// As [`Warp::row`].
    unsafe fn test(w: &Warp, a: Row, b: Row) -> (u32, u32);
}

/// Scalars: the second result is the opposite of the first.
struct Cmp<T, const BASE: u8>(PhantomData<T>);

/// Pairs: one result for each half, lower first.
struct CmpPair<T, const BASE: u8>(PhantomData<T>);

#[inline(always)]
fn compare<T: PartialOrd + Copy, const BASE: u8>(a: T, b: T) -> bool {
    match BASE {
        EQ => a == b,
        LT => a < b,
        LE => a <= b,
        NUM => (a <= b) | (a >= b),
        _ => !((a < b) | (a > b)),
    }
}

impl<T: Compared, const BASE: u8> Test for Cmp<T, BASE> {
    #[inline(always)]
    unsafe fn test(w: &Warp, a: Row, b: Row) -> (u32, u32) {
        // SAFETY: as promised.
        let bits = unsafe { w.test2(a, b, |a: T, b: T| compare::<_, BASE>(a.get(), b.get())) };
        (bits, !bits)
    }
}

impl<T: Compared + Lane<Word = u32>, const BASE: u8> Test for CmpPair<T, BASE> {
    #[inline(always)]
    unsafe fn test(w: &Warp, a: Row, b: Row) -> (u32, u32) {
        // SAFETY: as promised.
        unsafe {
            let lower = w.test2(a, b, |a: T, b: T| compare::<_, BASE>(a.get(), b.get()));
            let upper = w.test2(a, b, |a: Upper<T>, b: Upper<T>| compare::<_, BASE>(a.get(), b.get()));
            (lower, upper)
        }
    }
}

/// p = a cmp b, negated where `imm` is all ones.
struct Setp<T>(PhantomData<T>);

impl<T: Test> Op for Setp<T> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        // SAFETY: as promised.
        unsafe {
            let (p, _) = T::test(w, i.rows[1], i.rows[2]);
            w.set_pred(i.rows[0], p ^ i.imm as u32);
        }
        Flow::Next
    }
}

/// How a comparison t and a predicate c make a result, in [`Inst::tag`]: as t, as t & c, as t ^ c, which together make any of them.
const ALONE: u32 = 1;
const BOTH: u32 = 2;
const DIFFER: u32 = 4;

#[inline(always)]
fn combine(t: u32, c: u32, how: u32) -> u32 {
    let bit = |flag: u32| if how & flag != 0 { u32::MAX } else { 0 };
    (t & bit(ALONE)) | (t & c & bit(BOTH)) | ((t ^ c) & bit(DIFFER))
}

/// p|q = a cmp b, combined with c.
struct SetpBoth<T>(PhantomData<T>);

impl<T: Test> Op for SetpBoth<T> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let negate = i.imm as u32;
        // SAFETY: as promised.
        unsafe {
            let ((p, q), c) = (T::test(w, i.rows[2], i.rows[3]), w.pred(i.rows[4]));
            w.set_pred(i.rows[0], combine(p ^ negate, c, i.tag));
            w.set_pred(i.rows[1], combine(q ^ negate, c, i.tag));
        }
        Flow::Next
    }
}

/// d = what `aux` holds for true: in its lower word for the first result, in its upper one for the second.
struct Set<T>(PhantomData<T>);

impl<T: Test> Op for Set<T> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        let negate = i.imm as u32;
        let (first, second) = (i.aux as u32, (i.aux as u64 >> 32) as u32);
        // SAFETY: as promised.
        unsafe {
            let ((p, q), c) = (T::test(w, i.rows[1], i.rows[2]), w.pred(i.rows[3]));
            let (p, q) = (combine(p ^ negate, c, i.tag), combine(q ^ negate, c, i.tag));
            let d: [u32; LANES] = std::array::from_fn(|lane| ((p >> lane & 1) * first) | ((q >> lane & 1) * second));
            w.set(i.rows[0], &d);
        }
        Flow::Next
    }
}

/// Which of the three bodies.
#[derive(Clone, Copy)]
enum Form {
    Simple,
    Both,
    Set,
}

fn body<T: Test>(form: Form) -> Exec {
    match form {
        Form::Simple => pick::<Setp<T>>(),
        Form::Both => pick::<SetpBoth<T>>(),
        Form::Set => pick::<Set<T>>(),
    }
}

fn integer<T: Compared>(form: Form, base: u8) -> Exec {
    match base {
        EQ => body::<Cmp<T, EQ>>(form),
        _ => body::<Cmp<T, LT>>(form),
    }
}

fn float<T: Compared>(form: Form, base: u8) -> Exec {
    match base {
        EQ => body::<Cmp<T, EQ>>(form),
        LT => body::<Cmp<T, LT>>(form),
        LE => body::<Cmp<T, LE>>(form),
        NUM => body::<Cmp<T, NUM>>(form),
        _ => body::<Cmp<T, EQU>>(form),
    }
}

fn pair<T: Compared + Lane<Word = u32>>(form: Form, base: u8) -> Exec {
    match base {
        EQ => body::<CmpPair<T, EQ>>(form),
        LT => body::<CmpPair<T, LT>>(form),
        LE => body::<CmpPair<T, LE>>(form),
        NUM => body::<CmpPair<T, NUM>>(form),
        _ => body::<CmpPair<T, EQU>>(form),
    }
}

fn is_pair(ty: Type) -> bool {
    matches!(ty, Type::F16x2 | Type::Bf16x2)
}

/// The body for operands of type `ty`.
fn choose(l: &Lower, ty: Type, form: Form, base: u8) -> Result<Exec, PtxError> {
    let ftz = l.has("ftz");
    Ok(match ty {
        Type::B16 | Type::U16 => integer::<u16>(form, base),
        Type::S16 => integer::<i16>(form, base),
        Type::B32 | Type::U32 => integer::<u32>(form, base),
        Type::S32 => integer::<i32>(form, base),
        Type::B64 | Type::U64 => integer::<u64>(form, base),
        Type::S64 => integer::<i64>(form, base),
        Type::F32 if ftz => float::<FlushF32>(form, base),
        Type::F32 => float::<f32>(form, base),
        Type::F64 => float::<f64>(form, base),
        Type::F16 if ftz => float::<FlushF16>(form, base),
        Type::F16 => float::<f16>(form, base),
        Type::Bf16 => float::<bf16>(form, base),
        Type::F16x2 if ftz => pair::<FlushF16>(form, base),
        Type::F16x2 => pair::<f16>(form, base),
        Type::Bf16x2 => pair::<bf16>(form, base),
        _ => return l.unsupported(),
    })
}

/// The rows of a and b, and what goes into [`Inst::imm`].
fn sources(l: &mut Lower, ty: Type, comparison: &Comparison) -> Result<(Row, Row, i64), PtxError> {
    let (a, b) = (l.read(1, ty)?, l.read(2, ty)?);
    let negate = if comparison.negate { -1 } else { 0 };
    Ok(if comparison.swap { (b, a, negate) } else { (a, b, negate) })
}

/// How the result is combined with a third source, and that one's row; without one, row 0, a constant, which is not looked at.
fn combination(l: &mut Lower) -> Result<(u32, Row), PtxError> {
    let how = match l.instruction.modifiers.get(1).map(String::as_str) {
        Some("and") => BOTH,
        Some("or") => BOTH | DIFFER,
        Some("xor") => DIFFER,
        _ => {
            let none = l.constant(Width::Pred, 0);
            return Ok((ALONE, none));
        }
    };
    Ok((how, l.read(3, Type::Pred)?))
}

fn setp(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.ty()?;
    let comparison = comparison(l, ty.is_float())?;
    let (p, q) = match l.operand(0)? {
        Operand::Pair(both) => (l.write_operand(&both.0, Type::Pred)?, Some(l.write_operand(&both.1, Type::Pred)?)),
        single => (l.write_operand(single, Type::Pred)?, None),
    };
    let (a, b, negate) = sources(l, ty, &comparison)?;
    let (how, c) = combination(l)?;
    let inst = if how == ALONE && q.is_none() {
        let exec = choose(l, ty, Form::Simple, comparison.base)?;
        l.emit(Class::Compare, exec, &[p, a, b])
    } else {
        let exec = choose(l, ty, Form::Both, comparison.base)?;
        let q = match q {
            Some(q) => q,
            None => l.write_operand(&Operand::Sink, Type::Pred)?,
        };
        l.emit(Class::Compare, exec, &[p, q, a, b, c])
    };
    (inst.imm, inst.tag) = (negate, how);
    Ok(())
}

fn set(l: &mut Lower) -> Result<(), PtxError> {
    let types = l.types();
    let &[to, ty] = types.as_slice() else { return l.unsupported() };
    let comparison = comparison(l, ty.is_float())?;
    let one = match to {
        Type::U16 | Type::S16 => 0xffff,
        Type::U32 | Type::S32 if is_pair(ty) => 0xffff,
        Type::U32 | Type::S32 => u32::MAX,
        Type::F32 => 1f32.to_bits(),
        Type::F16 | Type::F16x2 => u32::from(f16::ONE.to_bits()),
        Type::Bf16 | Type::Bf16x2 => u32::from(bf16::ONE.to_bits()),
        _ => return l.unsupported(),
    };
    if is_pair(ty) && to.bytes() != 4 || is_pair(to) && to != ty {
        return l.unsupported();
    }
    let d = l.write(0, to)?;
    let (a, b, negate) = sources(l, ty, &comparison)?;
    let (how, c) = combination(l)?;
    let exec = choose(l, ty, Form::Set, comparison.base)?;
    let inst = l.emit(Class::Compare, exec, &[d, a, b, c]);
    (inst.imm, inst.tag) = (negate, how);
    inst.aux = i64::from(one) | if is_pair(ty) { i64::from(one) << 48 } else { 0 };
    Ok(())
}

op! {
    SlctInt16 = |w, i| choose_by::<u16, i32>(w, i, |c| c >= 0);
    SlctInt32 = |w, i| choose_by::<u32, i32>(w, i, |c| c >= 0);
    SlctInt64 = |w, i| choose_by::<u64, i32>(w, i, |c| c >= 0);
    SlctFloat16 = |w, i| choose_by::<u16, f32>(w, i, |c| c >= 0.0);
    SlctFloat32 = |w, i| choose_by::<u32, f32>(w, i, |c| c >= 0.0);
    SlctFloat64 = |w, i| choose_by::<u64, f32>(w, i, |c| c >= 0.0);
    SlctFlush32 = |w, i| choose_by::<u32, FlushF32>(w, i, |c| c.0 >= 0.0);
    SlctFlush64 = |w, i| choose_by::<u64, FlushF32>(w, i, |c| c.0 >= 0.0);
}

/// d = f(c) ? a : b.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn choose_by<T: Lane, C: Lane>(w: &mut Warp, i: &Inst, f: impl Fn(C) -> bool) -> Flow {
    // SAFETY: as promised.
    unsafe { w.map3(i, |a: T, b: T, c: C| if f(c) { a } else { b }) }
}

fn slct(l: &mut Lower) -> Result<(), PtxError> {
    let types = l.types();
    let &[ty, by] = types.as_slice() else { return l.unsupported() };
    let exec = match (by, ty.bytes(), l.has("ftz")) {
        (Type::S32, 2, false) => pick::<SlctInt16>(),
        (Type::S32, 4, false) => pick::<SlctInt32>(),
        (Type::S32, 8, false) => pick::<SlctInt64>(),
        (Type::F32, 2, false) => pick::<SlctFloat16>(),
        (Type::F32, 4, false) => pick::<SlctFloat32>(),
        (Type::F32, 8, false) => pick::<SlctFloat64>(),
        (Type::F32, 4, true) => pick::<SlctFlush32>(),
        (Type::F32, 8, true) => pick::<SlctFlush64>(),
        _ => return l.unsupported(),
    };
    let rows = [l.write(0, ty)?, l.read(1, ty)?, l.read(2, ty)?, l.read(3, by)?];
    l.emit(Class::Compare, exec, &rows);
    Ok(())
}

/// The properties that testp asks for.
const FINITE: u8 = 0;
const INFINITE: u8 = 1;
const NUMBER: u8 = 2;
const NOT_A_NUMBER: u8 = 3;
const NORMAL: u8 = 4;
const SUBNORMAL: u8 = 5;

/// p = whether a has a property.
struct Testp<T, const PROPERTY: u8>(PhantomData<T>);

/// f32 and f64.
trait Classified: Lane {
    fn category(self) -> FpCategory;
}

impl Classified for f32 {
    #[inline(always)]
    fn category(self) -> FpCategory {
        self.classify()
    }
}

impl Classified for f64 {
    #[inline(always)]
    fn category(self) -> FpCategory {
        self.classify()
    }
}

impl<T: Classified, const PROPERTY: u8> Op for Testp<T, PROPERTY> {
    #[inline(always)]
    unsafe fn run(w: &mut Warp, i: &Inst) -> Flow {
        use FpCategory::*;
        let has = |a: T, _: T| match PROPERTY {
            FINITE => !matches!(a.category(), Nan | Infinite),
            INFINITE => a.category() == Infinite,
            NUMBER => a.category() != Nan,
            NOT_A_NUMBER => a.category() == Nan,
            // A zero counts as normal, as the section on testp says.
            NORMAL => matches!(a.category(), Normal | Zero),
            _ => a.category() == Subnormal,
        };
        // SAFETY: as promised.
        unsafe {
            let bits = w.test2(i.rows[1], i.rows[1], has);
            w.set_pred(i.rows[0], bits);
        }
        Flow::Next
    }
}

fn property<T: Classified>(l: &Lower) -> Result<Exec, PtxError> {
    Ok(match l.instruction.modifiers.first().map(String::as_str) {
        Some("finite") => pick::<Testp<T, FINITE>>(),
        Some("infinite") => pick::<Testp<T, INFINITE>>(),
        Some("number") => pick::<Testp<T, NUMBER>>(),
        Some("notanumber") => pick::<Testp<T, NOT_A_NUMBER>>(),
        Some("normal") => pick::<Testp<T, NORMAL>>(),
        Some("subnormal") => pick::<Testp<T, SUBNORMAL>>(),
        _ => return l.unsupported(),
    })
}

fn testp(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.ty()?;
    let exec = match ty {
        Type::F32 => property::<f32>(l)?,
        Type::F64 => property::<f64>(l)?,
        _ => return l.unsupported(),
    };
    let rows = [l.write(0, Type::Pred)?, l.read(1, ty)?];
    l.emit(Class::Compare, exec, &rows);
    Ok(())
}
