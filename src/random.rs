//! Random tensors from Philox4x32-10: the same seed gives the same numbers on every device.
//!
//! A number is a pure function of (seed, stream, position), so nothing has to be saved to go on: a
//! stream is named by what it is for, and by how many came before.

use crate::device::{CudaKernel, Device, Geometry, Kernel, KernelInfo, Math, philox};
use crate::dtype::DType;
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const NORMAL: Kernel<params::RandomNormal, 0, 1> = Kernel {
    name: "random_normal",
    reads: [],
    writes: ["y"],
    cpu: normal_cpu,
    cuda: Some(CudaKernel::new("random", |p, math| geometry(p.count, math))),
};

const UNIFORM: Kernel<params::RandomUniform, 0, 1> = Kernel {
    name: "random_uniform",
    reads: [],
    writes: ["y"],
    cpu: uniform_cpu,
    cuda: Some(CudaKernel::new("random", |p, math| geometry(p.count, math))),
};

/// A thread takes 16 bytes.
fn geometry(count: u32, math: Math) -> Geometry {
    let blocks = count.div_ceil(math.lanes() * params::RANDOM_THREADS);
    Geometry { grid: [blocks, 1, 1], block: [params::RANDOM_THREADS, 1, 1], shared_bytes: 0 }
}

/// The stream called `name`: its FNV-1a-64 hash.
pub fn stream(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Standard normal values.
pub fn normal(device: &Device, shape: &[usize], seed: u64, stream: u64) -> Result<Tensor> {
    let mut y = Tensor::uninit(device, shape, DType::F32)?;
    let (seed, stream) = (halves(seed), halves(stream));
    let p = params::RandomNormal { seed, stream, count: y.numel() as u32, ..Default::default() };
    device.launch(&NORMAL, p, [], [&mut y])?;
    Ok(y)
}

/// Values uniform in [low, high).
pub fn uniform(device: &Device, shape: &[usize], seed: u64, stream: u64, low: f32, high: f32) -> Result<Tensor> {
    let mut y = Tensor::uninit(device, shape, DType::F32)?;
    let (seed, stream) = (halves(seed), halves(stream));
    let p = params::RandomUniform { seed, stream, low, high, count: y.numel() as u32, ..Default::default() };
    device.launch(&UNIFORM, p, [], [&mut y])?;
    Ok(y)
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn normal_cpu(p: &params::RandomNormal, []: [&[f32]; 0], [y]: [&mut [f32]; 1]) {
    philox::normal(whole(p.seed), whole(p.stream), y);
}

fn uniform_cpu(p: &params::RandomUniform, []: [&[f32]; 0], [y]: [&mut [f32]; 1]) {
    philox::uniform(whole(p.seed), whole(p.stream), y);
    y.iter_mut().for_each(|v| *v = p.low + (p.high - p.low) * *v);
}

/// This module's kernels.
pub fn kernels() -> Vec<KernelInfo> {
    vec![NORMAL.info(), UNIFORM.info()]
}
