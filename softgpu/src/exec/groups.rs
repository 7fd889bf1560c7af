//! Divergence: groups of lanes with equal program counters.
//!
//! The group with the lowest program counter goes first, and groups whose program counters meet become one. Compilers lay code out
//! so that branches meet again further down, so lanes reconverge as early as they can. A group that waits at a `*.sync` is part of
//! every later meeting at that place, which is how its partners arrive.

use super::inst::Flow;
use super::lower::Width;
use super::warp::{Group, LANES, Waiting, Warp};
use crate::check::{Finding, Kind};

impl Warp {
    /// Takes up a group that can move, with all that are at the same place. Returns the place where it meets the next group, or
    /// `None` if nobody can move.
    pub(super) fn pick(&mut self) -> Option<u32> {
        if let [Group { pc, mask, waiting: Waiting::No, alone }] = self.groups[..] {
            (self.pc, self.active, self.alone, self.preferred) = (pc, mask, alone, None);
            self.groups.clear();
            return Some(u32::MAX);
        }
        let preferred = self.preferred.take().filter(|&g| self.groups.get(g).is_some_and(|g| g.waiting == Waiting::No));
        let lowest = || {
            (0..self.groups.len()).filter(|&g| self.groups[g].waiting == Waiting::No).min_by_key(|&g| self.groups[g].pc)
        };
        let chosen = preferred.or_else(lowest)?;
        let pc = self.groups[chosen].pc;
        (self.pc, self.active, self.alone) = (pc, 0, false);
        let mut limit = u32::MAX;
        self.groups.retain(|group| {
            let arrived = matches!(group.waiting, Waiting::Barrier(_));
            if group.pc == pc && !arrived {
                self.active |= group.mask;
                self.alone |= group.alone;
                return false;
            }
            if group.pc > pc && !arrived {
                limit = limit.min(group.pc);
            }
            true
        });
        Some(limit)
    }

    /// After a jump: where the group at hand meets the next one, or `None` if another one must go first (it is parked then).
    #[inline(always)]
    pub(super) fn new_limit(&mut self) -> Option<u32> {
        if self.groups.is_empty() {
            return Some(u32::MAX);
        }
        let pc = self.pc;
        let others = self.groups.iter().filter(|g| !matches!(g.waiting, Waiting::Barrier(_)));
        if others.clone().any(|g| g.pc == pc || g.pc < pc && g.waiting == Waiting::No) {
            self.park(Waiting::No);
            return None;
        }
        Some(others.map(|g| g.pc).filter(|&other| other > pc).min().unwrap_or(u32::MAX))
    }

    /// Puts the group at hand back among the others, at `pc`.
    pub(super) fn park(&mut self, waiting: Waiting) {
        self.groups.push(Group { pc: self.pc, mask: self.active, waiting, alone: self.alone });
        self.active = 0;
    }

    /// Lets the executing lanes wait here; those of the group whose guard is false go on.
    pub(crate) fn wait(&mut self, waiting: Waiting) -> Flow {
        let (mask, rest) = (self.mask, self.active & !self.mask);
        self.groups.push(Group { pc: self.pc, mask, waiting, alone: false });
        if rest != 0 {
            self.groups.push(Group { pc: self.pc + 1, mask: rest, waiting: Waiting::No, alone: false });
        }
        self.active = 0;
        Flow::Moved
    }

    /// Handles [`Flow::Wait`].
    pub(super) fn wait_for_lanes(&mut self) -> Flow {
        let awaited = self.awaited;
        self.wait(Waiting::Named(awaited))
    }

    /// Whether every lane of `members` that has not exited executes this instruction now. If not, return [`Flow::Wait`].
    #[inline(always)]
    pub fn all_arrived(&mut self, members: u32) -> bool {
        self.awaited = members & self.live;
        self.awaited & !self.mask == 0
    }

    /// The executing lanes jump to `target`, the rest of the group goes on.
    #[inline(always)]
    pub(crate) fn branch(&mut self, target: u32) -> Flow {
        if self.mask == self.active {
            self.pc = target;
            return Flow::Jump;
        }
        let (taken, rest) = (self.mask, self.active & !self.mask);
        self.block().memory.counters.divergent_branches += 1;
        self.groups.push(Group { pc: target, mask: taken, waiting: Waiting::No, alone: false });
        self.active = rest;
        self.pc += 1;
        Flow::Jump
    }

    /// Each executing lane jumps to the target of its number in `indices`, the rest of the group goes on.
    pub(crate) fn branch_each(&mut self, indices: &[u32; LANES], targets: &[u32]) -> Flow {
        let mut left = self.mask;
        while left != 0 {
            let index = indices[left.trailing_zeros() as usize];
            let Some(&target) = targets.get(index as usize) else {
                return self.trap(&format!("brx.idx with {index} of {} targets", targets.len()));
            };
            let taken = (0..LANES).filter(|&lane| left >> lane & 1 == 1 && indices[lane] == index);
            let taken = taken.fold(0u32, |mask, lane| mask | 1 << lane);
            left &= !taken;
            if taken == self.active {
                self.pc = target;
                return Flow::Jump;
            }
            if left | taken == self.mask {
                self.block().memory.counters.divergent_branches += 1;
            }
            self.groups.push(Group { pc: target, mask: taken, waiting: Waiting::No, alone: false });
            self.active &= !taken;
        }
        self.pc += 1;
        Flow::Jump
    }

    /// The executing lanes are done.
    pub(crate) fn exit(&mut self) -> Flow {
        self.live &= !self.mask;
        self.active &= !self.mask;
        // Who waits for these lanes waits no longer.
        for group in self.groups.iter_mut().filter(|g| matches!(g.waiting, Waiting::Named(_) | Waiting::Together)) {
            group.waiting = Waiting::No;
        }
        for id in 0..super::block::BARRIERS {
            self.block().complete_barrier(id);
        }
        if self.active == 0 {
            return Flow::Moved;
        }
        self.pc += 1;
        Flow::Jump
    }

    /// Lets the groups go on that have arrived at barrier `id`, which is complete.
    pub(super) fn leave_barrier(&mut self, id: usize, votes: u32, expected: u32) {
        for g in 0..self.groups.len() {
            if self.groups[g].waiting == Waiting::Barrier(id) {
                self.groups[g].waiting = Waiting::No;
                self.groups[g].pc += 1;
                let Group { pc, mask, .. } = self.groups[g];
                crate::isa::barrier::give_result(self, pc - 1, mask, votes, expected);
            }
        }
    }

    /// Lets another group than the lowest go next: lanes may wait for others of their own warp.
    pub(super) fn rotate(&mut self) {
        if self.groups.len() > 1 {
            let groups = self.groups.len() as u32;
            let chosen = self.block().rng.below(groups);
            self.preferred = Some(chosen as usize);
        }
    }

    /// Where instruction `pc` is, in words.
    pub fn place(&self, pc: u32) -> String {
        let program = &self.launch().program;
        let Some(origin) = program.origins.get(pc as usize) else { return "the end".to_string() };
        match program.debug.place(*origin) {
            Some((file, line)) => format!("{file}:{line} (PTX line {})", origin.line),
            None => format!("PTX line {}", origin.line),
        }
    }

    /// The position in the block of a lane's thread.
    pub fn thread(&self, lane: u32) -> [u32; 3] {
        let [x, y, _] = self.launch().config.block;
        let linear = self.index * LANES as u32 + lane;
        [linear % x, linear / x % y, linear / x / y]
    }

    /// A finding of this kind at the current instruction, to which more may be added.
    pub fn finding(&mut self, kind: Kind, lane: u32, message: &str) -> Finding {
        let (thread, block, pc) = (self.thread(lane), self.block().index, self.pc);
        self.launch().finding(kind, block, thread, pc, message)
    }

    /// Records what is wrong; the kernel goes on.
    pub fn report(&mut self, kind: Kind, lane: u32, message: &str) {
        let finding = self.finding(kind, lane, message);
        self.launch().record(finding);
    }

    /// Records what is wrong and ends the launch.
    pub fn fault(&mut self, kind: Kind, lane: u32, message: &str) -> Flow {
        let finding = self.finding(kind, lane, message);
        self.launch().fail(finding);
        Flow::Fault
    }

    /// Ends the launch as `trap` does.
    pub fn trap(&mut self, message: &str) -> Flow {
        let lane = self.mask.trailing_zeros() % LANES as u32;
        self.fault(Kind::Trap, lane, message)
    }

    /// The lowest executing lane's value in a row of this width.
    ///
    /// # Safety
    /// As [`Warp::row`].
    pub unsafe fn first(&self, row: u32, width: Width) -> u64 {
        let lane = (self.mask.trailing_zeros() as usize) % LANES;
        // SAFETY: as promised.
        unsafe {
            match width {
                Width::W64 => self.row::<u64>(row)[lane],
                _ => self.row::<u32>(row)[lane].into(),
            }
        }
    }
}
