//! Steps without data: what is timed and planned.

use super::{RunConfig, StepOptions, adam_settings, set_precision, step_options};
use crate::device::Device;
use crate::error::Result;
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;

/// A model with its optimizer and a step's batches of random data, whose losses are `L`.
pub struct RandomRun<L> {
    /// The model's parameters.
    pub params: Parameters,
    adam: Adam,
    losses: Losses<L>,
    accumulate: usize,
    images: usize,
    /// Of parameters, optimizer and batches.
    bytes: [usize; 3],
}

/// Forward and backward of a batch, which the number tells; adds to the gradients.
type Losses<L> = Box<dyn Fn(usize, &Parameters, &mut ParamGradients) -> Result<L>>;

impl<L> RandomRun<L> {
    /// A new model on `device` with its parameters; what makes a batch for it; and what training on one does, as
    /// [`Task::losses`](super::Task::losses).
    pub fn new<M: 'static, B: 'static>(
        config: &impl RunConfig,
        device: &Device,
        model: impl FnOnce() -> Result<(M, Parameters)>,
        batch: impl Fn(&M) -> Result<B>,
        losses: impl Fn(&M, &Parameters, &B, &mut ParamGradients, StepOptions) -> Result<L> + 'static,
    ) -> Result<RandomRun<L>> {
        let live = || device.memory().live;
        let before = live();
        let (model, mut params) = model()?;
        set_precision(config.train(), &mut params)?;
        let with_parameters = live();
        let adam = Adam::new(&params, adam_settings(config.optim()))?;
        let with_optimizer = live();
        let train = config.train();
        let batches = (0..train.accumulate).map(|_| batch(&model)).collect::<Result<Vec<B>>>()?;
        let bytes = [with_parameters - before, with_optimizer - with_parameters, live() - with_optimizer];
        let (options, accumulate, images) =
            (step_options(train), train.accumulate, train.batch_size * train.accumulate);
        let losses: Losses<L> =
            Box::new(move |i, params, gradients| losses(&model, params, &batches[i], gradients, options));
        Ok(RandomRun { params, adam, losses, accumulate, images, bytes })
    }

    /// One step: forward and backward of each batch, and the optimizer's update. Returns the losses, which are not read yet.
    pub fn step(&mut self) -> Result<Vec<L>> {
        let mut gradients = ParamGradients::default();
        let losses =
            (0..self.accumulate).map(|i| (self.losses)(i, &self.params, &mut gradients)).collect::<Result<_>>()?;
        self.adam.update(&mut self.params, &gradients, 1.0 / self.accumulate as f32)?;
        Ok(losses)
    }

    /// Images per step.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Bytes of parameters, optimizer and batches.
    pub(super) fn bytes(&self) -> [usize; 3] {
        self.bytes
    }
}
