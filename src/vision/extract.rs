//! Features of a whole folder of images, computed once for training to read.

use std::path::Path;

use rayon::prelude::*;

use crate::data::{FeatureCache, FeatureSource, ImageFolder, Rgb, sha256_of_file};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::image;

use super::{CELL, Vit};

/// The share of images that may be unreadable before that is an error; one image always may.
const MAX_UNREADABLE: f64 = 0.01;

/// How features are computed.
#[derive(Debug, Clone, Copy)]
pub struct Extraction {
    /// Side of the centre crops that are trained on, in pixels: the features get the grid of their latents, size/16.
    pub size: usize,
    /// Side of the same crops as the ViT sees them: `size`, as in the reference, or a multiple of it for sharper features,
    /// which are then averaged over each cell of the grid.
    pub feature_size: usize,
    /// Images, each with its mirror image, that go through the ViT at a time.
    pub batch: usize,
}

/// What was computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// What the features come from, as the file says it.
    pub source: FeatureSource,
    /// Images that could not be read, and why.
    pub unreadable: Vec<String>,
}

impl Extraction {
    fn check(&self) -> Result<()> {
        let Extraction { size, feature_size, batch } = *self;
        let message = if size == 0 || !size.is_multiple_of(CELL) {
            format!(
                "the size is {size} and must be a multiple of {CELL}, since each latent stands for {CELL}×{CELL} pixels"
            )
        } else if feature_size == 0 || !feature_size.is_multiple_of(size) {
            format!("the feature size is {feature_size} and must be the size, {size}, or a multiple of it")
        } else if batch == 0 {
            "the batch is 0 and must be at least 1".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Config(message))
    }
}

impl Vit {
    /// Writes the features of every image of `folder`, and of its mirror image, to the cache file `out`. `weights` is the file
    /// that this ViT was loaded from; `progress` is told how many images are done.
    ///
    /// # Errors
    /// Sizes that do not fit, more unreadable images than 1 %, or a file that cannot be read or written; each named.
    pub fn extract(
        &self,
        device: &Device,
        folder: &ImageFolder,
        settings: Extraction,
        weights: &Path,
        out: &Path,
        mut progress: impl FnMut(usize),
    ) -> Result<Extracted> {
        settings.check()?;
        let side = settings.size / CELL;
        let source = FeatureSource {
            model: self.to_string(),
            weights_sha256: sha256_of_file(weights)?,
            size: settings.size,
            feature_size: settings.feature_size,
            grid: [side, side],
            channels: self.shape().dim,
        };
        let indices: Vec<usize> = (0..folder.len()).collect();
        let mut unreadable = Vec::new();
        let mut done = 0;
        let batches = indices.chunks(settings.batch).map(|batch| {
            let crops: Vec<Result<Rgb>> =
                batch.par_iter().map(|&index| folder.center_crop(index, settings.feature_size)).collect();
            let features = self.batch(device, settings, &crops, &mut unreadable)?;
            check_unreadable(&unreadable, folder)?;
            done += batch.len();
            progress(done);
            Ok(features)
        });
        let images = batches.flat_map(|batch| match batch {
            Ok(features) => features.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        FeatureCache::write(out, folder, &source, images)?;
        Ok(Extracted { source, unreadable })
    }

    /// Features of each crop and of its mirror image; `None` for a crop that could not be read.
    fn batch(
        &self,
        device: &Device,
        settings: Extraction,
        crops: &[Result<Rgb>],
        unreadable: &mut Vec<String>,
    ) -> Result<Vec<Option<[Vec<f32>; 2]>>> {
        let size = settings.feature_size;
        let readable: Vec<&Rgb> = crops.iter().flatten().collect();
        let mut pairs = Vec::new();
        if !readable.is_empty() {
            let mut pixels = vec![];
            for crop in &readable {
                crop.append_to(&mut pixels, false);
                crop.append_to(&mut pixels, true);
            }
            let images = image::from_bytes(device, &[2 * readable.len(), size, size, 3], DType::F32, &pixels)?;
            let features = self.features(&images)?;
            let [b, side, _, dim] = features.dims::<4>("vit")?;
            let features = average_pool(&features.to_vec()?, [b, side, dim], size / settings.size);
            let mut crops = features.chunks_exact(features.len() / b).map(<[f32]>::to_vec);
            while let (Some(plain), Some(mirrored)) = (crops.next(), crops.next()) {
                pairs.push([plain, mirrored]);
            }
        }
        let mut pairs = pairs.into_iter();
        let features = crops.iter().map(|crop| match crop {
            Ok(_) => pairs.next(),
            Err(error) => {
                log::warn!("skipped an unreadable image: {error}");
                unreadable.push(error.to_string());
                None
            }
        });
        Ok(features.collect())
    }
}

fn check_unreadable(unreadable: &[String], folder: &ImageFolder) -> Result<()> {
    let allowed = (MAX_UNREADABLE * folder.len() as f64).max(1.0).min(folder.len() as f64 - 1.0);
    match unreadable {
        [first, ..] if unreadable.len() as f64 > allowed => {
            let (count, all, root) = (unreadable.len(), folder.len(), folder.root().display());
            let advice = "remove or replace them";
            Err(Error::data(format!("{count} of the {all} images in {root} are unreadable: {advice}; one is {first}")))
        }
        _ => Ok(()),
    }
}

/// Means over squares of `factor`² cells: (B, side, side, D) → (B, side/factor, side/factor, D).
fn average_pool(features: &[f32], [batch, side, dim]: [usize; 3], factor: usize) -> Vec<f32> {
    let small = side / factor;
    let mut pooled = vec![0.0; batch * small * small * dim];
    for (i, cell) in features.chunks_exact(dim).enumerate() {
        let (b, row, column) = (i / (side * side), i / side % side, i % side);
        let at = (b * small + row / factor) * small + column / factor;
        for (sum, value) in pooled[at * dim..(at + 1) * dim].iter_mut().zip(cell) {
            *sum += value;
        }
    }
    let share = 1.0 / (factor * factor) as f32;
    pooled.iter_mut().for_each(|sum| *sum *= share);
    pooled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_averages_squares() {
        // Two images of 4×4 cells with 2 channels: the cell's row, and 10 times its column, plus 100 in the second image.
        let cells = (0..32).flat_map(|i| {
            let base = 100.0 * (i / 16) as f32;
            [base + (i / 4 % 4) as f32, base + 10.0 * (i % 4) as f32]
        });
        let features: Vec<f32> = cells.collect();
        let pooled = average_pool(&features, [2, 4, 2], 2);
        let first = [0.5, 5.0, 0.5, 25.0, 2.5, 5.0, 2.5, 25.0];
        assert_eq!(pooled[..8], first);
        assert_eq!(pooled[8..], first.map(|v| v + 100.0));
        assert_eq!(average_pool(&features, [2, 4, 2], 1), features);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let problem =
            |size, feature_size, batch| Extraction { size, feature_size, batch }.check().unwrap_err().to_string();
        assert!(problem(100, 100, 1).contains("multiple of 16"));
        assert!(problem(64, 96, 1).contains("multiple of it"));
        assert!(problem(64, 0, 1).contains("multiple of it"));
        assert!(problem(64, 128, 0).contains("batch"));
    }
}
