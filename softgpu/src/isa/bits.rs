//! Logic, shifts and bit fields.
//!
//! Source: PTX ISA 9.0, section 9.7.8, "Logic and Shift Instructions", and the bit instructions of 9.7.1.

use crate::exec::{Class, Exec, Flow, LANES, Lower, Row, pick};
use crate::op;
use crate::ptx::{Operand, PtxError, Type};

op! {
    AndPred = |w, i| { let d = w.pred(i.rows[1]) & w.pred(i.rows[2]); w.set_pred(i.rows[0], d); Flow::Next };
    OrPred = |w, i| { let d = w.pred(i.rows[1]) | w.pred(i.rows[2]); w.set_pred(i.rows[0], d); Flow::Next };
    XorPred = |w, i| { let d = w.pred(i.rows[1]) ^ w.pred(i.rows[2]); w.set_pred(i.rows[0], d); Flow::Next };
    NotPred = |w, i| { let d = !w.pred(i.rows[1]); w.set_pred(i.rows[0], d); Flow::Next };
    And16 = |w, i| w.map2(i, |a: u16, b: u16| a & b);
    And32 = |w, i| w.map2(i, |a: u32, b: u32| a & b);
    And64 = |w, i| w.map2(i, |a: u64, b: u64| a & b);
    Or16 = |w, i| w.map2(i, |a: u16, b: u16| a | b);
    Or32 = |w, i| w.map2(i, |a: u32, b: u32| a | b);
    Or64 = |w, i| w.map2(i, |a: u64, b: u64| a | b);
    Xor16 = |w, i| w.map2(i, |a: u16, b: u16| a ^ b);
    Xor32 = |w, i| w.map2(i, |a: u32, b: u32| a ^ b);
    Xor64 = |w, i| w.map2(i, |a: u64, b: u64| a ^ b);
    Not16 = |w, i| w.map1(i, |a: u16| !a);
    Not32 = |w, i| w.map1(i, |a: u32| !a);
    Not64 = |w, i| w.map1(i, |a: u64| !a);
    CNot16 = |w, i| w.map1(i, |a: u16| u16::from(a == 0));
    CNot32 = |w, i| w.map1(i, |a: u32| u32::from(a == 0));
    CNot64 = |w, i| w.map1(i, |a: u64| u64::from(a == 0));
    Lop3 = |w, i| {
        let [a, b, c] = [1, 2, 3].map(|n| *w.row::<u32>(i.rows[n]));
        let mut d = [0; LANES];
        for term in (0..8).filter(|term| i.imm >> term & 1 == 1) {
            // Bit `term` of the table is the result where (a, b, c) are the bits of `term`.
            let flip = [4, 2, 1].map(|bit| if term & bit == 0 { u32::MAX } else { 0 });
            for lane in 0..LANES {
                d[lane] |= (a[lane] ^ flip[0]) & (b[lane] ^ flip[1]) & (c[lane] ^ flip[2]);
            }
        }
        w.set(i.rows[0], &d);
        Flow::Next
    };
    // Amounts beyond the width clamp: nothing of the value is left but its sign.
    Shl16 = |w, i| w.map2(i, |a: u16, by: u32| if by > 15 { 0 } else { a << by });
    Shl32 = |w, i| w.map2(i, |a: u32, by: u32| if by > 31 { 0 } else { a << by });
    Shl64 = |w, i| w.map2(i, |a: u64, by: u32| if by > 63 { 0 } else { a << by });
    ShrU16 = |w, i| w.map2(i, |a: u16, by: u32| if by > 15 { 0 } else { a >> by });
    ShrU32 = |w, i| w.map2(i, |a: u32, by: u32| if by > 31 { 0 } else { a >> by });
    ShrU64 = |w, i| w.map2(i, |a: u64, by: u32| if by > 63 { 0 } else { a >> by });
    ShrS16 = |w, i| w.map2(i, |a: i16, by: u32| a >> by.min(15));
    ShrS32 = |w, i| w.map2(i, |a: i32, by: u32| a >> by.min(31));
    ShrS64 = |w, i| w.map2(i, |a: i64, by: u32| a >> by.min(63));
    FunnelLeftClamp = |w, i| w.map3(i, |low: u32, high: u32, by: u32| ((joined(low, high) << by.min(32)) >> 32) as u32);
    FunnelLeftWrap = |w, i| w.map3(i, |low: u32, high: u32, by: u32| ((joined(low, high) << (by % 32)) >> 32) as u32);
    FunnelRightClamp = |w, i| w.map3(i, |low: u32, high: u32, by: u32| (joined(low, high) >> by.min(32)) as u32);
    FunnelRightWrap = |w, i| w.map3(i, |low: u32, high: u32, by: u32| (joined(low, high) >> (by % 32)) as u32);
    BfeU32 = |w, i| w.map3(i, |a: u32, at: u32, count: u32| field(a.into(), at, count, 32, false) as u32);
    BfeS32 = |w, i| w.map3(i, |a: i32, at: u32, count: u32| field(a as i64 as u64, at, count, 32, true) as i32);
    BfeU64 = |w, i| w.map3(i, |a: u64, at: u32, count: u32| field(a, at, count, 64, false));
    BfeS64 = |w, i| w.map3(i, |a: u64, at: u32, count: u32| field(a, at, count, 64, true));
    Bfi32 = |w, i| {
        let [a, b, at, count] = [1, 2, 3, 4].map(|n| *w.row::<u32>(i.rows[n]));
        let d: [u32; LANES] = std::array::from_fn(|n| insert(a[n].into(), b[n].into(), at[n], count[n], 32) as u32);
        w.set(i.rows[0], &d);
        Flow::Next
    };
    Bfi64 = |w, i| {
        let ([a, b], [at, count]) = ([1, 2].map(|n| *w.row::<u64>(i.rows[n])), [3, 4].map(|n| *w.row::<u32>(i.rows[n])));
        let d: [u64; LANES] = std::array::from_fn(|n| insert(a[n], b[n], at[n], count[n], 64));
        w.set(i.rows[0], &d);
        Flow::Next
    };
    Brev32 = |w, i| w.map1(i, u32::reverse_bits);
    Brev64 = |w, i| w.map1(i, u64::reverse_bits);
    Popc32 = |w, i| w.map1(i, u32::count_ones);
    Popc64 = |w, i| w.map1(i, u64::count_ones);
    Clz32 = |w, i| w.map1(i, u32::leading_zeros);
    Clz64 = |w, i| w.map1(i, u64::leading_zeros);
    FindU32 = |w, i| { let shift = i.imm == 1; w.map1(i, move |a: u32| highest(a.into(), 32, shift)) };
    FindS32 = |w, i| { let shift = i.imm == 1; w.map1(i, move |a: u32| highest((a ^ (a as i32 >> 31) as u32).into(), 32, shift)) };
    FindU64 = |w, i| { let shift = i.imm == 1; w.map1(i, move |a: u64| highest(a, 64, shift)) };
    FindS64 = |w, i| { let shift = i.imm == 1; w.map1(i, move |a: u64| highest(a ^ (a as i64 >> 63) as u64, 64, shift)) };
    FindNth = |w, i| w.map3(i, |mask: u32, base: u32, offset: i32| find_nth(mask, base, offset));
    MaskClamp = |w, i| w.map2(i, |at: u32, count: u32| (ones(count.min(32)) << at.min(63)) as u32);
    MaskWrap = |w, i| w.map2(i, |at: u32, count: u32| (ones(count % 32) << (at % 32)) as u32);
    ExtendClampU = |w, i| w.map2(i, |a: u32, bits: u32| a & ones(bits.min(32)) as u32);
    ExtendWrapU = |w, i| w.map2(i, |a: u32, bits: u32| a & ones(bits % 32) as u32);
    ExtendClampS = |w, i| w.map2(i, |a: i32, bits: u32| sign_extend(a, bits.min(32)));
    ExtendWrapS = |w, i| w.map2(i, |a: i32, bits: u32| sign_extend(a, bits % 32));
}

#[inline(always)]
fn joined(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
fn ones(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

#[inline(always)]
fn sign_extend(a: i32, bits: u32) -> i32 {
    if bits == 0 { 0 } else { a << (32 - bits) >> (32 - bits) }
}

/// Position and length of a bit field. Only bytes are allowed; beyond, an H100 looks at the lowest byte for 32-bit values, and at all
/// of it for 64-bit ones.
#[inline(always)]
fn place(at: u32, count: u32, width: u32) -> (u32, u32) {
    if width == 32 { (at & 0xff, count & 0xff) } else { (at, count) }
}

/// bfe: a signed field is filled with its highest bit, or with the value's where it reaches beyond.
#[inline(always)]
fn field(a: u64, at: u32, count: u32, width: u32, signed: bool) -> u64 {
    let (at, count) = place(at, count, width);
    let last = width - 1;
    let sign = if !signed || count == 0 { 0 } else { a >> at.saturating_add(count - 1).min(last) & 1 };
    let inside = ones(count.min(width.saturating_sub(at)));
    let bits = if at > last { 0 } else { a >> at & inside };
    let kept = if at > last { 0 } else { inside };
    if sign == 1 { bits | !kept } else { bits }
}

/// bfi: `count` bits of a at `at` of b.
#[inline(always)]
fn insert(a: u64, b: u64, at: u32, count: u32, width: u32) -> u64 {
    let (at, count) = place(at, count, width);
    if at > 63 {
        return b;
    }
    let mask = ones(count) << at;
    b & !mask | a << at & mask
}

/// The highest set bit, or how far it is from the top; all ones where there is none.
#[inline(always)]
fn highest(a: u64, width: u32, shift: bool) -> u32 {
    match a {
        0 => u32::MAX,
        _ if shift => a.leading_zeros() - (64 - width),
        _ => 63 - a.leading_zeros(),
    }
}

/// fns: the `offset`-th set bit from `base` on, upwards or (negative) downwards; 0 asks whether `base` itself is set.
fn find_nth(mask: u32, base: u32, offset: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    let set = |bit: &u32| mask >> bit & 1 == 1;
    let nth = (offset.unsigned_abs() as usize).saturating_sub(1);
    let found = match offset {
        0 => Some(base).filter(set),
        1.. => (base..32).filter(set).nth(nth),
        _ => (0..=base).rev().filter(set).nth(nth),
    };
    found.unwrap_or(u32::MAX)
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    use Type::*;
    let (opcode, ty) = (l.instruction.opcode.as_str(), l.ty()?);
    let has = |word| l.has(word);
    let exec = match (opcode, ty) {
        ("and", Pred) => pick::<AndPred>(),
        ("or", Pred) => pick::<OrPred>(),
        ("xor", Pred) => pick::<XorPred>(),
        ("not", Pred) => pick::<NotPred>(),
        ("and", B16) => pick::<And16>(),
        ("and", B32) => pick::<And32>(),
        ("and", B64) => pick::<And64>(),
        ("or", B16) => pick::<Or16>(),
        ("or", B32) => pick::<Or32>(),
        ("or", B64) => pick::<Or64>(),
        ("xor", B16) => pick::<Xor16>(),
        ("xor", B32) => pick::<Xor32>(),
        ("xor", B64) => pick::<Xor64>(),
        ("not", B16) => pick::<Not16>(),
        ("not", B32) => pick::<Not32>(),
        ("not", B64) => pick::<Not64>(),
        ("cnot", B16) => pick::<CNot16>(),
        ("cnot", B32) => pick::<CNot32>(),
        ("cnot", B64) => pick::<CNot64>(),
        ("lop3", B32) if l.operands() == 5 => pick::<Lop3>(),
        ("shl", B16) => pick::<Shl16>(),
        ("shl", B32) => pick::<Shl32>(),
        ("shl", B64) => pick::<Shl64>(),
        ("shr", U16 | B16) => pick::<ShrU16>(),
        ("shr", U32 | B32) => pick::<ShrU32>(),
        ("shr", U64 | B64) => pick::<ShrU64>(),
        ("shr", S16) => pick::<ShrS16>(),
        ("shr", S32) => pick::<ShrS32>(),
        ("shr", S64) => pick::<ShrS64>(),
        ("shf", B32) if has("l") && has("wrap") => pick::<FunnelLeftWrap>(),
        ("shf", B32) if has("l") && has("clamp") => pick::<FunnelLeftClamp>(),
        ("shf", B32) if has("r") && has("wrap") => pick::<FunnelRightWrap>(),
        ("shf", B32) if has("r") && has("clamp") => pick::<FunnelRightClamp>(),
        ("bfe", U32) => pick::<BfeU32>(),
        ("bfe", S32) => pick::<BfeS32>(),
        ("bfe", U64) => pick::<BfeU64>(),
        ("bfe", S64) => pick::<BfeS64>(),
        ("bfi", B32) => pick::<Bfi32>(),
        ("bfi", B64) => pick::<Bfi64>(),
        ("brev", B32) => pick::<Brev32>(),
        ("brev", B64) => pick::<Brev64>(),
        ("popc", B32) => pick::<Popc32>(),
        ("popc", B64) => pick::<Popc64>(),
        ("clz", B32) => pick::<Clz32>(),
        ("clz", B64) => pick::<Clz64>(),
        ("bfind", U32) => pick::<FindU32>(),
        ("bfind", S32) => pick::<FindS32>(),
        ("bfind", U64) => pick::<FindU64>(),
        ("bfind", S64) => pick::<FindS64>(),
        ("fns", B32) => pick::<FindNth>(),
        ("bmsk", B32) if has("clamp") => pick::<MaskClamp>(),
        ("bmsk", B32) if has("wrap") => pick::<MaskWrap>(),
        ("szext", U32) if has("clamp") => pick::<ExtendClampU>(),
        ("szext", U32) if has("wrap") => pick::<ExtendWrapU>(),
        ("szext", S32) if has("clamp") => pick::<ExtendClampS>(),
        ("szext", S32) if has("wrap") => pick::<ExtendWrapS>(),
        _ => return l.unsupported(),
    };
    emit(l, opcode, ty, exec)
}

fn emit(l: &mut Lower, opcode: &str, ty: Type, exec: Exec) -> Result<(), PtxError> {
    use Type::*;
    let (result, sources): (Type, &[Type]) = match opcode {
        "not" | "cnot" | "brev" => (ty, &[ty]),
        "popc" | "clz" | "bfind" => (U32, &[ty]),
        "shl" | "shr" => (ty, &[ty, U32]),
        "bfe" => (ty, &[ty, U32, U32]),
        "bfi" => (ty, &[ty, ty, U32, U32]),
        "shf" | "lop3" | "fns" => (B32, &[B32, B32, B32]),
        _ => (ty, &[ty, ty]),
    };
    let mut rows: Vec<Row> = vec![l.write(0, result)?];
    for (n, &source) in sources.iter().enumerate() {
        rows.push(l.read(n + 1, source)?);
    }
    let imm = match opcode {
        "lop3" => match l.operand(4)? {
            Operand::Int(table) => *table as i64 & 0xff,
            _ => return l.err("the table of lop3 is a literal"),
        },
        "bfind" => i64::from(l.has("shiftamt")),
        _ => 0,
    };
    l.emit(Class::Integer, exec, &rows).imm = imm;
    Ok(())
}
