//! The memories of a GPU and what is checked when kernels access them.
//!
//! `arena` is device memory, `block` that of a block and its threads, `launch` what blocks share. A warp's access to any of them
//! goes through [`Warp::access`], which checks and counts it and says where the lanes' bytes lie on the host.

mod arena;
mod block;
mod global;
mod launch;

pub use arena::{Allocation, Arena, ArenaError};
pub use block::BlockMemory;
pub use launch::LaunchMemory;

use block::Trouble;

use crate::check::Kind;
use crate::exec::{Class, LANES, Warp};
use crate::ptx::Space;

/// Where generic addresses of shared memory start.
pub const SHARED_BASE: u64 = 1 << 60;
/// Where generic addresses of local memory start.
pub const LOCAL_BASE: u64 = 1 << 61;
/// Where generic addresses of parameters start.
pub const PARAM_BASE: u64 = 1 << 62;
/// Bytes of each of these windows at most.
pub const WINDOW: u64 = 1 << 32;
/// Bytes of local memory that a thread can have at most.
pub const CONST_LIMIT: u64 = 512 << 10;

/// What an instruction does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads.
    Load,
    /// Writes.
    Store,
    /// Reads what others may write meanwhile: volatile, relaxed, acquire.
    StrongLoad,
    /// Writes what others may read meanwhile.
    StrongStore,
    /// Both, atomically.
    Atomic,
}

impl Access {
    /// Whether memory changes.
    #[inline(always)]
    pub fn writes(self) -> bool {
        matches!(self, Access::Store | Access::StrongStore | Access::Atomic)
    }

    /// Whether what was there does not matter.
    #[inline(always)]
    pub fn is_store(self) -> bool {
        matches!(self, Access::Store | Access::StrongStore)
    }

    /// Whether it orders accesses of other threads.
    #[inline(always)]
    pub fn is_strong(self) -> bool {
        matches!(self, Access::StrongLoad | Access::StrongStore | Access::Atomic)
    }
}

/// Where the bytes of each executing lane lie on the host.
pub struct Found {
    /// Host addresses; meaningless for lanes that do not execute.
    pub at: [u64; LANES],
}

impl Warp {
    /// Accesses `bytes` (1, 2, 4, 8 or 16) at each executing lane's address in `space`: checks, counts, and says where they lie.
    /// `None`: a fault has been recorded.
    #[inline(always)]
    pub fn access(&mut self, space: Space, addresses: &[u64; LANES], bytes: u64, access: Access) -> Option<Found> {
        match space {
            Space::Global | Space::Const => {
                if space == Space::Global {
                    self.access_global(addresses, bytes, access).then(|| Found::global(addresses))
                } else {
                    self.access_const(addresses, bytes, access)
                }
            }
            Space::Shared => self.access_shared(addresses, bytes, access),
            Space::Local => self.access_local(addresses, bytes, access),
            Space::Param => self.access_param(addresses, bytes, access),
            Space::Generic => self.access_generic(addresses, bytes, access),
        }
    }

    /// Lanes may point into different windows: each window's lanes go together.
    fn access_generic(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> Option<Found> {
        let window = |address: u64| match address {
            SHARED_BASE..LOCAL_BASE => (Space::Shared, SHARED_BASE),
            LOCAL_BASE..PARAM_BASE => (Space::Local, LOCAL_BASE),
            PARAM_BASE.. => (Space::Param, PARAM_BASE),
            _ => (Space::Global, 0),
        };
        let mask = self.mask;
        let mut found = Found { at: [0; LANES] };
        let mut left = mask;
        while left != 0 {
            let (space, base) = window(addresses[left.trailing_zeros() as usize]);
            let here = (0..LANES)
                .filter(|&l| left >> l & 1 == 1 && window(addresses[l]).0 == space)
                .fold(0u32, |m, l| m | 1 << l);
            left &= !here;
            self.mask = here;
            let part = self.access(space, &addresses.map(|a| a.wrapping_sub(base)), bytes, access);
            self.mask = mask;
            let part = part?;
            for lane in (0..LANES).filter(|lane| here >> lane & 1 == 1) {
                found.at[lane] = part.at[lane];
            }
        }
        Some(found)
    }

    fn access_const(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> Option<Found> {
        let lane = self.mask.trailing_zeros();
        if access.writes() {
            self.fault(Kind::ReadOnly, lane, "writes to constant memory");
            return None;
        }
        let arena = self.launch().memory.arena;
        for lane in (0..LANES).filter(|lane| self.mask >> lane & 1 == 1) {
            let address = addresses[lane];
            if !address.is_multiple_of(bytes) {
                self.fault(Kind::Misaligned, lane as u32, &format!("{bytes} bytes of constant memory at {address:#x}"));
                return None;
            }
            let inside = arena.find(address).is_some_and(|a| address + bytes <= a.address + a.bytes);
            if !inside {
                let place = self.name_of(address);
                self.fault(Kind::OutOfBounds, lane as u32, &format!("{bytes} bytes of constant memory at {place}"));
                return None;
            }
        }
        Some(Found::global(addresses))
    }

    #[inline(always)]
    fn access_shared(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> Option<Found> {
        let mask = self.mask;
        let thread = self.index * LANES as u32;
        let mut worst = 0u64;
        let mut low = 0u64;
        for lane in 0..LANES {
            let address = if mask >> lane & 1 == 1 { addresses[lane] } else { 0 };
            worst = worst.max(address);
            low |= address;
        }
        let memory = &mut self.block().memory;
        if worst.saturating_add(bytes) > memory.shared_bytes || !low.is_multiple_of(bytes) {
            return self.bad_shared(addresses, bytes);
        }
        let base = memory.shared_base() as u64;
        if memory.tracks() {
            for lane in 0..LANES {
                if mask >> lane & 1 == 0 {
                    continue;
                }
                let (thread, at) = (thread + lane as u32, addresses[lane]);
                let memory = &mut self.block().memory;
                let result = match access {
                    Access::Load | Access::StrongLoad => memory.read_shared(thread, at, bytes),
                    _ => memory.write_shared(thread, at, bytes, access != Access::Store),
                };
                if let Err(trouble) = result
                    && !self.is_harmless(trouble, lane, addresses, access)
                {
                    self.shared_trouble(trouble, lane as u32, at, bytes, access);
                }
            }
        }
        self.count_banks(addresses, bytes);
        Some(Found { at: std::array::from_fn(|lane| base.wrapping_add(addresses[lane])) })
    }

    #[cold]
    fn bad_shared(&mut self, addresses: &[u64; LANES], bytes: u64) -> Option<Found> {
        let size = self.block().memory.shared_bytes;
        for lane in (0..LANES).filter(|lane| self.mask >> lane & 1 == 1) {
            let at = addresses[lane];
            if at.saturating_add(bytes) > size {
                let message = format!("{bytes} bytes at {at:#x} of shared memory, which has {size}");
                self.fault(Kind::OutOfBounds, lane as u32, &message);
                return None;
            }
            if !at.is_multiple_of(bytes) {
                let message = format!("{bytes} bytes at {at:#x} of shared memory, which is not a multiple of {bytes}");
                self.fault(Kind::Misaligned, lane as u32, &message);
                return None;
            }
        }
        None
    }

    /// Whether a race is between lanes of one store, which write the same values to the same address: compilers do that.
    #[cold]
    fn is_harmless(&self, trouble: Trouble, lane: usize, addresses: &[u64; LANES], access: Access) -> bool {
        let Trouble::WriteRace(thread) = trouble else { return false };
        let other = thread as usize % LANES;
        let same_warp = thread / LANES as u32 == self.index && access == Access::Store;
        if !same_warp || other >= lane || self.mask >> other & 1 == 0 || addresses[other] != addresses[lane] {
            return false;
        }
        let i = &self.launch().program.insts[self.pc as usize];
        // SAFETY: the instruction at hand, decoded for this warp.
        i.class == Class::SharedStore && unsafe { crate::isa::load_store::same_values(self, i, lane, other) }
    }

    #[cold]
    fn shared_trouble(&mut self, trouble: Trouble, lane: u32, at: u64, bytes: u64, access: Access) {
        let does = if access.is_store() { "writes" } else { "reads" };
        let what = format!("{does} {bytes} bytes at {at:#x} of shared memory");
        let name = |w: &Self, thread: u32| {
            let [x, y, z] = w.launch().config.block;
            let _ = z;
            format!("thread ({},{},{})", thread % x, thread / x % y, thread / x / y)
        };
        let (kind, message) = match trouble {
            Trouble::Unwritten => (Kind::Uninitialized, format!("{what}, which nothing wrote")),
            Trouble::Pending => (Kind::AsyncNotAwaited, format!("{what}, which cp.async still fills")),
            Trouble::WriteRace(thread) => {
                (Kind::SharedRace, format!("{what}, which {} wrote with no barrier between", name(self, thread)))
            }
            Trouble::ReadRace(warp) => {
                (Kind::SharedRace, format!("{what}, which a thread of warp {warp} read with no barrier between"))
            }
        };
        self.report(kind, lane, &message);
    }

    /// Counts cycles of shared memory: 32 banks of 4 bytes; 8-byte accesses go in two phases of 16 lanes, 16-byte ones in four of 8.
    #[inline(always)]
    fn count_banks(&mut self, addresses: &[u64; LANES], bytes: u64) {
        let mask = self.mask;
        let words = bytes.div_ceil(4);
        // Neighbouring lanes, neighbouring words: no two in the same bank.
        let first = addresses[0];
        let mut off = u64::from(mask != u32::MAX);
        for (lane, address) in addresses.iter().enumerate() {
            off |= address ^ (first + lane as u64 * bytes);
        }
        if off == 0 && bytes >= 4 && first.is_multiple_of(4 * words) {
            return self.block().memory.count_shared(words, words);
        }
        let lanes = LANES / words as usize;
        let (mut phases, mut cycles) = (0, 0);
        for phase in 0..words as usize {
            let mut used = [u64::MAX; LANES];
            let mut count = 0;
            for lane in phase * lanes..(phase + 1) * lanes {
                if mask >> lane & 1 == 1 {
                    for word in 0..words {
                        used[count] = addresses[lane] / 4 + word;
                        count += 1;
                    }
                }
            }
            if count > 0 {
                phases += 1;
                cycles += bank_cycles(&used[..count]);
            }
        }
        self.block().memory.count_shared(phases, cycles);
    }

    /// Counts the cycles of one matrix of `ldmatrix` or `stmatrix`: 8 rows of 16 bytes.
    pub fn count_matrix(&mut self, rows: &[u64; 8]) {
        let cycles = match rows.iter().fold(0u32, |banks, row| banks | 1 << (row / 16 % 8)) {
            // Eight rows in eight different quarters of the banks.
            0xff => 1,
            _ => bank_cycles(&std::array::from_fn::<u64, 32, _>(|n| rows[n / 4] / 4 + n as u64 % 4)),
        };
        self.block().memory.count_shared(1, cycles);
    }

    /// `cp.async` will fill `bytes` of shared memory at each executing lane's address. `false`: a fault has been recorded.
    pub(crate) fn expect_copy(&mut self, addresses: &[u64; LANES], bytes: u64) -> bool {
        let size = self.block().memory.shared_bytes;
        let lanes = || {
            (0..LANES)
                .filter(|&lane| addresses[lane].saturating_add(bytes) > size || !addresses[lane].is_multiple_of(bytes))
        };
        if lanes().any(|lane| self.mask >> lane & 1 == 1) {
            self.bad_shared(addresses, bytes);
            return false;
        }
        let mask = self.mask;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            let thread = self.index * LANES as u32 + lane as u32;
            let memory = &mut self.block().memory;
            if memory.tracks()
                && let Err(trouble) = memory.expect_shared(thread, addresses[lane], bytes)
            {
                self.shared_trouble(trouble, lane as u32, addresses[lane], bytes, Access::Store);
            }
        }
        self.count_banks(addresses, bytes);
        true
    }

    /// A row of 16 bytes of `ldmatrix` or `stmatrix` at the (generic or shared) address that `lane` gives: checked, as accesses of the
    /// four lanes that its words belong to. `None`: a fault has been recorded.
    pub fn shared_row(&mut self, address: u64, lane: u32, access: Access) -> Option<*mut u8> {
        let at = if address >= SHARED_BASE { address - SHARED_BASE } else { address };
        let memory = &mut self.block().memory;
        if at.saturating_add(16) > memory.shared_bytes || at % 16 != 0 {
            let (kind, size) = (if at % 16 == 0 { Kind::OutOfBounds } else { Kind::Misaligned }, memory.shared_bytes);
            self.fault(kind, lane, &format!("a matrix row of 16 bytes at {at:#x} of shared memory, which has {size}"));
            return None;
        }
        if memory.tracks() {
            let first = self.index * LANES as u32 + lane % 8 * 4;
            for word in 0..4 {
                let memory = &mut self.block().memory;
                let (thread, at) = (first + word, at + 4 * u64::from(word));
                let result = match access {
                    Access::Load => memory.read_shared(thread, at, 4),
                    _ => memory.write_shared(thread, at, 4, false),
                };
                if let Err(trouble) = result {
                    self.shared_trouble(trouble, lane, at, 4, access);
                }
            }
        }
        // SAFETY: in bounds, as checked.
        Some(unsafe { self.block().memory.shared_base().add(at as usize) })
    }

    fn access_local(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> Option<Found> {
        let mut found = Found { at: [0; LANES] };
        let (check, mask) = (self.launch().memory.checks.init, self.mask);
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            let at = addresses[lane];
            let thread = u64::from(self.index) * LANES as u64 + lane as u64;
            let memory = &mut self.block().memory;
            let size = memory.local_bytes;
            if at.saturating_add(bytes) > size || !at.is_multiple_of(bytes) {
                let kind = if at.saturating_add(bytes) > size { Kind::OutOfBounds } else { Kind::Misaligned };
                self.fault(kind, lane as u32, &format!("{bytes} bytes at {at:#x} of local memory, which has {size}"));
                return None;
            }
            let from = (thread * size + at) as usize;
            found.at[lane] = memory.local.as_mut_ptr() as u64 + from as u64;
            memory.counters.local_bytes += bytes;
            let written = &mut memory.local_written[from..from + bytes as usize];
            let fresh = written.contains(&0);
            written.fill(1);
            if fresh && check && !access.is_store() {
                self.report(
                    Kind::Uninitialized,
                    lane as u32,
                    &format!("reads {bytes} bytes at {at:#x} of local memory, which nothing wrote"),
                );
            }
        }
        Some(found)
    }

    /// Parameters of the kernel lie at 0; those of calls in local memory.
    fn access_param(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> Option<Found> {
        use crate::exec::lower::CALL_PARAMS;
        let lane = self.mask.trailing_zeros();
        if addresses[lane as usize] >= CALL_PARAMS {
            return self.access_local(&addresses.map(|a| a.wrapping_sub(CALL_PARAMS)), bytes, access);
        }
        if access.writes() {
            self.fault(Kind::ReadOnly, lane, "writes to the kernel's parameters");
            return None;
        }
        let memory = &self.launch().memory;
        let base = memory.params.as_ptr() as u64;
        for lane in (0..LANES).filter(|lane| self.mask >> lane & 1 == 1) {
            let at = addresses[lane];
            if at.saturating_add(bytes) > memory.param_bytes || !at.is_multiple_of(bytes) {
                let size = memory.param_bytes;
                let kind = if at.is_multiple_of(bytes) { Kind::OutOfBounds } else { Kind::Misaligned };
                self.fault(
                    kind,
                    lane as u32,
                    &format!("{bytes} bytes at {at:#x} of the parameters, which have {size}"),
                );
                return None;
            }
        }
        Some(Found { at: addresses.map(|a| base.wrapping_add(a)) })
    }
}

/// The most different words in one bank; at most 32 words.
fn bank_cycles(words: &[u64]) -> u64 {
    // The words of each bank so far. Nearly always there is one.
    let (mut held, mut counts, mut most) = ([[0u64; 32]; 32], [0usize; 32], 0);
    for &word in words {
        let bank = (word % 32) as usize;
        let held = &mut held[bank];
        if !held[..counts[bank]].contains(&word) {
            held[counts[bank]] = word;
            counts[bank] += 1;
            most = most.max(counts[bank]);
        }
    }
    most as u64
}

/// Eight bytes at most at a generic address, for `printf` and messages, if they are there.
pub fn peek(w: &mut Warp, thread: u32, address: u64, bytes: u32) -> Option<u64> {
    match address {
        LOCAL_BASE..PARAM_BASE => w.block().memory.peek_local(thread, address - LOCAL_BASE, bytes),
        SHARED_BASE.. => None,
        _ => {
            let mut word = [0; 8];
            w.launch().memory.arena.copy_out(address, &mut word[..bytes as usize]).ok()?;
            Some(u64::from_le_bytes(word))
        }
    }
}
