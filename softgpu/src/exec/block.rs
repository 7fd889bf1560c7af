//! A block: its warps take turns in a seeded random order, and its barriers are kept here.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use super::inst::{ALWAYS, Flow, Row};
use super::launch::Launch;
use super::lower::{Content, Width};
use super::program::per_block;
use super::rng::Rng;
use super::warp::{Group, LANES, Waiting, Warp};
use crate::check::Kind;
use crate::memory::BlockMemory;

/// Named barriers of a block.
pub const BARRIERS: usize = 16;

/// Instructions that a warp executes in one turn: at least, and up to this many more.
const TURN: (u64, u64) = (300, 1200);

/// Turns in a row that only poll memory, after which other blocks should run.
const POLLING_TURNS: u32 = 64;

/// Executions and executing lanes of each instruction.
pub struct Profile {
    /// Times that a warp executed it.
    pub warps: Vec<u64>,
    /// Lanes that executed it.
    pub lanes: Vec<u64>,
}

/// One named barrier.
#[derive(Debug, Clone, Copy, Default)]
pub struct Barrier {
    /// Threads that have arrived, waiting or not.
    pub arrived: u32,
    /// Threads that it waits for; 0 means all that have not exited.
    pub expected: u32,
    /// Warps that take part so far.
    pub warps: u32,
    /// Threads whose predicate was true, for `bar.red`.
    pub votes: u32,
}

/// How a block's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All threads have exited.
    Done,
    /// Every warp only polls: it waits for another block.
    Polling,
    /// The launch is over.
    Fault,
}

/// A resident block.
pub struct Block {
    /// Position in the grid.
    pub index: [u32; 3],
    /// Position in the grid, counted x first.
    pub linear: u32,
    /// Its shared and local memory.
    pub memory: BlockMemory,
    /// Its warps.
    pub warps: Vec<Warp>,
    /// Its barriers.
    pub barriers: [Barrier; BARRIERS],
    /// The order of turns.
    pub rng: Rng,
    /// Whether some warp did something other than polling since the last [`Turn`].
    pub progressed: bool,
    /// The registers of all warps.
    file: RegisterFile,
    launch: *const Launch<'static>,
}

/// Registers and predicates of a block's warps, aligned for vector instructions.
struct RegisterFile {
    words: *mut u32,
    layout: Layout,
}

impl RegisterFile {
    fn new(words: usize) -> RegisterFile {
        let layout =
            Layout::from_size_align(words.max(16) * 4, 128).expect("a register file is far smaller than memory");
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        RegisterFile { words: memory.cast(), layout }
    }
}

impl Drop for RegisterFile {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.words.cast(), self.layout) }
    }
}

impl Block {
    /// Room for a block of the launch, to be filled by [`Block::start`].
    pub fn new(launch: &Launch) -> Box<Block> {
        let warps = launch.threads().div_ceil(LANES as u32);
        let program = &launch.program;
        let predicate_words = program.predicates.next_multiple_of(32) as usize;
        let words = program.register_words as usize + predicate_words;
        let file = RegisterFile::new(words * warps as usize);
        let mut block = Box::new(Block {
            index: [0; 3],
            linear: 0,
            memory: BlockMemory::new(launch),
            warps: Vec::with_capacity(warps as usize),
            barriers: [Barrier::default(); BARRIERS],
            rng: Rng::new(0),
            progressed: false,
            file,
            // The lifetime is forgotten: `work` drops its blocks before the launch ends.
            launch: std::ptr::from_ref(launch).cast(),
        });
        let at: *mut Block = &mut *block;
        for index in 0..warps {
            // SAFETY: the file holds `words` for each warp.
            let regs = unsafe { block.file.words.add(words * index as usize) };
            // SAFETY: as above; predicates follow the registers.
            let preds = unsafe { regs.add(program.register_words as usize) };
            block.warps.push(Warp::new(regs, preds, index, at, block.launch));
        }
        for warp in &mut block.warps {
            for (row, slot) in &program.fixed {
                warp.fill(*row, slot);
            }
        }
        block
    }

    /// Makes it the block `linear` of the grid, at its first instruction.
    pub fn start(&mut self, linear: u32) {
        // SAFETY: the launch outlives its blocks.
        let launch = unsafe { &*self.launch };
        let [x, y, _] = launch.config.grid;
        self.linear = linear;
        self.index = [linear % x, linear / x % y, linear / x / y];
        self.barriers = [Barrier::default(); BARRIERS];
        self.rng = Rng::new(launch.options.seed ^ u64::from(linear).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.memory.start(linear, self.index);
        let threads = launch.threads();
        for warp in &mut self.warps {
            let lanes = (threads - warp.index * LANES as u32).min(LANES as u32);
            warp.start(if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 });
            for (row, slot) in launch.program.fixed.iter().filter(|(_, slot)| per_block(slot)) {
                warp.fill(*row, slot);
            }
        }
    }

    /// Runs warps in turns until all have exited, all wait for other blocks, or something is wrong.
    pub fn run(&mut self, profile: &mut Profile) -> Turn {
        let mut polling = 0;
        loop {
            let ready = self.warps.iter().filter(|w| w.can_move()).count() as u32;
            if ready == 0 {
                if self.warps.iter().all(|w| w.live == 0) {
                    return Turn::Done;
                }
                if self.resolve_stall() {
                    continue;
                }
                return Turn::Fault;
            }
            let chosen = self.rng.below(ready);
            let warp = self.warps.iter().position({
                let mut left = chosen;
                move |w| {
                    w.can_move()
                        && (left == 0 || {
                            left -= 1;
                            false
                        })
                }
            });
            let Some(warp) = warp else { return Turn::Fault };
            let budget = TURN.0 + u64::from(self.rng.below(TURN.1 as u32));
            self.progressed = false;
            if self.warps[warp].run(budget, profile) == Flow::Fault {
                return Turn::Fault;
            }
            polling = if self.progressed { 0 } else { polling + 1 };
            if polling >= POLLING_TURNS * ready {
                return Turn::Polling;
            }
            // SAFETY: the launch outlives its blocks.
            if unsafe { &*self.launch }.is_over() {
                return Turn::Fault;
            }
        }
    }

    /// Threads that have not exited.
    pub fn live_threads(&self) -> u32 {
        self.warps.iter().map(|w| w.live.count_ones()).sum()
    }

    /// Lets everybody go on who waits at `id`, if all have arrived.
    pub fn complete_barrier(&mut self, id: usize) {
        let barrier = self.barriers[id];
        let live = self.live_threads();
        let expected = if barrier.expected == 0 { live } else { barrier.expected };
        if barrier.arrived == 0 || barrier.arrived < expected {
            return;
        }
        self.memory.barrier(barrier.warps);
        self.barriers[id] = Barrier::default();
        for warp in &mut self.warps {
            warp.leave_barrier(id, barrier.votes, expected);
        }
    }

    /// Nobody can move: lanes of a warp that wait at a barrier apart from the others arrive on their own, which is reported; anything
    /// else is a deadlock. Returns whether somebody can move now.
    fn resolve_stall(&mut self) -> bool {
        for index in 0..self.warps.len() {
            let warp = &mut self.warps[index];
            let Some(group) = warp.groups.iter().position(|g| g.waiting == Waiting::Together) else { continue };
            let Group { pc, mask, .. } = warp.groups[group];
            let live = warp.live;
            warp.pc = pc;
            let message = format!("only lanes {mask:08x} of the warp's {live:08x} arrive at this barrier");
            warp.report(Kind::BarrierDivergence, mask.trailing_zeros(), &message);
            warp.groups[group].waiting = Waiting::No;
            warp.groups[group].alone = true;
            return true;
        }
        let mut waits = vec![];
        for warp in self.warps.iter().filter(|w| w.live != 0) {
            for group in &warp.groups {
                let what = match group.waiting {
                    Waiting::Barrier(id) => format!("barrier {id}"),
                    Waiting::Named(mask) => format!("lanes {mask:08x} of its warp"),
                    _ => "its warp".to_string(),
                };
                waits.push(format!(
                    "warp {} lanes {:08x} at {} for {what}",
                    warp.index,
                    group.mask,
                    warp.place(group.pc)
                ));
            }
        }
        let shown = waits.len().min(4);
        let message = format!(
            "no thread of the block can go on: {}{}",
            waits[..shown].join("; "),
            if waits.len() > shown { "; …" } else { "" }
        );
        if let Some(warp) = self.warps.iter_mut().find(|w| w.live != 0) {
            let group = warp.groups.first().copied();
            warp.pc = group.map_or(0, |g| g.pc);
            warp.fault(Kind::Deadlock, group.map_or(0, |g| g.mask.trailing_zeros()), &message);
        }
        false
    }
}

impl Warp {
    /// Fills a row that no instruction writes.
    fn fill(&mut self, row: Row, slot: &super::lower::Slot) {
        let mut values = [0u64; LANES];
        for (lane, value) in values.iter_mut().enumerate() {
            *value = match &slot.content {
                Content::Constant(bits) => *bits,
                Content::Special(name) => self.special(name, lane as u32),
                Content::Register => 0,
            };
        }
        // SAFETY: fixed rows lie within the register file, as liveness laid them out.
        unsafe {
            match slot.width {
                Width::W64 => *self.row_mut::<u64>(row) = values,
                Width::W32 => *self.row_mut::<u32>(row) = values.map(|v| v as u32),
                Width::Pred => {
                    let bits = values.iter().enumerate().fold(0, |bits, (lane, &v)| bits | ((v & 1) as u32) << lane);
                    *self.preds.add(row as usize) = bits;
                }
            }
        }
    }

    fn special(&mut self, name: &str, lane: u32) -> u64 {
        let launch = self.launch();
        let (grid, block) = (launch.config.grid, launch.config.block);
        let thread = self.index * LANES as u32 + lane;
        let tid = [thread % block[0], thread / block[0] % block[1], thread / block[0] / block[1]];
        let at = self.block().index;
        let axis = |of: [u32; 3]| match name.as_bytes().last() {
            Some(b'x') => of[0],
            Some(b'y') => of[1],
            _ => of[2],
        };
        let below = (1u64 << lane) - 1;
        let (dynamic, total) = (launch.config.shared_bytes, launch.shared_bytes());
        let value = match name.split_once('.').map_or(name, |(first, _)| first) {
            "tid" => axis(tid),
            "ntid" => axis(block),
            "ctaid" | "clusterid" => axis(at),
            "nctaid" | "nclusterid" => axis(grid),
            "cluster_nctaid" | "cluster_nctarank" => 1,
            "laneid" => lane,
            "warpid" => self.index,
            "nwarpid" => launch.threads().div_ceil(LANES as u32),
            "smid" => self.block().linear % launch.gpu.multiprocessors,
            "nsmid" => launch.gpu.multiprocessors,
            "gridid" => return launch.serial,
            "lanemask_eq" => 1 << lane,
            "lanemask_lt" => below as u32,
            "lanemask_le" => (below << 1 | 1) as u32,
            "lanemask_gt" => !(below << 1 | 1) as u32,
            "lanemask_ge" => !below as u32,
            "dynamic_smem_size" => dynamic,
            "total_smem_size" | "aggr_smem_size" => total,
            // Where cooperative groups look for the grid's barrier: the halves of its address.
            "envreg1" => (launch.grid_workspace >> 32) as u32,
            "envreg2" => launch.grid_workspace as u32,
            _ => 0,
        };
        value.into()
    }

    /// Whether some of its lanes can execute.
    pub fn can_move(&self) -> bool {
        self.groups.iter().any(|g| g.waiting == Waiting::No)
    }

    /// A clock that counts instructions of the warp; a second read is always later.
    pub fn clock(&mut self) -> u64 {
        self.elapsed += 1;
        self.elapsed
    }

    /// Executes for about `budget` instructions, or until nobody can move.
    fn run(&mut self, budget: u64, profile: &mut Profile) -> Flow {
        let code = &self.launch().program.insts[..];
        let (warps, lanes) = (&mut profile.warps[..code.len()], &mut profile.lanes[..code.len()]);
        let mut left = budget;
        self.elapsed += budget;
        while let Some(mut limit) = self.pick() {
            loop {
                let pc = self.pc as usize;
                let inst = &code[pc];
                let mut mask = self.active;
                if inst.guard != ALWAYS {
                    // SAFETY: liveness laid the guard out.
                    let guard = unsafe { self.pred(inst.guard) };
                    mask &= if inst.guard_negated { !guard } else { guard };
                }
                warps[pc] += 1;
                lanes[pc] += u64::from(mask.count_ones());
                left = left.saturating_sub(1);
                let mut flow = Flow::Next;
                if mask != 0 {
                    self.mask = mask;
                    // SAFETY: liveness laid the rows out.
                    flow = unsafe { (inst.exec)(self, inst) };
                }
                match flow {
                    Flow::Next => self.pc += 1,
                    Flow::Yield => {
                        self.pc += 1;
                        left = left.saturating_sub(budget / 8);
                    }
                    Flow::Jump => match self.new_limit() {
                        Some(new) => limit = new,
                        None => break,
                    },
                    Flow::Wait => {
                        self.wait_for_lanes();
                        break;
                    }
                    Flow::Moved => break,
                    Flow::Fault => return Flow::Fault,
                }
                if self.pc >= limit || left == 0 {
                    self.park(Waiting::No);
                    break;
                }
            }
            if left == 0 {
                // Now and then the lanes that are behind let others go first, which those may wait for.
                self.rotate();
                return Flow::Next;
            }
        }
        Flow::Next
    }
}
