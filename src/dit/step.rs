//! One training step's losses and gradients.

use super::model::LightningDit;
use super::transport::{Point, Transport};
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{Forward, ParamGradients, Parameters};
use crate::ops::fill::full;
use crate::ops::interpolate::Interpolate;
use crate::ops::velocity_loss::VelocityLoss;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use crate::training::StepOptions;

/// One (micro-)batch.
pub struct Batch {
    /// Latents x1 (B, H, W, C), normalised.
    pub latents: Tensor,
    /// Standard normal noise x0 (B, H, W, C).
    pub noise: Tensor,
    /// The times, and what the transport does at them.
    pub point: Point,
    /// Labels (B), some of them dropped to the null label: a `U32` tensor.
    pub labels: Tensor,
}

impl Batch {
    /// Images in it, B.
    pub fn len(&self) -> usize {
        self.labels.numel()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies another batch of the same shapes over this one, in place.
    pub fn copy_from(&mut self, from: &Batch) -> Result<()> {
        let Point { t, coefficients, weight } = &mut self.point;
        let pairs = [
            (&mut self.latents, &from.latents),
            (&mut self.noise, &from.noise),
            (t, &from.point.t),
            (coefficients, &from.point.coefficients),
            (weight, &from.point.weight),
            (&mut self.labels, &from.labels),
        ];
        pairs.into_iter().filter(|(own, _)| !own.is_absent()).try_for_each(|(own, from)| own.copy_from(from))
    }
}

/// What a step gives beside gradients.
pub struct Step {
    /// The model's output (B, H, W, C).
    pub prediction: Tensor,
    /// The losses, still on the device.
    pub losses: StepLosses,
}

/// The losses of a step, sample by sample, on the device: the host waits for it only when it reads them.
pub struct StepLosses {
    /// Weighted squared errors (B).
    pub mse: Tensor,
    /// 1 − the mean cosine of prediction and target (B).
    pub cos: Tensor,
    /// Whether the cosine is part of the total.
    has_cosine_loss: bool,
}

/// The losses of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// What is minimised: `mse`, plus `cos` where the transport has it.
    pub total: f32,
    /// Mean of the weighted squared errors: what the reference logs as its loss.
    pub mse: f32,
    /// 1 − the mean cosine of prediction and target.
    pub cos: f32,
}

impl StepLosses {
    /// Waits for the step and reads its losses, averaged over the batch.
    pub fn read(&self) -> Result<Losses> {
        let mean = |tensor: &Tensor| -> Result<f32> {
            let values = tensor.to_vec()?;
            Ok((values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64) as f32)
        };
        let (mse, cos) = (mean(&self.mse)?, mean(&self.cos)?);
        Ok(Losses { total: mse + if self.has_cosine_loss { cos } else { 0.0 }, mse, cos })
    }
}

impl Losses {
    /// The values by the names they are logged under.
    pub fn row(&self) -> Vec<(&'static str, f32)> {
        vec![("total", self.total), ("mse", self.mse), ("cos", self.cos)]
    }
}

/// Forward and backward of one batch; adds the gradients of the total in every trainable parameter to `gradients`.
///
/// # Errors
/// Shapes that do not fit, device failures.
pub fn training_step(
    model: &LightningDit,
    params: &Parameters,
    transport: &Transport,
    batch: &Batch,
    gradients: &mut ParamGradients,
    options: StepOptions,
) -> Result<Step> {
    let device = params.device();
    let tape = Tape::new(device).check_finite(options.check_finite);
    let pass = Forward::new(&tape, params).checkpointing(options.checkpoint_activations);
    let (step, [mse, cos]) = forward(model, &pass, transport, batch)?;
    let count = batch.len();
    let one_share = full(device, &[count], DType::F32, 1.0 / count as f32)?;
    let mut seeds = vec![(&mse, one_share.clone())];
    if transport.has_cosine_loss() {
        seeds.push((&cos, one_share));
    }
    let trainable = pass.trainable();
    let wanted: Vec<&Var> = trainable.iter().map(|(_, var)| var).collect();
    let mut found = tape.backward(&seeds, &wanted)?;
    gradients.collect(&trainable, &mut found)?;
    Ok(step)
}

/// The losses of one batch, without gradients.
pub fn evaluate(model: &LightningDit, params: &Parameters, transport: &Transport, batch: &Batch) -> Result<Step> {
    let tape = Tape::inference(params.device());
    let (step, _) = forward(model, &Forward::new(&tape, params), transport, batch)?;
    Ok(step)
}

fn forward(model: &LightningDit, pass: &Forward, transport: &Transport, batch: &Batch) -> Result<(Step, [Var; 2])> {
    let tape = pass.tape();
    let constant = |tensor: &Tensor| tape.constant(tensor.clone());
    let Point { t, coefficients, weight } = &batch.point;
    let inputs = [constant(&batch.noise), constant(&batch.latents), constant(coefficients)];
    let [xt, target] = tape.apply(Interpolate, inputs.each_ref())?;
    let xt = tape.constant(xt.value().to_dtype(pass.dtype())?);
    let prediction = model.forward(pass, &xt, &constant(t), &constant(&batch.labels))?;
    let [mse, cos] = tape.apply(VelocityLoss, [&prediction, &target, &constant(weight)])?;
    let (mse_value, cos_value) = (mse.value().clone(), cos.value().clone());
    let losses = StepLosses { mse: mse_value, cos: cos_value, has_cosine_loss: transport.has_cosine_loss() };
    let step = Step { prediction: prediction.value().clone(), losses };
    Ok((step, [mse, cos]))
}
