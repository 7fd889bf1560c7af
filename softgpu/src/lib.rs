//! A software GPU: the CUDA driver for machines without one. It executes the PTX that compilers made, checks what kernels do, and counts
//! what they cost.
//!
//! As a shared library it is `libcuda.so.1` ([`driver`]): programs that use the driver's interface run unchanged. As a Rust library, a
//! kernel runs without any driver: [`exec::program::LoadedModule::load`] and [`exec::launch::launch`].

pub mod check;
pub mod counters;
pub mod driver;
pub mod exec;
pub mod fatbin;
pub mod gpu;
pub mod isa;
pub mod memory;
pub mod options;
pub mod ptx;
