//! A training step of the VA-VAE as a whole: what may change how it is computed, and must not change what.

mod support;

use anyhow::{Result, ensure};
use support::step::{BF16, F32, Outcome, agrees_on_the_software_gpu, compare_gradients, software_gpu};
use vf_engine::config::Config;
use vf_engine::device::Device;
use vf_engine::nn::Parameters;
use vf_engine::random;
use vf_engine::tensor::Tensor;
use vf_engine::training::StepOptions;
use vf_engine::vae::{Batch, VaVae, random_run, train, training_step};

const FEATURE_CHANNELS: usize = 48;

/// The `tiny` preset's model with random images and features.
struct Bench {
    config: Config,
    model: VaVae,
    params: Parameters,
    batch: Batch,
}

impl Bench {
    fn new(device: &Device) -> Result<Bench> {
        let config = Config::load(Some("tiny"), None, &[])?;
        let (model, params) = VaVae::new(device, train::shape(&config, Some(FEATURE_CHANNELS)), 0)?;
        let side = config.model.resolution;
        let shape = [config.train.batch_size, side, side, 3];
        let [b, h, w, z] = model.latent_shape(shape)?;
        let draw = |shape: &[usize], name| random::normal(device, shape, 1, random::stream(name));
        let batch = Batch {
            images: random::uniform(device, &shape, 1, random::stream("images"), -1.0, 1.0)?,
            features: Some(draw(&[b, h * w, FEATURE_CHANNELS], "features")?),
            noise: draw(&[b, h, w, z], "noise")?,
        };
        Ok(Bench { config, model, params, batch })
    }

    fn step(&self, options: StepOptions) -> Result<Outcome> {
        self.step_over(&[&self.batch], options)
    }

    /// Of several batches, whose gradients are added up; the losses are the last one's.
    fn step_over(&self, batches: &[&Batch], options: StepOptions) -> Result<Outcome> {
        let objective = train::objective(&self.config);
        Outcome::of(&self.params, |gradients| {
            let mut losses = vec![];
            for batch in batches {
                losses = training_step(&self.model, &self.params, &objective, batch, gradients, options)?
                    .losses
                    .read()?
                    .row();
            }
            Ok(losses)
        })
    }
}

#[test]
fn checkpointed_activations_save_memory_and_change_no_bit() -> Result<()> {
    let bench = Bench::new(&Device::cpu())?;
    let kept = bench.step(StepOptions::default())?;
    let again = bench.step(StepOptions { checkpoint_activations: true, ..StepOptions::default() })?;
    assert_eq!(kept.losses, again.losses);
    assert_eq!(kept.gradients, again.gradients);
    assert!(kept.gradients.len() > 100, "{} gradients", kept.gradients.len());
    assert!(4 * again.peak < 3 * kept.peak, "{} bytes, and {} without", again.peak, kept.peak);
    Ok(())
}

/// A batch's gradients are the mean of those of its parts, up to the order of sums: the adaptive weight, which is a ratio of whole
/// batches' norms, is off.
#[test]
fn gradients_of_a_batch_are_the_mean_of_its_parts() -> Result<()> {
    let device = Device::cpu();
    let mut bench = Bench::new(&device)?;
    bench.config = Config::load(Some("tiny"), None, &["loss.adaptive_vf=false".to_string()])?;
    let whole = bench.step(StepOptions::default())?;
    let parts = bench.batch.images.shape()[0];
    let part = |tensor: &Tensor, i: usize| -> Result<Tensor> {
        let (values, shape) = (tensor.to_vec()?, [&[1], &tensor.shape()[1..]].concat());
        let one = values.len() / parts;
        Ok(Tensor::from_slice(&device, &shape, &values[i * one..][..one])?)
    };
    let Batch { images, features, noise } = &bench.batch;
    let features = features.as_ref().expect("the bench has features");
    let batches: Vec<Batch> = (0..parts)
        .map(|i| Ok(Batch { images: part(images, i)?, features: Some(part(features, i)?), noise: part(noise, i)? }))
        .collect::<Result<_>>()?;
    let mut mean = bench.step_over(&batches.iter().collect::<Vec<_>>(), StepOptions::default())?;
    mean.gradients.values_mut().flatten().for_each(|gradient| *gradient /= parts as f32);
    ensure!(parts > 1);
    compare_gradients(&mean, &whole, &F32)
}

/// The total losses of ten steps of `tiny` at 32×32 on one random batch, from parameters off by up to `nudge` of themselves.
fn ten_losses(device: &Device, precision: &str, nudge: f32, seed: u64) -> Result<Vec<f64>> {
    let settings = ["model.resolution=32".to_string(), format!("train.precision={precision}")];
    let config = Config::load(Some("tiny"), None, &settings)?;
    let mut run = random_run(&config, FEATURE_CHANNELS, device)?;
    if nudge > 0.0 {
        for id in run.params.ids() {
            let value = run.params.value(id);
            let stream = random::stream(run.params.name(id));
            let share = random::uniform(device, value.shape(), seed, stream, -nudge, nudge)?.to_vec()?;
            let nudged: Vec<f32> = value.to_vec()?.iter().zip(share).map(|(v, share)| v + v * share).collect();
            let nudged = Tensor::from_slice(device, value.shape(), &nudged)?;
            run.params.set(id, nudged)?;
        }
    }
    (0..10).map(|_| Ok(f64::from(run.step()?[0].read()?.total))).collect()
}

/// Runs drift apart: Adam's first steps are the gradient's signs, and where a gradient is all rounding, its parameter goes another way. How
/// far is measured on the CPU, by the farthest of eight runs from parameters that were off by a rounding of the precision: up to a step,
/// the software GPU, which rounds at every step, may be four times as far, and what one step's losses may be.
#[test]
fn ten_steps_on_the_software_gpu_track_the_cpu() -> Result<()> {
    let Some(device) = software_gpu()? else { return Ok(()) };
    let cpu = Device::cpu();
    let want = ten_losses(&cpu, "f32", 0.0, 0)?;
    ensure!(want[9] < 0.9 * want[0], "nothing is learnt: {want:?}");
    for (precision, rounding, bounds) in [("f32", 2.0_f32.powi(-24), F32), ("bf16", 2.0_f32.powi(-9), BF16)] {
        let nudged: Vec<_> = (1..=8).map(|seed| ten_losses(&cpu, "f32", rounding, seed)).collect::<Result<_>>()?;
        let got = ten_losses(&device, precision, 0.0, 0)?;
        let mut drift = 0.0_f64;
        for (step, (got, want)) in got.iter().zip(&want).enumerate() {
            drift = nudged.iter().map(|run| (run[step] - want).abs() / want).fold(drift, f64::max);
            let error = (got - want).abs() / want;
            let message = format!(
                "{precision}, step {}: {got}, {want} on the CPU, off by {error:.1e}; the CPU drifts by {drift:.1e}",
                step + 1
            );
            println!("{message}");
            // Not `error > bound`, which a NaN would pass.
            ensure!(error <= 4.0 * drift + bounds.loss, message);
        }
    }
    Ok(())
}

#[test]
fn the_software_gpu_steps_as_the_cpu_does() -> Result<()> {
    agrees_on_the_software_gpu(|device, dtype| {
        let mut bench = Bench::new(device)?;
        bench.params.compute_in(dtype)?;
        bench.step(StepOptions::default())
    })
}
