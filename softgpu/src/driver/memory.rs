//! Device and pinned memory; copies and fills, on streams or not.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_int, c_uint, c_void};

use super::stream::Operation;
use super::{Driver, Handle, INVALID_VALUE, NOT_FOUND, OUT_OF_MEMORY, Result, export, give, offer, refuse};

type Address = u64;

/// Bytes between rows of `cuMemAllocPitch`.
const PITCH: usize = 512;

impl Driver {
    /// Allocates on no stream.
    fn allocate(&mut self, to: *mut Address, bytes: usize) -> Result<()> {
        self.in_context()?;
        self.not_while_capturing()?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let address = self.machine.arena.allocate(bytes as u64, "").ok_or(OUT_OF_MEMORY)?;
        // SAFETY: the pointer is the caller's.
        unsafe { give(to, address) }
    }

    fn allocate_on(&mut self, stream: Handle, to: *mut Address, bytes: usize) -> Result<()> {
        self.known(stream)?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let address = match self.capture_of(stream) {
            Some(id) => self.capture_allocation(id, stream, bytes as u64)?,
            None => self.machine.arena.allocate(bytes as u64, "").ok_or(OUT_OF_MEMORY)?,
        };
        // SAFETY: the pointer is the caller's.
        unsafe { give(to, address) }
    }

    fn release_on(&mut self, stream: Handle, address: Address) -> Result<()> {
        self.known(stream)?;
        match self.capture_of(stream) {
            Some(id) => self.capture_free(id, stream, address),
            None => self.release(address),
        }
    }

    /// Fails where a copy or fill that the host waits for, on the legacy stream, would disturb a capture.
    fn waits(&mut self) -> Result<()> {
        self.in_context()?;
        self.not_while_capturing()?;
        self.legacy_stream_is_free()
    }

    unsafe fn copy_now(&mut self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.waits()?;
        // SAFETY: as promised.
        unsafe { self.copy(to, from, bytes as u64) }
    }

    fn fill_now(&mut self, to: u64, pattern: u32, width: u32, count: usize) -> Result<()> {
        self.waits()?;
        self.fill(to, pattern, width, count as u64)
    }

    fn allocate_pinned(&mut self, to: *mut *mut c_void, bytes: usize) -> Result<()> {
        self.in_context()?;
        self.not_while_capturing()?;
        let layout = Layout::from_size_align(bytes.max(1), 4096).map_err(|_| INVALID_VALUE)?;
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            return Err(OUT_OF_MEMORY);
        }
        self.host_memory.insert(memory as usize, layout);
        // SAFETY: the pointer is the caller's.
        unsafe { give(to, memory.cast()) }
    }

    pub(super) fn release(&mut self, address: Address) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        self.machine.arena.free(address).map_err(|error| {
            eprintln!("softgpu: cuMemFree: {error}");
            INVALID_VALUE
        })
    }

    /// Host memory if no device memory lies there: with unified addresses, copies tell by the address.
    pub(super) fn is_device(&self, address: u64) -> bool {
        let arena = &self.machine.arena;
        arena.covers(address)
    }

    /// Copies between any two places.
    ///
    /// # Safety
    /// Host ranges are the program's to read and write.
    pub(super) unsafe fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if to == 0 || from == 0 {
            return Err(INVALID_VALUE);
        }
        let (to_device, from_device) = (self.is_device(to), self.is_device(from));
        let arena = &self.machine.arena;
        // SAFETY: host ranges are as promised.
        let copied = unsafe {
            match (to_device, from_device) {
                (true, true) => arena.copy(to, from, bytes),
                (true, false) => arena.copy_in(to, std::slice::from_raw_parts(from as *const u8, bytes as usize)),
                (false, true) => arena
                    .copy_out(from, std::slice::from_raw_parts_mut(to as *mut u8, bytes as usize))
                    .map(|_unwritten| ()),
                (false, false) => {
                    std::ptr::copy(from as *const u8, to as *mut u8, bytes as usize);
                    Ok(())
                }
            }
        };
        self.now_ns += bytes as f64 / 25.0;
        copied.map_err(|error| {
            eprintln!("softgpu: copy of {bytes} bytes: {error}");
            INVALID_VALUE
        })
    }

    pub(super) fn fill(&mut self, to: u64, pattern: u32, width: u32, count: u64) -> Result<()> {
        self.now_ns += (count * u64::from(width)) as f64 / self.machine.gpu.dram * 1e9;
        self.machine.arena.fill(to, pattern, width, count).map_err(|error| {
            eprintln!("softgpu: memset of {count} × {width} bytes: {error}");
            INVALID_VALUE
        })
    }
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy2D {
    src_x: usize,
    src_y: usize,
    src_type: c_uint,
    src_host: Address,
    src_device: Address,
    src_array: usize,
    src_pitch: usize,
    dst_x: usize,
    dst_y: usize,
    dst_type: c_uint,
    dst_host: Address,
    dst_device: Address,
    dst_array: usize,
    dst_pitch: usize,
    width: usize,
    height: usize,
}

/// `CU_MEMORYTYPE_HOST` and `_DEVICE` and `_UNIFIED`.
fn base(kind: c_uint, host: u64, device: u64) -> Result<u64> {
    match kind {
        1 => Ok(host),
        2 | 4 => Ok(device),
        _ => Err(INVALID_VALUE),
    }
}

unsafe fn given(copy: *const Copy2D) -> Result<Copy2D> {
    if copy.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, and the caller's.
    Ok(unsafe { copy.read_unaligned() })
}

impl Driver {
    /// # Safety
    /// Host ranges are the program's to read and write.
    pub(super) unsafe fn copy_2d(&mut self, c: &Copy2D) -> Result<()> {
        let from = base(c.src_type, c.src_host, c.src_device)?;
        let to = base(c.dst_type, c.dst_host, c.dst_device)?;
        for row in 0..c.height {
            let from = from + ((c.src_y + row) * c.src_pitch + c.src_x) as u64;
            let to = to + ((c.dst_y + row) * c.dst_pitch + c.dst_x) as u64;
            // SAFETY: as promised for the whole.
            unsafe { self.copy(to, from, c.width as u64)? };
        }
        Ok(())
    }
}

export! {
    /// `cuMemGetInfo_v2`.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) |driver| {
        let arena = &driver.machine.arena;
        offer(free, (arena.total_bytes() - arena.used_bytes()) as usize);
        offer(total, arena.total_bytes() as usize);
        Ok(())
    }
    /// `cuMemAlloc_v2`.
    fn cuMemAlloc_v2(to: *mut Address, bytes: usize) |driver| { driver.allocate(to, bytes) }
    /// `cuMemAllocAsync`.
    fn cuMemAllocAsync(to: *mut Address, bytes: usize, stream: Handle) |driver| { driver.allocate_on(stream, to, bytes) }
    /// `cuMemAllocFromPoolAsync`.
    fn cuMemAllocFromPoolAsync(to: *mut Address, bytes: usize, _pool: Handle, stream: Handle) |driver| {
        driver.allocate_on(stream, to, bytes)
    }
    /// `cuMemAllocPitch_v2`.
    fn cuMemAllocPitch_v2(to: *mut Address, pitch: *mut usize, width: usize, height: usize, _element: c_uint) |driver| {
        let row = width.checked_next_multiple_of(PITCH).ok_or(INVALID_VALUE)?;
        give(pitch, row)?;
        driver.allocate(to, row.checked_mul(height).ok_or(INVALID_VALUE)?)
    }
    /// `cuMemFree_v2`.
    fn cuMemFree_v2(address: Address) |driver| {
        driver.not_while_capturing()?;
        driver.release(address)
    }
    /// `cuMemFreeAsync`.
    fn cuMemFreeAsync(address: Address, stream: Handle) |driver| { driver.release_on(stream, address) }
    /// `cuMemGetAddressRange_v2`.
    fn cuMemGetAddressRange_v2(start: *mut Address, bytes: *mut usize, address: Address) |driver| {
        let found = driver.machine.arena.find(address).ok_or(NOT_FOUND)?;
        offer(start, found.address);
        offer(bytes, found.bytes as usize);
        Ok(())
    }
    /// `cuMemHostAlloc`.
    fn cuMemHostAlloc(to: *mut *mut c_void, bytes: usize, _flags: c_uint) |driver| { driver.allocate_pinned(to, bytes) }
    /// `cuMemAllocHost_v2`.
    fn cuMemAllocHost_v2(to: *mut *mut c_void, bytes: usize) |driver| { driver.allocate_pinned(to, bytes) }
    /// `cuMemFreeHost`.
    fn cuMemFreeHost(memory: *mut c_void) |driver| {
        let layout = driver.host_memory.remove(&(memory as usize)).ok_or(INVALID_VALUE)?;
        dealloc(memory.cast(), layout);
        Ok(())
    }
    /// `cuMemHostGetFlags`.
    fn cuMemHostGetFlags(flags: *mut c_uint, _memory: *mut c_void) |_driver| { give(flags, 0) }
    /// `cuMemHostRegister_v2`.
    fn cuMemHostRegister_v2(_memory: *mut c_void, _bytes: usize, _flags: c_uint) |_driver| { Ok(()) }
    /// `cuMemHostUnregister`.
    fn cuMemHostUnregister(_memory: *mut c_void) |_driver| { Ok(()) }

    /// `cuMemcpyHtoD_v2`.
    fn cuMemcpyHtoD_v2(to: Address, from: *const c_void, bytes: usize) |driver| { driver.copy_now(to, from as u64, bytes) }
    /// `cuMemcpyDtoH_v2`.
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: Address, bytes: usize) |driver| { driver.copy_now(to as u64, from, bytes) }
    /// `cuMemcpyDtoD_v2`.
    fn cuMemcpyDtoD_v2(to: Address, from: Address, bytes: usize) |driver| { driver.copy_now(to, from, bytes) }
    /// `cuMemcpy`.
    fn cuMemcpy(to: Address, from: Address, bytes: usize) |driver| { driver.copy_now(to, from, bytes) }
    /// `cuMemcpyHtoDAsync_v2`.
    fn cuMemcpyHtoDAsync_v2(to: Address, from: *const c_void, bytes: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Copy { to, from: from as u64, bytes: bytes as u64 })
    }
    /// `cuMemcpyDtoHAsync_v2`.
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: Address, bytes: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Copy { to: to as u64, from, bytes: bytes as u64 })
    }
    /// `cuMemcpyDtoDAsync_v2`.
    fn cuMemcpyDtoDAsync_v2(to: Address, from: Address, bytes: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Copy { to, from, bytes: bytes as u64 })
    }
    /// `cuMemcpyAsync`.
    fn cuMemcpyAsync(to: Address, from: Address, bytes: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Copy { to, from, bytes: bytes as u64 })
    }
    /// `cuMemcpy2D_v2`.
    fn cuMemcpy2D_v2(copy: *const Copy2D) |driver| {
        driver.waits()?;
        driver.copy_2d(&given(copy)?)
    }
    /// `cuMemcpy2DUnaligned_v2`.
    fn cuMemcpy2DUnaligned_v2(copy: *const Copy2D) |driver| {
        driver.waits()?;
        driver.copy_2d(&given(copy)?)
    }
    /// `cuMemcpy2DAsync_v2`.
    fn cuMemcpy2DAsync_v2(copy: *const Copy2D, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Copy2D(given(copy)?))
    }

    /// `cuMemsetD8_v2`.
    fn cuMemsetD8_v2(to: Address, value: u8, count: usize) |driver| { driver.fill_now(to, value.into(), 1, count) }
    /// `cuMemsetD16_v2`.
    fn cuMemsetD16_v2(to: Address, value: u16, count: usize) |driver| { driver.fill_now(to, value.into(), 2, count) }
    /// `cuMemsetD32_v2`.
    fn cuMemsetD32_v2(to: Address, value: u32, count: usize) |driver| { driver.fill_now(to, value, 4, count) }
    /// `cuMemsetD8Async`.
    fn cuMemsetD8Async(to: Address, value: u8, count: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Fill { to, pattern: value.into(), width: 1, count: count as u64 })
    }
    /// `cuMemsetD16Async`.
    fn cuMemsetD16Async(to: Address, value: u16, count: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Fill { to, pattern: value.into(), width: 2, count: count as u64 })
    }
    /// `cuMemsetD32Async`.
    fn cuMemsetD32Async(to: Address, value: u32, count: usize, stream: Handle) |driver| {
        driver.enqueue(stream, Operation::Fill { to, pattern: value, width: 4, count: count as u64 })
    }
    /// `cuMemPrefetchAsync`.
    fn cuMemPrefetchAsync(_address: Address, _bytes: usize, _device: c_int, _stream: Handle) |_driver| { Ok(()) }
    /// `cuPointerGetAttribute`.
    fn cuPointerGetAttribute(to: *mut c_void, attribute: c_int, address: Address) |driver| {
        let found = driver.machine.arena.find(address).ok_or(INVALID_VALUE)?;
        match attribute {
            // The context, the kind of memory, the address on the device, the start and the size of its range, its device.
            1 => give(to.cast::<usize>(), 0x10),
            2 => give(to.cast::<c_uint>(), 2),
            3 => give(to.cast::<u64>(), address),
            8 => give(to.cast::<c_uint>(), 0),
            9 => give(to.cast::<c_int>(), 0),
            11 => give(to.cast::<u64>(), found.address),
            12 => give(to.cast::<usize>(), found.bytes as usize),
            _ => Err(INVALID_VALUE),
        }
    }
    /// `cuDeviceGetDefaultMemPool`.
    fn cuDeviceGetDefaultMemPool(pool: *mut Handle, _device: c_int) |_driver| { give(pool, 0x20 as Handle) }
    /// `cuDeviceGetMemPool`.
    fn cuDeviceGetMemPool(pool: *mut Handle, _device: c_int) |_driver| { give(pool, 0x20 as Handle) }
    /// `cuDeviceSetMemPool`.
    fn cuDeviceSetMemPool(_device: c_int, _pool: Handle) |_driver| { Ok(()) }
    /// `cuMemPoolSetAttribute`.
    fn cuMemPoolSetAttribute(_pool: Handle, _attribute: c_int, _value: *mut c_void) |_driver| { Ok(()) }
    /// `cuMemPoolGetAttribute`.
    fn cuMemPoolGetAttribute(_pool: Handle, attribute: c_int, value: *mut c_void) |driver| {
        match attribute {
            1..=3 => give(value.cast::<c_int>(), 1),
            5..=8 => give(value.cast::<u64>(), driver.machine.arena.used_bytes()),
            _ => give(value.cast::<u64>(), u64::MAX),
        }
    }
    /// `cuMemPoolTrimTo`.
    fn cuMemPoolTrimTo(_pool: Handle, _keep: usize) |_driver| { Ok(()) }
}

refuse! {
    cuMemPoolCreate cuMemPoolDestroy cuMemcpy3D_v2 cuMemcpy3DAsync_v2 cuMemcpyPeerAsync cuMemHostGetDevicePointer_v2 cuMemAdvise_v2
    cuImportExternalMemory cuExternalMemoryGetMappedBuffer cuDestroyExternalMemory
}
