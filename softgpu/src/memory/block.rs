//! Memory of a block: shared memory and the local memory of its threads.
//!
//! Beside every granule of shared memory lie two words: who wrote it last and when, and who has read it since. "When" is a tick,
//! which goes on with every barrier. For each pair of warps the block knows up to which tick the one's accesses are ordered before
//! the other's: that makes a race between warps, or between lanes of one warp, a comparison.

use super::launch::BlockClock;
use crate::counters::Counters;
use crate::exec::LANES;
use crate::exec::launch::Launch;

/// Warps of a block at most.
const WARPS: usize = 32;

/// Of a write cell: somebody wrote it.
const VALID: u32 = 1 << 10;
/// Of a write cell: by an atomic operation, which does not race with others.
const ATOMIC: u32 = 1 << 11;
/// The thread, in both cells.
const THREAD: u32 = (1 << 10) - 1;
/// Where the tick starts, in both cells.
const TICK_SHIFT: u32 = 12;
/// The last tick. After so many barriers a block's races are no longer told.
const LAST_TICK: u32 = (1 << 20) - 2;
/// A write cell that `cp.async` is to fill: not valid, and this tick.
const PENDING: u32 = (LAST_TICK + 1) << TICK_SHIFT;

/// Of a read cell: nobody, one thread, several lanes of one warp, several warps (their numbers modulo 10 as bits in place of the thread).
const ONE_THREAD: u32 = 1 << 10;
const ONE_WARP: u32 = 2 << 10;
const MANY: u32 = 3 << 10;
const READERS: u32 = 3 << 10;

/// What an access to a granule of shared memory does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Unwritten,
    Pending,
    /// With this thread of the block.
    WriteRace(u32),
    /// With a thread of this warp that has read.
    ReadRace(u32),
}

/// The memory of a block.
pub struct BlockMemory {
    /// What its accesses added up to.
    pub counters: Counters,
    pub(super) shared: Vec<u128>,
    pub(super) shared_bytes: u64,
    writes: Vec<u32>,
    reads: Vec<u32>,
    shift: u32,
    track: bool,
    race: bool,
    tick: u32,
    /// `order[w][v]`: accesses of warp v at ticks below this are ordered before what warp w does now.
    order: [[u32; WARPS]; WARPS],
    /// The least of each row.
    floor: [u32; WARPS],
    warps: usize,
    pub(super) local: Vec<u64>,
    /// One byte per byte of `local`: whether it was written.
    pub(super) local_written: Vec<u8>,
    pub(super) local_bytes: u64,
    pub(super) clock: BlockClock,
}

impl BlockMemory {
    /// For the blocks of a launch, one after the other.
    pub fn new(launch: &Launch) -> BlockMemory {
        let shared_bytes = u64::from(launch.shared_bytes());
        let local_bytes = u64::from(launch.program.local_bytes).next_multiple_of(16);
        let warps = launch.threads().div_ceil(LANES as u32) as usize;
        let local = local_bytes as usize * warps * LANES;
        let shift = launch.memory.shared_granule_shift;
        let checks = launch.memory.checks;
        let granules = (shared_bytes >> shift) as usize + 16;
        BlockMemory {
            counters: Counters::default(),
            shared: vec![0; shared_bytes.div_ceil(16) as usize + 1],
            shared_bytes,
            writes: vec![0; granules],
            reads: vec![0; granules],
            shift,
            track: checks.init || checks.race,
            race: checks.race,
            tick: 1,
            order: [[0; WARPS]; WARPS],
            floor: [0; WARPS],
            warps,
            local: vec![0; local.div_ceil(8)],
            local_written: vec![0; local],
            local_bytes,
            clock: BlockClock::default(),
        }
    }

    /// Makes it that of the block `linear`: nothing is written.
    pub fn start(&mut self, linear: u32, _index: [u32; 3]) {
        self.writes.fill(0);
        self.reads.fill(0);
        // What was there before is no zero either.
        self.shared.fill(u128::from_le_bytes([0xa5; 16]));
        self.local_written.fill(0);
        self.tick = 1;
        self.order = [[0; WARPS]; WARPS];
        self.floor = [0; WARPS];
        self.clock.start(linear);
    }

    /// The block is done.
    pub fn end(&mut self) {}

    /// The warps of this mask have met at a barrier.
    pub fn barrier(&mut self, warps: u32) {
        self.tick = (self.tick + 1).min(LAST_TICK);
        let members = || (0..self.warps).filter(|&w| warps >> w & 1 == 1);
        let mut joined = [0; WARPS];
        for w in members() {
            joined.iter_mut().zip(&self.order[w]).for_each(|(all, one)| *all = (*all).max(*one));
        }
        for w in members() {
            joined[w] = self.tick;
        }
        let members: Vec<usize> = members().collect();
        for w in members {
            self.order[w] = joined;
            self.set_floor(w);
        }
    }

    /// Lanes of this warp have met. A meeting of some lanes counts as one of all: that may hide a race but never invents one.
    pub fn warp_sync(&mut self, warp: u32, _lanes: u32) {
        self.tick = (self.tick + 1).min(LAST_TICK);
        self.order[warp as usize][warp as usize] = self.tick;
        self.set_floor(warp as usize);
    }

    fn set_floor(&mut self, warp: usize) {
        self.floor[warp] = self.order[warp][..self.warps].iter().copied().min().unwrap_or(0);
    }

    /// Where shared memory lies.
    #[inline(always)]
    pub(super) fn shared_base(&mut self) -> *mut u8 {
        self.shared.as_mut_ptr().cast()
    }

    /// Whether accesses to shared memory are followed at all.
    #[inline(always)]
    pub(super) fn tracks(&self) -> bool {
        self.track
    }

    /// Thread `thread` reads `bytes` at `at`, which is in bounds.
    #[inline(always)]
    pub(super) fn read_shared(&mut self, thread: u32, at: u64, bytes: u64) -> Result<(), Trouble> {
        let warp = (thread / LANES as u32) as usize;
        let (floor, race) = (self.floor[warp], self.race && self.tick < LAST_TICK);
        let mine = self.tick << TICK_SHIFT | ONE_THREAD | thread;
        for granule in (at >> self.shift) as usize..((at + bytes + (1 << self.shift) - 1) >> self.shift) as usize {
            let written = self.writes[granule];
            if written & VALID == 0 {
                return Err(if written >= PENDING { Trouble::Pending } else { Trouble::Unwritten });
            }
            if !race {
                continue;
            }
            if written >> TICK_SHIFT >= floor && written & THREAD != thread && self.unordered(warp, written) {
                return Err(Trouble::WriteRace(written & THREAD));
            }
            let read = self.reads[granule];
            if read >> TICK_SHIFT < floor || read & (READERS | THREAD) == ONE_THREAD | thread {
                self.reads[granule] = mine;
            } else {
                self.reads[granule] = self.also_read(read, thread);
            }
        }
        Ok(())
    }

    /// Thread `thread` writes `bytes` at `at`, which is in bounds.
    #[inline(always)]
    pub(super) fn write_shared(&mut self, thread: u32, at: u64, bytes: u64, atomic: bool) -> Result<(), Trouble> {
        let warp = (thread / LANES as u32) as usize;
        let (floor, race) = (self.floor[warp], self.race && self.tick < LAST_TICK);
        let mine = self.tick << TICK_SHIFT | VALID | if atomic { ATOMIC } else { 0 } | thread;
        let mut trouble = Ok(());
        for granule in (at >> self.shift) as usize..((at + bytes + (1 << self.shift) - 1) >> self.shift) as usize {
            let written = std::mem::replace(&mut self.writes[granule], mine);
            if atomic && written & VALID == 0 {
                self.writes[granule] = written;
                return Err(if written >= PENDING { Trouble::Pending } else { Trouble::Unwritten });
            }
            if !race {
                continue;
            }
            if written >= PENDING && written & VALID == 0 {
                trouble = Err(Trouble::Pending);
            } else if written & VALID != 0
                && written >> TICK_SHIFT >= floor
                && written & THREAD != thread
                && !(atomic && written & ATOMIC != 0)
                && self.unordered(warp, written)
            {
                trouble = Err(Trouble::WriteRace(written & THREAD));
            }
            let read = self.reads[granule];
            if read & READERS != 0
                && read >> TICK_SHIFT >= floor
                && read & (READERS | THREAD) != ONE_THREAD | thread
                && let Some(reader) = self.unordered_reader(warp, thread, read)
            {
                trouble = Err(Trouble::ReadRace(reader));
            }
            self.reads[granule] = 0;
        }
        trouble
    }

    /// `cp.async` of `thread` will fill this; until then it holds nothing. Returns what is wrong with that already.
    pub(super) fn expect_shared(&mut self, thread: u32, at: u64, bytes: u64) -> Result<(), Trouble> {
        let result = self.write_shared(thread, at, bytes, false);
        for granule in (at >> self.shift) as usize..((at + bytes) >> self.shift) as usize {
            self.writes[granule] = PENDING | thread;
        }
        result
    }

    /// What `cp.async` of `thread` copied has arrived.
    pub(crate) fn fill_shared(&mut self, thread: u32, at: u64, data: &[u8]) {
        for granule in (at >> self.shift) as usize..((at + data.len() as u64) >> self.shift) as usize {
            if self.writes[granule] == PENDING | thread {
                self.writes[granule] = self.tick << TICK_SHIFT | VALID | thread;
            }
        }
        // SAFETY: the range was checked when the copy began.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.shared_base().add(at as usize), data.len()) };
    }

    /// Whether a write is not ordered before what `warp` does now.
    #[cold]
    fn unordered(&self, warp: usize, written: u32) -> bool {
        let writer = (written & THREAD) as usize / LANES;
        written >> TICK_SHIFT >= self.order[warp][writer]
    }

    /// The warp of a reader that is not ordered before what `thread` of `warp` does now.
    #[cold]
    fn unordered_reader(&self, warp: usize, thread: u32, read: u32) -> Option<u32> {
        let tick = read >> TICK_SHIFT;
        let races = |reader: usize| tick >= self.order[warp][reader];
        let one = (read & THREAD) as usize / LANES;
        match read & READERS {
            ONE_THREAD => (read & THREAD != thread && races(one)).then_some(one as u32),
            ONE_WARP => races(one).then_some(one as u32),
            _ => (0..self.warps).find(|&v| v != warp && read >> (v % 10) & 1 == 1 && races(v)).map(|v| v as u32),
        }
    }

    /// A read cell after one more read by `thread`.
    #[cold]
    fn also_read(&self, read: u32, thread: u32) -> u32 {
        let mine = self.tick << TICK_SHIFT;
        let warp = thread / LANES as u32;
        let before = (read & THREAD) / LANES as u32;
        match read & READERS {
            0 => mine | ONE_THREAD | thread,
            // Readers that are ordered before this one need not be kept: who is ordered after this one is after them.
            ONE_THREAD | ONE_WARP if read >> TICK_SHIFT < self.order[warp as usize][before as usize] => {
                mine | ONE_THREAD | thread
            }
            ONE_THREAD | ONE_WARP if before == warp => mine | ONE_WARP | thread,
            ONE_THREAD | ONE_WARP => read & !(READERS | THREAD) | MANY | 1 << (before % 10) | 1 << (warp % 10),
            _ => read | 1 << (warp % 10),
        }
    }

    /// Counts a request to shared memory: `words` are the 4-byte words that the lanes of each phase touch.
    #[inline(always)]
    pub(super) fn count_shared(&mut self, phases: u64, cycles: u64) {
        self.counters.shared_requests += 1;
        self.counters.shared_cycles += cycles;
        self.counters.bank_conflict_cycles += cycles - phases;
    }

    /// Eight bytes at most of a thread's local memory, zero-extended.
    pub fn peek_local(&mut self, thread: u32, at: u64, bytes: u32) -> Option<u64> {
        if at > self.local_bytes {
            return None;
        }
        let bytes = u64::from(bytes).min(self.local_bytes - at) as usize;
        let mut word = [0; 8];
        let from = (u64::from(thread) * self.local_bytes + at) as usize;
        let all: *const u8 = self.local.as_ptr().cast();
        // SAFETY: the range lies within the thread's part.
        unsafe { std::ptr::copy_nonoverlapping(all.add(from), word.as_mut_ptr(), bytes) };
        Some(u64::from_le_bytes(word))
    }

    /// Writes to a thread's local memory what fits.
    pub fn poke_local(&mut self, thread: u32, at: u64, value: u64, bytes: u32) {
        if at + u64::from(bytes) > self.local_bytes {
            return;
        }
        let to = (u64::from(thread) * self.local_bytes + at) as usize;
        self.local_written[to..to + bytes as usize].fill(1);
        let all: *mut u8 = self.local.as_mut_ptr().cast();
        // SAFETY: the range lies within the thread's part.
        unsafe { std::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), all.add(to), bytes as usize) };
    }
}
