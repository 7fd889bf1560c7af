//! The L1 loss of a reconstruction: Σ|x̂ − x| / B, summed over pixels and divided by the batch alone, as the
//! reference's `contperceptual.py` reduces it. Its gradient in x̂ is sign(x̂ − x)/B, zero where both agree.
//!
//! It ends a training step's forward with a weight that is known, so it runs outside of the tape: the gradient is made in the loss's pass.

use rayon::prelude::*;

use super::{Case, check, sum};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const LOSS: Kernel<params::L1Loss, 2, 2> = Kernel {
    name: "l1_loss",
    reads: ["x_hat", "x"],
    writes: ["loss", "dx_hat"],
    cpu: loss_cpu,
    cuda: Some(CudaKernel::new("l1", |p, _| Geometry::blocks(p.parts))),
};

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;
/// Independent partial sums within a task, so that the loop vectorises.
const LANES: usize = 16;

/// The loss Σ|x̂ − x| / B (1) of a reconstruction and its target, both (B, ..), and the gradient of `weight` times it in x̂.
///
/// # Errors
/// When the shapes differ.
pub fn l1_loss(x_hat: &Tensor, x: &Tensor, weight: f32) -> Result<(Tensor, Tensor)> {
    check::matrix("l1_loss", "x", x)?;
    check::shape("l1_loss", "x_hat", x_hat, x.shape())?;
    check::dtype("l1_loss", "x", x, x_hat.dtype())?;
    let parts = sum::parts(x);
    let mut loss = Tensor::uninit(x.device(), &[parts], DType::F32)?;
    let mut dx_hat = x_hat.uninit_like()?;
    let (count, batch, parts) = (x.numel() as u32, x.shape()[0] as u32, parts as u32);
    x.device().launch(
        &LOSS,
        params::L1Loss { count, batch, parts, weight, ..Default::default() },
        [x_hat, x],
        [&mut loss, &mut dx_hat],
    )?;
    Ok((sum::of_parts(loss)?, dx_hat))
}

fn loss_cpu(p: &params::L1Loss, [x_hat, x]: [&[f32]; 2], [loss, dx_hat]: [&mut [f32]; 2]) {
    let slope = p.weight / p.batch as f32;
    let inputs = x_hat.par_chunks(GRAIN).zip(x.par_chunks(GRAIN));
    let of_task = |(dx_hat, (x_hat, x)): (&mut [f32], (&[f32], &[f32]))| {
        let mut lanes = [0f32; LANES];
        let inputs = x_hat.chunks(LANES).zip(x.chunks(LANES));
        for (dx_hat, (x_hat, x)) in dx_hat.chunks_mut(LANES).zip(inputs) {
            for (((lane, dx_hat), x_hat), x) in lanes.iter_mut().zip(dx_hat).zip(x_hat).zip(x) {
                let d = x_hat - x;
                *lane += d.abs();
                // `signum` is ±1 at ±0, where the loss has a kink and the reference takes 0.
                *dx_hat = if d == 0.0 { 0.0 } else { slope * d.signum() };
            }
        }
        lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>()
    };
    let partial: Vec<f64> = dx_hat.par_chunks_mut(GRAIN).zip(inputs).map(of_task).collect();
    loss[0] = (partial.iter().sum::<f64>() / f64::from(p.batch)) as f32;
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![LOSS.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
