//! Features of folders of images, one vector an image, for distances between distributions.

use std::path::Path;

use super::FrechetStats;
use crate::data::{CropLoader, ImageFolder, sha256_of_file};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::image;
use crate::tensor::Tensor;
use crate::vision::{CELL, Options, Vit, Weights};

/// A frozen ViT as a feature extractor: of an image, the mean over its patches of the last layer's output.
pub struct ImageFeatures {
    vit: Vit,
    size: usize,
    description: String,
}

impl ImageFeatures {
    /// The ViT of a file of weights, on centre crops of `size` pixels.
    ///
    /// # Errors
    /// A size that is no multiple of 16, or weights that are no ViT.
    pub fn open(device: &Device, weights: &Path, options: Options, size: usize) -> Result<ImageFeatures> {
        if size == 0 || !size.is_multiple_of(CELL) {
            return Err(Error::Config(format!("the size is {size} and must be a multiple of {CELL}")));
        }
        let vit = Vit::new(device, Weights::open(weights)?, options)?;
        let hash = &sha256_of_file(weights)?[..12];
        let description = format!("{vit} (weights {hash}), mean over patches, centre crops of {size} pixels");
        Ok(ImageFeatures { vit, size, description })
    }

    /// What the features are, for a person.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The distance's name: never FID, whose features are Inception's.
    pub fn distance_name(&self) -> String {
        let shape = self.vit.shape();
        let size = match shape.dim {
            384 => "S".to_owned(),
            768 => "B".to_owned(),
            1024 => "L".to_owned(),
            other => format!("{other}"),
        };
        match self.vit.style() {
            crate::vision::Style::DinoV2 => format!("FD-DINOv2-{size}"),
            crate::vision::Style::Mae => format!("FD-MAE-{size}"),
        }
    }

    /// Vectors (B, D) of images (B, H, W, 3).
    fn vectors(&self, images: &Tensor) -> Result<Vec<f32>> {
        let features = self.vit.features(images)?;
        let [_, h, w, dim] = features.dims::<4>("vit")?;
        let patches = h * w;
        let mut vectors = vec![];
        for image in features.to_vec()?.chunks_exact(patches * dim) {
            let mut sums = vec![0f64; dim];
            for patch in image.chunks_exact(dim) {
                sums.iter_mut().zip(patch).for_each(|(sum, &v)| *sum += f64::from(v));
            }
            vectors.extend(sums.iter().map(|sum| (sum / patches as f64) as f32));
        }
        Ok(vectors)
    }
}

/// Statistics of a folder's images; `progress` is told how many are done.
///
/// # Errors
/// An image that cannot be read, named: a distance over some of the images would not be the one that was asked for.
pub fn image_stats(
    extractor: &ImageFeatures,
    device: &Device,
    folder: &ImageFolder,
    batch: usize,
    workers: usize,
    mut progress: impl FnMut(usize),
) -> Result<FrechetStats> {
    if batch == 0 || workers == 0 {
        return Err(Error::Config("batch and workers must be 1 or more".to_owned()));
    }
    let size = extractor.size;
    let mut stats = FrechetStats::new(extractor.description(), extractor.vit.shape().dim);
    let mut crops = CropLoader::new(folder, (0..folder.len()).collect(), size, batch, workers)?;
    while stats.count() < folder.len() {
        let drawn = crops.next_batch()?;
        let (count, mut pixels) = (drawn.len(), vec![]);
        for (_, crop) in drawn {
            crop?.append_to(&mut pixels, false);
        }
        let images = image::from_bytes(device, &[count, size, size, 3], DType::F32, &pixels)?;
        stats.add(&extractor.vectors(&images)?);
        progress(stats.count());
    }
    Ok(stats)
}
