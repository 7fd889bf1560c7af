//! The CUDA kernels inside this binary: one fatbin per `.cu`, and what ptxas said of each kernel.
//!
//! The tables are written by build.rs. Where it found no nvcc they are empty, and [`NVCC_VERSION`] is `None`.

use serde::Serialize;

use crate::device::KernelInfo;
use crate::ops::REGISTRY;
use crate::random;

/// Every kernel of the engine, once each.
pub fn registered() -> Vec<KernelInfo> {
    let mut kernels: Vec<KernelInfo> = vec![];
    for kernel in REGISTRY.iter().flat_map(|op| (op.kernels)()).chain(random::kernels()) {
        if kernels.iter().all(|known| known.name != kernel.name) {
            kernels.push(kernel);
        }
    }
    kernels
}

/// A module for the CUDA driver to load: machine code for several architectures, and PTX for those to come.
pub struct Fatbin {
    /// The stem of its source, `kernels/<module>.cu`.
    pub module: &'static str,
    /// The image; aligned to 16 bytes.
    pub image: &'static [u8],
}

/// What one kernel occupies on one architecture.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct KernelResources {
    /// The entry point: `<kernel>_<dtype>`, or `<kernel>_<variant>_<dtype>`.
    pub kernel: &'static str,
    /// The fatbin that holds it.
    pub module: &'static str,
    /// For example `sm_90a`.
    pub arch: &'static str,
    /// Per thread.
    pub registers: u32,
    /// Static shared memory per block.
    pub shared_bytes: u32,
    /// Registers written to local memory, per thread: 0, or the build had failed.
    pub spill_store_bytes: u32,
    /// Registers read back from local memory, per thread: 0, or the build had failed.
    pub spill_load_bytes: u32,
    /// Stack in local memory, per thread: 0, or the build had failed.
    pub stack_bytes: u32,
}

/// Fatbin images must be aligned; `include_bytes!` promises nothing.
#[cfg_attr(not(vf_cuda_kernels), expect(dead_code, reason = "there are no images to align"))]
#[repr(align(16))]
struct Aligned<T: ?Sized>(T);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
