//! y = a + b, and the accumulation of gradients.

use rayon::prelude::*;

use super::{Case, Input, Tolerance};
use crate::device::cpu::rows::add;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// The sum of two tensors of one shape: (any shape) ×2 → the same shape.
pub struct Add;

const FWD: Kernel<params::AddFwd, 2, 1> = Kernel {
    name: "add_fwd",
    reads: ["a", "b"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(cuda(|p, math| Geometry::elementwise(p.count, math))),
};

const INTO: Kernel<params::AddInto, 1, 1> = Kernel {
    name: "add_into",
    reads: ["x"],
    writes: ["sum"],
    cpu: into_cpu,
    cuda: Some(cuda(|p: &params::AddInto, math| Geometry::elementwise(p.count, math)).updating(&["sum"])),
};

const fn cuda<P>(geometry: fn(&P, Math) -> Geometry) -> CudaKernel<P> {
    CudaKernel::new("add", geometry)
}

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

impl Op<2> for Add {
    const NAME: &'static str = "add";
    type Saved = ();

    fn forward(&self, [a, b]: [&Tensor; 2]) -> Result<([Tensor; 1], ())> {
        if a.shape() != b.shape() {
            return Err(Error::shape(Self::NAME, format!("{:?} and {:?} differ", a.shape(), b.shape())));
        }
        Ok(([sum(a, b)?], ()))
    }

    fn backward(&self, (): &(), grads: [Option<&Tensor>; 1], needs: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok(needs.map(|need| need.then(|| only(grads).clone())))
    }
}

fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut y = a.uninit_like()?;
    let p = params::AddFwd { count: a.numel() as u32, ..Default::default() };
    a.device().launch(&FWD, p, [a, b], [&mut y])?;
    Ok(y)
}

/// `sum + x`, in place where nothing else refers to `sum`.
///
/// # Errors
/// When the two have different numbers of elements.
pub fn add_into(mut sum_so_far: Tensor, x: &Tensor) -> Result<Tensor> {
    if sum_so_far.numel() != x.numel() {
        return Err(Error::shape("add_into", format!("{:?} and {:?} differ", sum_so_far.shape(), x.shape())));
    }
    if !sum_so_far.is_unique() {
        return sum(&sum_so_far, x);
    }
    let p = params::AddInto { count: x.numel() as u32, ..Default::default() };
    x.device().launch(&INTO, p, [x], [&mut sum_so_far])?;
    Ok(sum_so_far)
}

fn fwd_cpu(_: &params::AddFwd, [a, b]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let inputs = a.par_chunks(GRAIN).zip(b.par_chunks(GRAIN));
    y.par_chunks_mut(GRAIN).zip(inputs).for_each(|(y, (a, b))| {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    });
}

fn into_cpu(_: &params::AddInto, [x]: [&[f32]; 1], [sum]: [&mut [f32]; 1]) {
    add(sum, x);
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), INTO.info()]
}

pub(super) fn cases() -> Vec<Case> {
    [(vec![2, 3, 5], false), (vec![3, 17, 129], false), (vec![1, 64, 64, 256], true)]
        .into_iter()
        .map(|(shape, bench)| {
            let count = shape.iter().product::<usize>() as u64;
            Case {
                op: "add",
                label: if bench { "f16d32, level 2" } else { "odd shapes" },
                inputs: vec![Input::normal("a", &shape), Input::normal("b", &shape)],
                settings: vec![],
                run: Box::new(|tape, x| Ok(tape.apply(Add, [&x[0], &x[1]])?.into())),
                tolerance: Tolerance::ELEMENTWISE,
                flops: count,
                bytes: 12 * count,
                bench,
            }
        })
        .collect()
}
