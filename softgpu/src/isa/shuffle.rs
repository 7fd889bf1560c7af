//! Lanes of a warp exchange values: shfl, vote, match, redux, activemask, elect.
//!
//! Source: PTX ISA 9.0, section 9.7.9.6, "shfl.sync", and the warp instructions of 9.7.13.

use crate::check::Kind;
use crate::exec::{Class, Flow, Inst, LANES, Lane, Lower, Warp, Width, pick};
use crate::op;
use crate::ptx::{Operand, PtxError, Type};

op! {
    Up = |w, i| shuffle(w, i, |lane, b, limit, _segment| (lane as i32 - b as i32, lane as i32 - b as i32 >= limit as i32));
    Down = |w, i| shuffle(w, i, |lane, b, limit, _segment| ((lane + b) as i32, lane + b <= limit));
    Butterfly = |w, i| shuffle(w, i, |lane, b, limit, _segment| ((lane ^ b) as i32, lane ^ b <= limit));
    Index = |w, i| shuffle(w, i, |lane, b, limit, segment| {
        let from = lane & segment | b & !segment;
        (from as i32, from <= limit)
    });
    All = |w, i| vote(w, i, |yes, all| if yes == all { u32::MAX } else { 0 });
    Any = |w, i| vote(w, i, |yes, _all| if yes != 0 { u32::MAX } else { 0 });
    Uniform = |w, i| vote(w, i, |yes, all| if yes == 0 || yes == all { u32::MAX } else { 0 });
    Ballot = |w, i| by_members(w, i.rows[2], |w, members| {
        let yes = w.pred(i.rows[1]) & members & w.mask;
        w.set(i.rows[0], &[yes; LANES]);
    });
    MatchAny32 = |w, i| match_any::<u32>(w, i);
    MatchAny64 = |w, i| match_any::<u64>(w, i);
    MatchAll32 = |w, i| match_all::<u32>(w, i);
    MatchAll64 = |w, i| match_all::<u64>(w, i);
    AddAll = |w, i| reduce(w, i, u32::wrapping_add);
    MinU = |w, i| reduce(w, i, |a: u32, b| a.min(b));
    MaxU = |w, i| reduce(w, i, |a: u32, b| a.max(b));
    MinS = |w, i| reduce(w, i, |a: i32, b| a.min(b));
    MaxS = |w, i| reduce(w, i, |a: i32, b| a.max(b));
    AndAll = |w, i| reduce(w, i, |a: u32, b| a & b);
    OrAll = |w, i| reduce(w, i, |a: u32, b| a | b);
    XorAll = |w, i| reduce(w, i, |a: u32, b| a ^ b);
    Active = |w, i| { let mask = w.mask; w.set(i.rows[0], &[mask; LANES]); Flow::Next };
    Elect = |w, i| by_members(w, i.rows[2], |w, members| {
        let leader = (members & w.mask).trailing_zeros() % LANES as u32;
        w.set(i.rows[0], &[leader; LANES]);
        w.set_pred(i.rows[1], 1 << leader);
    });
}

/// Runs `exchange` with the member mask in row `members`, once all members execute this. Tiles of a warp may execute it together, each
/// with its own mask: one after the other then, each with its lanes alone. What a mask says wrongly is reported.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
pub(super) unsafe fn by_members(w: &mut Warp, members: u32, exchange: impl Fn(&mut Warp, u32)) -> Flow {
    // SAFETY: as promised.
    let members = unsafe { *w.row::<u32>(members) };
    let executing = w.mask;
    let first = members[executing.trailing_zeros() as usize % LANES];
    if (0..LANES).all(|lane| executing >> lane & 1 == 0 || members[lane] == first) {
        strangers(w, executing & !first, first);
        if !w.all_arrived(first) {
            return Flow::Wait;
        }
        exchange(w, first);
        return Flow::Next;
    }
    let (mut tiles, mut left, mut awaited) = (vec![], executing, 0);
    while left != 0 {
        let mask = members[left.trailing_zeros() as usize];
        let tile = (0..LANES).filter(|&l| left >> l & 1 == 1 && members[l] == mask).fold(0, |all, l| all | 1u32 << l);
        strangers(w, tile & !mask, mask);
        let differing = mask & executing & !tile;
        if differing != 0 {
            let message = format!("lanes {tile:08x} wait for this one by mask {mask:08x}, but its own mask is another");
            w.report(Kind::InvalidShuffle, differing.trailing_zeros(), &message);
        }
        tiles.push((tile, mask));
        awaited |= mask;
        left &= !tile;
    }
    if !w.all_arrived(awaited) {
        return Flow::Wait;
    }
    for (tile, mask) in tiles {
        w.mask = tile;
        exchange(w, mask);
    }
    w.mask = executing;
    Flow::Next
}

/// Reports lanes that are no members of their own mask.
#[inline(always)]
fn strangers(w: &mut Warp, strangers: u32, mask: u32) {
    if strangers != 0 {
        let message = format!("the member mask {mask:08x} lacks the lane that executes");
        w.report(Kind::InvalidShuffle, strangers.trailing_zeros(), &message);
    }
}

/// Rows: d, p, a, b, c, and the member mask in `more`.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn shuffle(w: &mut Warp, i: &Inst, source: impl Fn(u32, u32, u32, u32) -> (i32, bool)) -> Flow {
    // SAFETY: as promised.
    unsafe {
        by_members(w, i.more.as_ref().map_or(0, |more| more[0]), |w, _members| {
            let (a, b, c) = (*w.row::<u32>(i.rows[2]), *w.row::<u32>(i.rows[3]), *w.row::<u32>(i.rows[4]));
            let (mut d, mut inside, mut absent) = (a, 0u32, 0u32);
            for lane in 0..LANES {
                let (by, clamp, segment) = (b[lane] & 31, c[lane] & 31, c[lane] >> 8 & 31);
                let limit = lane as u32 & segment | clamp & !segment;
                let (from, within) = source(lane as u32, by, limit, segment);
                let from = if within { from as usize % LANES } else { lane };
                d[lane] = a[from];
                inside |= u32::from(within) << lane;
                absent |= u32::from(within && w.mask >> from & 1 == 0) << lane;
            }
            absent &= w.mask;
            if absent != 0 {
                w.report(Kind::InvalidShuffle, absent.trailing_zeros(), "reads from a lane that does not take part");
            }
            w.set(i.rows[0], &d);
            w.set_pred(i.rows[1], inside);
        })
    }
}

/// Rows: p, the lane's predicate, the member mask.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn vote(w: &mut Warp, i: &Inst, result: impl Fn(u32, u32) -> u32) -> Flow {
    // SAFETY: as promised.
    unsafe {
        by_members(w, i.rows[2], |w, members| {
            let all = members & w.mask;
            let yes = w.pred(i.rows[1]) & all;
            w.set_pred(i.rows[0], result(yes, all));
        })
    }
}

/// Rows: d, a, the member mask.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn match_any<W: Copy + PartialEq>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised.
    unsafe {
        by_members(w, i.rows[2], |w, members| {
            let (a, all) = (*w.row::<W>(i.rows[1]), members & w.mask);
            let same =
                |value: W| (0..LANES).filter(|&l| all >> l & 1 == 1 && a[l] == value).fold(0, |m, l| m | 1u32 << l);
            w.set(i.rows[0], &a.map(same));
        })
    }
}

/// Rows: d, p, a, the member mask.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn match_all<W: Copy + PartialEq>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised.
    unsafe {
        by_members(w, i.rows[3], |w, members| {
            let (a, all) = (*w.row::<W>(i.rows[2]), members & w.mask);
            let first = a[all.trailing_zeros() as usize % LANES];
            let equal = (0..LANES).all(|l| all >> l & 1 == 0 || a[l] == first);
            w.set(i.rows[0], &[if equal { all } else { 0 }; LANES]);
            w.set_pred(i.rows[1], if equal { u32::MAX } else { 0 });
        })
    }
}

/// Rows: d, a, the member mask.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn reduce<T: Lane<Word = u32>>(w: &mut Warp, i: &Inst, f: impl Fn(T, T) -> T) -> Flow {
    // SAFETY: as promised.
    unsafe {
        by_members(w, i.rows[2], |w, members| {
            let (a, all) = (*w.row::<u32>(i.rows[1]), members & w.mask);
            let values = (0..LANES).filter(|&l| all >> l & 1 == 1).map(|l| T::of(a[l]));
            if let Some(result) = values.reduce(&f) {
                w.set(i.rows[0], &[result.word(); LANES]);
            }
        })
    }
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    use Type::*;
    let opcode = l.instruction.opcode.as_str();
    if opcode == "activemask" {
        let d = l.write(0, B32)?;
        l.emit(Class::Shuffle, pick::<Active>(), &[d]);
        return Ok(());
    }
    if !l.has("sync") {
        return l.err(format!("{} without .sync is gone since sm_70", l.text()));
    }
    // `d|p`, or d alone.
    let destination = l.operand(0)?;
    let (first, second) = match destination {
        Operand::Pair(both) => (&both.0, Some(&both.1)),
        one => (one, None),
    };
    match opcode {
        "shfl" => {
            let exec = match () {
                () if l.has("up") => pick::<Up>(),
                () if l.has("down") => pick::<Down>(),
                () if l.has("bfly") => pick::<Butterfly>(),
                () if l.has("idx") => pick::<Index>(),
                () => return l.unsupported(),
            };
            let d = l.write_operand(first, B32)?;
            let p = predicate(l, second)?;
            let (a, b, c) = (l.read(1, B32)?, l.read(2, B32)?, l.read(3, B32)?);
            let members = l.read(4, B32)?;
            l.emit(Class::Shuffle, exec, &[d, p, a, b, c]).more = Some(Box::new([members]));
        }
        "vote" => {
            let ballot = l.has("ballot");
            let exec = match () {
                () if ballot => pick::<Ballot>(),
                () if l.has("all") => pick::<All>(),
                () if l.has("any") => pick::<Any>(),
                () if l.has("uni") => pick::<Uniform>(),
                () => return l.unsupported(),
            };
            let d = l.write_operand(first, if ballot { B32 } else { Pred })?;
            let (a, members) = (l.read(1, Pred)?, l.read(2, B32)?);
            l.emit(Class::Shuffle, exec, &[d, a, members]);
        }
        "match" => {
            let ty = l.ty()?;
            let d = l.write_operand(first, B32)?;
            if l.has("any") {
                let exec = if Width::of(ty) == Width::W64 { pick::<MatchAny64>() } else { pick::<MatchAny32>() };
                let (a, members) = (l.read(1, ty)?, l.read(2, B32)?);
                l.emit(Class::Shuffle, exec, &[d, a, members]);
            } else if l.has("all") {
                let exec = if Width::of(ty) == Width::W64 { pick::<MatchAll64>() } else { pick::<MatchAll32>() };
                let p = predicate(l, second)?;
                let (a, members) = (l.read(1, ty)?, l.read(2, B32)?);
                l.emit(Class::Shuffle, exec, &[d, p, a, members]);
            } else {
                return l.unsupported();
            }
        }
        "redux" => {
            let operation = ["add", "min", "max", "and", "or", "xor"].into_iter().find(|word| l.has(word));
            let exec = match (operation, l.ty()?) {
                (Some("add"), U32 | S32) => pick::<AddAll>(),
                (Some("min"), U32) => pick::<MinU>(),
                (Some("max"), U32) => pick::<MaxU>(),
                (Some("min"), S32) => pick::<MinS>(),
                (Some("max"), S32) => pick::<MaxS>(),
                (Some("and"), B32) => pick::<AndAll>(),
                (Some("or"), B32) => pick::<OrAll>(),
                (Some("xor"), B32) => pick::<XorAll>(),
                _ => return l.unsupported(),
            };
            let d = l.write(0, B32)?;
            let (a, members) = (l.read(1, B32)?, l.read(2, B32)?);
            l.emit(Class::Shuffle, exec, &[d, a, members]);
        }
        _ => {
            let d = l.write_operand(first, B32)?;
            let p = predicate(l, second)?;
            let members = l.read(1, B32)?;
            l.emit(Class::Shuffle, pick::<Elect>(), &[d, p, members]);
        }
    }
    Ok(())
}

/// The second destination, or a scratch where there is none.
fn predicate<'a>(l: &mut Lower<'a>, operand: Option<&'a Operand>) -> Result<u32, PtxError> {
    match operand {
        Some(operand) => l.write_operand(operand, Type::Pred),
        None => {
            let scratch = l.temporary(Width::Pred);
            l.writes_to(scratch);
            Ok(scratch)
        }
    }
}
