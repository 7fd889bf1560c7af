//! Moving and choosing bits: mov, selp, cvta, isspacep, prmt, createpolicy.
//!
//! Source: PTX ISA 9.0, sections 9.7.6, "Comparison and Selection Instructions", and 9.7.9, "Data Movement and Conversion
//! Instructions".

use super::flow;
use crate::exec::inst::Inst;
use crate::exec::{Class, Exec, Flow, LANES, Lane, Lower, Warp, Width, pick};
use crate::memory::{LOCAL_BASE, PARAM_BASE, SHARED_BASE};
use crate::op;
use crate::ptx::{Operand, PtxError, Type};

op! {
    Copy8 = |w, i| w.map1(i, |a: u8| a);
    Copy16 = |w, i| w.map1(i, |a: u16| a);
    Pack2x8 = |w, i| w.map2(i, |a: u8, b: u8| u16::from_le_bytes([a, b]));
    Pack4x8 = |w, i| pack4(w, i, |[a, b, c, d]: [u8; 4]| u32::from_le_bytes([a, b, c, d]));
    Pack2x16 = |w, i| w.map2(i, |a: u16, b: u16| a as u32 | (b as u32) << 16);
    Pack4x16 = |w, i| pack4(w, i, |v: [u16; 4]| v.iter().rev().fold(0u64, |all, &part| all << 16 | part as u64));
    Pack2x32 = |w, i| w.map2(i, |a: u32, b: u32| a as u64 | (b as u64) << 32);
    Unpack2x8 = |w, i| unpack::<u16, u8, 2>(w, i, |a, n| (a >> (8 * n)) as u8);
    Unpack4x8 = |w, i| unpack::<u32, u8, 4>(w, i, |a, n| (a >> (8 * n)) as u8);
    Unpack2x16 = |w, i| unpack::<u32, u16, 2>(w, i, |a, n| (a >> (16 * n)) as u16);
    Unpack4x16 = |w, i| unpack::<u64, u16, 4>(w, i, |a, n| (a >> (16 * n)) as u16);
    Unpack2x32 = |w, i| unpack::<u64, u32, 2>(w, i, |a, n| (a >> (32 * n)) as u32);
    Select16 = |w, i| select::<u16>(w, i);
    Select32 = |w, i| select::<u32>(w, i);
    Select64 = |w, i| select::<u64>(w, i);
    AddImm = |w, i| { let base = i.imm as u64; w.map1(i, |a: u64| a.wrapping_add(base)) };
    InWindow = |w, i| in_window(w, i);
    /// The selector is in `imm`, and no byte is a copied sign.
    PrmtImm = |w, i| { let c = i.imm as u32; w.map2(i, |a: u32, b: u32| permute::<false>(a, b, c)) };
    Prmt = |w, i| w.map3(i, |a: u32, b: u32, c: u32| permute::<true>(a, b, c));
    /// `imm` holds the selector for each of the four values that c can have.
    PrmtMode = |w, i| {
        let selectors = i.imm as u64;
        w.map3(i, |a: u32, b: u32, c: u32| permute::<false>(a, b, (selectors >> (16 * (c & 3))) as u32))
    };
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    match l.instruction.opcode.as_str() {
        "mov" => mov(l),
        "selp" => selp(l),
        "cvta" => cvta(l),
        "isspacep" => isspacep(l),
        "prmt" => prmt(l),
        "createpolicy" => {
            // Hints for a cache that is not there.
            let d = l.write(0, Type::B64)?;
            let zero = l.constant(Width::W64, 0);
            l.emit(Class::Move, flow::copy(Width::W64), &[d, zero]);
            Ok(())
        }
        _ => l.unsupported(),
    }
}

fn copy(ty: Type) -> Exec {
    match ty.bytes() {
        1 => pick::<Copy8>(),
        2 => pick::<Copy16>(),
        _ => flow::copy(Width::of(ty)),
    }
}

fn mov(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.ty()?;
    match (l.operand(0)?, l.operand(1)?) {
        (Operand::Vector(_), Operand::Vector(_)) => l.unsupported(),
        (Operand::Vector(parts), source) => {
            let (part, _, exec) = packing(l, ty, parts.len())?;
            let a = l.read_operand(source, ty)?;
            let mut rows = vec![];
            for operand in parts {
                rows.push(l.write_operand(operand, part)?);
            }
            rows.push(a);
            l.emit(Class::Move, exec, &rows);
            Ok(())
        }
        (_, Operand::Vector(parts)) => {
            let (part, exec, _) = packing(l, ty, parts.len())?;
            let mut rows = vec![l.write(0, ty)?];
            for operand in parts {
                rows.push(l.read_operand(operand, part)?);
            }
            l.emit(Class::Move, exec, &rows);
            Ok(())
        }
        _ => {
            let rows = [l.write(0, ty)?, l.read(1, ty)?];
            l.emit(Class::Move, copy(ty), &rows);
            Ok(())
        }
    }
}

/// The type of `parts` parts of `ty`, and what packs and unpacks them.
fn packing(l: &Lower, ty: Type, parts: usize) -> Result<(Type, Exec, Exec), PtxError> {
    Ok(match (ty.bytes(), parts) {
        (2, 2) => (Type::B8, pick::<Pack2x8>(), pick::<Unpack2x8>()),
        (4, 2) => (Type::B16, pick::<Pack2x16>(), pick::<Unpack2x16>()),
        (4, 4) => (Type::B8, pick::<Pack4x8>(), pick::<Unpack4x8>()),
        (8, 2) => (Type::B32, pick::<Pack2x32>(), pick::<Unpack2x32>()),
        (8, 4) => (Type::B16, pick::<Pack4x16>(), pick::<Unpack4x16>()),
        _ => return l.unsupported(),
    })
}

fn selp(l: &mut Lower) -> Result<(), PtxError> {
    let ty = l.ty()?;
    let exec = match ty.bytes() {
        2 => pick::<Select16>(),
        4 => pick::<Select32>(),
        8 => pick::<Select64>(),
        _ => return l.unsupported(),
    };
    let rows = [l.write(0, ty)?, l.read(1, ty)?, l.read(2, ty)?, l.read(3, Type::Pred)?];
    l.emit(Class::Compare, exec, &rows);
    Ok(())
}

/// Where the generic window of the space among the modifiers starts; 0 for spaces whose addresses are generic as they are.
fn window(l: &Lower) -> Result<u64, PtxError> {
    let spaces = [
        ("global", 0),
        ("const", 0),
        ("shared", SHARED_BASE),
        ("shared::cta", SHARED_BASE),
        ("shared::cluster", SHARED_BASE),
        ("local", LOCAL_BASE),
        ("param", PARAM_BASE),
        ("param::entry", PARAM_BASE),
    ];
    match spaces.iter().find(|(space, _)| l.has(space)) {
        Some(&(_, base)) => Ok(base),
        None => l.unsupported(),
    }
}

fn cvta(l: &mut Lower) -> Result<(), PtxError> {
    let (ty, base) = (l.ty()?, window(l)?);
    if ty.bytes() != 8 {
        return l.unsupported();
    }
    let rows = [l.write(0, ty)?, l.read(1, ty)?];
    if base == 0 {
        l.emit(Class::Move, flow::copy(Width::W64), &rows);
    } else {
        let offset = if l.has("to") { base.wrapping_neg() } else { base };
        l.emit(Class::Integer, pick::<AddImm>(), &rows).imm = offset as i64;
    }
    Ok(())
}

/// A window reaches to twice its base; below all of them lies global memory, and constants in it.
fn isspacep(l: &mut Lower) -> Result<(), PtxError> {
    if l.has("const") {
        return l.err("isspacep.const: constants lie in global memory here");
    }
    let base = window(l)?;
    let rows = [l.write(0, Type::Pred)?, l.read(1, Type::U64)?];
    let inst = l.emit(Class::Compare, pick::<InWindow>(), &rows);
    (inst.imm, inst.aux) = if base == 0 { (0, SHARED_BASE as i64) } else { (base as i64, (base << 1) as i64) };
    Ok(())
}

/// The modes of prmt as selectors of the default mode, for c = 0, 1, 2, 3.
const MODES: &[(&str, [u16; 4])] = &[
    ("f4e", [0x3210, 0x4321, 0x5432, 0x6543]),
    ("b4e", [0x5670, 0x6701, 0x7012, 0x0123]),
    ("rc8", [0x0000, 0x1111, 0x2222, 0x3333]),
    ("ecl", [0x3210, 0x3211, 0x3222, 0x3333]),
    ("ecr", [0x0000, 0x1110, 0x2210, 0x3210]),
    ("rc16", [0x1010, 0x3232, 0x1010, 0x3232]),
];

fn prmt(l: &mut Lower) -> Result<(), PtxError> {
    let mode = MODES.iter().find(|(mode, _)| l.has(mode));
    let rows = [l.write(0, Type::B32)?, l.read(1, Type::B32)?, l.read(2, Type::B32)?, l.read(3, Type::B32)?];
    match (mode, l.operand(3)?) {
        (Some((_, selectors)), _) => {
            let inst = l.emit(Class::Integer, pick::<PrmtMode>(), &rows);
            inst.imm = selectors.iter().rev().fold(0, |all, &s| all << 16 | i64::from(s));
        }
        (None, &Operand::Int(selector)) if selector & 0x8888 == 0 => {
            l.emit(Class::Integer, pick::<PrmtImm>(), &rows).imm = selector as i64;
        }
        _ => {
            l.emit(Class::Integer, pick::<Prmt>(), &rows);
        }
    }
    Ok(())
}

/// Bytes of b:a chosen by the nibbles of `c`; with `SIGNS`, bit 3 of a nibble copies the byte's sign into all of its bits.
#[inline(always)]
fn permute<const SIGNS: bool>(a: u32, b: u32, c: u32) -> u32 {
    let bytes = a as u64 | (b as u64) << 32;
    let mut d = 0;
    for n in 0..4 {
        let nibble = c >> (4 * n);
        let mut byte = (bytes >> (8 * (nibble & 7))) as u32 & 0xff;
        if SIGNS {
            byte = if nibble & 8 != 0 { (byte >> 7) * 0xff } else { byte };
        }
        d |= byte << (8 * n);
    }
    d
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn pack4<D: Lane, A: Lane>(w: &mut Warp, i: &Inst, f: impl Fn([A; 4]) -> D) -> Flow {
    // SAFETY: as promised.
    unsafe {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| w.row::<A::Word>(i.rows[n]));
        let packed = std::array::from_fn(|lane| f([a[lane], b[lane], c[lane], d[lane]].map(A::of)).word());
        w.set(i.rows[0], &packed);
    }
    Flow::Next
}

/// Rows 0 to N - 1 get the parts of row N, which may be one of them.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn unpack<A: Lane, D: Lane, const N: usize>(w: &mut Warp, i: &Inst, part: impl Fn(A, usize) -> D) -> Flow {
    // SAFETY: as promised.
    unsafe {
        let a = *w.row::<A::Word>(i.rows[N]);
        for n in 0..N {
            let d = std::array::from_fn(|lane| part(A::of(a[lane]), n).word());
            w.set(i.rows[n], &d);
        }
    }
    Flow::Next
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn select<T: Lane>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised.
    unsafe {
        let (a, b, p) = (w.row::<T::Word>(i.rows[1]), w.row::<T::Word>(i.rows[2]), w.pred(i.rows[3]));
        let d: [T::Word; LANES] =
            std::array::from_fn(|lane| T::of(if p >> lane & 1 == 1 { a[lane] } else { b[lane] }).word());
        w.set(i.rows[0], &d);
    }
    Flow::Next
}

/// imm <= a < aux.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn in_window(w: &mut Warp, i: &Inst) -> Flow {
    let (start, end) = (i.imm as u64, i.aux as u64);
    // SAFETY: as promised.
    unsafe {
        let bits = w.test2(i.rows[1], i.rows[1], |a: u64, _: u64| start <= a && a < end);
        w.set_pred(i.rows[0], bits);
    }
    Flow::Next
}
