//! Adam and AdamW with the moving average of the parameters in one pass: per parameter 20 bytes are
//! read and 16 written, each once.

use rayon::prelude::*;

use super::Case;
use crate::device::{Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::params;
use crate::tensor::Tensor;

const STEP: Kernel<params::AdamW, 2, 4> = Kernel {
    name: "adamw",
    reads: ["grad", "clip"],
    writes: ["param", "exp_avg", "exp_avg_sq", "ema"],
    cpu: step_cpu,
    cuda: None,
};

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

/// The settings of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay rates of the first and second moments.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay: decoupled (AdamW) or added to the gradient (Adam).
    pub weight_decay: f32,
    /// Whether the decay is decoupled.
    pub decoupled: bool,
    /// The number of this step, from one.
    pub step: u64,
    /// Decay of the moving average.
    pub ema_decay: f32,
}

/// The tensors of one update, all of the parameter's shape.
pub struct AdamWState<'a> {
    /// The parameter.
    pub param: &'a mut Tensor,
    /// First moment.
    pub exp_avg: &'a mut Tensor,
    /// Second moment.
    pub exp_avg_sq: &'a mut Tensor,
    /// Moving average of the parameter, or absent.
    pub ema: &'a mut Tensor,
}

/// Updates a parameter, its moments and its moving average from `grad`, multiplied by `clip` (shape (1), or absent).
///
/// # Errors
/// When the sizes differ.
pub fn step(settings: &AdamWStep, grad: &Tensor, clip: &Tensor, state: AdamWState) -> Result<()> {
    let AdamWState { param, exp_avg, exp_avg_sq, ema } = state;
    let count = param.numel();
    if [grad.numel(), exp_avg.numel(), exp_avg_sq.numel()] != [count; 3] || !(ema.is_absent() || ema.numel() == count) {
        return Err(Error::shape("adamw", format!("gradient {:?} and parameter {:?} differ", grad.shape(), param.shape())));
    }
    let (beta1, beta2) = settings.betas;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(settings.step as f64);
    let (lr, wd) = (settings.lr, settings.weight_decay);
    let p = params::AdamW {
        beta1,
        beta2,
        eps: settings.eps,
        step_size: (f64::from(lr) / correction(beta1)) as f32,
        rsqrt_correction2: (1.0 / correction(beta2).sqrt()) as f32,
        decay: if settings.decoupled { lr * wd } else { wd },
        ema_decay: settings.ema_decay,
        decoupled: settings.decoupled.into(),
        count: count as u32,
        ..Default::default()
    };
    grad.device().launch(&STEP, p, [grad, clip], [param, exp_avg, exp_avg_sq, ema])
}

fn step_cpu(
    p: &params::AdamW,
    [grad, clip]: [&[f32]; 2],
    [param, exp_avg, exp_avg_sq, ema]: [&mut [f32]; 4],
) {
    let clip = clip.first().copied().unwrap_or(1.0);
    let (coupled, shrink) = match p.decoupled {
        0 => (p.decay, 1.0),
        _ => (0.0, 1.0 - p.decay),
    };
    let moments = exp_avg.par_chunks_mut(GRAIN).zip(exp_avg_sq.par_chunks_mut(GRAIN));
    let chunks = param.par_chunks_mut(GRAIN).zip(moments).zip(grad.par_chunks(GRAIN));
    let update = |param: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32]| {
        for (((param, m), v), grad) in param.iter_mut().zip(m).zip(v).zip(grad) {
            let g = clip * grad + coupled * *param;
            *m += (1.0 - p.beta1) * (g - *m);
            *v = p.beta2 * *v + (1.0 - p.beta2) * g * g;
            *param = *param * shrink - p.step_size * *m / (v.sqrt() * p.rsqrt_correction2 + p.eps);
        }
    };
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
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![STEP.info()]
}

pub(super) fn cases() -> Vec<Case> {
    vec![]
}
