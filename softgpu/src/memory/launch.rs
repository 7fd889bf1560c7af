//! What blocks of one launch share: parameters, device memory, and the clocks that order their accesses to it.

use std::collections::HashMap;
use std::sync::Mutex;

use super::Arena;
use crate::counters::Counters;
use crate::exec::launch::{Config, Machine};
use crate::exec::program::Program;
use crate::options::Checks;

/// Blocks and stretches of blocks are told apart by this many actors at most.
pub(super) const ACTORS: u32 = (1 << 24) - 1;

/// A clock that knows of more blocks than this counts as ordered after everything: long chains are not worth their memory.
const KNOWN_BLOCKS: usize = 4096;

/// The memory of a launch.
pub struct LaunchMemory<'a> {
    pub(super) arena: &'a Arena,
    pub(super) checks: Checks,
    /// The parameter block, readable in whole words of 16 bytes.
    pub(super) params: Vec<u128>,
    pub(super) param_bytes: u64,
    /// Marks this launch's cells.
    pub(super) tag: u32,
    /// Logarithm of the bytes that one cell stands for.
    pub(super) granule_shift: u32,
    pub(super) shared_granule_shift: u32,
    clocks: Mutex<Clocks>,
}

/// Happens-before between blocks, as vector clocks: which stretch of each other block is ordered before now. A stretch ends at a fence.
#[derive(Default)]
struct Clocks {
    /// Block and stretch of each actor beyond the first of its block.
    actors: Vec<(u32, u32)>,
    /// What a block that reads an address atomically learns.
    objects: HashMap<u64, Seen>,
}

/// The stretches of other blocks that are ordered before something.
#[derive(Debug, Clone, Default)]
struct Seen {
    last: HashMap<u32, u32>,
    everything: bool,
}

impl Seen {
    fn join(&mut self, other: &Seen) {
        self.everything |= other.everything || self.last.len() > KNOWN_BLOCKS;
        if self.everything {
            self.last.clear();
            return;
        }
        for (&block, &stretch) in &other.last {
            let known = self.last.entry(block).or_default();
            *known = stretch.max(*known);
        }
    }

    fn covers(&self, block: u32, stretch: u32) -> bool {
        self.everything || self.last.get(&block).is_some_and(|&last| last >= stretch)
    }
}

/// A block's own clock.
#[derive(Debug, Default)]
pub(super) struct BlockClock {
    block: u32,
    /// Of its accesses now: what cells hold.
    pub(super) actor: u32,
    /// From 1; the stretch before the first fence is 1.
    stretch: u32,
    seen: Seen,
    released: Seen,
}

impl BlockClock {
    pub(super) fn start(&mut self, block: u32) {
        *self = BlockClock { block, actor: block % ACTORS + 1, stretch: 1, ..BlockClock::default() };
    }
}

impl<'a> LaunchMemory<'a> {
    /// For one launch of `program`.
    pub fn new(machine: &'a Machine, program: &'a Program, _config: &Config, params: &[u8]) -> LaunchMemory<'a> {
        let mut words = vec![0u128; params.len().div_ceil(16) + 1];
        for (word, bytes) in words.iter_mut().zip(params.chunks(16)) {
            let mut whole = [0; 16];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u128::from_le_bytes(whole);
        }
        LaunchMemory {
            arena: &machine.arena,
            checks: machine.options.checks,
            params: words,
            param_bytes: u64::from(program.param_bytes).min(params.len() as u64),
            tag: machine.arena.next_tag(),
            granule_shift: program.global_granule.trailing_zeros(),
            shared_granule_shift: program.shared_granule.trailing_zeros(),
            clocks: Mutex::default(),
        }
    }

    fn clocks(&self) -> std::sync::MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A fence: what the block did so far will be visible to whoever sees what it writes atomically from here on.
    pub(super) fn fence(&self, clock: &mut BlockClock) {
        let mut clocks = self.clocks();
        clock.seen.last.insert(clock.block, clock.stretch);
        clock.released = clock.seen.clone();
        clock.stretch += 1;
        // Blocks take the low numbers, further stretches the high ones, from the top.
        let actor = ACTORS - 1 - clocks.actors.len() as u32 % (ACTORS / 2);
        clocks.actors.push((clock.block, clock.stretch));
        clock.actor = actor;
    }

    /// An atomic (or volatile, or otherwise strong) access to `address`.
    pub(super) fn synchronize(&self, clock: &mut BlockClock, address: u64) {
        let mut clocks = self.clocks();
        let object = clocks.objects.entry(address).or_default();
        clock.seen.join(object);
        object.join(&clock.released);
    }

    /// Whether what `actor` did is ordered before now.
    pub(super) fn ordered(&self, clock: &BlockClock, actor: u32) -> bool {
        let clocks = self.clocks();
        let (block, stretch) = match clocks.actors.get(ACTORS.wrapping_sub(1 + actor) as usize) {
            Some(&later) => later,
            None => (actor - 1, 1),
        };
        block == clock.block || clock.seen.covers(block, stretch)
    }

    /// The block of an actor.
    pub(super) fn block_of(&self, actor: u32) -> u32 {
        self.clocks().actors.get((ACTORS - 1 - actor) as usize).map_or(actor.wrapping_sub(1), |&(block, _)| block)
    }

    /// Adds what only the launch as a whole knows.
    pub fn finish(&self, counters: &mut Counters) {
        let (loaded, stored) = self.arena.take_sectors();
        counters.unique_load_sectors += loaded;
        counters.unique_store_sectors += stored;
    }
}
