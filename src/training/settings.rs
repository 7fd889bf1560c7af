//! From configuration to what runs: the optimizer, the precision, how steps are computed.

use crate::config::{Optim, Precision, Schedule, Train};
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::optim::AdamSettings;

/// How a step is computed, which does not change what it computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// Fails at the first op whose output or gradient is not finite. Slow.
    pub check_finite: bool,
    /// Keeps the inputs of residual blocks alone, and computes what lies in between again for backward.
    pub checkpoint_activations: bool,
}

/// How steps are computed, as configured.
pub fn step_options(train: &Train) -> StepOptions {
    StepOptions { check_finite: train.debug_non_finite, checkpoint_activations: train.checkpoint_activations }
}

/// Lets the device and the model compute in the configured precision.
///
/// # Errors
/// A precision that the device does not have.
pub fn set_precision(train: &Train, params: &mut Parameters) -> Result<()> {
    let precision = train.precision;
    if params.device().is_cpu() && precision != Precision::F32 {
        let message = format!("train.precision: the CPU computes in f32; use --device cuda or sim for {precision}");
        return Err(Error::Config(message));
    }
    params.device().set_tf32(precision == Precision::Tf32);
    params.compute_in(precision.dtype())
}

/// The optimizer as configured.
pub fn adam_settings(optim: &Optim) -> AdamSettings {
    AdamSettings {
        lr: optim.lr as f32,
        betas: (optim.betas[0] as f32, optim.betas[1] as f32),
        eps: optim.eps as f32,
        weight_decay: optim.weight_decay as f32,
        decoupled: true,
        ema_decay: optim.ema_decay.map(|d| d as f32),
        grad_clip: optim.grad_clip.map(|g| g as f32),
    }
}

/// The learning rate of step `step` (from 0) of `steps`: it rises evenly over the warm-up, and then follows the schedule
/// down to `min_lr` at the last step.
pub fn learning_rate(optim: &Optim, step: u64, steps: u64) -> f32 {
    if step < optim.warmup {
        return (optim.lr * (step + 1) as f64 / (optim.warmup + 1) as f64) as f32;
    }
    let left = steps.saturating_sub(optim.warmup + 1).max(1);
    let done = ((step - optim.warmup) as f64 / left as f64).min(1.0);
    let share = match optim.schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => 1.0 - done,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
    };
    let floor = if optim.schedule == Schedule::Constant { 0.0 } else { optim.min_lr };
    (floor + (optim.lr - floor) * share) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn learning_rates_rise_and_fall() {
        let mut optim = Config::load(Some("tiny"), None, &[]).unwrap().optim;
        optim.lr = 1e-3;
        let rates = |optim: &Optim| (0..11).map(|step| learning_rate(optim, step, 11)).collect::<Vec<_>>();
        assert_eq!(rates(&optim), [1e-3; 11]);
        optim.warmup = 3;
        let rising = rates(&optim);
        assert_eq!(rising[..4], [2.5e-4, 5e-4, 7.5e-4, 1e-3]);
        assert_eq!(rising[10], 1e-3);
        optim.warmup = 0;
        optim.min_lr = 1e-4;
        optim.schedule = Schedule::Linear;
        let falling = rates(&optim);
        assert_eq!((falling[0], falling[5], falling[10]), (1e-3, 5.5e-4, 1e-4));
        optim.schedule = Schedule::Cosine;
        let falling = rates(&optim);
        assert_eq!((falling[0], falling[5], falling[10]), (1e-3, 5.5e-4, 1e-4));
        assert!(falling[1] > 9.7e-4, "the cosine starts flat");
        // A run that goes on beyond the planned steps stays at the end.
        assert_eq!(learning_rate(&optim, 50, 11), 1e-4);
    }
}
