//! One value throughout a tensor, written where the tensor lives.

use rayon::prelude::*;

use super::Case;
use crate::device::{CudaKernel, Device, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const FILL: Kernel<params::Fill, 0, 1> = Kernel {
    name: "fill",
    reads: [],
    writes: ["y"],
    cpu: fill_cpu,
    cuda: Some(CudaKernel::new("fill", |p, math| Geometry::elementwise(p.count, math))),
};

/// A tensor of `value` throughout.
pub fn full(device: &Device, shape: &[usize], dtype: DType, value: f32) -> Result<Tensor> {
    let mut y = Tensor::uninit(device, shape, dtype)?;
    let p = params::Fill { value, count: y.numel() as u32, ..Default::default() };
    device.launch(&FILL, p, [], [&mut y])?;
    Ok(y)
}

fn fill_cpu(p: &params::Fill, []: [&[f32]; 0], [y]: [&mut [f32]; 1]) {
    y.par_chunks_mut(1 << 16).for_each(|y| y.fill(p.value));
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FILL.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
