//! Device memory: one reserved range of the host's address space, so that device addresses are host addresses.
//!
//! Beside every byte lies its state, so that one comparison tells whether an access is in bounds, not freed, and initialised. Beside
//! every granule lie the launch and the block that last wrote and read it, and beside every sector whether the launch at hand moved it.
//! All of it is reserved and takes room only where it is touched.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// State of a byte that is allocated, and that nothing wrote. Outside of every allocation it is 0.
pub(super) const FRESH: u8 = 1;
/// Allocated and written: the lowest bit says allocated.
pub(super) const WRITTEN: u8 = 3;
/// Freed.
pub(super) const FREED: u8 = 4;
/// Allocated, and kernels must not write it.
pub(super) const READ_ONLY: u8 = 8;

/// Bytes of a sector, the unit in which DRAM and caches move data.
pub(super) const SECTOR: u64 = 32;

/// Sectors are counted and forgotten in pages of this many bytes.
const PAGE: u64 = 1 << 16;

/// Alignment of allocations, as the CUDA driver's.
const ALIGN: u64 = 512;

/// Bytes between allocations that belong to none.
const GAP: u64 = 512;

/// Freed memory is not reused before this much more has been freed, so that late accesses are noticed.
const QUARANTINE_BYTES: u64 = 256 << 20;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    /// To be allocated at an address that was not reserved.
    #[error("{0:#x} is not reserved")]
    NotReserved(u64),
    /// To be allocated at an address that was reserved, while it is allocated already.
    #[error("{0:#x} is allocated already")]
    Allocated(u64),
    /// To be freed, but no allocation starts there.
    #[error("{0:#x} is not the start of an allocation")]
    NotAllocated(u64),
    /// Not within one allocation.
    #[error("{bytes} bytes at {address:#x} are not within an allocation")]
    OutOfBounds {
        /// The first.
        address: u64,
        /// How many.
        bytes: u64,
    },
    /// Within memory that was freed.
    #[error("{0:#x} was freed")]
    Freed(u64),
}

/// An allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Its first byte.
    pub address: u64,
    /// Its size.
    pub bytes: u64,
    /// What it is for; may be empty.
    pub name: String,
}

/// A reserved range of host memory, zero until written.
struct Reserved {
    base: *mut u8,
    bytes: usize,
}

impl Reserved {
    fn new(bytes: usize) -> io::Result<Reserved> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new mapping touches no memory that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Reserved { base: base.cast(), bytes })
    }

    /// Makes it zero again.
    fn forget(&self) {
        // SAFETY: the range is this mapping's, and zero pages are valid contents.
        unsafe { libc::madvise(self.base.cast(), self.bytes, libc::MADV_DONTNEED) };
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

/// Device memory.
pub struct Arena {
    data: Reserved,
    state: Reserved,
    loaded: Reserved,
    stored: Reserved,
    writers: Reserved,
    readers: Reserved,
    pages: Vec<AtomicBool>,
    heap: Mutex<Heap>,
    /// Launches so far, for [`Arena::next_tag`].
    launches: AtomicU64,
}

// SAFETY: host threads use it under the driver's lock or as blocks of one launch; blocks that touch the same bytes race as they would
// on a GPU, on plain memory, and what lies beside the bytes is only ever compared.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

#[derive(Default)]
struct Heap {
    live: BTreeMap<u64, Allocation>,
    /// Ranges that are allocated and freed again and again: see [`Arena::reserve`].
    reserved: BTreeMap<u64, u64>,
    /// Ranges that can be given out again: start and size.
    free: BTreeMap<u64, u64>,
    quarantine: VecDeque<(u64, u64)>,
    quarantined: u64,
    used: u64,
}

impl Arena {
    /// Reserves `bytes` of memory.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(bytes: u64) -> io::Result<Arena> {
        let bytes = bytes.max(PAGE).next_multiple_of(PAGE);
        let size = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let cells = size.checked_mul(4).ok_or(io::ErrorKind::OutOfMemory)?;
        let data = Reserved::new(size)?;
        let mut heap = Heap::default();
        let base = data.base as u64;
        let first = (base + GAP).next_multiple_of(ALIGN);
        heap.free.insert(first, base + bytes - first);
        Ok(Arena {
            state: Reserved::new(size)?,
            loaded: Reserved::new(size / SECTOR as usize)?,
            stored: Reserved::new(size / SECTOR as usize)?,
            writers: Reserved::new(cells)?,
            readers: Reserved::new(cells)?,
            pages: (0..bytes / PAGE).map(|_| AtomicBool::new(false)).collect(),
            heap: Mutex::new(heap),
            launches: AtomicU64::new(0),
            data,
        })
    }

    fn heap(&self) -> std::sync::MutexGuard<'_, Heap> {
        self.heap.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// All of its bytes.
    pub fn total_bytes(&self) -> u64 {
        self.data.bytes as u64
    }

    /// Bytes that are allocated.
    pub fn used_bytes(&self) -> u64 {
        self.heap().used
    }

    /// Memory of unspecified contents, or `None` when there is no range that large.
    pub fn allocate(&self, bytes: u64, name: &str) -> Option<u64> {
        let mut heap = self.heap();
        let address = heap.take(bytes)?;
        self.bring_to_life(&mut heap, Allocation { address, bytes, name: name.to_string() });
        Some(address)
    }

    fn bring_to_life(&self, heap: &mut Heap, allocation: Allocation) {
        heap.used += allocation.bytes;
        self.set_state(allocation.address, allocation.bytes, FRESH);
        heap.live.insert(allocation.address, allocation);
    }

    /// An address that [`Arena::allocate_reserved`] allocates as often as wanted, one time after the other, until it is given back with
    /// [`Arena::unreserve`]: memory of a graph. `None` when there is no range that large.
    pub fn reserve(&self, bytes: u64) -> Option<u64> {
        let mut heap = self.heap();
        let address = heap.take(bytes)?;
        self.set_state(address, bytes, FREED);
        heap.reserved.insert(address, bytes);
        Some(address)
    }

    /// Allocates what was reserved.
    ///
    /// # Errors
    /// When it was not, or is allocated already.
    pub fn allocate_reserved(&self, address: u64, name: &str) -> Result<(), ArenaError> {
        let mut heap = self.heap();
        let bytes = *heap.reserved.get(&address).ok_or(ArenaError::NotReserved(address))?;
        if heap.live.contains_key(&address) {
            return Err(ArenaError::Allocated(address));
        }
        self.bring_to_life(&mut heap, Allocation { address, bytes, name: name.to_string() });
        Ok(())
    }

    /// Whether an allocation starts at `address`.
    pub fn is_allocated(&self, address: u64) -> bool {
        self.heap().live.contains_key(&address)
    }

    /// Ends a reservation. If it is allocated, it stays so until it is freed.
    pub fn unreserve(&self, address: u64) {
        let mut heap = self.heap();
        if let Some(bytes) = heap.reserved.remove(&address)
            && !heap.live.contains_key(&address)
        {
            heap.put_aside(address, bytes);
        }
    }

    /// Gives an allocation back.
    ///
    /// # Errors
    /// When none starts at `address`.
    pub fn free(&self, address: u64) -> Result<(), ArenaError> {
        let mut heap = self.heap();
        let Some(allocation) = heap.live.remove(&address) else {
            let freed = self.offset(address, 1).is_some_and(|at| self.state_at(at) == FREED);
            return Err(if freed { ArenaError::Freed(address) } else { ArenaError::NotAllocated(address) });
        };
        heap.used -= allocation.bytes;
        self.set_state(address, allocation.bytes, FREED);
        if !heap.reserved.contains_key(&address) {
            heap.put_aside(address, allocation.bytes);
        }
        Ok(())
    }

    /// The allocation that holds `address`.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let heap = self.heap();
        let (_, allocation) = heap.live.range(..=address).next_back()?;
        (address - allocation.address < allocation.bytes).then(|| allocation.clone())
    }

    /// Whether an address lies within the reserved range, allocated or not.
    pub fn covers(&self, address: u64) -> bool {
        self.offset(address, 1).is_some()
    }

    /// The nearest allocation at or below `address`, to say what an access has missed.
    pub(super) fn nearest(&self, address: u64) -> Option<Allocation> {
        self.heap().live.range(..=address).next_back().map(|(_, allocation)| allocation.clone())
    }

    /// All that is allocated.
    pub fn allocations(&self) -> Vec<Allocation> {
        self.heap().live.values().cloned().collect()
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// When the range is not allocated.
    pub fn copy_in(&self, to: u64, from: &[u8]) -> Result<(), ArenaError> {
        self.check(to, from.len() as u64)?;
        // SAFETY: the range is within the mapping, as checked, and no slice of Rust's refers to it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        self.mark_written(to, from.len() as u64);
        Ok(())
    }

    /// Copies to the host; returns how many of the bytes nothing had written.
    ///
    /// # Errors
    /// When the range is not allocated.
    pub fn copy_out(&self, from: u64, to: &mut [u8]) -> Result<u64, ArenaError> {
        self.check(from, to.len() as u64)?;
        // SAFETY: as in `copy_in`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(self.states(from, to.len() as u64).iter().filter(|&&state| state & WRITTEN != WRITTEN).count() as u64)
    }

    /// Copies within device memory; the ranges may overlap.
    ///
    /// # Errors
    /// When a range is not allocated.
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), ArenaError> {
        self.check(from, bytes)?;
        self.check(to, bytes)?;
        // SAFETY: both ranges are within their mappings, as checked.
        unsafe {
            std::ptr::copy(from as *const u8, to as *mut u8, bytes as usize);
            if let (Some(from), Some(to)) = (self.offset(from, bytes), self.offset(to, bytes)) {
                std::ptr::copy(self.state.base.add(from), self.state.base.add(to), bytes as usize);
            }
        }
        Ok(())
    }

    /// Writes the low `width` bytes (1, 2 or 4) of `pattern`, `count` times.
    ///
    /// # Errors
    /// When the range is not allocated.
    pub fn fill(&self, to: u64, pattern: u32, width: u32, count: u64) -> Result<(), ArenaError> {
        let bytes = count.checked_mul(width.into()).ok_or(ArenaError::OutOfBounds { address: to, bytes: u64::MAX })?;
        self.check(to, bytes)?;
        let pattern = &pattern.to_le_bytes()[..width as usize];
        // SAFETY: as in `copy_in`.
        let range = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes as usize) };
        if pattern.iter().all(|&byte| byte == pattern[0]) {
            range.fill(pattern[0]);
        } else {
            range.chunks_exact_mut(width as usize).for_each(|word| word.copy_from_slice(pattern));
        }
        self.mark_written(to, bytes);
        Ok(())
    }

    /// Whether a range is allocated.
    fn check(&self, address: u64, bytes: u64) -> Result<(), ArenaError> {
        let Some(_) = self.offset(address, bytes) else { return Err(ArenaError::OutOfBounds { address, bytes }) };
        match self.states(address, bytes).iter().find(|&&state| state & 1 == 0) {
            None => Ok(()),
            Some(&FREED) => Err(ArenaError::Freed(address)),
            Some(_) => Err(ArenaError::OutOfBounds { address, bytes }),
        }
    }

    /// Where a range starts in the mapping, if it lies within it.
    #[inline(always)]
    pub(super) fn offset(&self, address: u64, bytes: u64) -> Option<usize> {
        let at = address.wrapping_sub(self.data.base as u64);
        let total = self.data.bytes as u64;
        (at < total && bytes <= total - at).then_some(at as usize)
    }

    fn state_at(&self, offset: usize) -> u8 {
        // SAFETY: `offset` came from `Arena::offset`.
        unsafe { *self.state.base.add(offset) }
    }

    fn states(&self, address: u64, bytes: u64) -> &[u8] {
        match self.offset(address, bytes) {
            // SAFETY: the state mapping is as long as the data's.
            Some(at) => unsafe { std::slice::from_raw_parts(self.state.base.add(at), bytes as usize) },
            None => &[],
        }
    }

    fn set_state(&self, address: u64, bytes: u64, state: u8) {
        if let Some(at) = self.offset(address, bytes) {
            // SAFETY: as in `states`.
            unsafe { std::ptr::write_bytes(self.state.base.add(at), state, bytes as usize) };
        }
    }

    fn mark_written(&self, address: u64, bytes: u64) {
        if let Some(at) = self.offset(address, bytes) {
            // SAFETY: as in `states`; what the host copies is not what a kernel uses at the time.
            let states = unsafe { std::slice::from_raw_parts_mut(self.state.base.add(at), bytes as usize) };
            states.iter_mut().for_each(|state| *state |= WRITTEN);
        }
    }

    /// Lets kernels write no more to an allocation.
    pub fn protect(&self, address: u64, bytes: u64) {
        self.set_state(address, bytes, WRITTEN | READ_ONLY);
    }

    /// The states of the bytes from `offset` on.
    #[inline(always)]
    pub(super) fn state(&self, offset: usize) -> *mut u8 {
        // SAFETY: offsets lie within the mapping.
        unsafe { self.state.base.add(offset) }
    }

    /// The cell of the last write and that of the last reads of a granule.
    #[inline(always)]
    pub(super) fn cells(&self, granule: usize) -> (*mut u32, *mut u32) {
        // SAFETY: a granule is a byte at least, and each byte has room for one cell.
        unsafe { (self.writers.base.cast::<u32>().add(granule), self.readers.base.cast::<u32>().add(granule)) }
    }

    /// Notes that the launch at hand moves the sectors of these bytes.
    #[inline(always)]
    pub(super) fn touch(&self, offset: usize, bytes: usize, store: bool) {
        let (first, last) = (offset as u64 / SECTOR, (offset + bytes - 1) as u64 / SECTOR);
        let map = if store { self.stored.base } else { self.loaded.base };
        // SAFETY: one byte per sector of the data.
        unsafe { std::ptr::write_bytes(map.add(first as usize), 1, (last - first + 1) as usize) };
        for page in first * SECTOR / PAGE..=last * SECTOR / PAGE {
            let touched = &self.pages[page as usize];
            if !touched.load(Ordering::Relaxed) {
                touched.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Sectors that were loaded, and stored, since the last call.
    pub(super) fn take_sectors(&self) -> (u64, u64) {
        let (mut loaded, mut stored) = (0, 0);
        const COUNT: usize = (PAGE / SECTOR) as usize;
        for (page, touched) in self.pages.iter().enumerate() {
            if !touched.swap(false, Ordering::Relaxed) {
                continue;
            }
            for (map, count) in [(self.loaded.base, &mut loaded), (self.stored.base, &mut stored)] {
                // SAFETY: a page's sectors lie within the map, and no kernel runs.
                let sectors = unsafe { std::slice::from_raw_parts_mut(map.add(page * COUNT), COUNT) };
                *count += sectors.iter().map(|&touched| u64::from(touched)).sum::<u64>();
                sectors.fill(0);
            }
        }
        (loaded, stored)
    }

    /// What marks the cells of a launch: 1 to 255; cells of all other launches are forgotten in time.
    pub(super) fn next_tag(&self) -> u32 {
        let launch = self.launches.fetch_add(1, Ordering::Relaxed);
        if launch % 255 == 254 {
            self.writers.forget();
            self.readers.forget();
        }
        (launch % 255) as u32 + 1
    }
}

impl Heap {
    /// A range of `bytes`, which are 1 at least, and of what keeps it apart from others.
    fn take(&mut self, bytes: u64) -> Option<u64> {
        let needed = bytes.max(1).checked_next_multiple_of(ALIGN)?.checked_add(GAP)?;
        loop {
            let found = self.free.iter().find(|&(_, &size)| size >= needed).map(|(&at, &size)| (at, size));
            if let Some((address, size)) = found {
                self.free.remove(&address);
                if size > needed {
                    self.free.insert(address + needed, size - needed);
                }
                return Some(address);
            }
            let (at, size) = self.quarantine.pop_front()?;
            self.release(at, size);
        }
    }

    /// Takes a range of `bytes` back into quarantine.
    fn put_aside(&mut self, address: u64, bytes: u64) {
        let size = bytes.max(1).next_multiple_of(ALIGN) + GAP;
        self.quarantine.push_back((address, size));
        self.quarantined += size;
        while self.quarantined > QUARANTINE_BYTES {
            let Some((at, size)) = self.quarantine.pop_front() else { break };
            self.release(at, size);
        }
    }

    fn release(&mut self, mut at: u64, mut size: u64) {
        self.quarantined = self.quarantined.saturating_sub(size);
        if let Some((&before, &length)) = self.free.range(..at).next_back()
            && before + length == at
        {
            self.free.remove(&before);
            (at, size) = (before, size + length);
        }
        if let Some(after) = self.free.remove(&(at + size)) {
            size += after;
        }
        self.free.insert(at, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_apart_and_come_back() {
        let arena = Arena::new(1 << 20).unwrap();
        let all: Vec<u64> = (1..5).map(|n| arena.allocate(n * 100, "x").unwrap()).collect();
        assert!(all.windows(2).all(|w| w[1] - w[0] >= 1000 && w[1] % 256 == 0));
        assert!(arena.allocate(1 << 20, "too large").is_none());
        assert_eq!(arena.find(all[1] + 199).map(|a| a.address), Some(all[1]));
        assert_eq!(arena.find(all[1] + 200), None);
        for &address in &all {
            arena.free(address).unwrap();
        }
        assert_eq!(arena.free(all[0]), Err(ArenaError::Freed(all[0])));
        assert_eq!(arena.used_bytes(), 0);
        // What was freed can be used again when nothing else is left.
        assert!(arena.allocate((1 << 20) - 4096, "all").is_some());
    }

    #[test]
    fn what_is_reserved_keeps_its_address() {
        let arena = Arena::new(1 << 20).unwrap();
        let a = arena.reserve(100).unwrap();
        assert_eq!((arena.used_bytes(), arena.copy_in(a, &[0])), (0, Err(ArenaError::Freed(a))));
        for _ in 0..3 {
            arena.allocate_reserved(a, "").unwrap();
            assert_eq!(arena.allocate_reserved(a, ""), Err(ArenaError::Allocated(a)));
            // Nothing of the time before is left.
            assert_eq!(arena.copy_out(a, &mut [0; 100]), Ok(100));
            arena.copy_in(a, &[1; 100]).unwrap();
            arena.free(a).unwrap();
            assert_eq!(arena.free(a), Err(ArenaError::Freed(a)));
        }
        arena.unreserve(a);
        assert_eq!(arena.allocate_reserved(a, ""), Err(ArenaError::NotReserved(a)));
        assert!(arena.allocate((1 << 20) - 4096, "all").is_some());
    }

    #[test]
    fn copies_know_what_was_written() {
        let arena = Arena::new(1 << 20).unwrap();
        let a = arena.allocate(16, "").unwrap();
        arena.copy_in(a + 4, &[1, 2, 3, 4]).unwrap();
        let mut out = [0; 16];
        assert_eq!(arena.copy_out(a, &mut out), Ok(12));
        assert_eq!(&out[4..8], &[1, 2, 3, 4]);
        arena.fill(a, 0x1234, 2, 8).unwrap();
        assert_eq!(arena.copy_out(a, &mut out), Ok(0));
        assert_eq!(&out[..4], &[0x34, 0x12, 0x34, 0x12]);
        assert!(arena.copy_in(a + 8, &[0; 9]).is_err());
        assert!(arena.copy(a, a + 8, 9).is_err());
        assert!(arena.fill(a, 0, 4, u64::MAX / 2).is_err());
    }
}
