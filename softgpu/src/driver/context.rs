//! Contexts. All of them share the device's memory; a thread has a stack of current ones.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

use super::{
    Handle, INVALID_CONTEXT, INVALID_DEVICE, INVALID_VALUE, NOT_FOUND, Result, STATUSES, SUCCESS, Status, export, give,
    offer, text,
};

/// A context.
pub(super) struct Context {
    flags: c_uint,
}

thread_local! {
    static CURRENT: RefCell<Vec<usize>> = const { RefCell::new(vec![]) };
}

/// The handle of the primary context.
const PRIMARY: usize = 0x10;

fn current() -> usize {
    CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0))
}

fn set_current(handle: usize) {
    CURRENT.with_borrow_mut(|stack| {
        stack.pop();
        stack.push(handle);
    });
}

impl super::Driver {
    /// Fails where the thread has no context.
    pub(super) fn in_context(&self) -> Result<()> {
        if self.contexts.contains_key(&current()) { Ok(()) } else { Err(INVALID_CONTEXT) }
    }

    /// A new context, which is the thread's current one then.
    fn create_context(&mut self, flags: c_uint, device: c_int) -> Result<usize> {
        if device != 0 {
            return Err(INVALID_DEVICE);
        }
        let handle = self.handle();
        self.contexts.insert(handle, Context { flags });
        CURRENT.with_borrow_mut(|stack| stack.push(handle));
        Ok(handle)
    }

    fn end_context(&mut self, handle: usize) -> Result<()> {
        self.contexts.remove(&handle).ok_or(INVALID_CONTEXT)?;
        if self.contexts.is_empty() {
            self.report_leaks();
        }
        Ok(())
    }
}

export! {
    /// `cuDevicePrimaryCtxRetain`.
    fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) |driver| {
        if device != 0 { return Err(INVALID_DEVICE); }
        driver.primary_retained += 1;
        driver.contexts.entry(PRIMARY).or_insert(Context { flags: 0 });
        give(context, PRIMARY as Handle)
    }
    /// `cuDevicePrimaryCtxRelease_v2`.
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) |driver| {
        if device != 0 { return Err(INVALID_DEVICE); }
        driver.primary_retained = driver.primary_retained.checked_sub(1).ok_or(INVALID_CONTEXT)?;
        if driver.primary_retained == 0 { driver.end_context(PRIMARY) } else { Ok(()) }
    }
    /// `cuDevicePrimaryCtxReset_v2`.
    fn cuDevicePrimaryCtxReset_v2(_device: c_int) |driver| {
        if driver.contexts.contains_key(&PRIMARY) {
            driver.primary_retained = 0;
            driver.end_context(PRIMARY)?;
        }
        Ok(())
    }
    /// `cuDevicePrimaryCtxSetFlags_v2`.
    fn cuDevicePrimaryCtxSetFlags_v2(_device: c_int, _flags: c_uint) |_driver| { Ok(()) }
    /// `cuDevicePrimaryCtxGetState`.
    fn cuDevicePrimaryCtxGetState(_device: c_int, flags: *mut c_uint, active: *mut c_int) |driver| {
        give(flags, 0)?;
        give(active, c_int::from(driver.contexts.contains_key(&PRIMARY)))
    }
    /// `cuCtxCreate_v2`.
    fn cuCtxCreate_v2(context: *mut Handle, flags: c_uint, device: c_int) |driver| {
        give(context, driver.create_context(flags, device)? as Handle)
    }
    /// `cuCtxCreate_v3`.
    fn cuCtxCreate_v3(context: *mut Handle, _affinities: *mut c_void, _count: c_int, flags: c_uint, device: c_int) |driver| {
        give(context, driver.create_context(flags, device)? as Handle)
    }
    /// `cuCtxCreate_v4`.
    fn cuCtxCreate_v4(context: *mut Handle, _parameters: *mut c_void, flags: c_uint, device: c_int) |driver| {
        give(context, driver.create_context(flags, device)? as Handle)
    }
    /// `cuCtxDestroy_v2`.
    fn cuCtxDestroy_v2(context: Handle) |driver| {
        CURRENT.with_borrow_mut(|stack| stack.retain(|&handle| handle != context as usize));
        driver.end_context(context as usize)
    }
    /// `cuCtxPushCurrent_v2`.
    fn cuCtxPushCurrent_v2(context: Handle) |driver| {
        if !driver.contexts.contains_key(&(context as usize)) { return Err(INVALID_CONTEXT); }
        CURRENT.with_borrow_mut(|stack| stack.push(context as usize));
        Ok(())
    }
    /// `cuCtxPopCurrent_v2`.
    fn cuCtxPopCurrent_v2(context: *mut Handle) |_driver| {
        let popped = CURRENT.with_borrow_mut(Vec::pop).ok_or(INVALID_CONTEXT)?;
        offer(context, popped as Handle);
        Ok(())
    }
    /// `cuCtxSetCurrent`.
    fn cuCtxSetCurrent(context: Handle) |driver| {
        if !context.is_null() && !driver.contexts.contains_key(&(context as usize)) { return Err(INVALID_CONTEXT); }
        set_current(context as usize);
        Ok(())
    }
    /// `cuCtxGetCurrent`.
    fn cuCtxGetCurrent(context: *mut Handle) |driver| {
        let handle = current();
        give(context, if driver.contexts.contains_key(&handle) { handle as Handle } else { null_mut() })
    }
    /// `cuCtxGetDevice`.
    fn cuCtxGetDevice(device: *mut c_int) |driver| {
        driver.in_context()?;
        give(device, 0)
    }
    /// `cuCtxGetFlags`.
    fn cuCtxGetFlags(flags: *mut c_uint) |driver| {
        let context = driver.contexts.get(&current()).ok_or(INVALID_CONTEXT)?;
        give(flags, context.flags)
    }
    /// `cuCtxSetFlags`.
    fn cuCtxSetFlags(flags: c_uint) |driver| {
        driver.contexts.get_mut(&current()).ok_or(INVALID_CONTEXT)?.flags = flags;
        Ok(())
    }
    /// `cuCtxGetApiVersion`.
    fn cuCtxGetApiVersion(_context: Handle, version: *mut c_uint) |_driver| { give(version, 3020) }
    /// `cuCtxGetId`.
    fn cuCtxGetId(context: Handle, id: *mut u64) |_driver| { give(id, context as u64) }
    /// `cuCtxSynchronize`.
    fn cuCtxSynchronize() |driver| {
        driver.in_context()?;
        driver.not_while_capturing()
    }
    /// `cuCtxSetLimit`.
    fn cuCtxSetLimit(_limit: c_int, _value: usize) |_driver| { Ok(()) }
    /// `cuCtxGetLimit`.
    fn cuCtxGetLimit(value: *mut usize, limit: c_int) |_driver| {
        give(value, match limit { 0 => 1024, 1 => 1 << 20, 2 => 8 << 20, _ => 0 })
    }
    /// `cuCtxGetCacheConfig`.
    fn cuCtxGetCacheConfig(config: *mut c_int) |_driver| { give(config, 0) }
    /// `cuCtxSetCacheConfig`.
    fn cuCtxSetCacheConfig(_config: c_int) |_driver| { Ok(()) }
    /// `cuCtxGetStreamPriorityRange`.
    fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) |_driver| {
        offer(least, 0);
        offer(greatest, 0);
        Ok(())
    }
}

fn entry(status: Status) -> Option<&'static (Status, &'static std::ffi::CStr, &'static std::ffi::CStr)> {
    STATUSES.iter().find(|(known, ..)| *known == status)
}

/// `cuGetErrorName`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(status: Status, name: *mut *const c_char) -> Status {
    let found = entry(status).map_or(std::ptr::null(), |(_, name, _)| name.as_ptr());
    // SAFETY: the caller's pointer.
    let given = unsafe { give(name, found) };
    if given.is_err() || found.is_null() { INVALID_VALUE } else { SUCCESS }
}

/// `cuGetErrorString`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(status: Status, sentence: *mut *const c_char) -> Status {
    let found = entry(status).map_or(std::ptr::null(), |(_, _, sentence)| sentence.as_ptr());
    // SAFETY: the caller's pointer.
    let given = unsafe { give(sentence, found) };
    if given.is_err() || found.is_null() { INVALID_VALUE } else { SUCCESS }
}

/// The address of an exported function by the name that the interface gives it, or with the suffix of its latest version.
fn symbol(name: &str) -> *mut c_void {
    // Version 12 of the interface gave this name to another function than one of its versions.
    let name = if name == "cuGraphInstantiate" { "cuGraphInstantiateWithFlags" } else { name };
    let versions = [format!("{name}_v4"), format!("{name}_v3"), format!("{name}_v2"), name.to_string()];
    let found = versions.into_iter().filter_map(|name| std::ffi::CString::new(name).ok()).map(|name| {
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
        // SAFETY: the address is this library's; with its file, its handle is found without loading anything.
        unsafe {
            if libc::dladdr(cuGetErrorName as *const c_void, info.as_mut_ptr()) == 0 {
                return null_mut();
            }
            let library = libc::dlopen(info.assume_init().dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD);
            if library.is_null() { null_mut() } else { libc::dlsym(library, name.as_ptr()) }
        }
    });
    found.into_iter().find(|address| !address.is_null()).unwrap_or(null_mut())
}

/// `cuGetProcAddress_v2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress_v2(
    name: *const c_char,
    to: *mut *mut c_void,
    _version: c_int,
    _flags: u64,
    status: *mut c_int,
) -> Status {
    // SAFETY: the caller's pointers.
    super::call("cuGetProcAddress_v2", |_| unsafe {
        let address = symbol(text(name)?);
        offer(status, c_int::from(address.is_null()));
        give(to, address)?;
        if address.is_null() { Err(NOT_FOUND) } else { Ok(()) }
    })
}

/// `cuGetProcAddress`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress(
    name: *const c_char,
    to: *mut *mut c_void,
    version: c_int,
    flags: u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { cuGetProcAddress_v2(name, to, version, flags, null_mut()) }
}
