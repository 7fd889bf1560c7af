//! Integer arithmetic.
//!
//! Source: PTX ISA 9.0, section 9.7.1, "Integer Arithmetic Instructions", and 9.7.2, "Extended-Precision Integer Arithmetic".

use crate::exec::{Class, Exec, Flow, Inst, LANES, Lower, Row, Warp, Width, pick};
use crate::op;
use crate::ptx::{PtxError, Type};

op! {
    Add16 = |w, i| w.map2(i, u16::wrapping_add);
    Add32 = |w, i| w.map2(i, u32::wrapping_add);
    Add64 = |w, i| w.map2(i, u64::wrapping_add);
    AddSat = |w, i| w.map2(i, i32::saturating_add);
    AddPair = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, u16::wrapping_add));
    Sub16 = |w, i| w.map2(i, u16::wrapping_sub);
    Sub32 = |w, i| w.map2(i, u32::wrapping_sub);
    Sub64 = |w, i| w.map2(i, u64::wrapping_sub);
    SubSat = |w, i| w.map2(i, i32::saturating_sub);
    MulLo16 = |w, i| w.map2(i, u16::wrapping_mul);
    MulLo32 = |w, i| w.map2(i, u32::wrapping_mul);
    MulLo64 = |w, i| w.map2(i, u64::wrapping_mul);
    MulHiU16 = |w, i| w.map2(i, |a: u16, b: u16| (u32::from(a) * u32::from(b) >> 16) as u16);
    MulHiS16 = |w, i| w.map2(i, |a: i16, b: i16| (i32::from(a) * i32::from(b) >> 16) as i16);
    MulHiU32 = |w, i| w.map2(i, |a: u32, b: u32| (u64::from(a) * u64::from(b) >> 32) as u32);
    MulHiS32 = |w, i| w.map2(i, |a: i32, b: i32| (i64::from(a) * i64::from(b) >> 32) as i32);
    MulHiU64 = |w, i| w.map2(i, |a: u64, b: u64| (u128::from(a) * u128::from(b) >> 64) as u64);
    MulHiS64 = |w, i| w.map2(i, |a: i64, b: i64| (i128::from(a) * i128::from(b) >> 64) as i64);
    MulWideU16 = |w, i| w.map2(i, |a: u16, b: u16| u32::from(a) * u32::from(b));
    MulWideS16 = |w, i| w.map2(i, |a: i16, b: i16| i32::from(a) * i32::from(b));
    MulWideU32 = |w, i| w.map2(i, |a: u32, b: u32| u64::from(a) * u64::from(b));
    MulWideS32 = |w, i| w.map2(i, |a: i32, b: i32| i64::from(a) * i64::from(b));
    MadLo16 = |w, i| w.map3(i, |a: u16, b: u16, c: u16| a.wrapping_mul(b).wrapping_add(c));
    MadLo32 = |w, i| w.map3(i, |a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c));
    MadLo64 = |w, i| w.map3(i, |a: u64, b: u64, c: u64| a.wrapping_mul(b).wrapping_add(c));
    MadHiU16 = |w, i| w.map3(i, |a: u16, b: u16, c: u16| ((u32::from(a) * u32::from(b) >> 16) as u16).wrapping_add(c));
    MadHiS16 = |w, i| w.map3(i, |a: i16, b: i16, c: i16| ((i32::from(a) * i32::from(b) >> 16) as i16).wrapping_add(c));
    MadHiU32 = |w, i| w.map3(i, |a: u32, b: u32, c: u32| ((u64::from(a) * u64::from(b) >> 32) as u32).wrapping_add(c));
    MadHiS32 = |w, i| w.map3(i, |a: i32, b: i32, c: i32| ((i64::from(a) * i64::from(b) >> 32) as i32).wrapping_add(c));
    MadHiSat = |w, i| w.map3(i, |a: i32, b: i32, c: i32| ((i64::from(a) * i64::from(b) >> 32) as i32).saturating_add(c));
    MadHiU64 = |w, i| w.map3(i, |a: u64, b: u64, c: u64| ((u128::from(a) * u128::from(b) >> 64) as u64).wrapping_add(c));
    MadHiS64 = |w, i| w.map3(i, |a: i64, b: i64, c: i64| ((i128::from(a) * i128::from(b) >> 64) as i64).wrapping_add(c));
    MadWideU16 = |w, i| w.map3(i, |a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c));
    MadWideS16 = |w, i| w.map3(i, |a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c));
    MadWideU32 = |w, i| w.map3(i, |a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c));
    MadWideS32 = |w, i| w.map3(i, |a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c));
    Mul24LoU = |w, i| w.map2(i, |a: u32, b: u32| low24(a).wrapping_mul(low24(b)));
    Mul24LoS = |w, i| w.map2(i, |a: i32, b: i32| signed24(a).wrapping_mul(signed24(b)));
    Mul24HiU = |w, i| w.map2(i, high24u);
    Mul24HiS = |w, i| w.map2(i, high24s);
    Mad24LoU = |w, i| w.map3(i, |a: u32, b: u32, c: u32| low24(a).wrapping_mul(low24(b)).wrapping_add(c));
    Mad24LoS = |w, i| w.map3(i, |a: i32, b: i32, c: i32| signed24(a).wrapping_mul(signed24(b)).wrapping_add(c));
    Mad24HiU = |w, i| w.map3(i, |a: u32, b: u32, c: u32| high24u(a, b).wrapping_add(c));
    Mad24HiS = |w, i| w.map3(i, |a: i32, b: i32, c: i32| high24s(a, b).wrapping_add(c));
    Mad24HiSat = |w, i| w.map3(i, |a: i32, b: i32, c: i32| high24s(a, b).saturating_add(c));
    SadU16 = |w, i| w.map3(i, |a: u16, b: u16, c: u16| a.abs_diff(b).wrapping_add(c));
    SadS16 = |w, i| w.map3(i, |a: i16, b: i16, c: u16| a.abs_diff(b).wrapping_add(c));
    SadU32 = |w, i| w.map3(i, |a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c));
    SadS32 = |w, i| w.map3(i, |a: i32, b: i32, c: u32| a.abs_diff(b).wrapping_add(c));
    SadU64 = |w, i| w.map3(i, |a: u64, b: u64, c: u64| a.abs_diff(b).wrapping_add(c));
    SadS64 = |w, i| w.map3(i, |a: i64, b: i64, c: u64| a.abs_diff(b).wrapping_add(c));
    // Division by zero gives all ones, and so does its remainder: PTX leaves both open, an H100 answers so.
    DivU16 = |w, i| w.map2(i, |a: u16, b: u16| a.checked_div(b).unwrap_or(u16::MAX));
    DivS16 = |w, i| w.map2(i, |a: i16, b: i16| if b == 0 { -1 } else { a.wrapping_div(b) });
    DivU32 = |w, i| w.map2(i, |a: u32, b: u32| a.checked_div(b).unwrap_or(u32::MAX));
    DivS32 = |w, i| w.map2(i, |a: i32, b: i32| if b == 0 { -1 } else { a.wrapping_div(b) });
    DivU64 = |w, i| w.map2(i, |a: u64, b: u64| a.checked_div(b).unwrap_or(u64::MAX));
    DivS64 = |w, i| w.map2(i, |a: i64, b: i64| if b == 0 { -1 } else { a.wrapping_div(b) });
    RemU16 = |w, i| w.map2(i, |a: u16, b: u16| a.checked_rem(b).unwrap_or(u16::MAX));
    RemS16 = |w, i| w.map2(i, |a: i16, b: i16| if b == 0 { -1 } else { a.wrapping_rem(b) });
    RemU32 = |w, i| w.map2(i, |a: u32, b: u32| a.checked_rem(b).unwrap_or(u32::MAX));
    RemS32 = |w, i| w.map2(i, |a: i32, b: i32| if b == 0 { -1 } else { a.wrapping_rem(b) });
    RemU64 = |w, i| w.map2(i, |a: u64, b: u64| a.checked_rem(b).unwrap_or(u64::MAX));
    RemS64 = |w, i| w.map2(i, |a: i64, b: i64| if b == 0 { -1 } else { a.wrapping_rem(b) });
    Abs16 = |w, i| w.map1(i, i16::wrapping_abs);
    Abs32 = |w, i| w.map1(i, i32::wrapping_abs);
    Abs64 = |w, i| w.map1(i, i64::wrapping_abs);
    Neg16 = |w, i| w.map1(i, i16::wrapping_neg);
    Neg32 = |w, i| w.map1(i, i32::wrapping_neg);
    Neg64 = |w, i| w.map1(i, i64::wrapping_neg);
    MinU16 = |w, i| w.map2(i, |a: u16, b: u16| a.min(b));
    MinS16 = |w, i| w.map2(i, |a: i16, b: i16| a.min(b));
    MinU32 = |w, i| w.map2(i, |a: u32, b: u32| a.min(b));
    MinS32 = |w, i| w.map2(i, |a: i32, b: i32| a.min(b));
    MinU64 = |w, i| w.map2(i, |a: u64, b: u64| a.min(b));
    MinS64 = |w, i| w.map2(i, |a: i64, b: i64| a.min(b));
    MinU16x2 = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, |a, b| a.min(b)));
    MinS16x2 = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, |a, b| (a as i16).min(b as i16) as u16));
    MinReluPair = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, |a, b| (a as i16).min(b as i16).max(0) as u16));
    MinRelu = |w, i| w.map2(i, |a: i32, b: i32| a.min(b).max(0));
    MaxU16 = |w, i| w.map2(i, |a: u16, b: u16| a.max(b));
    MaxS16 = |w, i| w.map2(i, |a: i16, b: i16| a.max(b));
    MaxU32 = |w, i| w.map2(i, |a: u32, b: u32| a.max(b));
    MaxS32 = |w, i| w.map2(i, |a: i32, b: i32| a.max(b));
    MaxU64 = |w, i| w.map2(i, |a: u64, b: u64| a.max(b));
    MaxS64 = |w, i| w.map2(i, |a: i64, b: i64| a.max(b));
    MaxU16x2 = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, |a, b| a.max(b)));
    MaxS16x2 = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, |a, b| (a as i16).max(b as i16) as u16));
    MaxReluPair = |w, i| w.map2(i, |a: u32, b: u32| pair(a, b, |a, b| (a as i16).max(b as i16).max(0) as u16));
    MaxRelu = |w, i| w.map2(i, |a: i32, b: i32| a.max(b).max(0));
    Dp4aUU = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot4(a, b, c, |a| a.into(), |b| b.into()));
    Dp4aUS = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot4(a, b, c, |a| a.into(), |b| (b as i8).into()));
    Dp4aSU = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot4(a, b, c, |a| (a as i8).into(), |b| b.into()));
    Dp4aSS = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot4(a, b, c, |a| (a as i8).into(), |b| (b as i8).into()));
    Dp2aUU = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot2(i.imm, a, b, c, |a| a.into(), |b| b.into()));
    Dp2aUS = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot2(i.imm, a, b, c, |a| a.into(), |b| (b as i8).into()));
    Dp2aSU = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot2(i.imm, a, b, c, |a| (a as i16).into(), |b| b.into()));
    Dp2aSS = |w, i| w.map3(i, |a: u32, b: u32, c: u32| dot2(i.imm, a, b, c, |a| (a as i16).into(), |b| (b as i8).into()));
    Carry32 = |w, i| carry::<u32>(w, i);
    Carry64 = |w, i| carry::<u64>(w, i);
}

fn low24(x: u32) -> u32 {
    x & 0xff_ffff
}

fn signed24(x: i32) -> i32 {
    x << 8 >> 8
}

/// The highest 32 bits of a 48-bit product.
fn high24u(a: u32, b: u32) -> u32 {
    (u64::from(low24(a)) * u64::from(low24(b)) >> 16) as u32
}

fn high24s(a: i32, b: i32) -> i32 {
    (i64::from(signed24(a)) * i64::from(signed24(b)) >> 16) as i32
}

#[inline(always)]
fn pair(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

#[inline(always)]
fn dot4(a: u32, b: u32, c: u32, widen_a: impl Fn(u8) -> i32, widen_b: impl Fn(u8) -> i32) -> u32 {
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| widen_a(a).wrapping_mul(widen_b(b)));
    products.fold(c as i32, i32::wrapping_add) as u32
}

/// The halves of a times two bytes of b, which start at bit `at`.
#[inline(always)]
fn dot2(at: i64, a: u32, b: u32, c: u32, widen_a: impl Fn(u16) -> i32, widen_b: impl Fn(u8) -> i32) -> u32 {
    let (low, high) = (widen_a(a as u16), widen_a((a >> 16) as u16));
    let b = b >> at;
    let products = low.wrapping_mul(widen_b(b as u8)).wrapping_add(high.wrapping_mul(widen_b((b >> 8) as u8)));
    products.wrapping_add(c as i32) as u32
}

/// In [`Inst::tag`]: multiply first (low or high half), subtract instead of adding, take the carry in, give it out.
const LOW: u32 = 1;
const HIGH: u32 = 2;
const SUBTRACT: u32 = 4;
const IN: u32 = 8;
const OUT: u32 = 16;
const SIGNED: u32 = 32;

/// A word with a carry.
trait Word: Copy + Default {
    fn wide(self) -> u128;
    fn of(wide: u128) -> Self;
    fn high(self, other: Self, signed: bool) -> Self;
    const BITS: u32;
}

impl Word for u32 {
    const BITS: u32 = 32;
    fn wide(self) -> u128 {
        self.into()
    }
    fn of(wide: u128) -> u32 {
        wide as u32
    }
    fn high(self, other: u32, signed: bool) -> u32 {
        match signed {
            true => (i64::from(self as i32) * i64::from(other as i32) >> 32) as u32,
            false => (u64::from(self) * u64::from(other) >> 32) as u32,
        }
    }
}

impl Word for u64 {
    const BITS: u32 = 64;
    fn wide(self) -> u128 {
        self.into()
    }
    fn of(wide: u128) -> u64 {
        wide as u64
    }
    fn high(self, other: u64, signed: bool) -> u64 {
        match signed {
            true => (i128::from(self as i64) * i128::from(other as i64) >> 64) as u64,
            false => (u128::from(self) * u128::from(other) >> 64) as u64,
        }
    }
}

/// d, carry = [a·b +] a ± b ± carry: rows d, a, b, c (of mad), carry.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn carry<W: Word>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised.
    unsafe {
        let [a, b, c] = [1, 2, 3].map(|n| *w.row::<W>(i.rows[n]));
        let carried = if i.tag & IN != 0 { w.pred(i.rows[4]) } else { 0 };
        let (mut d, mut out) = ([W::default(); LANES], 0);
        for lane in 0..LANES {
            let (x, y) = match i.tag & (LOW | HIGH) {
                LOW => (W::of(a[lane].wide().wrapping_mul(b[lane].wide())), c[lane]),
                HIGH => (a[lane].high(b[lane], i.tag & SIGNED != 0), c[lane]),
                _ => (a[lane], b[lane]),
            };
            let carry = u128::from(carried >> lane & 1);
            // A borrow is the carry flag here, and the bit beyond the word either way.
            let sum = if i.tag & SUBTRACT != 0 {
                x.wide().wrapping_sub(y.wide()).wrapping_sub(carry)
            } else {
                x.wide() + y.wide() + carry
            };
            d[lane] = W::of(sum);
            out |= ((sum >> W::BITS & 1) as u32) << lane;
        }
        w.set(i.rows[0], &d);
        if i.tag & OUT != 0 {
            w.set_pred(i.rows[4], out);
        }
    }
    Flow::Next
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    use Type::*;
    let opcode = l.instruction.opcode.as_str();
    if matches!(opcode, "addc" | "subc" | "madc") || l.has("cc") {
        return with_carry(l);
    }
    if matches!(opcode, "dp4a" | "dp2a") {
        return dot(l);
    }
    if l.has("u16x2") || l.has("s16x2") {
        return packed(l);
    }
    let ty = l.ty()?;
    let part = ["lo", "hi", "wide"].into_iter().find(|part| l.has(part)).unwrap_or("");
    let sat = l.has("sat");
    let relu = l.has("relu");
    let exec = match (opcode, part, ty) {
        ("add", "", S32) if sat => pick::<AddSat>(),
        ("sub", "", S32) if sat => pick::<SubSat>(),
        ("min", "", S32) if relu => pick::<MinRelu>(),
        ("max", "", S32) if relu => pick::<MaxRelu>(),
        ("mad", "hi", S32) if sat => pick::<MadHiSat>(),
        ("mad24", "hi", S32) if sat => pick::<Mad24HiSat>(),
        _ if sat || relu => return l.unsupported(),
        ("add", "", U16 | S16) => pick::<Add16>(),
        ("add", "", U32 | S32) => pick::<Add32>(),
        ("add", "", U64 | S64) => pick::<Add64>(),
        ("sub", "", U16 | S16) => pick::<Sub16>(),
        ("sub", "", U32 | S32) => pick::<Sub32>(),
        ("sub", "", U64 | S64) => pick::<Sub64>(),
        ("mul", "lo", U16 | S16) => pick::<MulLo16>(),
        ("mul", "lo", U32 | S32) => pick::<MulLo32>(),
        ("mul", "lo", U64 | S64) => pick::<MulLo64>(),
        ("mul", "hi", U16) => pick::<MulHiU16>(),
        ("mul", "hi", S16) => pick::<MulHiS16>(),
        ("mul", "hi", U32) => pick::<MulHiU32>(),
        ("mul", "hi", S32) => pick::<MulHiS32>(),
        ("mul", "hi", U64) => pick::<MulHiU64>(),
        ("mul", "hi", S64) => pick::<MulHiS64>(),
        ("mul", "wide", U16) => pick::<MulWideU16>(),
        ("mul", "wide", S16) => pick::<MulWideS16>(),
        ("mul", "wide", U32) => pick::<MulWideU32>(),
        ("mul", "wide", S32) => pick::<MulWideS32>(),
        ("mad", "lo", U16 | S16) => pick::<MadLo16>(),
        ("mad", "lo", U32 | S32) => pick::<MadLo32>(),
        ("mad", "lo", U64 | S64) => pick::<MadLo64>(),
        ("mad", "hi", U16) => pick::<MadHiU16>(),
        ("mad", "hi", S16) => pick::<MadHiS16>(),
        ("mad", "hi", U32) => pick::<MadHiU32>(),
        ("mad", "hi", S32) => pick::<MadHiS32>(),
        ("mad", "hi", U64) => pick::<MadHiU64>(),
        ("mad", "hi", S64) => pick::<MadHiS64>(),
        ("mad", "wide", U16) => pick::<MadWideU16>(),
        ("mad", "wide", S16) => pick::<MadWideS16>(),
        ("mad", "wide", U32) => pick::<MadWideU32>(),
        ("mad", "wide", S32) => pick::<MadWideS32>(),
        ("mul24", "lo", U32) => pick::<Mul24LoU>(),
        ("mul24", "lo", S32) => pick::<Mul24LoS>(),
        ("mul24", "hi", U32) => pick::<Mul24HiU>(),
        ("mul24", "hi", S32) => pick::<Mul24HiS>(),
        ("mad24", "lo", U32) => pick::<Mad24LoU>(),
        ("mad24", "lo", S32) => pick::<Mad24LoS>(),
        ("mad24", "hi", U32) => pick::<Mad24HiU>(),
        ("mad24", "hi", S32) => pick::<Mad24HiS>(),
        ("sad", "", U16) => pick::<SadU16>(),
        ("sad", "", S16) => pick::<SadS16>(),
        ("sad", "", U32) => pick::<SadU32>(),
        ("sad", "", S32) => pick::<SadS32>(),
        ("sad", "", U64) => pick::<SadU64>(),
        ("sad", "", S64) => pick::<SadS64>(),
        ("div", "", U16) => pick::<DivU16>(),
        ("div", "", S16) => pick::<DivS16>(),
        ("div", "", U32) => pick::<DivU32>(),
        ("div", "", S32) => pick::<DivS32>(),
        ("div", "", U64) => pick::<DivU64>(),
        ("div", "", S64) => pick::<DivS64>(),
        ("rem", "", U16) => pick::<RemU16>(),
        ("rem", "", S16) => pick::<RemS16>(),
        ("rem", "", U32) => pick::<RemU32>(),
        ("rem", "", S32) => pick::<RemS32>(),
        ("rem", "", U64) => pick::<RemU64>(),
        ("rem", "", S64) => pick::<RemS64>(),
        ("abs", "", S16) => pick::<Abs16>(),
        ("abs", "", S32) => pick::<Abs32>(),
        ("abs", "", S64) => pick::<Abs64>(),
        ("neg", "", S16) => pick::<Neg16>(),
        ("neg", "", S32) => pick::<Neg32>(),
        ("neg", "", S64) => pick::<Neg64>(),
        ("min", "", U16) => pick::<MinU16>(),
        ("min", "", S16) => pick::<MinS16>(),
        ("min", "", U32) => pick::<MinU32>(),
        ("min", "", S32) => pick::<MinS32>(),
        ("min", "", U64) => pick::<MinU64>(),
        ("min", "", S64) => pick::<MinS64>(),
        ("max", "", U16) => pick::<MaxU16>(),
        ("max", "", S16) => pick::<MaxS16>(),
        ("max", "", U32) => pick::<MaxU32>(),
        ("max", "", S32) => pick::<MaxS32>(),
        ("max", "", U64) => pick::<MaxU64>(),
        ("max", "", S64) => pick::<MaxS64>(),
        _ => return l.unsupported(),
    };
    let wide = if part == "wide" { if ty.bytes() == 2 { B32 } else { B64 } } else { ty };
    let d = l.write(0, wide)?;
    let sources = match opcode {
        "abs" | "neg" => vec![l.read(1, ty)?],
        "mad" | "mad24" | "sad" => vec![l.read(1, ty)?, l.read(2, ty)?, l.read(3, wide)?],
        _ => vec![l.read(1, ty)?, l.read(2, ty)?],
    };
    emit(l, exec, d, &sources);
    Ok(())
}

fn emit(l: &mut Lower, exec: Exec, d: Row, sources: &[Row]) {
    let rows: Vec<Row> = std::iter::once(d).chain(sources.iter().copied()).collect();
    l.emit(Class::Integer, exec, &rows);
}

/// Two 16-bit integers in a word.
fn packed(l: &mut Lower) -> Result<(), PtxError> {
    let exec = match l.text().as_str() {
        "add.u16x2" | "add.s16x2" => pick::<AddPair>(),
        "min.u16x2" => pick::<MinU16x2>(),
        "min.s16x2" => pick::<MinS16x2>(),
        "min.relu.s16x2" => pick::<MinReluPair>(),
        "max.relu.s16x2" => pick::<MaxReluPair>(),
        "max.u16x2" => pick::<MaxU16x2>(),
        "max.s16x2" => pick::<MaxS16x2>(),
        _ => return l.unsupported(),
    };
    let (d, sources) = (l.write(0, Type::B32)?, [l.read(1, Type::B32)?, l.read(2, Type::B32)?]);
    emit(l, exec, d, &sources);
    Ok(())
}

fn dot(l: &mut Lower) -> Result<(), PtxError> {
    use Type::*;
    let part = if l.has("lo") {
        "lo"
    } else if l.has("hi") {
        "hi"
    } else {
        ""
    };
    let exec = match (l.instruction.opcode.as_str(), part, &l.types()[..]) {
        ("dp4a", "", [U32, U32]) => pick::<Dp4aUU>(),
        ("dp4a", "", [U32, S32]) => pick::<Dp4aUS>(),
        ("dp4a", "", [S32, U32]) => pick::<Dp4aSU>(),
        ("dp4a", "", [S32, S32]) => pick::<Dp4aSS>(),
        ("dp2a", "lo" | "hi", [U32, U32]) => pick::<Dp2aUU>(),
        ("dp2a", "lo" | "hi", [U32, S32]) => pick::<Dp2aUS>(),
        ("dp2a", "lo" | "hi", [S32, U32]) => pick::<Dp2aSU>(),
        ("dp2a", "lo" | "hi", [S32, S32]) => pick::<Dp2aSS>(),
        _ => return l.unsupported(),
    };
    let (d, sources) = (l.write(0, B32)?, [l.read(1, B32)?, l.read(2, B32)?, l.read(3, B32)?]);
    let rows = [d, sources[0], sources[1], sources[2]];
    l.emit(Class::Integer, exec, &rows).imm = if part == "hi" { 16 } else { 0 };
    Ok(())
}

fn with_carry(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.ty()?;
    let exec = match Width::of(ty) {
        Width::W32 if ty.bytes() == 4 => pick::<Carry32>(),
        Width::W64 => pick::<Carry64>(),
        _ => return l.unsupported(),
    };
    let opcode = l.instruction.opcode.as_str();
    let multiplies = matches!(opcode, "mad" | "madc");
    let mut flags = match opcode {
        "mad" | "madc" if l.has("lo") => LOW,
        "mad" | "madc" if l.has("hi") => HIGH,
        "sub" | "subc" => SUBTRACT,
        "add" | "addc" => 0,
        _ => return l.unsupported(),
    };
    flags |= if matches!(opcode, "addc" | "subc" | "madc") { IN } else { 0 };
    flags |= if l.has("cc") { OUT } else { 0 };
    flags |= if ty.is_signed() { SIGNED } else { 0 };
    let d = l.write(0, ty)?;
    let (a, b) = (l.read(1, ty)?, l.read(2, ty)?);
    let c = if multiplies { l.read(3, ty)? } else { b };
    let carry = l.carry();
    if flags & IN != 0 {
        l.reads_from(carry);
    }
    if flags & OUT != 0 {
        l.writes_to(carry);
    }
    l.emit(Class::Integer, exec, &[d, a, b, c, carry]).tag = flags;
    Ok(())
}
