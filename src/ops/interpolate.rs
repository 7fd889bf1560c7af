//! A point of the path between noise x0 and data x1 and the path's velocity there: xt = α·x1 + σ·x0, ut = α′·x1 + σ′·x0 with
//! (α, σ, α′, σ′) of every sample's own time ("Stochastic interpolants", Albergo et al., 2023).

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads, rows};
use crate::device::cpu::rows::chunks_mut;
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// x0, x1 (B, ..), coefficients (B, 4), which are f32 and constants → (xt, ut), both as x1.
#[derive(Debug, Clone, Copy)]
pub struct Interpolate;

const FWD: Kernel<params::InterpolateFwd, 3, 2> = Kernel {
    name: "interpolate_fwd",
    reads: ["x0", "x1", "coefficients"],
    writes: ["xt", "ut"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("interpolate", |p, math| rows::long(p.batch, p.count, rows::width(p.count, math)))),
};

const BWD: Kernel<params::InterpolateBwd, 3, 2> = Kernel {
    name: "interpolate_bwd",
    reads: ["dxt", "dut", "coefficients"],
    writes: ["dx0", "dx1"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("interpolate", |p, math| rows::long(p.batch, p.count, rows::width(p.count, math)))),
};

impl Op<3, 2> for Interpolate {
    const NAME: &'static str = "interpolate";
    /// x1 and the coefficients.
    type Saved = [Tensor; 2];

    fn forward(&self, [x0, x1, coefficients]: [&Tensor; 3]) -> Result<([Tensor; 2], Self::Saved)> {
        check::matrix(Self::NAME, "x1", x1)?;
        check::shape(Self::NAME, "x0", x0, x1.shape())?;
        let batch = x1.shape()[0];
        check::shape(Self::NAME, "coefficients", coefficients, &[batch, 4])?;
        check::dtype(Self::NAME, "x0", x0, x1.dtype())?;
        check::dtype(Self::NAME, "coefficients", coefficients, DType::F32)?;
        let (mut xt, mut ut) = (x1.uninit_like()?, x1.uninit_like()?);
        let p =
            params::InterpolateFwd { batch: batch as u32, count: (x1.numel() / batch) as u32, ..Default::default() };
        x1.device().launch(&FWD, p, [x0, x1, coefficients], [&mut xt, &mut ut])?;
        Ok(([xt, ut], [x1.clone(), coefficients.clone()]))
    }

    fn backward(
        &self,
        [x1, coefficients]: &Self::Saved,
        [dxt, dut]: [Option<&Tensor>; 2],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let batch = x1.shape()[0];
        let p =
            params::InterpolateBwd { batch: batch as u32, count: (x1.numel() / batch) as u32, ..Default::default() };
        let absent = Tensor::absent(x1.device())?;
        let wanted = [needs[0], needs[1]];
        let mut gradients = grads::allocate([x1, x1], wanted)?;
        let reads = [dxt.unwrap_or(&absent), dut.unwrap_or(&absent), coefficients];
        x1.device().launch(&BWD, p, reads, gradients.each_mut())?;
        let [dx0, dx1] = grads::asked(gradients, wanted);
        Ok([dx0, dx1, None])
    }
}

fn fwd_cpu(p: &params::InterpolateFwd, [x0, x1, coefficients]: [&[f32]; 3], [xt, ut]: [&mut [f32]; 2]) {
    let count = p.count as usize;
    let inputs = x0.par_chunks(count).zip(x1.par_chunks(count)).zip(coefficients.par_chunks(4));
    xt.par_chunks_mut(count).zip(ut.par_chunks_mut(count)).zip(inputs).for_each(|((xt, ut), ((x0, x1), c))| {
        combine(Some(xt), [(c[0], x1), (c[1], x0)]);
        combine(Some(ut), [(c[2], x1), (c[3], x0)]);
    });
}

fn bwd_cpu(p: &params::InterpolateBwd, [dxt, dut, coefficients]: [&[f32]; 3], [dx0, dx1]: [&mut [f32]; 2]) {
    let (count, batch) = (p.count as usize, p.batch as usize);
    let outputs = chunks_mut(dx0, count, batch).into_iter().zip(chunks_mut(dx1, count, batch));
    let work: Vec<_> = outputs.zip(coefficients.chunks_exact(4)).enumerate().collect();
    work.into_par_iter().for_each(|(b, ((dx0, dx1), c))| {
        let of = |x| slice(x, b, count);
        combine(Some(dx0).filter(|dx| !dx.is_empty()), [(c[1], of(dxt)), (c[3], of(dut))]);
        combine(Some(dx1).filter(|dx| !dx.is_empty()), [(c[0], of(dxt)), (c[2], of(dut))]);
    });
}

/// A sample of an optional tensor.
fn slice(x: &[f32], sample: usize, count: usize) -> &[f32] {
    if x.is_empty() { x } else { &x[sample * count..][..count] }
}

/// y = Σ factor·x over the tensors that are there.
fn combine(y: Option<&mut [f32]>, terms: [(f32, &[f32]); 2]) {
    let Some(y) = y else { return };
    match terms.map(|(factor, x)| (factor, (!x.is_empty()).then_some(x))) {
        [(f, Some(a)), (g, Some(b))] => y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f * a + g * b),
        [(f, Some(x)), _] | [_, (f, Some(x))] => y.iter_mut().zip(x).for_each(|(y, x)| *y = f * x),
        _ => y.fill(0.0),
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], bench: bool) -> Case {
    let count = shape.iter().product::<usize>() as u64;
    Case {
        op: "interpolate",
        label,
        inputs: vec![
            Input::normal("x0", shape),
            Input::normal("x1", shape),
            Input::normal("coefficients", &[shape[0], 4]).f32().constant(),
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Interpolate, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 6 * count,
        bytes: 16 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[3, 5, 7], false),
        case("one number a sample", &[4, 1], false),
        case("several blocks a sample, one gradient", &[2, 16, 19, 32], false).constant(0),
        case("the other gradient", &[3, 5, 12], false).constant(1),
        case("latents of f16d32", &[2, 16, 16, 32], false),
        case("latents of f16d32, a batch", &[64, 16, 16, 32], true),
    ]
}
