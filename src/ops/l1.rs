//! The L1 loss of a reconstruction: Σ|x̂ − x| / B, summed over pixels and divided by the batch alone, as the
//! reference's `contperceptual.py` reduces it. Its gradient in x̂ is sign(x̂ − x)/B, zero where both agree.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads, sum};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Σ|x̂ − x| / B: reconstruction and target, both (B, ..) → (1).
#[derive(Debug, Clone, Copy)]
pub struct L1Loss;

const FWD: Kernel<params::L1Fwd, 2, 1> =
    Kernel { name: "l1_fwd", reads: ["x_hat", "x"], writes: ["loss"], cpu: fwd_cpu, cuda: cuda(|p, _| Geometry::blocks(p.parts)) };

const BWD: Kernel<params::L1Bwd, 3, 2> =
    Kernel { name: "l1_bwd", reads: ["x_hat", "x", "dloss"], writes: ["dx_hat", "dx"], cpu: bwd_cpu, cuda: cuda(|p, math| Geometry::elementwise(p.count, math)) };

const fn cuda<P>(geometry: fn(&P, Math) -> Geometry) -> Option<CudaKernel<P>> {
    Some(CudaKernel::new("l1", geometry))
}

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;
/// Independent partial sums within a task, so that the loop vectorises.
const LANES: usize = 16;

impl Op<2> for L1Loss {
    const NAME: &'static str = "l1";
    type Saved = [Tensor; 2];

    fn forward(&self, [x_hat, x]: [&Tensor; 2]) -> Result<([Tensor; 1], [Tensor; 2])> {
        check::matrix(Self::NAME, "x", x)?;
        check::shape(Self::NAME, "x_hat", x_hat, x.shape())?;
        let parts = sum::parts(x);
        let mut loss = Tensor::uninit(x.device(), &[parts], DType::F32)?;
        let (count, batch, parts) = (x.numel() as u32, x.shape()[0] as u32, parts as u32);
        let p = params::L1Fwd { count, batch, parts, ..Default::default() };
        x.device().launch(&FWD, p, [x_hat, x], [&mut loss])?;
        Ok(([sum::of_parts(loss)?], [x_hat.clone(), x.clone()]))
    }

    fn backward(
        &self,
        [x_hat, x]: &[Tensor; 2],
        dloss: [Option<&Tensor>; 1],
        needs: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let [mut dx_hat, mut dx] = grads::allocate([x_hat, x], needs)?;
        let p = params::L1Bwd { count: x.numel() as u32, batch: x.shape()[0] as u32, ..Default::default() };
        x.device().launch(&BWD, p, [x_hat, x, only(dloss)], [&mut dx_hat, &mut dx])?;
        Ok(grads::asked([dx_hat, dx], needs))
    }
}

fn fwd_cpu(p: &params::L1Fwd, [x_hat, x]: [&[f32]; 2], [loss]: [&mut [f32]; 1]) {
    let partial: Vec<f64> = x_hat
        .par_chunks(GRAIN)
        .zip(x.par_chunks(GRAIN))
        .map(|(a, b)| {
            let mut lanes = [0f32; LANES];
            let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
            let tail = a_blocks.remainder().iter().zip(b_blocks.remainder());
            let tail: f64 = tail.map(|(a, b)| f64::from((a - b).abs())).sum();
            for (a, b) in a_blocks.zip(b_blocks) {
                for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                    *lane += (a - b).abs();
                }
            }
            tail + lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>()
        })
        .collect();
    loss[0] = (partial.iter().sum::<f64>() / f64::from(p.batch)) as f32;
}

fn bwd_cpu(p: &params::L1Bwd, [x_hat, x, dloss]: [&[f32]; 3], [dx_hat, dx]: [&mut [f32]; 2]) {
    let scale = dloss[0] / p.batch as f32;
    fill(dx_hat, x_hat, x, scale);
    fill(dx, x_hat, x, -scale);
}

/// grad = sign(a − b)·scale; nothing where `grad` is absent.
fn fill(grad: &mut [f32], a: &[f32], b: &[f32], scale: f32) {
    let inputs = a.par_chunks(GRAIN).zip(b.par_chunks(GRAIN));
    grad.par_chunks_mut(GRAIN).zip(inputs).for_each(|(grad, (a, b))| {
        for ((grad, &a), &b) in grad.iter_mut().zip(a).zip(b) {
            let difference = a - b;
            // `signum` is ±1 at ±0, where the loss has a kink and the reference takes 0.
            *grad = if difference == 0.0 { 0.0 } else { scale * difference.signum() };
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    [(vec![3, 5, 7, 3], false), (vec![2, 31, 33, 17], false), (vec![2, 128, 128, 3], true)]
        .into_iter()
        .map(|(shape, bench)| {
            let count = shape.iter().product::<usize>() as u64;
            Case {
                op: "l1",
                label: if bench { "preset small" } else { "odd shapes" },
                inputs: vec![Input::normal("x_hat", &shape), Input::normal("x", &shape)],
                settings: vec![],
                run: Box::new(|tape, x| Ok(tape.apply(L1Loss, [&x[0], &x[1]])?.into())),
                tolerance: Tolerance::REDUCTION,
                flops: 2 * count,
                bytes: 8 * count,
                bench,
            }
        })
        .collect()
}
