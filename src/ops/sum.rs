//! Sums over whole tensors on a GPU, in two passes: every block leaves its part, and one block adds them up. The CPU makes such sums in
//! one pass, of one part.

use super::Case;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const PARTS: Kernel<params::SumParts, 1, 1> = Kernel {
    name: "sum_parts",
    reads: ["parts"],
    writes: ["sum"],
    cpu: parts_cpu,
    cuda: Some(CudaKernel::new("sum", |_, _| Geometry::blocks(1))),
};

/// The most blocks that share a sum: several for every multiprocessor, and few for the block that adds their parts.
const MAX_PARTS: usize = 1024;

/// Parts of a sum over the elements of `x`, whose blocks may take several chunks per thread.
pub(super) fn parts(x: &Tensor) -> usize {
    parts_of_chunks(x).min(MAX_PARTS)
}

/// Parts of a sum over the elements of `x`, whose threads take one chunk of 16 bytes each.
pub(super) fn parts_of_chunks(x: &Tensor) -> usize {
    let math = if x.dtype() == DType::Bf16 { Math::Bf16 } else { Math::F32 };
    if x.device().is_cpu() { 1 } else { Geometry::elementwise(x.numel() as u32, math).grid[0] as usize }
}

/// The sum of `parts` (f32), shape (1).
pub(super) fn of_parts(parts: Tensor) -> Result<Tensor> {
    if parts.numel() == 1 {
        return Ok(parts);
    }
    let mut sum = Tensor::uninit(parts.device(), &[1], DType::F32)?;
    let p = params::SumParts { count: parts.numel() as u32, ..Default::default() };
    parts.device().launch(&PARTS, p, [&parts], [&mut sum])?;
    Ok(sum)
}

fn parts_cpu(_: &params::SumParts, [parts]: [&[f32]; 1], [sum]: [&mut [f32]; 1]) {
    sum[0] = parts.iter().map(|&part| f64::from(part)).sum::<f64>() as f32;
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![PARTS.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
