//! Devices: there is one.

use std::ffi::{c_char, c_int};

use super::{INVALID_DEVICE, INVALID_VALUE, Status, export, give, give_text, refuse, text};
use crate::gpu::{Gpu, RESERVED_SHARED};

/// The interface that is implemented: CUDA 13.0.
const VERSION: c_int = 13000;

/// What the device's name ends with, so that it is not taken for a real one.
const SUFFIX: &str = " (softgpu)";

/// `cuInit`.
#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: u32) -> Status {
    super::call("cuInit", |driver| {
        driver.initialized = true;
        if flags == 0 { Ok(()) } else { Err(INVALID_VALUE) }
    })
}

/// `cuDriverGetVersion`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: the caller's pointer.
    super::call("cuDriverGetVersion", |_| unsafe { give(version, VERSION) })
}

fn check(device: c_int) -> super::Result<()> {
    if device == 0 { Ok(()) } else { Err(INVALID_DEVICE) }
}

/// `CUdevice_attribute` by number.
fn attribute(gpu: &Gpu, attribute: c_int) -> c_int {
    let (bus, memory_clock) = gpu.memory_bus;
    let value = match attribute {
        1..=3 => 1024,
        4 => 64,
        5 => 0x7fff_ffff,
        6 | 7 => 65535,
        8 => 48 << 10,
        9 => 64 << 10,
        10 => 32,
        11 => 0x7fff_ffff,
        12 | 82 => 65536,
        13 => (gpu.clock / 1e3) as u32,
        14 => 512,
        // Overlap, host mapping, concurrent kernels, ECC, unified addressing, priorities, caching, cooperative launches, pools.
        15 | 19 | 31 | 32 | 41 | 78 | 79 | 80 | 90 | 95 | 115 => 1,
        16 => gpu.multiprocessors,
        36 => memory_clock,
        37 => bus,
        38 => gpu.l2_bytes,
        39 => 2048,
        40 => 3,
        75 => gpu.capability.0,
        76 => gpu.capability.1,
        81 => gpu.shared_per_multiprocessor,
        97 => gpu.shared_per_block_optin,
        106 => 32,
        111 => RESERVED_SHARED,
        // Timeouts, integration, managed memory, peers, textures and whatever came later: no.
        _ => 0,
    };
    value as c_int
}

export! {
    /// `cuDeviceGetCount`.
    fn cuDeviceGetCount(count: *mut c_int) |_driver| { give(count, 1) }
    /// `cuDeviceGet`.
    fn cuDeviceGet(device: *mut c_int, ordinal: c_int) |_driver| {
        check(ordinal)?;
        give(device, 0)
    }
    /// `cuDeviceGetName`.
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) |driver| {
        check(device)?;
        give_text(name, length, &format!("{}{SUFFIX}", driver.machine.gpu.name))
    }
    /// `cuDeviceGetUuid`.
    fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) |_driver| {
        check(device)?;
        give(uuid, *b"softgpu-device-0")
    }
    /// `cuDeviceGetUuid_v2`.
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) |_driver| {
        check(device)?;
        give(uuid, *b"softgpu-device-0")
    }
    /// `cuDeviceTotalMem_v2`.
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) |driver| {
        check(device)?;
        give(bytes, driver.machine.arena.total_bytes() as usize)
    }
    /// `cuDeviceGetAttribute`.
    fn cuDeviceGetAttribute(value: *mut c_int, which: c_int, device: c_int) |driver| {
        check(device)?;
        give(value, attribute(&driver.machine.gpu, which))
    }
    /// `cuDeviceComputeCapability`.
    fn cuDeviceComputeCapability(major: *mut c_int, minor: *mut c_int, device: c_int) |driver| {
        check(device)?;
        let (x, y) = driver.machine.gpu.capability;
        give(major, x as c_int)?;
        give(minor, y as c_int)
    }
    /// `cuDeviceGetPCIBusId`.
    fn cuDeviceGetPCIBusId(id: *mut c_char, length: c_int, device: c_int) |_driver| {
        check(device)?;
        give_text(id, length, "0000:00:00.0")
    }
    /// `cuDeviceGetByPCIBusId`.
    fn cuDeviceGetByPCIBusId(device: *mut c_int, id: *const c_char) |_driver| {
        if text(id)? == "0000:00:00.0" { give(device, 0) } else { Err(INVALID_DEVICE) }
    }
    /// `cuDeviceCanAccessPeer`.
    fn cuDeviceCanAccessPeer(can: *mut c_int, _device: c_int, _peer: c_int) |_driver| { give(can, 0) }
    /// `cuProfilerStart`.
    fn cuProfilerStart() |_driver| { Ok(()) }
    /// `cuProfilerStop`.
    fn cuProfilerStop() |_driver| { Ok(()) }
}

refuse! {
    cuDeviceGetTexture1DLinearMaxWidth cuDeviceGetNvSciSyncAttributes cuCtxEnablePeerAccess cuCtxDisablePeerAccess cuDeviceGetP2PAttribute
    cuTexObjectCreate cuSurfObjectCreate cuArrayCreate_v2 cuArray3DCreate_v2 cuMemAllocManaged cuIpcGetMemHandle cuIpcOpenMemHandle_v2
    cuIpcGetEventHandle cuMemCreate cuMemMap cuMemAddressReserve cuTensorMapEncodeTiled cuTensorMapEncodeIm2col cuLinkCreate_v2
    cuMulticastCreate cuGreenCtxCreate
}
