//! Copies from global to shared memory that go on while the thread does: cp.async, its groups and waits.
//!
//! What is copied is read at once but arrives only when it is waited for, so that a missing wait shows. Source: PTX ISA 9.0, section
//! 9.7.9.25, "Data Movement and Conversion Instructions: Asynchronous copy".

use crate::exec::{Class, Flow, Inst, LANES, Lower, Warp, Width, pick};
use crate::memory::Access;
use crate::op;
use crate::ptx::{Operand, PtxError, Space, Type};

/// A copy that has not arrived.
struct Copy {
    lane: u32,
    /// The lane's group it belongs to, or [`OPEN`].
    group: u32,
    to: u64,
    bytes: u32,
    data: [u8; 16],
}

/// No group yet.
const OPEN: u32 = u32::MAX;

/// A warp's copies under way, oldest first, and how many groups each lane has made.
#[derive(Default)]
pub struct Copies {
    pending: Vec<Copy>,
    groups: [u32; LANES],
}

impl Copies {
    /// Forgets everything: another block begins.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.groups = [0; LANES];
    }
}

op! {
    Copy4 = |w, i| copy::<4>(w, i);
    Copy8 = |w, i| copy::<8>(w, i);
    Copy16 = |w, i| copy::<16>(w, i);
    Commit = |w, _i| { commit(w); Flow::Next };
    WaitGroup = |w, i| { let left = i.imm as u32; arrive(w, |group, made| group != OPEN && made - group > left); Flow::Next };
    WaitAll = |w, _i| { arrive(w, |_, _| true); Flow::Next };
}

/// Lowers `cp`.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    let words: Vec<&str> = l.instruction.modifiers.iter().map(String::as_str).collect();
    match words[..] {
        ["async", "commit_group"] => {
            l.emit(Class::AsyncCopy, pick::<Commit>(), &[]);
        }
        ["async", "wait_all"] => {
            l.emit(Class::AsyncCopy, pick::<WaitAll>(), &[]);
        }
        ["async", "wait_group"] => {
            let Operand::Int(left) = *l.operand(0)? else { return l.err("cp.async.wait_group needs a number") };
            l.emit(Class::AsyncCopy, pick::<WaitGroup>(), &[]).imm = left.min(u64::from(OPEN)) as i64;
        }
        ["async", "ca" | "cg", "shared" | "shared::cta", "global", ref hints @ ..]
            if hints.iter().all(|h| h.starts_with("L2::")) && !l.has("L2::cache_hint") =>
        {
            let (to, from) = (l.address(0)?, l.address(1)?);
            let Operand::Int(bytes) = *l.operand(2)? else { return l.err("cp.async needs a size") };
            let exec = match bytes {
                4 => pick::<Copy4>(),
                8 => pick::<Copy8>(),
                16 => pick::<Copy16>(),
                _ => return l.err("cp.async copies 4, 8 or 16 bytes"),
            };
            // The size that is read, less than the one that is written, or a predicate that says to read nothing.
            let (size, mode) = match l.operands() {
                3 => (l.constant(Width::W32, bytes), 0),
                _ if l.register_type(3) == Some(Type::Pred) => (l.read(3, Type::Pred)?, 1),
                _ => (l.read(3, Type::U32)?, 0),
            };
            l.accesses(Space::Shared, 4);
            l.accesses(Space::Global, 4);
            let flags = u32::from(to.wide) | u32::from(from.wide) << 1 | mode << 2;
            let inst = l.emit(Class::AsyncCopy, exec, &[to.base, from.base, size]);
            (inst.imm, inst.aux, inst.tag) = (to.offset, from.offset, flags);
        }
        _ => return l.unsupported(),
    }
    Ok(())
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn copy<const BYTES: u64>(w: &mut Warp, i: &Inst) -> Flow {
    // SAFETY: as promised; lowering noted the widths.
    let (to, from) =
        unsafe { (addresses(w, i.rows[0], i.tag & 1 == 1, i.imm), addresses(w, i.rows[1], i.tag & 2 == 2, i.aux)) };
    // SAFETY: as promised.
    let sizes: [u32; LANES] = match i.tag & 4 {
        // SAFETY: as promised.
        0 => unsafe { *w.row::<u32>(i.rows[2]) },
        _ => {
            // SAFETY: as promised.
            let ignore = unsafe { w.pred(i.rows[2]) };
            std::array::from_fn(|lane| if ignore >> lane & 1 == 1 { 0 } else { BYTES as u32 })
        }
    };
    let mask = w.mask;
    let reads = (0..LANES).filter(|&lane| mask >> lane & 1 == 1 && sizes[lane] > 0).fold(0, |m, lane| m | 1u32 << lane);
    if reads != 0 {
        w.mask = reads;
        // Shorter reads are checked and counted like whole ones, where they are whole.
        let whole = (0..LANES).all(|lane| reads >> lane & 1 == 0 || sizes[lane] >= BYTES as u32);
        let found =
            if whole { w.access(Space::Global, &from, BYTES, Access::Load).is_some() } else { short(w, &from, &sizes) };
        w.mask = mask;
        if !found {
            return Flow::Fault;
        }
    }
    if !w.expect_copy(&to, BYTES) {
        return Flow::Fault;
    }
    for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
        let mut data = [0; 16];
        let bytes = sizes[lane].min(BYTES as u32) as usize;
        if bytes > 0 {
            // SAFETY: the access above found these bytes.
            unsafe { std::ptr::copy_nonoverlapping(from[lane] as *const u8, data.as_mut_ptr(), bytes) };
        }
        w.copies.pending.push(Copy { lane: lane as u32, group: OPEN, to: to[lane], bytes: BYTES as u32, data });
    }
    Flow::Next
}

/// Reads that are shorter than their copies, byte by byte.
#[cold]
fn short(w: &mut Warp, from: &[u64; LANES], sizes: &[u32; LANES]) -> bool {
    let mask = w.mask;
    let longest = sizes.iter().copied().max().unwrap_or(0).min(16);
    for byte in 0..longest {
        w.mask = (0..LANES).filter(|&l| mask >> l & 1 == 1 && sizes[l] > byte).fold(0, |m, l| m | 1u32 << l);
        if w.mask != 0 && w.access(Space::Global, &from.map(|a| a.wrapping_add(byte.into())), 1, Access::Load).is_none()
        {
            return false;
        }
    }
    true
}

fn commit(w: &mut Warp) {
    let (mask, Copies { pending, groups }) = (w.mask, &mut w.copies);
    for copy in pending.iter_mut().filter(|c| c.group == OPEN && mask >> c.lane & 1 == 1) {
        copy.group = groups[copy.lane as usize];
    }
    (0..LANES).filter(|lane| mask >> lane & 1 == 1).for_each(|lane| groups[lane] += 1);
}

/// Lets those copies of the executing lanes arrive for which `due(group, groups made)`.
fn arrive(w: &mut Warp, due: impl Fn(u32, u32) -> bool) {
    let (mask, first) = (w.mask, w.index * LANES as u32);
    let mut copies = std::mem::take(&mut w.copies);
    let groups = copies.groups;
    copies.pending.retain(|copy| {
        let arrives = mask >> copy.lane & 1 == 1 && due(copy.group, groups[copy.lane as usize]);
        if arrives {
            w.block().memory.fill_shared(first + copy.lane, copy.to, &copy.data[..copy.bytes as usize]);
        }
        !arrives
    });
    w.copies = copies;
}

/// Each lane's address.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
pub(super) unsafe fn addresses(w: &Warp, base: u32, wide: bool, offset: i64) -> [u64; LANES] {
    // SAFETY: as promised.
    unsafe {
        match wide {
            true => w.row::<u64>(base).map(|a| a.wrapping_add_signed(offset)),
            false => w.row::<u32>(base).map(|a| u64::from(a).wrapping_add_signed(offset)),
        }
    }
}
