//! A training step of the VA-VAE as a whole: what may change how it is computed, and must not change what.

use std::collections::BTreeMap;

use anyhow::Result;
use vf_engine::config::Config;
use vf_engine::device::Device;
use vf_engine::nn::{ParamGradients, Parameters};
use vf_engine::random;
use vf_engine::vae::{Batch, Losses, StepOptions, VaVae, train, training_step};

const FEATURE_CHANNELS: usize = 48;

/// The `tiny` preset's model with random images and features.
struct Bench {
    config: Config,
    model: VaVae,
    params: Parameters,
    batch: Batch,
}

/// A step's losses, its gradients by the parameters' names, and the most bytes that its activations held.
struct Outcome {
    losses: Losses,
    gradients: BTreeMap<String, Vec<f32>>,
    peak: usize,
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
        let (objective, mut gradients) = (train::objective(&self.config), ParamGradients::default());
        let device = self.params.device();
        let before = device.memory().live;
        device.reset_peak_memory();
        let step = training_step(&self.model, &self.params, &objective, &self.batch, &mut gradients, options)?;
        let parameters: usize = gradients.iter().map(|(_, gradient)| gradient.bytes()).sum();
        let peak = device.memory().peak - before - parameters;
        let named = gradients.iter().map(|(id, gradient)| Ok((self.params.name(id).to_string(), gradient.to_vec()?)));
        Ok(Outcome { losses: step.losses.read()?, gradients: named.collect::<Result<_>>()?, peak })
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
