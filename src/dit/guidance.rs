//! The model as a sampler sees it: at one time for the whole batch, with or without classifier-free guidance, and only as
//! much of it evaluated as is used.

use super::model::LightningDit;
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::ops::guidance::Guidance as GuidanceOp;
use crate::tape::Tape;
use crate::tensor::Tensor;

/// Classifier-free guidance as the reference has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// Above 1: how far from the unconditional prediction, in steps to the conditional one.
    pub scale: f32,
    /// How many channels are guided, the first ones; all of them when `None`. The reference guides three.
    pub channels: Option<usize>,
    /// Guided from this time on only; before, the conditional prediction is used as it is.
    pub interval_start: f32,
}

/// How often the model ran, each time on the whole batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evaluations {
    /// Times at which the model was asked: torchdiffeq's count.
    pub times: u64,
    /// Runs with the batch's labels.
    pub conditional: u64,
    /// Runs without a label.
    pub unconditional: u64,
}

impl Evaluations {
    /// Runs of the model.
    pub fn runs(&self) -> u64 {
        self.conditional + self.unconditional
    }

    /// Counts another batch's runs too.
    pub fn add(&mut self, other: Evaluations) {
        self.times += other.times;
        self.conditional += other.conditional;
        self.unconditional += other.unconditional;
    }

    /// The share of the reference's runs that were not needed: it always makes both where it guides.
    pub fn saved(&self) -> f64 {
        if self.unconditional == 0 { 0.0 } else { 1.0 - self.runs() as f64 / (2 * self.times) as f64 }
    }
}

/// A model over a batch of labels.
pub struct Guided<'a> {
    model: &'a LightningDit,
    params: &'a Parameters,
    labels: Tensor,
    null_labels: Option<Tensor>,
    guidance: Option<Guidance>,
    evaluations: Evaluations,
}

impl<'a> Guided<'a> {
    /// A model with the labels of a batch.
    ///
    /// # Errors
    /// A label that the model does not have, or guidance of a model that was trained without dropping labels, or of
    /// more channels than there are.
    pub fn new(
        model: &'a LightningDit,
        params: &'a Parameters,
        labels: &[u32],
        guidance: Option<Guidance>,
    ) -> Result<Guided<'a>> {
        let shape = model.shape();
        if let Some(wrong) = labels.iter().find(|&&label| label as usize >= shape.label_rows()) {
            let message = format!("class {wrong} of a model of {} classes", shape.num_classes);
            return Err(Error::Config(message));
        }
        let device = params.device();
        // A scale of 1 is the conditional prediction.
        let guidance = guidance.filter(|guidance| guidance.scale != 1.0);
        let null_labels = match (guidance, shape.null_label()) {
            (None, _) => None,
            (Some(_), Some(null)) => Some(Tensor::from_u32(device, &[labels.len()], &vec![null; labels.len()])?),
            (Some(_), None) => {
                let message = "the model was trained without dropping labels, so that it cannot be guided";
                return Err(Error::Config(message.to_owned()));
            }
        };
        if let Some(channels) = guidance.and_then(|g| g.channels).filter(|&channels| channels > shape.in_channels) {
            let message = format!("guidance of {channels} channels, and the latents have {}", shape.in_channels);
            return Err(Error::Config(message));
        }
        let labels = Tensor::from_u32(device, &[labels.len()], labels)?;
        Ok(Guided { model, params, labels, null_labels, guidance, evaluations: Evaluations::default() })
    }

    /// How often the model ran so far.
    pub fn evaluations(&self) -> Evaluations {
        self.evaluations
    }

    /// Whether there is a second half.
    pub fn is_guided(&self) -> bool {
        self.guidance.is_some()
    }

    /// The guided prediction for x (B, H, W, C) at `t`.
    pub fn output(&mut self, t: f32, x: &Tensor) -> Result<Tensor> {
        self.evaluations.times += 1;
        let conditional = self.run(t, x, false)?;
        match self.guidance {
            Some(guidance) if t >= guidance.interval_start => {
                let unconditional = self.run(t, x, true)?;
                self.blend(guidance.scale, &conditional, &unconditional)
            }
            _ => Ok(conditional),
        }
    }

    /// Both halves of the reference's doubled batch. Its second half sees the first half's x, and gives the guided
    /// channels of the first half and its own in the others: nothing that reaches an image, but an adaptive solver's
    /// steps depend on it.
    pub fn both_outputs(&mut self, t: f32, x: &Tensor) -> Result<[Tensor; 2]> {
        self.evaluations.times += 1;
        let (conditional, unconditional) = (self.run(t, x, false)?, self.run(t, x, true)?);
        let first = match self.guidance {
            Some(guidance) if t >= guidance.interval_start => {
                self.blend(guidance.scale, &conditional, &unconditional)?
            }
            _ => conditional,
        };
        // At scale 0 the guided channels are the op's second input and the others its first.
        let second = self.blend(0.0, &unconditional, &first)?;
        Ok([first, second])
    }

    fn run(&mut self, t: f32, x: &Tensor, unconditional: bool) -> Result<Tensor> {
        let labels = match (unconditional, &self.null_labels) {
            (true, Some(labels)) => {
                self.evaluations.unconditional += 1;
                labels
            }
            _ => {
                self.evaluations.conditional += 1;
                &self.labels
            }
        };
        let batch = x.shape()[0];
        let times = Tensor::from_slice(x.device(), &[batch], &vec![t; batch])?;
        self.model.predict(self.params, x, &times, labels)
    }

    fn blend(&self, scale: f32, conditional: &Tensor, unconditional: &Tensor) -> Result<Tensor> {
        let guided = self.guidance.and_then(|g| g.channels).unwrap_or(self.model.shape().in_channels);
        let tape = Tape::inference(conditional.device());
        let inputs = [tape.constant(conditional.clone()), tape.constant(unconditional.clone())];
        let [y] = tape.apply(GuidanceOp { scale, guided }, inputs.each_ref())?;
        Ok(y.value().clone())
    }
}
