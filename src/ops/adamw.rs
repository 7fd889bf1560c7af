//! Adam and AdamW with the moving average of the parameters and their bf16 copies in one pass over all parameters, and the norm of
//! all gradients in another. Neither needs the host: the number of updates, the norm and what follows from them stay on the device.

use rayon::prelude::*;

use super::Case;
use crate::device::cpu::reduce;
use crate::device::{CudaKernel, Device, Geometry, Group, Kernel, KernelInfo, ListKernel, Slices};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::params;
use crate::tensor::Tensor;

const NORM: ListKernel<params::AdamWNorm, 0, 1, 1, 0> = ListKernel {
    name: "adamw_norm",
    shared: [],
    totals: ["parts"],
    reads: ["grad"],
    writes: [],
    updates: &[],
    cpu: norm_cpu,
    module: "adamw",
    groups: params::ADAMW_LIST as usize,
    block_elements: params::ADAMW_BLOCK_ELEMENTS as usize,
};

const PREPARE: Kernel<params::AdamWPrepare, 2, 1> = Kernel {
    name: "adamw_prepare",
    reads: ["parts", "lr"],
    writes: ["state"],
    cpu: prepare_cpu,
    cuda: Some(CudaKernel::new("adamw", |_, _| Geometry::blocks(1)).updating(&["state"])),
};

const STEP: ListKernel<params::AdamW, 1, 0, 1, 5> = ListKernel {
    name: "adamw",
    shared: ["state"],
    totals: [],
    reads: ["grad"],
    writes: ["param", "exp_avg", "exp_avg_sq", "ema", "rounded"],
    updates: &["param", "exp_avg", "exp_avg_sq", "ema"],
    cpu: step_cpu,
    module: "adamw",
    groups: params::ADAMW_LIST as usize,
    block_elements: params::ADAMW_BLOCK_ELEMENTS as usize,
};

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

/// What does not change from one update to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Decay rates of the first and second moments.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay: decoupled (AdamW) or added to the gradient (Adam).
    pub weight_decay: f32,
    /// Whether the decay is decoupled.
    pub decoupled: bool,
    /// Decay of the moving average.
    pub ema_decay: f32,
    /// The largest norm of all gradients together; larger ones are scaled down to it.
    pub max_norm: Option<f32>,
}

/// One parameter's tensors, all of its shape.
pub struct AdamWGroup<'a> {
    /// The gradient, f32.
    pub grad: &'a Tensor,
    /// The parameter, f32.
    pub param: &'a mut Tensor,
    /// First moment.
    pub exp_avg: &'a mut Tensor,
    /// Second moment.
    pub exp_avg_sq: &'a mut Tensor,
    /// Moving average of the parameter, or absent.
    pub ema: &'a mut Tensor,
    /// The bf16 copy of the parameter, or absent.
    pub rounded: &'a mut Tensor,
}

/// What the optimizer counts on the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStatus {
    /// Updates done.
    pub updates: u64,
    /// Steps skipped because a gradient was not finite.
    pub skipped: u64,
    /// The norm of all gradients in the last step, before clipping.
    pub gradient_norm: f32,
}

/// The counters of a run that has done `updates`, as [`step`] keeps them.
pub fn state(device: &Device, updates: u64) -> Result<Tensor> {
    let mut state = [0.0; params::ADAMW_STATE as usize];
    state[params::ADAMW_UPDATES as usize] = updates as f32;
    Tensor::from_slice(device, &[state.len()], &state)
}

/// Reads the counters; waits for the device.
pub fn status(state: &Tensor) -> Result<AdamWStatus> {
    let state = state.to_vec()?;
    let at = |index: u32| state[index as usize];
    Ok(AdamWStatus {
        updates: at(params::ADAMW_UPDATES) as u64,
        skipped: at(params::ADAMW_SKIPPED) as u64,
        gradient_norm: at(params::ADAMW_NORM),
    })
}

/// The norm of all `grads` together; waits for the device.
pub fn gradient_norm(grads: &[&Tensor]) -> Result<f32> {
    if grads.is_empty() {
        return Ok(0.0);
    }
    let sums = sums_of_squares(grads)?.to_vec()?;
    Ok(sums.iter().map(|&sum| f64::from(sum)).sum::<f64>().sqrt() as f32)
}

/// What the squares of all elements of `grads`, one tensor or more, sum to, block by block.
fn sums_of_squares(grads: &[&Tensor]) -> Result<Tensor> {
    let device = grads[0].device();
    let blocks = grads.iter().map(|grad| NORM.blocks(grad.numel())).sum();
    let mut sums = Tensor::uninit(device, &[if device.is_cpu() { 1 } else { blocks }], DType::F32)?;
    let groups = grads.iter().map(|&grad| Group { reads: [grad], writes: [] }).collect();
    device.launch_list(&NORM, bytemuck::Zeroable::zeroed(), [], [&mut sums], groups)?;
    Ok(sums)
}

/// Updates all parameters, their moments, averages and bf16 copies from their gradients, multiplied by `scale`. Where the norm of the
/// gradients is not finite everything stays as it is and the step counts as skipped. `lr` has shape (1).
///
/// # Errors
/// When a parameter's tensors differ in size.
pub fn step(
    settings: &AdamWSettings,
    scale: f32,
    lr: &Tensor,
    state: &mut Tensor,
    groups: Vec<AdamWGroup>,
) -> Result<()> {
    let device = lr.device().clone();
    for group in &groups {
        let count = group.param.numel();
        let all = [group.grad, &*group.exp_avg, &*group.exp_avg_sq, &*group.ema, &*group.rounded];
        if all.iter().any(|tensor| !tensor.is_absent() && tensor.numel() != count) {
            let message = format!("gradient {:?} and parameter {:?} differ", group.grad.shape(), group.param.shape());
            return Err(Error::shape("adamw", message));
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let sums = sums_of_squares(&groups.iter().map(|group| group.grad).collect::<Vec<_>>())?;

    let (beta1, beta2) = settings.betas;
    let p = params::AdamWPrepare {
        count: sums.numel() as u32,
        scale,
        max_norm: settings.max_norm.unwrap_or(0.0),
        beta1,
        beta2,
        weight_decay: settings.weight_decay,
        decoupled: settings.decoupled.into(),
        ..Default::default()
    };
    device.launch(&PREPARE, p, [&sums, lr], [&mut *state])?;

    let p = params::AdamW {
        beta1,
        beta2,
        eps: settings.eps,
        ema_decay: settings.ema_decay,
        decoupled: settings.decoupled.into(),
        ..bytemuck::Zeroable::zeroed()
    };
    let groups = groups.into_iter().map(|AdamWGroup { grad, param, exp_avg, exp_avg_sq, ema, rounded }| Group {
        reads: [grad],
        writes: [param, exp_avg, exp_avg_sq, ema, rounded],
    });
    device.launch_list(&STEP, p, [state], [], groups.collect())
}

fn norm_cpu(_: &params::AdamWNorm, []: [&[f32]; 0], [parts]: [&mut [f32]; 1], groups: Slices<1, 0>) {
    parts[0] = groups.iter().map(|([grad], [])| reduce::sum_of_squares(grad)).sum::<f64>() as f32;
}

fn prepare_cpu(p: &params::AdamWPrepare, [parts, lr]: [&[f32]; 2], [state]: [&mut [f32]; 1]) {
    let mut put = |index: u32, value: f32| state[index as usize] = value;
    let norm = parts[0].sqrt() * p.scale;
    put(params::ADAMW_NORM, norm);
    put(params::ADAMW_APPLY, norm.is_finite().into());
    if !norm.is_finite() {
        state[params::ADAMW_SKIPPED as usize] += 1.0;
        return;
    }
    let clipped = p.max_norm > 0.0 && norm > p.max_norm;
    put(params::ADAMW_FACTOR, if clipped { p.scale * (p.max_norm / norm) } else { p.scale });
    put(params::ADAMW_DECAY, if p.decoupled == 1 { lr[0] * p.weight_decay } else { p.weight_decay });
    let updates = state[params::ADAMW_UPDATES as usize] + 1.0;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(updates));
    let mut put = |index: u32, value: f32| state[index as usize] = value;
    put(params::ADAMW_UPDATES, updates);
    put(params::ADAMW_STEP_SIZE, (f64::from(lr[0]) / correction(p.beta1)) as f32);
    put(params::ADAMW_RSQRT_CORRECTION2, (1.0 / correction(p.beta2).sqrt()) as f32);
}

fn step_cpu(p: &params::AdamW, [state]: [&[f32]; 1], []: [&mut [f32]; 0], groups: Slices<1, 5>) {
    let at = |index: u32| state[index as usize];
    if at(params::ADAMW_APPLY) == 0.0 {
        return;
    }
    let (factor, step_size) = (at(params::ADAMW_FACTOR), at(params::ADAMW_STEP_SIZE));
    let (correction, decay) = (at(params::ADAMW_RSQRT_CORRECTION2), at(params::ADAMW_DECAY));
    let (coupled, shrink) = if p.decoupled == 1 { (0.0, 1.0 - decay) } else { (decay, 1.0) };
    let update = |param: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32]| {
        for (((param, m), v), grad) in param.iter_mut().zip(m).zip(v).zip(grad) {
            let g = factor * grad + coupled * *param;
            *m += (1.0 - p.beta1) * (g - *m);
            *v = p.beta2 * *v + (1.0 - p.beta2) * g * g;
            *param = *param * shrink - step_size * *m / (v.sqrt() * correction + p.eps);
        }
    };
    groups.into_par_iter().for_each(|([grad], [param, exp_avg, exp_avg_sq, ema, _])| {
        let moments = exp_avg.par_chunks_mut(GRAIN).zip(exp_avg_sq.par_chunks_mut(GRAIN));
        let chunks = param.par_chunks_mut(GRAIN).zip(moments).zip(grad.par_chunks(GRAIN));
        if ema.is_empty() {
            chunks.for_each(|((param, (m, v)), grad)| update(param, m, v, grad));
            return;
        }
        chunks.zip(ema.par_chunks_mut(GRAIN)).for_each(|(((param, (m, v)), grad), ema)| {
            update(param, m, v, grad);
            for (ema, param) in ema.iter_mut().zip(param) {
                *ema = p.ema_decay * *ema + (1.0 - p.ema_decay) * *param;
            }
        });
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![NORM.info(), PREPARE.info(), STEP.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
