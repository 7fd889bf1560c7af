//! The whole VA-VAE: forward, every loss, and every gradient of a training step.

use crate::support::golden::{self, Golden};
use anyhow::{Context, Result, ensure};
use vf_engine::nn::{Forward, ParamGradients, Parameters};
use vf_engine::ops::gaussian::GaussianSample;
use vf_engine::tape::Tape;
use vf_engine::tensor::Tensor;
use vf_engine::training::StepOptions;
use vf_engine::vae::{Batch, Objective, Projection, VaVae, VaeShape, VfObjective, training_step};

/// Compares outputs, losses and gradients with the set's; returns every tensor's error as a share of its tolerance.
pub fn check(set: &Golden) -> Result<Vec<(String, f64)>> {
    let device = golden::device()?;
    let config = &set.metadata["config"];
    let (model, mut params) = VaVae::new(&device, shape(set)?, 0)?;
    fill(set, &mut params)?;
    let tensor = |name: &str| -> Result<Tensor> {
        let golden = set.tensor(name)?;
        Ok(Tensor::from_slice(&device, &golden.shape, &golden.data)?)
    };
    let (images, noise) = (tensor("x")?, tensor("noise")?);
    let features = tensor("feats")?;
    let [b, h, w, cf] = features.dims::<4>("features")?;
    let mut report = Vec::new();
    let mut compare = |name: &str, actual: &Tensor| -> Result<()> {
        report.push((name.to_owned(), set.check(name, actual.shape(), &actual.to_vec()?)?));
        Ok(())
    };

    let tape = Tape::inference(&device);
    let pass = Forward::new(&tape, &params);
    let trunk = model.trunk(&pass, &tape.constant(images.clone()))?;
    let moments = model.moments(&pass, &trunk)?;
    compare("moments", moments.value())?;
    let [z, kl] = tape.apply(GaussianSample, [&moments, &tape.constant(noise.clone())])?;
    compare("z", z.value())?;
    compare("kl", kl.value())?;

    let number = |key: &str| config[key].as_f64().with_context(|| format!("no config.{key}"));
    ensure!(!config["adaptive_vf"].as_bool().unwrap_or(false), "sets of kind vae have a fixed vf_weight");
    let kl_weight = set.metadata["kl_weight"].as_f64().context("no kl_weight")? as f32;
    let vf = VfObjective {
        vf_weight: number("vf_weight")? as f32,
        adaptive: false,
        cos_margin: number("cos_margin")? as f32,
        distmat_margin: number("distmat_margin")? as f32,
        cos_weight: 1.0,
        distmat_weight: 1.0,
    };
    let objective = Objective { kl_weight, pp_style: false, vf: Some(vf) };
    let batch = Batch { images: images.clone(), features: Some(features.reshape(&[b, h * w, cf])?), noise };
    let mut gradients = ParamGradients::default();
    let step = training_step(&model, &params, &objective, &batch, &mut gradients, StepOptions::default())?;
    compare("rec", &step.reconstruction)?;
    let losses = step.losses.read()?;
    compare("nll", &Tensor::scalar(&device, losses.nll)?)?;
    compare("vf", &Tensor::scalar(&device, losses.vf.context("the VF loss is on")?.vf)?)?;
    compare("total", &Tensor::scalar(&device, losses.total)?)?;
    let [_, height, width, channels] = images.dims::<4>("images")?;
    compare("rec_l1_mean", &Tensor::scalar(&device, losses.nll / (height * width * channels) as f32)?)?;

    for id in params.ids() {
        let name = params.name(id);
        let gradient = gradients.get(id).with_context(|| format!("no gradient of {name}"))?;
        let shape = gradient.shape();
        report.push((format!("grad.{name}"), set.check_gradient(name, shape, &gradient.to_vec()?)?));
    }
    Ok(report)
}

fn shape(set: &Golden) -> Result<VaeShape> {
    let config = &set.metadata["config"];
    let number = |key: &str| config[key].as_u64().map(|n| n as usize).with_context(|| format!("no config.{key}"));
    let list = |key: &str| -> Result<Vec<usize>> {
        let list = config[key].as_array().with_context(|| format!("no config.{key}"))?;
        list.iter().map(|n| Ok(n.as_u64().with_context(|| format!("config.{key}"))? as usize)).collect()
    };
    Ok(VaeShape {
        ch: number("ch")?,
        ch_mult: list("ch_mult")?,
        num_res_blocks: number("nrb")?,
        attn_resolutions: list("attn_resolutions")?,
        resolution: number("resolution")?,
        in_channels: 3,
        out_ch: 3,
        z_channels: number("z")?,
        embed_dim: number("z")?,
        projection: Some(Projection { foundation_channels: number("vf_dim")?, reverse: true, frozen: false }),
    })
}

/// Gives every parameter the set's value; a parameter that the set does not know is an error.
fn fill(set: &Golden, params: &mut Parameters) -> Result<()> {
    for id in params.ids() {
        let shape = params.export_shape(id);
        let golden = set.param(params.name(id), &shape)?;
        params.set(id, params.import(id, &shape, &golden.data)?)?;
    }
    Ok(())
}
