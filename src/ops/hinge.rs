//! The discriminator's hinge loss ½(mean relu(1 − D(x)) + mean relu(1 + D(x̂))) (Lim and Ye, "Geometric GAN", 2017).

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values, check, grads, sum};
use crate::device::cpu::reduce;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Logits of real and of reconstructed images, each of any shape → (1).
#[derive(Debug, Clone, Copy)]
pub struct HingeLoss;

const FWD: Kernel<params::HingeFwd, 2, 1> = Kernel {
    name: "hinge_fwd",
    reads: ["real", "fake"],
    writes: ["loss"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("hinge", |p, math| geometry(p.real_count, p.fake_count, math))),
};

const BWD: Kernel<params::HingeBwd, 3, 2> = Kernel {
    name: "hinge_bwd",
    reads: ["real", "fake", "dloss"],
    writes: ["dreal", "dfake"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("hinge", |p, math| geometry(p.real_count, p.fake_count, math))),
};

/// Blocks for the real logits, and behind them for the others.
fn geometry(real_count: u32, fake_count: u32, math: Math) -> Geometry {
    let blocks = |count| Geometry::elementwise(count, math).grid[0];
    Geometry::blocks(blocks(real_count) + blocks(fake_count))
}

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

impl Op<2> for HingeLoss {
    const NAME: &'static str = "hinge";
    type Saved = [Tensor; 2];

    fn forward(&self, [real, fake]: [&Tensor; 2]) -> Result<([Tensor; 1], [Tensor; 2])> {
        check::matrix(Self::NAME, "real", real)?;
        check::matrix(Self::NAME, "fake", fake)?;
        check::dtype(Self::NAME, "fake", fake, real.dtype())?;
        let (real_count, fake_count) = (real.numel() as u32, fake.numel() as u32);
        let parts = if real.device().is_cpu() { 1 } else { sum::parts_of_chunks(real) + sum::parts_of_chunks(fake) };
        let mut loss = Tensor::uninit(real.device(), &[parts], DType::F32)?;
        let p = params::HingeFwd { real_count, fake_count, ..Default::default() };
        real.device().launch(&FWD, p, [real, fake], [&mut loss])?;
        Ok(([sum::of_parts(loss)?], [real.clone(), fake.clone()]))
    }

    fn backward(
        &self,
        [real, fake]: &[Tensor; 2],
        dloss: [Option<&Tensor>; 1],
        needs: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let [mut dreal, mut dfake] = grads::allocate([real, fake], needs)?;
        let p =
            params::HingeBwd { real_count: real.numel() as u32, fake_count: fake.numel() as u32, ..Default::default() };
        real.device().launch(&BWD, p, [real, fake, only(dloss)], [&mut dreal, &mut dfake])?;
        Ok(grads::asked([dreal, dfake], needs))
    }
}

fn fwd_cpu(_: &params::HingeFwd, [real, fake]: [&[f32]; 2], [loss]: [&mut [f32]; 1]) {
    let mean = |logits: &[f32], sign: f32| reduce::sum(logits, |v| relu(1.0 + sign * v)) / logits.len() as f64;
    loss[0] = (0.5 * (mean(real, -1.0) + mean(fake, 1.0))) as f32;
}

/// max(v, 0) that keeps NaN.
fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

fn bwd_cpu(_: &params::HingeBwd, [real, fake, dloss]: [&[f32]; 3], [dreal, dfake]: [&mut [f32]; 2]) {
    let slope = |grad: &mut [f32], logits: &[f32], sign: f32| {
        let slope = sign * 0.5 * dloss[0] / logits.len() as f32;
        grad.par_chunks_mut(GRAIN).zip(logits.par_chunks(GRAIN)).for_each(|(grad, logits)| {
            for (grad, v) in grad.iter_mut().zip(logits) {
                *grad = if 1.0 + sign * v > 0.0 { slope } else { 0.0 };
            }
        });
    };
    slope(dreal, real, -1.0);
    slope(dfake, fake, 1.0);
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label, real: &[usize], fake: &[usize], values: Values, bench| {
        let count = (real.iter().product::<usize>() + fake.iter().product::<usize>()) as u64;
        Case {
            op: "hinge_d",
            label,
            inputs: vec![Input::normal("real", real).values(values), Input::normal("fake", fake).values(values)],
            settings: vec![],
            run: Box::new(|tape, x| Ok(tape.apply(HingeLoss, [&x[0], &x[1]])?.into())),
            tolerance: Tolerance::REDUCTION,
            flops: 3 * count,
            bytes: 4 * count,
            bench,
        }
    };
    let normal = Values::Normal(0.0, 1.0);
    vec![
        // Of so few none rounds to ±1, where there is no derivative.
        case("different counts", &[2, 5, 7, 1], &[3, 2, 4, 1], normal, false),
        case("several blocks", &[1, 47, 53, 1], &[2, 33, 61, 1], Values::Uniform(-0.9, 0.9), false),
        case("a batch of 256×256 images", &[8, 30, 30, 1], &[8, 30, 30, 1], normal, true),
    ]
}
