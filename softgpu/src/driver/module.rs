//! Modules, functions, and launches.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

use super::stream::Operation;
use super::{
    Driver, Handle, INVALID_HANDLE, INVALID_IMAGE, INVALID_PTX, INVALID_VALUE, NO_BINARY_FOR_GPU, NOT_FOUND,
    OUT_OF_MEMORY, Result, SharedProgram, export, give, give_text, not_supported, offer, refuse, text,
};
use crate::exec::launch::Config;
use crate::exec::program::{LoadError, LoadedModule};
use crate::fatbin::{self, FatbinError};

/// A loaded module.
pub(super) struct Module {
    pub(super) loaded: LoadedModule,
    /// Handles of the functions that were asked for, by name.
    functions: Vec<(String, usize)>,
}

/// A kernel and its settings.
pub(super) struct Function {
    pub(super) program: SharedProgram,
    module: usize,
    /// The most dynamic shared memory that a launch may ask for.
    max_dynamic_shared: u32,
    name: std::ffi::CString,
}

/// A launch with its parameters copied.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) program: SharedProgram,
    pub(super) config: Config,
    pub(super) params: Vec<u8>,
}

/// Static and dynamic shared memory that a launch can have without asking for more.
const SHARED_BY_DEFAULT: u32 = 48 << 10;

/// A log that the program provides for messages of the compiler: `CU_JIT_INFO_LOG_BUFFER` and so on.
struct Log {
    buffer: *mut c_char,
    bytes: usize,
}

impl Driver {
    /// # Safety
    /// The image is one.
    unsafe fn load(&mut self, image: *const c_void, log: Option<Log>) -> Result<usize> {
        if image.is_null() {
            return Err(INVALID_VALUE);
        }
        self.in_context()?;
        let (major, minor) = self.machine.gpu.capability;
        // SAFETY: as promised.
        let ptx =
            unsafe { fatbin::image_bytes(image.cast()) }.and_then(|bytes| fatbin::ptx_of(bytes, 10 * major + minor));
        let loaded = match ptx {
            Ok(ptx) => LoadedModule::load(&ptx, &self.machine.arena).map_err(|error| {
                let status = match error {
                    LoadError::Memory { .. } => OUT_OF_MEMORY,
                    _ => INVALID_PTX,
                };
                (error.to_string(), status)
            }),
            Err(error) => {
                let status = match error {
                    FatbinError::NoPtx | FatbinError::TooNew(_) => NO_BINARY_FOR_GPU,
                    _ => INVALID_IMAGE,
                };
                Err((error.to_string(), status))
            }
        };
        match loaded {
            Ok(loaded) => {
                let handle = self.handle();
                self.modules.insert(handle, Module { loaded, functions: vec![] });
                Ok(handle)
            }
            Err((message, status)) => {
                eprintln!("softgpu: module: {message}");
                if let Some(log) = log {
                    // SAFETY: the program says that its buffer is this long.
                    let _ = unsafe { give_text(log.buffer, log.bytes.min(i32::MAX as usize) as i32, &message) };
                }
                Err(status)
            }
        }
    }

    fn function(&mut self, module: usize, name: &str) -> Result<usize> {
        let found = self.modules.get(&module).ok_or(INVALID_HANDLE)?;
        if let Some((_, handle)) = found.functions.iter().find(|(known, _)| known == name) {
            return Ok(*handle);
        }
        let program = found.loaded.kernels.get(name).ok_or(NOT_FOUND)?.clone();
        let max_dynamic_shared = SHARED_BY_DEFAULT.saturating_sub(program.shared_bytes);
        let handle = self.handle();
        let c_name = std::ffi::CString::new(name).map_err(|_| NOT_FOUND)?;
        self.functions.insert(handle, Function { program, module, max_dynamic_shared, name: c_name });
        if let Some(module) = self.modules.get_mut(&module) {
            module.functions.push((name.to_string(), handle));
        }
        Ok(handle)
    }

    fn global(&self, module: usize, name: &str) -> Result<(u64, u64)> {
        let module = self.modules.get(&module).ok_or(INVALID_HANDLE)?;
        module.loaded.globals.get(name).copied().ok_or(NOT_FOUND)
    }

    fn unload(&mut self, module: usize) -> Result<()> {
        let module = self.modules.remove(&module).ok_or(INVALID_HANDLE)?;
        module.loaded.unload(&self.machine.arena);
        module.functions.iter().for_each(|(_, handle)| {
            self.functions.remove(handle);
        });
        Ok(())
    }

    pub(super) fn find(&self, function: Handle) -> Result<&Function> {
        self.functions.get(&(function as usize)).ok_or(INVALID_HANDLE)
    }

    /// Copies the parameters of a launch.
    ///
    /// # Safety
    /// `arguments`, if not null, points to an address for each of the function's parameters; `extra`, if not null, is a list as
    /// `cuLaunchKernel` takes it.
    unsafe fn prepare(
        &self,
        function: Handle,
        config: Config,
        arguments: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> Result<Prepared> {
        let function = self.find(function)?;
        if config.shared_bytes > function.max_dynamic_shared {
            let Function { program, max_dynamic_shared, .. } = function;
            let asked = config.shared_bytes;
            eprintln!(
                "softgpu: launch of {}: {asked} bytes of dynamic shared memory, and only {max_dynamic_shared} are allowed: raise \
                 CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES with cuFuncSetAttribute",
                program.name
            );
            return Err(INVALID_VALUE);
        }
        let program = function.program.clone();
        let mut params = vec![0; program.param_bytes as usize];
        // SAFETY: as promised.
        unsafe {
            if !arguments.is_null() {
                for (n, param) in program.params.iter().enumerate() {
                    let from = arguments.add(n).read();
                    if from.is_null() {
                        return Err(INVALID_VALUE);
                    }
                    let to = params.as_mut_ptr().add(param.offset as usize);
                    std::ptr::copy_nonoverlapping(from.cast(), to, param.bytes as usize);
                }
            } else if !extra.is_null() {
                // Pairs: 1 and a buffer, 2 and a pointer to its size, ended by 0.
                let (mut buffer, mut size) = (null_mut::<c_void>(), 0);
                for pair in 0..2 {
                    match extra.add(2 * pair).read() as usize {
                        1 => buffer = extra.add(2 * pair + 1).read(),
                        2 => size = extra.add(2 * pair + 1).read().cast::<usize>().read_unaligned(),
                        _ => break,
                    }
                }
                if buffer.is_null() || size > params.len().next_multiple_of(16) {
                    return Err(INVALID_VALUE);
                }
                let count = size.min(params.len());
                std::ptr::copy_nonoverlapping(buffer.cast(), params.as_mut_ptr(), count);
            } else if !params.is_empty() {
                return Err(INVALID_VALUE);
            }
        }
        Ok(Prepared { program, config, params })
    }
}

/// `CUlaunchConfig`.
#[repr(C)]
pub struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    stream: Handle,
    attributes: *const LaunchAttribute,
    count: c_uint,
}

/// `CUlaunchAttribute`.
#[repr(C)]
pub struct LaunchAttribute {
    id: c_uint,
    padding: [u8; 4],
    value: [u32; 16],
}

fn attribute(function: &Function, which: c_int) -> Result<c_int> {
    Ok(match which {
        0 => function.program.max_threads as c_int,
        1 => function.program.shared_bytes as c_int,
        2 => 0,
        3 => function.program.local_bytes as c_int,
        4 => function.program.registers as c_int,
        5 | 6 => 80,
        7 => 0,
        8 => function.max_dynamic_shared as c_int,
        9 => -1,
        10..=15 => 0,
        _ => return Err(INVALID_VALUE),
    })
}

fn set_attribute(driver: &mut Driver, function: Handle, which: c_int, value: c_int) -> Result<()> {
    let most = driver.machine.gpu.shared_per_block_optin;
    let function = driver.functions.get_mut(&(function as usize)).ok_or(INVALID_HANDLE)?;
    match which {
        8 => {
            let value = u32::try_from(value).map_err(|_| INVALID_VALUE)?;
            if value > most - function.program.shared_bytes.min(most) {
                return Err(INVALID_VALUE);
            }
            function.max_dynamic_shared = value;
            Ok(())
        }
        // A preferred carve-out is a hint; clusters are not there.
        9 => Ok(()),
        _ => not_supported("this function attribute"),
    }
}

export! {
    /// `cuModuleLoadData`.
    fn cuModuleLoadData(module: *mut Handle, image: *const c_void) |driver| {
        let handle = driver.load(image, None)?;
        give(module, handle as Handle)
    }
    /// `cuModuleLoadDataEx`.
    fn cuModuleLoadDataEx(
        module: *mut Handle, image: *const c_void, count: c_uint, options: *const c_int, values: *const *mut c_void,
    ) |driver| {
        let mut log = Log { buffer: null_mut(), bytes: 0 };
        if !options.is_null() && !values.is_null() {
            for n in 0..count as usize {
                match options.add(n).read() {
                    5 => log.buffer = values.add(n).read().cast(),
                    6 => log.bytes = values.add(n).read() as usize,
                    _ => {}
                }
            }
        }
        let log = (!log.buffer.is_null() && log.bytes > 0).then_some(log);
        let handle = driver.load(image, log)?;
        give(module, handle as Handle)
    }
    /// `cuModuleLoadFatBinary`.
    fn cuModuleLoadFatBinary(module: *mut Handle, image: *const c_void) |driver| {
        let handle = driver.load(image, None)?;
        give(module, handle as Handle)
    }
    /// `cuModuleLoad`.
    fn cuModuleLoad(module: *mut Handle, file: *const c_char) |driver| {
        let name = text(file)?;
        let mut bytes = std::fs::read(name).map_err(|error| {
            eprintln!("softgpu: {name}: {error}");
            301
        })?;
        // A text needs its end, and a cut-off binary must not be read beyond its end.
        bytes.resize(bytes.len() + 64, 0);
        let declared = fatbin::image_bytes(bytes.as_ptr()).map_or(0, <[u8]>::len);
        if declared > bytes.len() { return Err(INVALID_IMAGE); }
        let handle = driver.load(bytes.as_ptr().cast(), None)?;
        give(module, handle as Handle)
    }
    /// `cuModuleUnload`.
    fn cuModuleUnload(module: Handle) |driver| { driver.unload(module as usize) }
    /// `cuModuleGetFunction`.
    fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) |driver| {
        let handle = driver.function(module as usize, text(name)?)?;
        give(function, handle as Handle)
    }
    /// `cuModuleGetGlobal_v2`.
    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: Handle, name: *const c_char) |driver| {
        let (start, size) = driver.global(module as usize, text(name)?)?;
        offer(address, start);
        offer(bytes, size as usize);
        Ok(())
    }
    /// `cuModuleGetLoadingMode`.
    fn cuModuleGetLoadingMode(mode: *mut c_int) |_driver| { give(mode, 1) }
    /// `cuLibraryLoadData`.
    fn cuLibraryLoadData(
        library: *mut Handle, image: *const c_void, _jit: *const c_int, _jit_values: *const *mut c_void, _jit_count: c_uint,
        _options: *const c_int, _values: *const *mut c_void, _count: c_uint,
    ) |driver| {
        let handle = driver.load(image, None)?;
        give(library, handle as Handle)
    }
    /// `cuLibraryUnload`.
    fn cuLibraryUnload(library: Handle) |driver| { driver.unload(library as usize) }
    /// `cuLibraryGetKernel`: a kernel's handle is its function's.
    fn cuLibraryGetKernel(kernel: *mut Handle, library: Handle, name: *const c_char) |driver| {
        let handle = driver.function(library as usize, text(name)?)?;
        give(kernel, handle as Handle)
    }
    /// `cuLibraryGetModule`.
    fn cuLibraryGetModule(module: *mut Handle, library: Handle) |_driver| { give(module, library) }
    /// `cuLibraryGetGlobal`.
    fn cuLibraryGetGlobal(address: *mut u64, bytes: *mut usize, library: Handle, name: *const c_char) |driver| {
        let (start, size) = driver.global(library as usize, text(name)?)?;
        offer(address, start);
        offer(bytes, size as usize);
        Ok(())
    }
    /// `cuKernelGetFunction`.
    fn cuKernelGetFunction(function: *mut Handle, kernel: Handle) |_driver| { give(function, kernel) }
    /// `cuKernelGetAttribute`.
    fn cuKernelGetAttribute(value: *mut c_int, which: c_int, kernel: Handle, _device: c_int) |driver| {
        give(value, attribute(driver.find(kernel)?, which)?)
    }
    /// `cuKernelSetAttribute`.
    fn cuKernelSetAttribute(which: c_int, value: c_int, kernel: Handle, _device: c_int) |driver| {
        set_attribute(driver, kernel, which, value)
    }
    /// `cuFuncGetAttribute`.
    fn cuFuncGetAttribute(value: *mut c_int, which: c_int, function: Handle) |driver| {
        give(value, attribute(driver.find(function)?, which)?)
    }
    /// `cuFuncSetAttribute`.
    fn cuFuncSetAttribute(function: Handle, which: c_int, value: c_int) |driver| { set_attribute(driver, function, which, value) }
    /// `cuFuncSetCacheConfig`.
    fn cuFuncSetCacheConfig(_function: Handle, _config: c_int) |_driver| { Ok(()) }
    /// `cuFuncSetSharedMemConfig`.
    fn cuFuncSetSharedMemConfig(_function: Handle, _config: c_int) |_driver| { Ok(()) }
    /// `cuFuncGetModule`.
    fn cuFuncGetModule(module: *mut Handle, function: Handle) |driver| { give(module, driver.find(function)?.module as Handle) }
    /// `cuFuncGetName`.
    fn cuFuncGetName(name: *mut *const c_char, function: Handle) |driver| { give(name, driver.find(function)?.name.as_ptr()) }
    /// `cuFuncLoad`.
    fn cuFuncLoad(_function: Handle) |_driver| { Ok(()) }
    /// `cuLaunchKernel`.
    fn cuLaunchKernel(
        function: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared_bytes: c_uint, stream: Handle,
        arguments: *mut *mut c_void, extra: *mut *mut c_void,
    ) |driver| {
        let config = Config { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes, cooperative: false };
        let prepared = driver.prepare(function, config, arguments, extra)?;
        driver.enqueue(stream, Operation::Launch(prepared))
    }
    /// `cuLaunchCooperativeKernel`.
    fn cuLaunchCooperativeKernel(
        function: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared_bytes: c_uint, stream: Handle,
        arguments: *mut *mut c_void,
    ) |driver| {
        let config = Config { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes, cooperative: true };
        let prepared = driver.prepare(function, config, arguments, null_mut())?;
        driver.enqueue(stream, Operation::Launch(prepared))
    }
    /// `cuLaunchKernelEx`.
    fn cuLaunchKernelEx(
        launch: *const LaunchConfig, function: Handle, arguments: *mut *mut c_void, extra: *mut *mut c_void,
    ) |driver| {
        if launch.is_null() { return Err(INVALID_VALUE); }
        let launch = &*launch;
        let mut cooperative = false;
        for n in 0..if launch.attributes.is_null() { 0 } else { launch.count as usize } {
            let LaunchAttribute { id, value, .. } = &*launch.attributes.add(n);
            match id {
                2 => cooperative = value[0] != 0,
                4 if value[..3] != [1, 1, 1] => return not_supported("a launch with clusters"),
                _ => {}
            }
        }
        let config = Config { grid: launch.grid, block: launch.block, shared_bytes: launch.shared_bytes, cooperative };
        let prepared = driver.prepare(function, config, arguments, extra)?;
        driver.enqueue(launch.stream, Operation::Launch(prepared))
    }
}

refuse! { cuModuleGetTexRef cuModuleGetSurfRef cuLibraryGetManaged }
