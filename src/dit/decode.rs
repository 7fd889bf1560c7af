//! From a model's latents to images.

use std::path::Path;

use super::DitShape;
use crate::data::latents::LatentStats;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::vae::Tokenizer;

/// A tokenizer, and the statistics of the latents that it made.
pub struct Decoder {
    tokenizer: Tokenizer,
    stats: LatentStats,
}

impl Decoder {
    /// The decoder of the tokenizer at `path`, for a model of `shape` that was trained on latents of these statistics.
    ///
    /// # Errors
    /// A tokenizer that made other latents than the model was trained on.
    pub fn open(device: &Device, path: &Path, stats: LatentStats, shape: &DitShape) -> Result<Decoder> {
        // Whether the run's average or its last weights made the latents, their hash says.
        let mut tokenizer = Tokenizer::open(device, path, true)?;
        match stats.tokenizer_sha256.as_deref() {
            Some(hash) if hash != tokenizer.hash() => {
                tokenizer = Tokenizer::open(device, path, false)?;
                if hash != tokenizer.hash() {
                    let (tokenizer, hash, known) = (tokenizer.checkpoint().display(), tokenizer.hash(), &hash[..12]);
                    let message = format!(
                        "{tokenizer} did not make the latents that the model was trained on: its weights are {}, and the \
                         latents' tokenizer was {known}: give the run and checkpoint that `vf-engine extract` used",
                        &hash[..12]
                    );
                    return Err(Error::Config(message));
                }
            }
            Some(_) => {}
            None => log::warn!(
                "the latents do not say which tokenizer made them: {} is taken as it is",
                tokenizer.checkpoint().display()
            ),
        }
        let [_, _, channels] = tokenizer.latent_shape(tokenizer.resolution())?;
        if channels != shape.in_channels {
            let message = format!(
                "{} has latents of {channels} channels, and the model makes {}",
                tokenizer.checkpoint().display(),
                shape.in_channels
            );
            return Err(Error::Config(message));
        }
        Ok(Decoder { tokenizer, stats })
    }

    /// Normalised latents (B, h, w, C) → (B, H, W, 3), about in [−1, 1].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let mut values = latents.to_vec()?;
        self.stats.restore(&mut values);
        self.tokenizer.decode(&Tensor::from_slice(latents.device(), latents.shape(), &values)?)
    }
}
