//! Registers that may be read before anything wrote them.
//!
//! Liveness finds the few registers for which some path does so; only the instructions that touch those are watched, by an
//! [`Exec`] around theirs. Copies are not reported: compilers move values that nobody uses.

use std::collections::HashMap;

use super::inst::{Class, Exec, Flow, Inst, Row};
use super::lower::Code;
use super::warp::Warp;
use crate::check::Kind;

/// The watched instructions of a program.
#[derive(Default)]
pub struct Watches {
    at: HashMap<u32, Watch>,
    /// How many registers are watched; each has a mask of written lanes per warp.
    pub registers: usize,
}

struct Watch {
    exec: Exec,
    reads: Vec<u32>,
    writes: Vec<u32>,
}

impl Watches {
    /// Watches the `unwritten` slots of `code`.
    pub fn new(code: &mut Code, unwritten: &[Row]) -> Watches {
        let index: HashMap<Row, u32> = unwritten.iter().zip(0..).map(|(&slot, i)| (slot, i)).collect();
        let mut at = HashMap::new();
        if index.is_empty() {
            return Watches::default();
        }
        for (pc, (inst, effects)) in code.insts.iter_mut().zip(&code.effects).enumerate() {
            let of = |slots: &[Row]| slots.iter().filter_map(|slot| index.get(slot).copied()).collect::<Vec<_>>();
            let writes = of(&effects.writes);
            // A guarded write reads nothing: liveness says so for the lanes that keep their value.
            let mut reads = if inst.class == Class::Move { vec![] } else { of(&effects.reads) };
            reads.retain(|r| !writes.contains(r));
            if !reads.is_empty() || !writes.is_empty() {
                at.insert(pc as u32, Watch { exec: inst.exec, reads, writes });
                inst.exec = watched;
            }
        }
        Watches { at, registers: unwritten.len() }
    }
}

/// Reports lanes that read what they never wrote, then executes the instruction.
unsafe fn watched(w: &mut Warp, i: &Inst) -> Flow {
    let pc = w.pc;
    let Some(watch) = w.launch().program.watches.at.get(&pc) else {
        return w.trap("a watched instruction is not in its table");
    };
    let checked = if w.launch().options.checks.init { &watch.reads[..] } else { &[] };
    for &register in checked {
        let unwritten = w.mask & !w.written[register as usize];
        if unwritten != 0 {
            w.report(Kind::Uninitialized, unwritten.trailing_zeros(), "reads a register that nothing wrote");
            w.written[register as usize] |= unwritten;
        }
    }
    let mask = w.mask;
    // SAFETY: the same promise, for the same instruction.
    let flow = unsafe { (watch.exec)(w, i) };
    for &register in &watch.writes {
        w.written[register as usize] |= mask;
    }
    flow
}
