//! A trained VA-VAE in use: images to latents and back.

use std::path::{Path, PathBuf};

use super::{VaVae, train};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::device::Device;
use crate::error::Result;
use crate::nn::{Forward, Parameters};
use crate::ops::gaussian::GaussianSample;
use crate::tape::Tape;
use crate::tensor::Tensor;
use crate::training::{self, CONFIG};

/// A VA-VAE with a checkpoint's weights.
pub struct Tokenizer {
    model: VaVae,
    params: Parameters,
    config: Config,
    checkpoint: PathBuf,
    hash: String,
}

impl Tokenizer {
    /// The tokenizer of a run of `train-vae`: its folder, for the latest checkpoint, or one of its checkpoints. The moving
    /// average of the weights is used where the run kept one and `average` asks for it.
    ///
    /// # Errors
    /// Files that are not there or do not belong together, named.
    pub fn open(device: &Device, path: &Path, average: bool) -> Result<Tokenizer> {
        let (run, checkpoint) = training::locate(path)?;
        let config = Config::load(None, Some(&run.join(CONFIG)), &[])?;
        // The projection to the foundation model's space serves training alone.
        let (model, mut params) = VaVae::new(device, train::shape(&config, None), 0)?;
        training::load_weights(&Checkpoint::open(&checkpoint)?, &mut params, average)?;
        let hash = params.sha256()?;
        Ok(Tokenizer { model, params, config, checkpoint, hash })
    }

    /// The checkpoint that the weights are from.
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// The weights' [`Parameters::sha256`].
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Side of the images that the model was trained on.
    pub fn resolution(&self) -> usize {
        self.config.model.resolution
    }

    /// (h, w, C) of the latents of square images of side `size`.
    ///
    /// # Errors
    /// A size that is no multiple of the model's downsampling.
    pub fn latent_shape(&self, size: usize) -> Result<[usize; 3]> {
        let [_, h, w, c] = self.model.latent_shape([1, size, size, 3])?;
        Ok([h, w, c])
    }

    /// Images (B, H, W, 3) in [−1, 1] → latents (B, h, w, C): the posterior's mean, plus its standard deviation times `noise`
    /// where there is some.
    pub fn encode(&self, images: &Tensor, noise: Option<Tensor>) -> Result<Tensor> {
        let tape = Tape::inference(images.device());
        let pass = Forward::new(&tape, &self.params);
        let images = images.to_dtype(self.params.dtype())?;
        let shape = self.model.latent_shape(images.dims("tokenizer")?)?;
        let trunk = self.model.trunk(&pass, &tape.constant(images.clone()))?;
        let moments = self.model.moments(&pass, &trunk)?;
        let noise = match noise {
            Some(noise) => noise,
            None => Tensor::zeros(images.device(), &shape)?,
        };
        let [latents, _] = tape.apply(GaussianSample, [&moments, &tape.constant(noise)])?;
        Ok(latents.value().clone())
    }

    /// Latents (B, h, w, C) → images (B, H, W, 3), about in [−1, 1].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let tape = Tape::inference(latents.device());
        let pass = Forward::new(&tape, &self.params);
        let latents = latents.to_dtype(self.params.dtype())?;
        Ok(self.model.decode(&pass, &tape.constant(latents))?.value().clone())
    }
}
