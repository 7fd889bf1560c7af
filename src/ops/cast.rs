//! Between f32 and bf16 where the tensor lives. The CPU computes in f32 and converts on the host ([`Tensor::to_dtype`]).

use super::Case;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const CAST: Kernel<params::Cast, 1, 1> = Kernel {
    name: "cast",
    reads: ["x"],
    writes: ["y"],
    cpu: |_, _, _| unreachable!("a launch on the CPU takes no bf16"),
    cuda: Some(CudaKernel::new("cast", |p, _| {
        Geometry::blocks(p.count.div_ceil(4 * params::CAST_FOURS * params::ELEMENTWISE_THREADS))
    })),
};

/// `x` (f32 or bf16) in the other of the two dtypes, rounded to nearest even.
pub(crate) fn cast(x: &Tensor) -> Result<Tensor> {
    let other = if x.dtype() == DType::F32 { DType::Bf16 } else { DType::F32 };
    let mut y = Tensor::uninit(x.device(), x.shape(), other)?;
    let p = params::Cast { count: x.numel() as u32, ..Default::default() };
    x.device().launch(&CAST, p, [x], [&mut y])?;
    Ok(y)
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![CAST.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
