//! The objective and one training step's gradients.
//!
//! nll = Σ|x − x̂| / B, kl_weight · KL, and w · vf with vf = distmat_weight · mdms + cos_weight · mcos and the
//! adaptive weight w = clamp(‖∇nll‖ / (‖∇vf‖ + 1e-4), 0, 1e8) · vf_weight, both norms at
//! `encoder.conv_out.weight` (the reference's `contperceptual.py`).
//!
//! The reference runs the decoder's backward once more for ‖∇nll‖. Gradients are linear, so here each
//! loss stream runs back once, to the latents; the few ops of the bottleneck carry the streams on to
//! `conv_out` one by one for their norms, and the weighted sum of the streams goes on through the encoder.

use super::model::{LinearProj, VaVae};
use crate::error::{Error, Result};
use crate::eval::reconstruction::psnr;
use crate::nn::{Forward, ParamGradients, ParamId, Parameters};
use crate::ops::adaptive;
use crate::ops::gaussian::GaussianSample;
use crate::ops::l1::l1_loss;
use crate::ops::vf_loss::VfLoss;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use crate::training::StepOptions;

/// The weights and margins of the losses; names as in the reference's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Weight of the KL divergence.
    pub kl_weight: f32,
    /// Means over elements instead of sums per image, and KL without its ½.
    pub pp_style: bool,
    /// The VF loss, where there is one.
    pub vf: Option<VfObjective>,
}

/// The VF loss's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct VfObjective {
    /// Its weight, after the adaptive one.
    pub vf_weight: f32,
    /// Whether ‖∇nll‖ / (‖∇vf‖ + 1e-4) multiplies `vf_weight`.
    pub adaptive: bool,
    /// m1: cosine similarities this close to one cost nothing.
    pub cos_margin: f32,
    /// m2: differences of the distance matrices up to this cost nothing.
    pub distmat_margin: f32,
    /// Weight of the marginal cosine similarity loss.
    pub cos_weight: f32,
    /// Weight of the marginal distance-matrix similarity loss.
    pub distmat_weight: f32,
}

/// One (micro-)batch.
pub struct Batch {
    /// (B, H, W, 3) in [−1, 1]; these and the features are best in the dtype that the model computes in, and cast to it where not.
    pub images: Tensor,
    /// Foundation features (B, h·w, Cf), needed by the VF loss.
    pub features: Option<Tensor>,
    /// Standard normal noise (B, h, w, embed_dim) of the posterior's sample.
    pub noise: Tensor,
}

impl Batch {
    /// Copies another batch of the same shapes over this one, in place.
    pub fn copy_from(&mut self, from: &Batch) -> Result<()> {
        self.images.copy_from(&from.images)?;
        self.noise.copy_from(&from.noise)?;
        match (&mut self.features, &from.features) {
            (Some(own), Some(features)) => own.copy_from(features),
            _ => Ok(()),
        }
    }
}

/// What the losses were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// Everything, weighted.
    pub total: f32,
    /// Σ|x − x̂| / B (the mean in `pp_style`).
    pub nll: f32,
    /// KL divergence per image (per element, without its ½, in `pp_style`).
    pub kl: f32,
    /// The VF loss's terms, where it is on.
    pub vf: Option<VfLosses>,
}

impl Losses {
    /// The values by the names they are logged under.
    pub fn row(&self) -> Vec<(&'static str, f32)> {
        let mut row = vec![("total", self.total), ("nll", self.nll), ("kl", self.kl)];
        if let Some(vf) = &self.vf {
            row.extend([("vf", vf.vf), ("mdms", vf.mdms), ("mcos", vf.mcos), ("vf_weight", vf.vf_weight)]);
            row.extend([("nll_grad_norm", vf.nll_grad_norm), ("vf_grad_norm", vf.vf_grad_norm)]);
        }
        row
    }
}

/// What the VF loss was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VfLosses {
    /// distmat_weight · mdms + cos_weight · mcos.
    pub vf: f32,
    /// Marginal distance-matrix similarity loss.
    pub mdms: f32,
    /// Marginal cosine similarity loss.
    pub mcos: f32,
    /// What multiplied `vf`.
    pub vf_weight: f32,
    /// ‖∇nll‖ at `encoder.conv_out.weight`.
    pub nll_grad_norm: f32,
    /// ‖∇vf‖ there.
    pub vf_grad_norm: f32,
}

/// What a step gives beside gradients.
pub struct Step {
    /// The losses, still on the device.
    pub losses: StepLosses,
    /// (B, H, W, 3).
    pub reconstruction: Tensor,
}

/// The losses of a step on the device: the host waits for it only when it reads them.
pub struct StepLosses {
    nll: Tensor,
    kl: Tensor,
    nll_scale: f32,
    kl_scale: f32,
    kl_weight: f32,
    vf: Option<VfStepLosses>,
}

struct VfStepLosses {
    mdms: Tensor,
    mcos: Tensor,
    distmat_weight: f32,
    cos_weight: f32,
    weight: Tensor,
    /// Squared.
    nll_grad_norm: Tensor,
    /// Squared.
    vf_grad_norm: Tensor,
}

impl StepLosses {
    /// Waits for the step and reads its losses.
    pub fn read(&self) -> Result<Losses> {
        let (nll, kl) = (self.nll.to_scalar()? * self.nll_scale, self.kl.to_scalar()? * self.kl_scale);
        let mut losses = Losses { total: nll + self.kl_weight * kl, nll, kl, vf: None };
        if let Some(vf) = &self.vf {
            let (mdms, mcos, vf_weight) = (vf.mdms.to_scalar()?, vf.mcos.to_scalar()?, vf.weight.to_scalar()?);
            let value = vf.distmat_weight * mdms + vf.cos_weight * mcos;
            losses.total += vf_weight * value;
            losses.vf = Some(VfLosses {
                vf: value,
                mdms,
                mcos,
                vf_weight,
                nll_grad_norm: vf.nll_grad_norm.to_scalar()?.sqrt(),
                vf_grad_norm: vf.vf_grad_norm.to_scalar()?.sqrt(),
            });
        }
        Ok(losses)
    }
}

/// The VF loss on its own tape, seen from the latents.
struct VfStream {
    mdms: Tensor,
    mcos: Tensor,
    grad_latents: Tensor,
    /// Gradients of the projection, before the adaptive weight.
    grad_projection: Vec<(ParamId, Tensor)>,
}

/// Forward and backward of one batch; adds the gradients of `total` in every trainable parameter to `gradients`.
///
/// # Errors
/// Shapes that do not fit, missing features, device failures.
pub fn training_step(
    model: &VaVae,
    params: &Parameters,
    objective: &Objective,
    batch: &Batch,
    gradients: &mut ParamGradients,
    options: StepOptions,
) -> Result<Step> {
    let device = params.device();
    let new_tape = || Tape::new(device).check_finite(options.check_finite);
    let scalar = |value: f32| Tensor::scalar(device, value);
    let [_, h, w, c] = batch.images.dims::<4>("va_vae")?;
    let [_, zh, zw, zc] = model.latent_shape(batch.images.dims("va_vae")?)?;
    let (nll_scale, kl_scale) = match objective.pp_style {
        true => (1.0 / (h * w * c) as f32, 2.0 / (zh * zw * zc) as f32),
        false => (1.0, 1.0),
    };

    let in_model_dtype = |tensor: &Tensor| tensor.to_dtype(params.dtype());
    let images = in_model_dtype(&batch.images)?;

    let encoder_tape = new_tape();
    let encoder = Forward::new(&encoder_tape, params).checkpointing(options.checkpoint_activations);
    let trunk = model.trunk(&encoder, &encoder_tape.constant(images.clone()))?;

    let bottleneck_tape = new_tape();
    let bottleneck = Forward::new(&bottleneck_tape, params);
    let trunk_in = bottleneck_tape.leaf(trunk.value().clone());
    let moments = model.moments(&bottleneck, &trunk_in)?;
    let noise = bottleneck_tape.constant(in_model_dtype(&batch.noise)?);
    let [latents, kl] = bottleneck_tape.apply(GaussianSample, [&moments, &noise])?;

    let vf = match &objective.vf {
        Some(vf) => Some(vf_stream(model, params, vf, batch, latents.value(), new_tape())?),
        None => None,
    };

    let decoder_tape = new_tape();
    let decoder = Forward::new(&decoder_tape, params).checkpointing(options.checkpoint_activations);
    let latents_in = decoder_tape.leaf(latents.value().clone());
    let reconstruction = model.decode(&decoder, &latents_in)?;
    let (nll, grad_reconstruction) = l1_loss(reconstruction.value(), &images, nll_scale)?;

    let trainable = decoder.trainable();
    let seeds = [(&reconstruction, grad_reconstruction)];
    let mut grads = decoder_tape.backward(&seeds, &wanted(&trainable, &latents_in))?;
    gradients.collect(&trainable, &mut grads)?;
    let mut grad_latents = grads.take(&latents_in)?;

    let conv_out = bottleneck.param(model.encoder.conv_out.weight());
    let kl_weight = objective.kl_weight;
    let mut losses = StepLosses { nll, kl: kl.value().clone(), nll_scale, kl_scale, kl_weight, vf: None };
    if let (Some(vf), Some(settings)) = (vf, &objective.vf) {
        let squared_norm_of = |grad: &Tensor| -> Result<Tensor> {
            let seed = [(&latents, grad.clone())];
            adaptive::sum_of_squares(&bottleneck_tape.gradients(&seed, &[&conv_out])?.take(&conv_out)?)
        };
        let nll_grad_norm = squared_norm_of(&grad_latents)?;
        let vf_grad_norm = squared_norm_of(&vf.grad_latents)?;
        let weight = match settings.adaptive {
            true => adaptive::weight(&nll_grad_norm, &vf_grad_norm, 1e8, settings.vf_weight)?,
            false => scalar(settings.vf_weight)?,
        };
        grad_latents = adaptive::add_scaled(grad_latents, &vf.grad_latents, &weight)?;
        for (id, grad) in &vf.grad_projection {
            gradients.accumulate(*id, adaptive::scale(grad, &weight)?)?;
        }
        let VfStream { mdms, mcos, .. } = vf;
        let VfObjective { distmat_weight, cos_weight, .. } = *settings;
        losses.vf = Some(VfStepLosses { mdms, mcos, distmat_weight, cos_weight, weight, nll_grad_norm, vf_grad_norm });
    }

    let trainable = bottleneck.trainable();
    let seeds = [(&latents, grad_latents), (&kl, scalar(objective.kl_weight * kl_scale)?)];
    let mut grads = bottleneck_tape.backward(&seeds, &wanted(&trainable, &trunk_in))?;
    gradients.collect(&trainable, &mut grads)?;
    let grad_trunk = grads.take(&trunk_in)?;

    let trainable = encoder.trainable();
    let vars: Vec<&Var> = trainable.iter().map(|(_, var)| var).collect();
    let mut grads = encoder_tape.backward(&[(&trunk, grad_trunk)], &vars)?;
    gradients.collect(&trainable, &mut grads)?;
    Ok(Step { losses, reconstruction: reconstruction.value().clone() })
}

fn wanted<'a>(trainable: &'a [(ParamId, Var)], input: &'a Var) -> Vec<&'a Var> {
    trainable.iter().map(|(_, var)| var).chain([input]).collect()
}

fn vf_stream(
    model: &VaVae,
    params: &Parameters,
    settings: &VfObjective,
    batch: &Batch,
    latents: &Tensor,
    tape: Tape,
) -> Result<VfStream> {
    let device = params.device();
    let [b, h, w, c] = latents.dims::<4>("vf_loss")?;
    let pass = Forward::new(&tape, params);
    let z = tape.leaf(latents.reshape(&[b, h * w, c])?);
    let op = VfLoss { cos_margin: settings.cos_margin, distmat_margin: settings.distmat_margin };
    let [mdms, mcos] = apply_vf(model, &pass, &z, batch.features.as_ref(), op)?;
    let (mdms_value, mcos_value) = (mdms.value().clone(), mcos.value().clone());
    let seeds = [
        (&mdms, Tensor::scalar(device, settings.distmat_weight)?),
        (&mcos, Tensor::scalar(device, settings.cos_weight)?),
    ];
    let trainable = pass.trainable();
    let mut grads = tape.backward(&seeds, &wanted(&trainable, &z))?;
    let grad_projection = trainable.iter().map(|(id, var)| Ok((*id, grads.take(var)?))).collect::<Result<_>>()?;
    let grad_latents = grads.take(&z)?.reshape(latents.shape())?;
    Ok(VfStream { mdms: mdms_value, mcos: mcos_value, grad_latents, grad_projection })
}

/// mdms and mcos of latent tokens `z` (B, N, Cz) against `features` (B, N, Cf).
fn apply_vf(model: &VaVae, pass: &Forward, z: &Var, features: Option<&Tensor>, op: VfLoss) -> Result<[Var; 2]> {
    let missing = || Error::shape("vf_loss", "the VF loss is on, but the batch has no foundation features");
    let features = pass.tape().constant(features.ok_or_else(missing)?.to_dtype(z.value().dtype())?);
    match model.linear_proj.as_ref() {
        None => Err(Error::shape("vf_loss", "the VF loss is on, but the model has no linear_proj")),
        Some(LinearProj::Reverse { weight }) => {
            let proj = pass.param(*weight);
            let (cf, cz) = (proj.shape()[0], proj.shape()[3]);
            pass.tape().apply(op, [z, &proj.reshape(&[cf, cz])?, &features])
        }
        Some(LinearProj::Forward { conv }) => {
            let [b, n, cf] = features.value().dims::<3>("vf_loss")?;
            let projected = conv.forward(pass, &features.reshape(&[b, 1, n, cf])?)?;
            let cz = projected.shape()[3];
            let no_projection = pass.tape().constant(Tensor::absent(pass.tape().device())?);
            pass.tape().apply(op, [z, &no_projection, &projected.reshape(&[b, n, cz])?])
        }
    }
}

/// How good a model is on a batch, without gradients.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Evaluation {
    /// Peak signal-to-noise ratio in dB of the clamped reconstruction from the posterior's mean, averaged over images.
    pub psnr: f32,
    /// Mean cosine similarity of projected latents and foundation features, where the VF loss is on.
    pub vf_alignment: Option<f32>,
}

impl Evaluation {
    /// The values by the names they are logged under.
    pub fn row(&self) -> Vec<(&'static str, f32)> {
        [("psnr", Some(self.psnr)), ("vf_alignment", self.vf_alignment)]
            .into_iter()
            .filter_map(|(n, v)| Some((n, v?)))
            .collect()
    }
}

/// Reconstructions from the posterior's mean, and how good they are.
pub fn evaluate(
    model: &VaVae,
    params: &Parameters,
    images: &Tensor,
    features: Option<&Tensor>,
) -> Result<(Tensor, Evaluation)> {
    let (latents, reconstruction) = model.reconstruct(params, images)?;
    let psnr = psnr(&images.to_vec()?, &reconstruction.to_vec()?, images.shape()[0]) as f32;
    let vf_alignment = match (features, &model.linear_proj) {
        (Some(features), Some(_)) => {
            let tape = Tape::inference(images.device());
            let pass = Forward::new(&tape, params);
            let [b, h, w, c] = latents.dims::<4>("vf_loss")?;
            let z = tape.constant(latents.reshape(&[b, h * w, c])?);
            // With no margin mcos is 1 − the mean cosine similarity.
            let op = VfLoss { cos_margin: 0.0, distmat_margin: 0.0 };
            let [_, mcos] = apply_vf(model, &pass, &z, Some(features), op)?;
            Some(1.0 - mcos.value().to_scalar()?)
        }
        _ => None,
    };
    Ok((reconstruction, Evaluation { psnr, vf_alignment }))
}
