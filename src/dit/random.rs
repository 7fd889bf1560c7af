//! Steps on random latents.

use super::{Batch, DitShape, LightningDit, StepLosses, settings, training_step};
use crate::config::DitConfig;
use crate::device::Device;
use crate::error::Result;
use crate::random;
use crate::tensor::Tensor;
use crate::training::RandomRun;

/// A new model as `config` says, on `device`, with latents of every class in turn.
///
/// # Errors
/// A configuration that leaves sizes to the data.
pub fn random_run(config: &DitConfig, device: &Device) -> Result<RandomRun<StepLosses>> {
    let (count, seed, shape) = (config.train.batch_size, config.train.seed, settings::shape(config)?);
    let transport = settings::transport(config);
    let model = || LightningDit::new(device, shape.clone(), seed);
    let batch = |model: &LightningDit| {
        let &DitShape { input_size: side, in_channels, num_classes, .. } = model.shape();
        let draw = |name| random::normal(device, &[count, side, side, in_channels], seed, random::stream(name));
        let labels: Vec<u32> = (0..count).map(|i| (i % num_classes) as u32).collect();
        Ok(Batch {
            latents: draw("latents")?,
            noise: draw("noise")?,
            point: transport.point(device, &transport.times.draw(transport.train_interval(), count, seed, 0))?,
            labels: Tensor::from_u32(device, &[count], &labels)?,
        })
    };
    let training = transport.clone();
    RandomRun::new(config, device, model, batch, move |model, params, batch, gradients, options| {
        Ok(training_step(model, params, &training, batch, gradients, options)?.losses)
    })
}
