//! Accesses to device memory: checked, counted, and followed for races between blocks.

use super::arena::{FREED, READ_ONLY, SECTOR, WRITTEN};
use super::launch::ACTORS;
use super::{Access, Found};
use crate::check::Kind;
use crate::exec::{LANES, Warp};

/// Of a read cell: several actors of this launch have read.
const SEVERAL: u32 = ACTORS;

const TAG_SHIFT: u32 = 24;

impl Warp {
    /// Accesses `bytes` of device memory at each executing lane's address. `false`: a fault has been recorded.
    #[inline(always)]
    pub(crate) fn access_global(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> bool {
        let first = addresses[0];
        let mut consecutive = self.mask == u32::MAX && first.is_multiple_of(bytes);
        if consecutive {
            let mut off = 0;
            for (lane, address) in addresses.iter().enumerate() {
                off |= address ^ (first + lane as u64 * bytes);
            }
            consecutive = off == 0;
        }
        if consecutive { self.access_range(first, bytes, access) } else { self.access_lanes(addresses, bytes, access) }
    }

    /// 32 neighbouring accesses.
    #[inline(always)]
    fn access_range(&mut self, first: u64, bytes: u64, access: Access) -> bool {
        let launch = self.launch();
        let arena = launch.memory.arena;
        let all = bytes * LANES as u64;
        let Some(offset) = arena.offset(first, all) else { return self.each_of_range(first, bytes, access) };
        // SAFETY: the states of a range within the arena.
        let states = unsafe { std::slice::from_raw_parts_mut(arena.state(offset), all as usize) };
        let fine = match access {
            Access::Load | Access::StrongLoad if launch.memory.checks.init => {
                states.iter().fold(true, |fine, &s| fine & (s == WRITTEN))
            }
            _ if access.writes() => states.iter().fold(true, |fine, &s| fine & (s & (1 | READ_ONLY) == 1)),
            _ => states.iter().fold(1, |fine, &s| fine & s) == 1,
        };
        if !fine {
            return self.each_of_range(first, bytes, access);
        }
        if access.writes() {
            states.fill(WRITTEN);
        }
        arena.touch(offset, all as usize, access.writes());
        let sectors = (first % SECTOR + all).div_ceil(SECTOR);
        self.count_global(all, sectors, all.div_ceil(SECTOR), access);
        if launch.memory.checks.race {
            self.follow(first, offset, all, access);
        }
        true
    }

    #[cold]
    fn each_of_range(&mut self, first: u64, bytes: u64, access: Access) -> bool {
        self.access_lanes(&std::array::from_fn(|lane| first + lane as u64 * bytes), bytes, access)
    }

    /// Any accesses, in runs of lanes whose addresses follow each other.
    fn access_lanes(&mut self, addresses: &[u64; LANES], bytes: u64, access: Access) -> bool {
        let launch = self.launch();
        let (arena, checks) = (launch.memory.arena, launch.memory.checks);
        // First and last sector of each run.
        let mut runs = [(0u64, 0u64); LANES];
        let mut count = 0;
        let (mut lowest, mut highest) = (u64::MAX, 0);
        let mut lane = 0;
        while lane < LANES {
            if self.mask >> lane & 1 == 0 {
                lane += 1;
                continue;
            }
            let address = addresses[lane];
            let mut end = lane + 1;
            while end < LANES
                && self.mask >> end & 1 == 1
                && addresses[end] == address.wrapping_add((end - lane) as u64 * bytes)
            {
                end += 1;
            }
            let all = (end - lane) as u64 * bytes;
            let offset = if address.is_multiple_of(bytes) { arena.offset(address, all) } else { None };
            // SAFETY: the states of a range within the arena.
            let states =
                offset.map(|offset| unsafe { std::slice::from_raw_parts_mut(arena.state(offset), all as usize) });
            let fine = |states: &&mut [u8]| {
                let mut fine = 1;
                let mut all_written = WRITTEN;
                let mut read_only = 0;
                for &state in states.iter() {
                    (fine, all_written, read_only) = (fine & state, all_written & state, read_only | state & READ_ONLY);
                }
                fine & 1 == 1
                    && !(access.writes() && read_only != 0)
                    && !(checks.init && !access.is_store() && all_written != WRITTEN)
            };
            let (Some(offset), Some(states)) = (offset, states.filter(fine)) else {
                // One of them is wrong: which?
                for wrong in lane..end {
                    if !self.inspect(wrong, addresses[wrong], bytes, access) {
                        return false;
                    }
                }
                // It was uninitialised, which has been reported; the kernel goes on.
                continue;
            };
            if access.writes() {
                states.fill(WRITTEN);
            }
            arena.touch(offset, all as usize, access.writes());
            if checks.race {
                self.follow(address, offset, all, access);
            }
            runs[count] = (address / SECTOR, (address + all - 1) / SECTOR);
            count += 1;
            (lowest, highest) = (lowest.min(address), highest.max(address + all));
            lane = end;
        }
        let runs = &mut runs[..count];
        let ordered = runs.windows(2).all(|pair| pair[0].1 < pair[1].0);
        let distinct: u64 = if ordered {
            runs.iter().map(|(first, last)| last - first + 1).sum()
        } else {
            runs.sort_unstable();
            let mut next = 0;
            runs.iter()
                .map(|&(first, last)| {
                    let fresh = (last + 1).saturating_sub(first.max(next));
                    next = next.max(last + 1);
                    fresh
                })
                .sum()
        };
        // Lanes that share an address move it once.
        let lanes = u64::from(self.mask.count_ones());
        let ideal = (lanes * bytes).min(highest - lowest.min(highest)).div_ceil(SECTOR).min(distinct);
        self.count_global(lanes * bytes, distinct, ideal, access);
        true
    }

    /// Looks at one lane's access for what is wrong with it. `false`: a fault has been recorded.
    #[cold]
    fn inspect(&mut self, lane: usize, address: u64, bytes: u64, access: Access) -> bool {
        let launch = self.launch();
        let arena = launch.memory.arena;
        if !address.is_multiple_of(bytes) {
            return self.bad_address(Kind::Misaligned, lane, address, bytes);
        }
        let Some(offset) = arena.offset(address, bytes) else {
            return self.bad_address(Kind::OutOfBounds, lane, address, bytes);
        };
        // SAFETY: the states of a range within the arena.
        let states = unsafe { std::slice::from_raw_parts_mut(arena.state(offset), bytes as usize) };
        if let Some(&state) = states.iter().find(|&&s| s & 1 == 0) {
            let kind = if state == FREED { Kind::UseAfterFree } else { Kind::OutOfBounds };
            return self.bad_address(kind, lane, address, bytes);
        }
        if access.writes() && states.iter().any(|&s| s & READ_ONLY != 0) {
            return self.bad_address(Kind::ReadOnly, lane, address, bytes);
        }
        if !access.is_store() && launch.memory.checks.init && states.iter().any(|&s| s & WRITTEN != WRITTEN) {
            let message = format!("reads {bytes} bytes at {}, which nothing wrote", self.name_of(address));
            self.report(Kind::Uninitialized, lane as u32, &message);
            // Once is enough.
            states.iter_mut().for_each(|state| *state |= WRITTEN);
        }
        true
    }

    #[inline(always)]
    fn count_global(&mut self, bytes: u64, sectors: u64, ideal: u64, access: Access) {
        let c = &mut self.block().memory.counters;
        if access.writes() {
            c.global_store_bytes += bytes;
            c.global_store_sectors += sectors;
            c.global_store_requests += 1;
            c.ideal_store_sectors += ideal;
        } else {
            c.global_load_bytes += bytes;
            c.global_load_sectors += sectors;
            c.global_load_requests += 1;
            c.ideal_load_sectors += ideal;
        }
    }

    /// Compares with who else of this launch was there, and leaves a mark.
    #[inline(always)]
    fn follow(&mut self, address: u64, offset: usize, bytes: u64, access: Access) {
        let launch = self.launch();
        let memory = &launch.memory;
        let actor = self.block().memory.clock.actor;
        let mine = memory.tag << TAG_SHIFT | actor;
        if access.is_strong() {
            return self.synchronize(address);
        }
        let first = offset >> memory.granule_shift;
        let count = ((offset + bytes as usize + (1 << memory.granule_shift) - 1) >> memory.granule_shift) - first;
        let (writers, readers) = memory.arena.cells(first);
        // SAFETY: the cells of granules within the arena; other blocks may write them meanwhile, which only their marks suffer from.
        let (writers, readers) =
            unsafe { (std::slice::from_raw_parts_mut(writers, count), std::slice::from_raw_parts_mut(readers, count)) };
        let tag = memory.tag;
        let other = |cell: u32| (cell >> TAG_SHIFT == tag) & (cell != mine);
        let wrote = writers.iter().fold(false, |any, &cell| any | other(cell));
        if access.is_store() {
            let read = readers.iter().fold(false, |any, &cell| any | other(cell));
            if wrote || read {
                self.compare(address, writers, readers, access);
            }
            writers.fill(mine);
        } else {
            if wrote {
                self.compare(address, writers, readers, access);
            }
            for cell in readers.iter_mut() {
                *cell = if other(*cell) { tag << TAG_SHIFT | SEVERAL } else { mine };
            }
        }
    }

    /// Somebody else was there: unless something orders that before now, it is a race.
    #[cold]
    fn compare(&mut self, address: u64, writers: &[u32], readers: &[u32], access: Access) {
        let memory = &self.launch().memory;
        let own = self.block().linear;
        for (&writer, &reader) in writers.iter().zip(readers) {
            for (cell, did) in [(writer, "wrote"), (reader, "read")] {
                if cell >> TAG_SHIFT != memory.tag || did == "read" && !access.is_store() {
                    continue;
                }
                let actor = cell & ACTORS;
                let ordered = memory.ordered(&self.block().memory.clock, actor);
                // Which ones of several have read is not known: where blocks synchronise at all, that is let pass.
                let several = actor == SEVERAL && did == "read";
                if several && self.launch().program.order_sensitive
                    || !several && (ordered || memory.block_of(actor) == own)
                {
                    continue;
                }
                let lane = self.mask.trailing_zeros();
                let does = if access.is_store() { "writes" } else { "reads" };
                let who =
                    if several { "other blocks".to_string() } else { format!("block {}", memory.block_of(actor)) };
                let message = format!("{does} {}, which {who} {did} with nothing between", self.name_of(address));
                return self.report(Kind::GlobalRace, lane, &message);
            }
        }
    }

    #[cold]
    fn synchronize(&mut self, address: u64) {
        let launch = self.launch();
        launch.memory.synchronize(&mut self.block().memory.clock, address);
    }

    /// A fence of at least the block's scope.
    pub(crate) fn fence(&mut self) {
        let launch = self.launch();
        if launch.memory.checks.race && launch.program.order_sensitive {
            launch.memory.fence(&mut self.block().memory.clock);
        }
    }

    #[cold]
    fn bad_address(&mut self, kind: Kind, lane: usize, address: u64, bytes: u64) -> bool {
        let what = match kind {
            Kind::Misaligned => format!("{bytes} bytes at {address:#x}, which is not a multiple of {bytes}"),
            _ => format!("{bytes} bytes at {}", self.name_of(address)),
        };
        self.fault(kind, lane as u32, &what);
        false
    }

    /// An address of device memory in words.
    pub(super) fn name_of(&self, address: u64) -> String {
        match self.launch().memory.arena.nearest(address) {
            None => format!("{address:#x}, before the first allocation"),
            Some(a) => {
                let name = if a.name.is_empty() { String::new() } else { format!(" ('{}')", a.name) };
                let at = address - a.address;
                let place = if at < a.bytes {
                    format!("byte {at} of")
                } else {
                    format!("{} bytes past the end of", at - a.bytes)
                };
                format!("{address:#x}, {place} an allocation of {} bytes{name}", a.bytes)
            }
        }
    }
}

impl Found {
    /// The host address of a device address: the same.
    pub(super) fn global(addresses: &[u64; LANES]) -> Found {
        Found { at: *addresses }
    }
}
