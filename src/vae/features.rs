//! Where a run's foundation features come from.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::config::{Config, FoundationModel};
use crate::data::{FeatureCache, ImageFolder};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::image;
use crate::tensor::Tensor;
use crate::vision::{Options, Style, Vit, Weights};

/// Images of a folder, as bytes.
pub(super) struct Images<'a> {
    /// (B, side, side, 3)
    pub bytes: &'a [u8],
    /// Pixels of an edge.
    pub side: usize,
    /// Their places in the folder.
    pub indices: &'a [usize],
    /// Which of them are mirrored.
    pub flipped: &'a [bool],
}

impl Images<'_> {
    /// (B, side, side, 3) in [−1, 1].
    pub(super) fn normalized(&self, device: &Device, dtype: DType) -> Result<Tensor> {
        image::from_bytes(device, &[self.indices.len(), self.side, self.side, 3], dtype, self.bytes)
    }
}

/// The source of features (B, h·w, Cf) for images of a run.
pub(super) enum Features {
    /// The VF loss is off.
    None,
    /// Computed beforehand for centre crops and their mirror images.
    Cached(FeatureCache),
    /// Computed by a frozen ViT as training goes.
    Online(Box<Vit>),
}

impl Features {
    /// The source that `config` names, checked against the images and the model's latents.
    ///
    /// # Errors
    /// A cache of other images (naming one), weights that are no ViT, or a grid that is not the latents'.
    pub(super) fn open(config: &Config, folder: &ImageFolder, device: &Device) -> Result<Features> {
        if config.loss.vf_weight == 0.0 {
            return Ok(Features::None);
        }
        let side = config.model.resolution;
        let latent_side = side >> (config.model.ch_mult.len() - 1);
        if let Some(path) = &config.data.features {
            let cache = FeatureCache::open(path)?;
            cache.check(folder, side, config.data.crop)?;
            let [h, w] = cache.source().grid;
            fits(&path.display().to_string(), [h, w], latent_side)?;
            return Ok(Features::Cached(cache));
        }
        let foundation = &config.data.foundation;
        let Some(path) = &foundation.weights else {
            // `Config::training_images` has said so already; a caller who skipped it hears the same.
            return Err(Error::Config("the VF loss needs data.features or data.foundation.weights".to_string()));
        };
        let style = match foundation.model {
            FoundationModel::Dinov2 => Style::DinoV2,
            FoundationModel::Mae => Style::Mae,
        };
        let vit = Vit::new(device, Weights::open(path)?, Options { style: Some(style), heads: None })?;
        fits(&path.display().to_string(), vit.grid(side, side)?, latent_side)?;
        Ok(Features::Online(Box::new(vit)))
    }

    /// Channels of the features, where there are any.
    pub(super) fn channels(&self) -> Option<usize> {
        match self {
            Features::None => None,
            Features::Cached(cache) => Some(cache.source().channels),
            Features::Online(vit) => Some(vit.shape().dim),
        }
    }

    /// Features (B, h·w, Cf) of square images, in `dtype`.
    pub(super) fn of(&self, device: &Device, dtype: DType, images: &Images) -> Result<Option<Tensor>> {
        match self {
            Features::None => Ok(None),
            Features::Cached(cache) => {
                let mut values = Vec::new();
                for (&index, &mirrored) in images.indices.iter().zip(images.flipped) {
                    values.extend_from_slice(cache.features(index, mirrored)?);
                }
                let [h, w] = cache.source().grid;
                let shape = [images.indices.len(), h * w, cache.source().channels];
                // What crosses over to a GPU has two bytes already where the model computes in so many.
                Ok(Some(match dtype {
                    DType::Bf16 => Tensor::from_bf16(device, &shape, &convert(&values, bf16::from_f32))?,
                    _ => Tensor::from_slice(device, &shape, &convert(&values, |v| v))?,
                }))
            }
            Features::Online(vit) => {
                let features = vit.features(&images.normalized(device, DType::F32)?)?;
                let [b, h, w, c] = features.dims::<4>("vit")?;
                Ok(Some(features.reshape(&[b, h * w, c])?.to_dtype(dtype)?))
            }
        }
    }
}

fn convert<T: Send>(values: &[f16], to: impl Fn(f32) -> T + Sync) -> Vec<T> {
    values.par_iter().map(|v| to(v.to_f32())).collect()
}

fn fits(source: &str, [h, w]: [usize; 2], latent_side: usize) -> Result<()> {
    if [h, w] == [latent_side; 2] {
        return Ok(());
    }
    let message = format!(
        "{source}: features on a {h}×{w} grid do not fit latents of {latent_side}×{latent_side}: the VF loss needs one \
         feature per latent (a downsampling of 16, so five levels in model.ch_mult)"
    );
    Err(Error::Config(message))
}
