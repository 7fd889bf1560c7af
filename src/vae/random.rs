//! Steps on random images and features.

use super::{Batch, StepLosses, VaVae, train, training_step};
use crate::config::Config;
use crate::device::Device;
use crate::error::Result;
use crate::random;
use crate::training::RandomRun;

/// A new model as `config` says, on `device`; features have `feature_channels` channels.
pub fn random_run(config: &Config, feature_channels: usize, device: &Device) -> Result<RandomRun<StepLosses>> {
    let with_features = (config.loss.vf_weight > 0.0).then_some(feature_channels);
    let seed = config.train.seed;
    let model = || VaVae::new(device, train::shape(config, with_features), seed);
    let batch = |model: &VaVae| {
        let side = config.model.resolution;
        let image_shape = [config.train.batch_size, side, side, config.model.in_channels];
        let [b, h, w, z] = model.latent_shape(image_shape)?;
        let dtype = config.train.precision.dtype();
        let draw = |shape: &[usize], name| random::normal(device, shape, seed, random::stream(name));
        let features =
            with_features.map(|channels| draw(&[b, h * w, channels], "features")?.to_dtype(dtype)).transpose()?;
        let images = random::uniform(device, &image_shape, seed, random::stream("images"), -1.0, 1.0)?;
        Ok(Batch { images: images.to_dtype(dtype)?, features, noise: draw(&[b, h, w, z], "noise")? })
    };
    let objective = train::objective(config);
    RandomRun::new(config, device, model, batch, move |model, params, batch, gradients, options| {
        Ok(training_step(model, params, &objective, batch, gradients, options)?.losses)
    })
}
