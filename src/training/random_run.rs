//! Steps without data: what is timed and planned.

use super::{RunConfig, StepOptions, adam_settings, set_precision, step_options};
use crate::device::Device;
use crate::error::Result;
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;

/// A model with its optimizer and a batch of random data, whose losses are `L`.
pub struct RandomRun<L> {
    /// The model's parameters.
    pub params: Parameters,
    adam: Adam,
    losses: Losses<L>,
    images: usize,
    /// Of parameters, optimizer and batch.
    bytes: [usize; 3],
}

/// Forward and backward of the batch; adds to the gradients.
type Losses<L> = Box<dyn Fn(&Parameters, &mut ParamGradients) -> Result<L>>;

impl<L> RandomRun<L> {
    /// A new model on `device` with its parameters; a batch for it; and what training on it does, as
    /// [`Task::losses`](super::Task::losses).
    pub fn new<M: 'static, B: 'static>(
        config: &impl RunConfig,
        device: &Device,
        model: impl FnOnce() -> Result<(M, Parameters)>,
        batch: impl FnOnce(&M) -> Result<B>,
        losses: impl Fn(&M, &Parameters, &B, &mut ParamGradients, StepOptions) -> Result<L> + 'static,
    ) -> Result<RandomRun<L>> {
        let live = || device.memory().live;
        let before = live();
        let (model, mut params) = model()?;
        set_precision(config.train(), &mut params)?;
        let with_parameters = live();
        let adam = Adam::new(&params, adam_settings(config.optim()))?;
        let with_optimizer = live();
        let batch = batch(&model)?;
        let bytes = [with_parameters - before, with_optimizer - with_parameters, live() - with_optimizer];
        let (options, images) = (step_options(config.train()), config.train().batch_size);
        let losses: Losses<L> = Box::new(move |params, gradients| losses(&model, params, &batch, gradients, options));
        Ok(RandomRun { params, adam, losses, images, bytes })
    }

    /// One step: forward, backward and the optimizer's update. Returns its losses, which are not read yet.
    pub fn step(&mut self) -> Result<L> {
        let mut gradients = ParamGradients::default();
        let losses = (self.losses)(&self.params, &mut gradients)?;
        self.adam.update(&mut self.params, &gradients, 1.0)?;
        Ok(losses)
    }

    /// Images per step.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Bytes of parameters, optimizer and batch.
    pub(super) fn bytes(&self) -> [usize; 3] {
        self.bytes
    }
}
