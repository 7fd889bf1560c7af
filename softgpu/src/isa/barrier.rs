//! Waiting for each other: bar, barrier, fence, membar, nanosleep.
//!
//! Source: PTX ISA 9.0, section 9.7.13, "Parallel Synchronization and Communication Instructions".

use crate::check::Kind;
use crate::exec::block::BARRIERS;
use crate::exec::inst::Inst;
use crate::exec::warp::{Waiting, Warp};
use crate::exec::{Class, Flow, LANES, Lower, Width, pick};
use crate::isa::shuffle::by_members;
use crate::op;
use crate::ptx::{PtxError, Type};

/// In [`Inst::imm`]: what the instruction does.
const ALIGNED: i64 = 1;
const ARRIVE: i64 = 2;
const POPC: i64 = 4;
const AND: i64 = 8;
const OR: i64 = 16;
const COUNTED: i64 = 64;
const WARP: i64 = 128;

op! {
    Bar = |w, i| bar(w, i);
    WarpSync = |w, i| warp_sync(w, i);
    Fence = |w, _i| { w.fence(); Flow::Next };
    Sleep = |_w, _i| Flow::Yield;
}

/// Lowers the opcodes above.
pub fn lower(l: &mut Lower) -> Result<(), PtxError> {
    match l.instruction.opcode.as_str() {
        "nanosleep" => {
            l.read(0, Type::U32)?;
            l.emit(Class::Other, pick::<Sleep>(), &[]);
        }
        "membar" => {
            if !["cta", "gl", "sys"].iter().any(|scope| l.has(scope)) {
                return l.unsupported();
            }
            l.emit(Class::Fence, pick::<Fence>(), &[]);
        }
        "fence" => {
            // A fence of the asynchronous proxy orders what this GPU does at once; `cta`, `gpu` and `sys` are one here.
            let known =
                ["sc", "acq_rel", "acquire", "release", "cta", "cluster", "gpu", "sys", "proxy", "async", "alias"];
            if !l.instruction.modifiers.iter().all(|m| known.contains(&m.as_str())) {
                return l.unsupported();
            }
            l.emit(Class::Fence, pick::<Fence>(), &[]);
        }
        _ if l.has("warp") => {
            let members = l.read(0, Type::B32)?;
            l.emit(Class::Barrier, pick::<WarpSync>(), &[0, members]).imm = WARP;
        }
        _ => return block_barrier(l),
    }
    Ok(())
}

/// `bar` is `barrier.aligned`: the threads of a warp come together.
fn block_barrier(l: &mut Lower) -> Result<(), PtxError> {
    if l.has("cluster") {
        return l.unsupported();
    }
    let aligned = l.instruction.opcode == "bar" || l.has("aligned");
    let mut imm = if aligned { ALIGNED } else { 0 };
    let mut rows = [0; 5];
    let mut next = 0;
    if l.has("red") {
        imm |= match () {
            () if l.has("popc") => POPC,
            () if l.has("and") => AND,
            () if l.has("or") => OR,
            () => return l.unsupported(),
        };
        rows[0] = l.write(0, if imm & POPC != 0 { Type::U32 } else { Type::Pred })?;
        let last = l.operands() - 1;
        rows[3] = l.read(last, Type::Pred)?;
        next = 1;
        if last == 3 {
            imm |= COUNTED;
        }
    } else if l.has("arrive") {
        imm |= ARRIVE | COUNTED;
    } else if !l.has("sync") {
        return l.unsupported();
    } else if l.operands() == 2 {
        imm |= COUNTED;
    }
    rows[1] = l.read(next, Type::U32)?;
    if imm & COUNTED != 0 {
        rows[2] = l.read(next + 1, Type::U32)?;
    }
    l.emit(Class::Barrier, pick::<Bar>(), &rows).imm = imm;
    Ok(())
}

/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn bar(w: &mut Warp, i: &Inst) -> Flow {
    if i.imm & ALIGNED != 0 && w.mask != w.live && !w.alone {
        return w.wait(Waiting::Together);
    }
    // SAFETY: as promised.
    let (id, count) = unsafe { (w.first(i.rows[1], Width::W32), w.first(i.rows[2], Width::W32)) };
    let lane = w.mask.trailing_zeros();
    if id as usize >= BARRIERS {
        return w.fault(Kind::InvalidBarrier, lane, &format!("barrier {id} does not exist: there are {BARRIERS}"));
    }
    let count = if i.imm & COUNTED != 0 { count as u32 } else { 0 };
    if i.imm & COUNTED != 0 && (count == 0 || count % 32 != 0) {
        return w.fault(
            Kind::InvalidBarrier,
            lane,
            &format!("barrier {id} is to wait for {count} threads, which is not a multiple of the warp size"),
        );
    }
    let id = id as usize;
    let (mask, index) = (w.mask, w.index);
    let votes = match i.imm & (POPC | AND | OR) {
        0 => 0,
        // SAFETY: as promised.
        _ => (unsafe { w.pred(i.rows[3]) } & mask).count_ones(),
    };
    let barrier = &mut w.block().barriers[id];
    if barrier.arrived != 0 && barrier.expected != count {
        let message =
            format!("barrier {id} waits for {} threads, and this one says {count} (0: all)", barrier.expected);
        w.report(Kind::InvalidBarrier, lane, &message);
    }
    // Warps arrive whole at an aligned barrier: lanes that have exited count.
    let arriving = if i.imm & ALIGNED != 0 && count != 0 && !w.alone { 32 } else { mask.count_ones() };
    let barrier = &mut w.block().barriers[id];
    barrier.expected = count;
    barrier.arrived += arriving;
    barrier.warps |= 1 << index;
    barrier.votes += votes;
    if i.imm & ARRIVE != 0 {
        w.block().complete_barrier(id);
        return Flow::Next;
    }
    let flow = w.wait(Waiting::Barrier(id));
    w.block().complete_barrier(id);
    flow
}

/// Writes what `bar.red` found for the lanes that leave the barrier, if it was one.
pub(crate) fn give_result(w: &mut Warp, pc: u32, lanes: u32, votes: u32, expected: u32) {
    let program = &w.launch().program;
    let i = &program.insts[pc as usize];
    let saved = std::mem::replace(&mut w.mask, lanes);
    // SAFETY: rows of a decoded instruction of this warp's program.
    unsafe {
        match i.imm & (POPC | AND | OR) {
            0 => {}
            POPC => w.set(i.rows[0], &[votes; 32]),
            AND => w.set_pred(i.rows[0], if votes == expected { u32::MAX } else { 0 }),
            _ => w.set_pred(i.rows[0], if votes > 0 { u32::MAX } else { 0 }),
        }
    }
    w.mask = saved;
}

/// Lanes may come to it at different places of the code, as long as their masks agree.
///
/// # Safety
/// As [`Warp::row`].
#[inline(always)]
unsafe fn warp_sync(w: &mut Warp, i: &Inst) -> Flow {
    let index = w.index;
    // SAFETY: as promised.
    let row = unsafe { *w.row::<u32>(i.rows[1]) };
    let members = row[w.mask.trailing_zeros() as usize % LANES];
    if (0..LANES).any(|lane| w.mask >> lane & 1 == 1 && row[lane] != members) {
        // SAFETY: as promised.
        return unsafe { by_members(w, i.rows[1], |w, members| w.block().memory.warp_sync(index, members)) };
    }
    if w.all_arrived(members) {
        w.block().memory.warp_sync(index, members);
        return Flow::Next;
    }
    let awaited = members & w.live;
    let insts = &w.launch().program.insts;
    let elsewhere =
        |g: &crate::exec::warp::Group| g.waiting == Waiting::Named(awaited) && insts[g.pc as usize].imm == WARP;
    let arrived = w.groups.iter().filter(|g| elsewhere(g)).fold(w.mask, |all, g| all | g.mask);
    if awaited & !arrived != 0 {
        return Flow::Wait;
    }
    for group in w.groups.iter_mut().filter(|g| elsewhere(g)) {
        group.waiting = Waiting::No;
        group.pc += 1;
    }
    w.block().memory.warp_sync(index, members);
    // The groups that go on may be anywhere: choose anew.
    w.pc += 1;
    Flow::Jump
}
