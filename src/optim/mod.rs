//! The optimizer: Adam's state for every trainable parameter, and the norm of all gradients.

use crate::error::Result;
use crate::nn::{ParamGradients, ParamId, Parameters};
use crate::ops::adamw::{self, AdamWState, AdamWStep};
use crate::ops::adaptive;
use crate::tensor::Tensor;

/// Adam's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamSettings {
    /// Learning rate.
    pub lr: f32,
    /// Decay rates of the first and second moments.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether the decay is decoupled from the gradient (AdamW) or added to it (Adam).
    pub decoupled: bool,
    /// Decay of the parameters' moving average; `None` keeps no average.
    pub ema_decay: Option<f32>,
    /// The largest norm of all gradients together; larger ones are scaled down to it.
    pub grad_clip: Option<f32>,
}

/// Adam or AdamW over a model's trainable parameters.
pub struct Adam {
    settings: AdamSettings,
    /// Updates done so far.
    pub step: u64,
    slots: Vec<Slot>,
}

/// What the optimizer keeps for one parameter.
pub struct Slot {
    /// The parameter.
    pub id: ParamId,
    /// First moment.
    pub exp_avg: Tensor,
    /// Second moment.
    pub exp_avg_sq: Tensor,
    /// Moving average of the parameter, or absent.
    pub ema: Tensor,
}

impl Adam {
    /// Zero moments, and moving averages that start as copies, for the trainable parameters.
    pub fn new(params: &Parameters, settings: AdamSettings) -> Result<Adam> {
        let slot = |id: ParamId| {
            let value = params.value(id);
            let zeros = || Tensor::zeros(params.device(), value.shape());
            let ema = match settings.ema_decay {
                Some(_) => Tensor::from_slice(params.device(), value.shape(), &value.to_vec()?)?,
                None => Tensor::absent(params.device())?,
            };
            Ok(Slot { id, exp_avg: zeros()?, exp_avg_sq: zeros()?, ema })
        };
        let slots = params.ids().filter(|&id| params.is_trainable(id)).map(slot).collect::<Result<_>>()?;
        Ok(Adam { settings, step: 0, slots })
    }

    /// The state per parameter, in the parameters' order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The state per parameter, to be restored.
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// The norm of all gradients together.
    pub fn gradient_norm(gradients: &ParamGradients) -> Result<f32> {
        let mut total = 0f64;
        for (_, gradient) in gradients.iter() {
            total += f64::from(adaptive::sum_of_squares(gradient)?.to_scalar()?);
        }
        Ok(total.sqrt() as f32)
    }

    /// Updates every trainable parameter that has a gradient. The gradients, whose norm together is
    /// `gradient_norm` ([`Adam::gradient_norm`]), are multiplied by `scale`: one over the number of
    /// micro-batches that accumulated them.
    pub fn update(
        &mut self,
        params: &mut Parameters,
        gradients: &ParamGradients,
        gradient_norm: f32,
        scale: f32,
    ) -> Result<()> {
        self.step += 1;
        let s = self.settings;
        let clip = match s.grad_clip {
            Some(largest) if gradient_norm * scale > largest => largest / gradient_norm,
            _ => scale,
        };
        let clip = if clip == 1.0 { Tensor::absent(params.device())? } else { Tensor::scalar(params.device(), clip)? };
        let step = AdamWStep {
            lr: s.lr,
            betas: s.betas,
            eps: s.eps,
            weight_decay: s.weight_decay,
            decoupled: s.decoupled,
            step: self.step,
            ema_decay: s.ema_decay.unwrap_or(0.0),
        };
        for slot in &mut self.slots {
            let Some(gradient) = gradients.get(slot.id) else { continue };
            let Slot { id, exp_avg, exp_avg_sq, ema } = slot;
            let (param, rounded) = params.value_mut(*id);
            adamw::step(&step, gradient, &clip, AdamWState { param: &mut *param, exp_avg, exp_avg_sq, ema })?;
            if let Some(rounded) = rounded {
                *rounded = param.to_dtype(rounded.dtype())?;
            }
        }
        Ok(())
    }
}
