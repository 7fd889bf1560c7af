//! Where memory lives and kernels run.
//!
//! A [`Device`] does five things: allocate, free (when the last tensor drops), copy, launch and
//! synchronize. [`Device::launch`] is the only place where the CPU and CUDA part ways, and this
//! module tree is the only place with `unsafe`: a launch borrows the tensors it reads and
//! mutably borrows those it writes, so aliasing and lifetimes are the borrow checker's business.

pub mod cpu;
pub mod cuda;
mod kernel;
mod launch;
mod list;
pub mod mmap;
pub mod philox;
pub mod sim;
mod spec;

pub use kernel::{CpuBody, CudaKernel, Geometry, Kernel, KernelInfo, Math};
pub use launch::Launch;
pub use list::{Group, ListBody, ListKernel, Slices};
pub use spec::DeviceSpec;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytemuck::Pod;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::REGISTRY;
use crate::tensor::Tensor;
use launch::moved;

/// A handle on a device; clones are cheap and refer to the same one.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Backend,
    live: AtomicUsize,
    peak: AtomicUsize,
    kept: AtomicUsize,
    /// The launches so far, where somebody asked for them.
    launches: Mutex<Option<Vec<Launch>>>,
    tf32: AtomicBool,
}

enum Backend {
    Cpu(cpu::Cpu),
    Cuda(cuda::Cuda),
    /// A GPU with so many multiprocessors that computes nothing: memory is counted, launches are recorded, and what is read back is zero.
    Plan(u32),
}

/// Recorded launches: see [`Device::capture`].
pub struct Graph {
    device: Device,
    graph: cudarc::driver::CudaGraph,
}

impl Graph {
    /// Enqueues all of them.
    pub fn run(&self) -> Result<()> {
        self.graph
            .launch()
            .map_err(|e| Error::Device(format!("{} does not run what was recorded: {e}", self.device.name())))
    }
}

/// Device memory held by tensors, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Held now.
    pub live: usize,
    /// The most that was held since the last [`Device::reset_peak_memory`].
    pub peak: usize,
    /// The most that was held since then when a backward pass began.
    pub kept: usize,
}

impl Device {
    /// The native CPU.
    pub fn cpu() -> Device {
        Device::new(Backend::Cpu(cpu::Cpu::new(false)))
    }

    /// A CPU that fills fresh memory with NaN, so that a kernel which leaves part of its output
    /// unwritten is seen; for tests.
    pub fn cpu_poisoned() -> Device {
        Device::new(Backend::Cpu(cpu::Cpu::new(true)))
    }

    /// The CUDA device of this ordinal.
    ///
    /// # Errors
    /// One sentence that says what is missing (kernels, driver or GPU) and how to get it.
    pub fn cuda(ordinal: usize) -> Result<Device> {
        Ok(Device::new(Backend::Cuda(cuda::Cuda::open(ordinal)?)))
    }

    /// The software GPU: the CUDA device of this process, executed on the CPU, checked and counted. Open it before any CUDA device.
    ///
    /// # Errors
    /// When its library is not found, or this process already uses the driver of a real GPU.
    pub fn sim() -> Result<Device> {
        sim::load()?;
        Ok(Device::new(Backend::Cuda(cuda::Cuda::open_sim()?)))
    }

    /// A GPU without the GPU: shapes, memory and launches are those of the CUDA device, an A100, and nothing is computed. What is read back
    /// is zero.
    pub fn plan() -> Device {
        Device::new(Backend::Plan(108))
    }

    /// As [`Device::plan`], of this GPU's size.
    pub fn plan_like(&self) -> Device {
        Device::new(Backend::Plan(self.multiprocessors()))
    }

    /// Opens the device that `spec` asks for.
    ///
    /// # Errors
    /// As [`Device::cuda`]; `Auto` and `Cpu` always succeed.
    pub fn open(spec: DeviceSpec) -> Result<Device> {
        match spec {
            DeviceSpec::Cpu => Ok(Device::cpu()),
            DeviceSpec::Cuda(ordinal) => Device::cuda(ordinal),
            DeviceSpec::Sim => Device::sim(),
            DeviceSpec::Auto => match Device::complete_cuda() {
                Ok(device) => Ok(device),
                Err(reason) => {
                    log::info!("using the CPU: {reason}");
                    Ok(Device::cpu())
                }
            },
        }
    }

    /// CUDA device 0, where every kernel that the CPU has exists there too.
    fn complete_cuda() -> Result<Device> {
        let kernels = REGISTRY.iter().flat_map(|op| (op.kernels)());
        let missing: Vec<_> = kernels.filter(|k| k.cuda_module.is_none()).map(|k| k.name).collect();
        match missing[..] {
            [] => Device::cuda(0),
            _ => Err(Error::Device(format!("{} kernels have no CUDA version yet", missing.len()))),
        }
    }

    fn new(backend: Backend) -> Device {
        let [live, peak, kept] = [const { AtomicUsize::new(0) }; 3];
        Device(Arc::new(Inner { backend, live, peak, kept, launches: Mutex::default(), tf32: AtomicBool::new(false) }))
    }

    /// `cpu`, `cuda:N (the GPU's name)` or `sim (the GPU it imitates)`.
    pub fn name(&self) -> String {
        match &self.0.backend {
            Backend::Cpu(_) => "cpu".to_string(),
            Backend::Cuda(cuda) => cuda.name(),
            Backend::Plan(_) => "plan".to_string(),
        }
    }

    /// Whether tensors of this device live in host memory.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0.backend, Backend::Cpu(_))
    }

    /// Streaming multiprocessors of a GPU: what kernels that share work evenly cut it into. A CPU is one.
    pub fn multiprocessors(&self) -> u32 {
        match &self.0.backend {
            Backend::Cpu(_) => 1,
            Backend::Cuda(cuda) => cuda.multiprocessors(),
            Backend::Plan(count) => *count,
        }
    }

    /// Whether both handles are the same device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until everything launched so far has run.
    pub fn synchronize(&self) -> Result<()> {
        match &self.0.backend {
            Backend::Cpu(_) | Backend::Plan(_) => Ok(()),
            Backend::Cuda(cuda) => cuda.synchronize(),
        }
    }

    /// Waits after every launch from now on, so that a device's error names the kernel that made it. The CPU always does.
    pub fn synchronize_every_launch(&self, on: bool) {
        if let Backend::Cuda(cuda) = &self.0.backend {
            cuda.synchronize_every_launch(on);
        }
    }

    /// Lets products of f32 matrices round their factors to TF32 on the tensor cores of a GPU: several times faster, and exact to three
    /// digits only. Off until switched on; the CPU always computes in f32.
    pub fn set_tf32(&self, on: bool) {
        self.0.tf32.store(on, Ordering::Relaxed);
    }

    /// Seconds that `work` took on the device: by events on CUDA, by the clock on the CPU.
    pub fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        match &self.0.backend {
            Backend::Cpu(_) | Backend::Plan(_) => {
                let start = Instant::now();
                work()?;
                Ok(start.elapsed().as_secs_f64())
            }
            Backend::Cuda(cuda) => Ok(f64::from(cuda.time(work)?) / 1e3),
        }
    }

    /// Records the launches of `work` instead of running them, to be run as often as wanted by [`Graph::run`] at the cost of one
    /// launch (a CUDA graph). Every run reads and writes the same memory: tensors made before keep their places, and those that
    /// `work` returns hold what the last run wrote. `work` must not move values between host and device.
    ///
    /// # Errors
    /// `work`'s own, or a device that cannot record: the CPU.
    pub fn capture<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(Graph, T)> {
        match &self.0.backend {
            Backend::Cuda(cuda) => {
                let (graph, done) = cuda.capture(work)?;
                Ok((Graph { device: self.clone(), graph }, done))
            }
            Backend::Cpu(_) | Backend::Plan(_) => Err(Error::Device(format!("{} cannot record launches", self.name()))),
        }
    }

    /// Runs `work` and gives its launches in order. None on the CPU.
    pub fn record_launches(&self, work: impl FnOnce() -> Result<()>) -> Result<Vec<Launch>> {
        let replace = |by| std::mem::replace(&mut *self.0.launches.lock().expect("no panic while holding it"), by);
        replace(Some(vec![]));
        let done = work();
        let launches = replace(None).unwrap_or_default();
        done.map(|()| launches)
    }

    /// Bytes of a GPU's memory that nobody holds; `None` of the CPU.
    pub fn free_memory(&self) -> Result<Option<usize>> {
        match &self.0.backend {
            Backend::Cpu(_) | Backend::Plan(_) => Ok(None),
            Backend::Cuda(cuda) => cuda.free_memory().map(Some),
        }
    }

    /// Bytes held by tensors of this device.
    pub fn memory(&self) -> MemoryUse {
        let [live, peak, kept] = [&self.0.live, &self.0.peak, &self.0.kept].map(|bytes| bytes.load(Ordering::Relaxed));
        MemoryUse { live, peak, kept }
    }

    /// Says that a backward pass begins: see [`MemoryUse::kept`].
    pub(crate) fn begin_backward(&self) {
        self.0.kept.fetch_max(self.0.live.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Starts a new measurement of [`MemoryUse::peak`] and [`MemoryUse::kept`].
    pub fn reset_peak_memory(&self) {
        self.0.kept.store(0, Ordering::Relaxed);
        self.0.peak.store(self.0.live.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Runs `kernel` over the tensors it reads and writes.
    ///
    /// # Errors
    /// A tensor of another device or dtype, one that is written while something else still
    /// refers to it, a kernel that does not exist on this device, or the device's own failure.
    pub fn launch<P: Pod + fmt::Debug, const R: usize, const W: usize>(
        &self,
        kernel: &Kernel<P, R, W>,
        params: P,
        reads: [&Tensor; R],
        mut writes: [&mut Tensor; W],
    ) -> Result<()> {
        let fail = |message: String| Error::Launch { kernel: kernel.name.to_string(), message };
        for (tensor, name) in reads.iter().zip(kernel.reads) {
            if !tensor.device().same(self) {
                return Err(fail(format!("'{name}' lives on {}", tensor.device().name())));
            }
        }
        for (tensor, name) in writes.iter_mut().zip(kernel.writes) {
            if !tensor.device().same(self) {
                return Err(fail(format!("'{name}' lives on {}", tensor.device().name())));
            }
            if tensor.storage_mut().is_none() {
                return Err(fail(format!("'{name}' is written while another tensor shares its memory")));
            }
        }
        match &self.0.backend {
            Backend::Cpu(_) => {
                let all = reads.iter().copied().zip(kernel.reads);
                for (tensor, name) in all.chain(writes.iter().map(|t| &**t).zip(kernel.writes)) {
                    if tensor.dtype() == DType::Bf16 {
                        return Err(fail(format!("'{name}' is bf16, and the CPU computes in f32: convert it first")));
                    }
                }
                let writes = writes.map(|tensor| tensor.cpu_words_mut());
                (kernel.cpu)(&params, reads.map(Tensor::cpu_words), writes);
                Ok(())
            }
            Backend::Cuda(_) | Backend::Plan(_) => {
                let Some(CudaKernel { module, geometry, tf32, variant, updates }) = &kernel.cuda else {
                    return Err(fail("it has no CUDA kernel yet; use --device cpu".to_string()));
                };
                // Integers are integers in every entry.
                let dtypes = reads.iter().copied().filter(|t| !t.is_absent()).chain(writes.first().map(|t| &**t));
                let mut dtypes = dtypes.map(Tensor::dtype).filter(|&dtype| dtype != DType::U32);
                let math = match dtypes.next().unwrap_or(DType::F32) {
                    DType::Bf16 => Math::Bf16,
                    _ if *tf32 && self.0.tf32.load(Ordering::Relaxed) => Math::Tf32,
                    _ => Math::F32,
                };
                let geometry = geometry(&params, math);
                if geometry.grid.contains(&0) {
                    // Nothing to compute; the driver refuses empty grids.
                    return Ok(());
                }
                let entry = match variant(&params) {
                    None => format!("{}_{}", kernel.name, math.suffix()),
                    Some(variant) => format!("{}_{variant}_{}", kernel.name, math.suffix()),
                };
                if let Some(launches) = self.0.launches.lock().expect("no panic while holding it").as_mut() {
                    let written = writes.iter().zip(kernel.writes).map(|(t, name)| moved(t, updates.contains(&name)));
                    let bytes = reads.iter().map(|t| moved(t, false)).chain(written).sum();
                    launches.push(Launch { entry: entry.clone(), bytes });
                }
                match &self.0.backend {
                    Backend::Cuda(cuda) => cuda.launch(module, &entry, geometry, params, &reads, &mut writes),
                    _ => Ok(()),
                }
            }
        }
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Result<Storage> {
        let memory = match &self.0.backend {
            // An absent tensor's: nobody asks for its address.
            _ if bytes == 0 => Memory::None,
            Backend::Cpu(cpu) => Memory::Cpu(cpu.allocate(bytes.div_ceil(4))),
            Backend::Cuda(cuda) => Memory::Cuda(cuda.allocate(bytes)?),
            Backend::Plan(_) => Memory::None,
        };
        let live = self.0.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.0.peak.fetch_max(live, Ordering::Relaxed);
        Ok(Storage { device: self.clone(), bytes, memory })
    }

    pub(crate) fn upload(&self, words: &[u8], storage: &mut Storage) -> Result<()> {
        match (&self.0.backend, &mut storage.memory) {
            (Backend::Cuda(cuda), Memory::Cuda(slice)) => cuda.upload(words, slice),
            (_, Memory::None) => Ok(()),
            (_, Memory::Cpu(memory)) => {
                bytemuck::cast_slice_mut::<f32, u8>(memory)[..words.len()].copy_from_slice(words);
                Ok(())
            }
            _ => unreachable!("storage lives on the device that made it"),
        }
    }

    /// Copies the memory of `from`, which has the size of `to`, on the device.
    pub(crate) fn copy(&self, from: &Storage, to: &mut Storage) -> Result<()> {
        match (&self.0.backend, &from.memory, &mut to.memory) {
            (Backend::Cuda(cuda), Memory::Cuda(from), Memory::Cuda(to)) => cuda.copy(from, to),
            (_, Memory::Cpu(from), Memory::Cpu(to)) => {
                let words = from.len().min(to.len());
                to[..words].copy_from_slice(&from[..words]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn download(&self, storage: &Storage, words: &mut [u8]) -> Result<()> {
        match (&self.0.backend, &storage.memory) {
            (Backend::Cuda(cuda), Memory::Cuda(slice)) => cuda.download(slice, words),
            (_, Memory::None) => {
                words.fill(0);
                Ok(())
            }
            (_, Memory::Cpu(memory)) => {
                words.copy_from_slice(&bytemuck::cast_slice::<f32, u8>(memory)[..words.len()]);
                Ok(())
            }
            _ => unreachable!("storage lives on the device that made it"),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.name())
    }
}

/// A block of device memory; freed (on the CPU: pooled) when dropped.
pub(crate) struct Storage {
    device: Device,
    bytes: usize,
    memory: Memory,
}

enum Memory {
    Cpu(Vec<f32>),
    Cuda(cuda::Slice),
    /// Counted only: nothing, or a plan's.
    None,
}

impl Storage {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn cpu_words(&self) -> &[f32] {
        match &self.memory {
            Memory::Cpu(words) => &words[..self.bytes.div_ceil(4)],
            Memory::Cuda(_) | Memory::None => &[],
        }
    }

    pub(crate) fn cpu_words_mut(&mut self) -> &mut [f32] {
        match &mut self.memory {
            Memory::Cpu(words) => &mut words[..self.bytes.div_ceil(4)],
            Memory::Cuda(_) | Memory::None => &mut [],
        }
    }

    pub(crate) fn cuda(&self) -> Option<&cuda::Slice> {
        match &self.memory {
            Memory::Cuda(slice) => Some(slice),
            Memory::Cpu(_) | Memory::None => None,
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.device.0.live.fetch_sub(self.bytes, Ordering::Relaxed);
        if let (Backend::Cpu(cpu), Memory::Cpu(words)) = (&self.device.0.backend, &mut self.memory) {
            cpu.free(std::mem::take(words));
        }
    }
}
