//! The optimizer: Adam's state for every trainable parameter. Its scalars stay on the device: an update never waits for it.

use std::collections::HashMap;

use crate::error::Result;
use crate::nn::{ParamGradients, ParamId, Parameters};
use crate::ops::adamw::{self, AdamWGroup, AdamWSettings, AdamWStatus};
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
    slots: Vec<Slot>,
    /// The counters, on the device.
    state: Tensor,
    /// The learning rate, on the device.
    lr: Tensor,
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
        let device = params.device();
        let slot = |id: ParamId| {
            let value = params.value(id);
            let zeros = || Tensor::zeros(device, value.shape());
            let ema = match settings.ema_decay {
                Some(_) => Tensor::from_slice(device, value.shape(), &value.to_vec()?)?,
                None => Tensor::absent(device)?,
            };
            Ok(Slot { id, exp_avg: zeros()?, exp_avg_sq: zeros()?, ema })
        };
        let slots = params.ids().filter(|&id| params.is_trainable(id)).map(slot).collect::<Result<_>>()?;
        let (state, lr) = (adamw::state(device, 0)?, Tensor::scalar(device, settings.lr)?);
        Ok(Adam { settings, slots, state, lr })
    }

    /// The state per parameter, in the parameters' order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The state per parameter, to be restored.
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Goes on after so many updates.
    pub fn restore(&mut self, updates: u64) -> Result<()> {
        self.state = adamw::state(self.state.device(), updates)?;
        Ok(())
    }

    /// The learning rate from now on.
    pub fn set_lr(&mut self, lr: f32) -> Result<()> {
        self.settings.lr = lr;
        self.lr.write(&[lr])
    }

    /// The updates done, the steps skipped, and the last norm of all gradients; waits for the device.
    pub fn status(&self) -> Result<AdamWStatus> {
        adamw::status(&self.state)
    }

    /// Updates every trainable parameter that has a gradient. The gradients are multiplied by `scale`, one over the number of
    /// micro-batches that accumulated them, and then clipped. Where one is not finite nothing changes, and the step counts as skipped.
    pub fn update(&mut self, params: &mut Parameters, gradients: &ParamGradients, scale: f32) -> Result<()> {
        let s = self.settings;
        let settings = AdamWSettings {
            betas: s.betas,
            eps: s.eps,
            weight_decay: s.weight_decay,
            decoupled: s.decoupled,
            ema_decay: s.ema_decay.unwrap_or(0.0),
            max_norm: s.grad_clip,
        };
        let mut values: HashMap<ParamId, (&mut Tensor, Option<&mut Tensor>)> = params.values_mut().collect();
        let device = self.lr.device().clone();
        let mut absent = (0..self.slots.len()).map(|_| Tensor::absent(&device)).collect::<Result<Vec<_>>>()?;
        let mut groups = vec![];
        for (slot, absent) in self.slots.iter_mut().zip(&mut absent) {
            let (Some(grad), Some((param, rounded))) = (gradients.get(slot.id), values.remove(&slot.id)) else {
                continue;
            };
            let Slot { exp_avg, exp_avg_sq, ema, .. } = slot;
            groups.push(AdamWGroup { grad, param, exp_avg, exp_avg_sq, ema, rounded: rounded.unwrap_or(absent) });
        }
        adamw::step(&settings, scale, &self.lr, &mut self.state, groups)
    }
}
