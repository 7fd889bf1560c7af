//! The CUDA device, through the driver API as cudarc wraps it.
//!
//! One context, one compute stream, stream-ordered memory. The driver is loaded when the first
//! device opens, so one binary starts on machines without it; a missing driver is a sentence.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytemuck::Pod;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, result,
    sys,
};
use cudarc::nvrtc::Ptx;

use super::{Geometry, sim};
use crate::error::{Error, Result};
use crate::kernels;
use crate::tensor::Tensor;

/// Device memory.
pub(crate) type Slice = CudaSlice<u8>;

/// An open CUDA device.
pub(super) struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    name: String,
    multiprocessors: u32,
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    synchronous: AtomicBool,
    capturing: AtomicBool,
}

/// What the driver says about a device.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeviceInfo {
    /// The ordinal that `--device cuda:N` takes.
    pub ordinal: usize,
    /// The GPU's name.
    pub name: String,
    /// Major and minor compute capability.
    pub compute_capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of device memory.
    pub memory_bytes: usize,
    /// The most shared memory a block may ask for, in bytes.
    pub shared_memory_per_block: i32,
    /// Bytes of second-level cache.
    pub l2_bytes: i32,
}

/// Dynamic shared memory above this must be asked for.
const DEFAULT_DYNAMIC_SHARED: u32 = 48 * 1024;

/// Whether a CUDA driver can be loaded.
fn ensure_driver() -> Result<()> {
    // SAFETY: only tries to open the driver's library and look its name up; no CUDA call is made.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    let message = "no CUDA driver (libcuda.so.1) was found: install the NVIDIA driver, or use --device cpu";
    Err(Error::Device(message.to_string()))
}

/// The driver's version as (major, minor), and every device it offers.
///
/// # Errors
/// When there is no driver or it fails to start.
pub fn devices() -> Result<((i32, i32), Vec<DeviceInfo>)> {
    ensure_driver()?;
    result::init().map_err(|e| failed("the CUDA driver does not start", e))?;
    let mut version = 0;
    // SAFETY: the driver is initialised and `version` is a valid place to write.
    unsafe { sys::cuDriverGetVersion(&mut version).result() }.map_err(|e| failed("cuDriverGetVersion", e))?;
    let count = CudaContext::device_count().map_err(|e| failed("cuDeviceGetCount", e))?;
    let infos = (0..count as usize).map(|ordinal| describe(ordinal).map_err(|e| failed("describing a device", e)));
    Ok(((version / 1000, version % 1000 / 10), infos.collect::<Result<_>>()?))
}

fn describe(ordinal: usize) -> std::result::Result<DeviceInfo, DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    let context = CudaContext::new(ordinal)?;
    Ok(DeviceInfo {
        ordinal,
        name: context.name()?,
        compute_capability: context.compute_capability()?,
        multiprocessors: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: context.total_mem()?,
        shared_memory_per_block: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        l2_bytes: context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
    })
}

fn failed(what: &str, error: DriverError) -> Error {
    Error::Device(format!("{what}: {error}"))
}

/// Lets the driver's pool keep what is freed. Unless told so it gives all of it back at every synchronisation, and the next step pays for
/// mapping it again: tens of microseconds for each tensor on an H100.
fn keep_freed_memory(context: &CudaContext) -> std::result::Result<(), DriverError> {
    if context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? == 0 {
        return Ok(());
    }
    let all = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device exists, its default pool lives as long as it, and the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, threshold, (&raw const all).cast_mut().cast())
    }
}

impl Cuda {
    pub(super) fn open(ordinal: usize) -> Result<Cuda> {
        if kernels::FATBINS.is_empty() {
            let message = "this build holds no CUDA kernels because nvcc was not found when it was made: run `cargo xtask \
                           provision` (or set VF_NVCC) and build again";
            return Err(Error::Device(message.to_string()));
        }
        ensure_driver()?;
        let open = || -> std::result::Result<_, DriverError> {
            let context = CudaContext::new(ordinal)?;
            // SAFETY: everything runs on the one stream below, in order, so no events are needed.
            unsafe { context.disable_event_tracking() };
            keep_freed_memory(&context)?;
            let stream = context.new_stream()?;
            let name = context.name()?;
            let count = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
            Ok((context, stream, name, count as u32))
        };
        let (context, stream, name, multiprocessors) =
            open().map_err(|e| failed(&format!("CUDA device {ordinal} does not open"), e))?;
        let name = match name.strip_suffix(sim::NAME_SUFFIX) {
            Some(imitated) => format!("sim ({imitated})"),
            None => format!("cuda:{ordinal} ({name})"),
        };
        Ok(Cuda {
            context,
            stream,
            name,
            multiprocessors,
            modules: Mutex::default(),
            functions: Mutex::default(),
            synchronous: AtomicBool::new(false),
            capturing: AtomicBool::new(false),
        })
    }

    /// Device 0 of the software GPU, which [`sim::load`] has brought in.
    pub(super) fn open_sim() -> Result<Cuda> {
        let device = Cuda::open(0)?;
        if !device.name.starts_with("sim") {
            let message = format!(
                "{} is in use in this process, so the software GPU cannot be: on a machine with an NVIDIA driver, \
                                   start with LD_LIBRARY_PATH=<a folder where libcuda.so is a link to libsoftgpu.so>",
                device.name
            );
            return Err(Error::Device(message));
        }
        Ok(device)
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    pub(super) fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(|e| failed("the device failed", e))
    }

    pub(super) fn synchronize_every_launch(&self, on: bool) {
        self.synchronous.store(on, Ordering::Relaxed);
    }

    /// Memory of unspecified contents; at least one byte, since the driver refuses none.
    pub(super) fn allocate(&self, bytes: usize) -> Result<Slice> {
        // SAFETY: bytes of any value are valid, and kernels write what they are to read.
        unsafe { self.stream.alloc::<u8>(bytes.max(1)) }.map_err(|e| {
            let free = self.context.mem_get_info().map_or(0, |(free, _)| free);
            let message = format!(
                "{} has no {bytes} bytes left ({free} are free, other programs may hold some): compute fewer images at a time \
                 (the batch size); in training train.checkpoint_activations=true and train.precision=bf16 help, too",
                self.name
            );
            if e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY { Error::Device(message) } else { failed("allocating memory", e) }
        })
    }

    /// Records what `work` enqueues instead of running it.
    pub(super) fn capture<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(CudaGraph, T)> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(|e| failed("recording does not begin", e))?;
        self.capturing.store(true, Ordering::Relaxed);
        let done = work();
        self.capturing.store(false, Ordering::Relaxed);
        // What the recording left allocated is freed before it runs again.
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags);
        let done = done?;
        let graph = graph.map_err(|e| failed("what was recorded cannot be run", e))?;
        Ok((graph.ok_or_else(|| Error::Device("nothing was recorded".to_string()))?, done))
    }

    fn refuse_while_capturing(&self, what: &str) -> Result<()> {
        match self.capturing.load(Ordering::Relaxed) {
            true => {
                Err(Error::Device(format!("{what} while launches are recorded: it would not be part of the recording")))
            }
            false => Ok(()),
        }
    }

    pub(super) fn free_memory(&self) -> Result<usize> {
        self.context.mem_get_info().map(|(free, _)| free).map_err(|e| failed("asking for free memory", e))
    }

    pub(super) fn upload(&self, host: &[u8], device: &mut Slice) -> Result<()> {
        if host.is_empty() {
            return Ok(());
        }
        self.refuse_while_capturing("the host writes to the device")?;
        let mut part = device.slice_mut(..host.len());
        self.stream.memcpy_htod(host, &mut part).map_err(|e| failed("copying to the device", e))
    }

    /// Copies as much as both hold.
    pub(super) fn copy(&self, from: &Slice, to: &mut Slice) -> Result<()> {
        let bytes = from.len().min(to.len());
        self.stream
            .memcpy_dtod(&from.slice(..bytes), &mut to.slice_mut(..bytes))
            .map_err(|e| failed("copying on the device", e))
    }

    pub(super) fn download(&self, device: &Slice, host: &mut [u8]) -> Result<()> {
        if host.is_empty() {
            return Ok(());
        }
        self.refuse_while_capturing("the host reads from the device")?;
        self.stream.memcpy_dtoh(&device.slice(..host.len()), host).map_err(|e| failed("copying from the device", e))?;
        self.synchronize()
    }

    /// Milliseconds of device time that `work` took, measured by events on the stream.
    pub(super) fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<f32> {
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let record = |event: &CudaEvent| event.record(&self.stream).map_err(|e| failed("recording an event", e));
        let new_event = || self.context.new_event(flags).map_err(|e| failed("making an event", e));
        let (start, end) = (new_event()?, new_event()?);
        record(&start)?;
        work()?;
        record(&end)?;
        end.synchronize().map_err(|e| failed("waiting for an event", e))?;
        start.elapsed_ms(&end).map_err(|e| failed("reading an event", e))
    }

    /// Launches `function` of `module`: fills the tensors' addresses into the first fields of
    /// `params` (0 for an absent one) and passes the struct as the kernel's only parameter.
    pub(super) fn launch<P: Pod + fmt::Debug>(
        &self,
        module: &'static str,
        function: &str,
        geometry: Geometry,
        mut params: P,
        reads: &[&Tensor],
        writes: &mut [&mut Tensor],
    ) -> Result<()> {
        let addresses = bytemuck::bytes_of_mut(&mut params).chunks_exact_mut(8);
        let tensors = reads.iter().copied().chain(writes.iter().map(|t| &**t));
        for (field, tensor) in addresses.zip(tensors) {
            field.copy_from_slice(&self.address(tensor).to_ne_bytes());
        }
        self.enqueue(module, function, geometry, &mut params).map_err(|error| match error {
            Error::Launch { kernel, message } => Error::Launch { kernel, message: format!("{params:?}, {message}") },
            other => other,
        })
    }

    /// A tensor's address; 0 of an absent one.
    pub(super) fn address(&self, tensor: &Tensor) -> u64 {
        match tensor.cuda() {
            Some(slice) if !tensor.is_absent() => slice.device_ptr(&self.stream).0,
            _ => 0,
        }
    }

    /// Launches `function` of `module` with a struct of parameters that has its addresses. The caller borrows the tensors behind them,
    /// those that are written exclusively.
    pub(super) fn enqueue<P: Pod>(
        &self,
        module: &'static str,
        function: &str,
        geometry: Geometry,
        params: &mut P,
    ) -> Result<()> {
        let Geometry { grid, block, shared_bytes } = geometry;
        let entry = self.function(module, function, shared_bytes)?;
        let mut arguments = [std::ptr::from_mut(params).cast::<c_void>()];
        let (g, b) = ((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]));
        // SAFETY: the kernel takes exactly one `P` by value (bindgen reads the same header as nvcc), the
        // caller borrows every tensor for as long as the launch is enqueued, memory is freed in stream
        // order, and the writes are exclusive.
        let launched = self.context.bind_to_thread().and_then(|()| unsafe {
            result::launch_kernel(entry.cu_function(), g, b, shared_bytes, self.stream.cu_stream(), &mut arguments)
        });
        let wait = self.synchronous.load(Ordering::Relaxed) && !self.capturing.load(Ordering::Relaxed);
        let finished = if wait { launched.and_then(|()| self.stream.synchronize()) } else { launched };
        finished.map_err(|e| Error::Launch {
            kernel: function.to_string(),
            message: format!("grid {grid:?}, block {block:?}, {shared_bytes} bytes of shared memory: {e}"),
        })
    }

    fn function(&self, module: &'static str, name: &str, shared_bytes: u32) -> Result<CudaFunction> {
        let fail =
            |e: DriverError| Error::Launch { kernel: name.to_string(), message: format!("module {module}: {e}") };
        let mut functions = self.functions.lock().expect("no panic while holding the functions");
        let function = match functions.get(name) {
            Some(function) => function.clone(),
            None => {
                let function = self.module(module)?.load_function(name).map_err(fail)?;
                functions.insert(name.to_string(), function.clone());
                function
            }
        };
        if shared_bytes > DEFAULT_DYNAMIC_SHARED {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared_bytes as i32).map_err(fail)?;
        }
        Ok(function)
    }

    fn module(&self, name: &'static str) -> Result<Arc<CudaModule>> {
        let mut modules = self.modules.lock().expect("no panic while holding the modules");
        if let Some(module) = modules.get(name) {
            return Ok(module.clone());
        }
        let fatbin = kernels::FATBINS.iter().find(|f| f.module == name);
        let fatbin = fatbin.ok_or_else(|| Error::Device(format!("this build has no CUDA module '{name}'")))?;
        let module = self.context.load_module(Ptx::from_binary(fatbin.image.to_vec()));
        let module = module.map_err(|e| failed(&format!("loading CUDA module '{name}'"), e))?;
        modules.insert(name, module.clone());
        Ok(module)
    }
}
