//! One training step's losses and gradients.

use super::model::LightningDit;
use super::transport::Transport;
use crate::error::Result;
use crate::nn::{Forward, ParamGradients, Parameters};
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
    /// Times (B).
    pub times: Vec<f32>,
    /// Labels (B), some of them dropped to the null label: a `U32` tensor.
    pub labels: Tensor,
}

/// What a step gives beside gradients, sample by sample, still on the device.
pub struct Step {
    /// The model's output (B, H, W, C).
    pub prediction: Tensor,
    /// Weighted squared errors (B).
    pub mse: Tensor,
    /// 1 − the mean cosine of prediction and target (B).
    pub cos: Tensor,
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

impl Step {
    /// Waits for the step and reads its losses, averaged over the batch.
    pub fn losses(&self, transport: &Transport) -> Result<Losses> {
        let mean = |tensor: &Tensor| -> Result<f32> {
            let values = tensor.to_vec()?;
            Ok((values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64) as f32)
        };
        let (mse, cos) = (mean(&self.mse)?, mean(&self.cos)?);
        Ok(Losses { total: mse + if transport.has_cosine_loss() { cos } else { 0.0 }, mse, cos })
    }
}

impl Losses {
    /// The values by the names they are logged under.
    pub fn row(&self) -> Vec<(&'static str, f32)> {
        vec![("total", self.total), ("mse", self.mse), ("cos", self.cos)]
    }

    /// The mean of the losses of several micro-batches; `None` of none.
    pub fn mean(all: &[Losses]) -> Option<Losses> {
        let mean = |term: fn(&Losses) -> f32| all.iter().map(term).sum::<f32>() / all.len() as f32;
        (!all.is_empty()).then(|| Losses { total: mean(|l| l.total), mse: mean(|l| l.mse), cos: mean(|l| l.cos) })
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
    let count = batch.times.len();
    let one_share = Tensor::from_slice(device, &[count], &vec![1.0 / count as f32; count])?;
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
    let point = transport.point(tape.device(), &batch.times)?;
    let inputs = [constant(&batch.noise), constant(&batch.latents), constant(&point.coefficients)];
    let [xt, target] = tape.apply(Interpolate, inputs.each_ref())?;
    let xt = tape.constant(xt.value().to_dtype(pass.dtype())?);
    let prediction = model.forward(pass, &xt, &constant(&point.t), &constant(&batch.labels))?;
    let [mse, cos] = tape.apply(VelocityLoss, [&prediction, &target, &constant(&point.weight)])?;
    let step = Step { prediction: prediction.value().clone(), mse: mse.value().clone(), cos: cos.value().clone() };
    Ok((step, [mse, cos]))
}
