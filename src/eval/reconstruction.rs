//! How well a tokenizer gives images back.

use std::path::Path;

use crate::data::{CropLoader, ImageFolder};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::metrics::{save_png, to_rgb};
use crate::ops::image;
use crate::vae::Tokenizer;

/// What is reconstructed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Side of the centre crops in pixels.
    pub size: usize,
    /// Images at a time.
    pub batch: usize,
    /// Decoding threads.
    pub workers: usize,
}

/// Reconstructs every image of `folder` from its posterior's mean, writes them as `out`/NNNNNN.png in the folder's order where `out`
/// is given, and returns the mean of their PSNR in dB. `progress` is told how many are done.
///
/// # Errors
/// Sizes that do not fit, a folder `out` that is not empty, or an image that cannot be read or written, named.
pub fn reconstruct(
    tokenizer: &Tokenizer,
    device: &Device,
    folder: &ImageFolder,
    settings: Settings,
    out: Option<&Path>,
    mut progress: impl FnMut(usize),
) -> Result<f64> {
    let Settings { size, batch, workers } = settings;
    if batch == 0 || workers == 0 {
        return Err(Error::Config("batch and workers must be 1 or more".to_owned()));
    }
    tokenizer.latent_shape(size)?;
    if let Some(out) = out {
        std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
        // Whoever evaluates the folder evaluates all that is there.
        if std::fs::read_dir(out).map_err(|e| Error::io(out, e))?.next().is_some() {
            return Err(Error::Config(format!("{} is not empty: choose another folder for --out", out.display())));
        }
    }
    let of_image = size * size * 3;
    let (mut done, mut sum) = (0, 0.0);
    let mut crops = CropLoader::new(folder, (0..folder.len()).collect(), size, batch, workers)?;
    while done < folder.len() {
        let drawn = crops.next_batch()?;
        let (count, mut pixels) = (drawn.len(), vec![]);
        for (_, crop) in drawn {
            crop?.append_to(&mut pixels, false);
        }
        let images = image::from_bytes(device, &[count, size, size, 3], DType::F32, &pixels)?;
        let reconstructions = tokenizer.decode(&tokenizer.encode(&images, None)?)?.to_vec()?;
        sum += psnr(&images.to_vec()?, &reconstructions, count) * count as f64;
        if let Some(out) = out {
            for (i, image) in reconstructions.chunks_exact(of_image).enumerate() {
                save_png(&out.join(format!("{:06}.png", done + i)), &to_rgb(image, size, size))?;
            }
        }
        done += count;
        progress(done);
    }
    Ok(sum / done as f64)
}

/// Mean over `count` images in [−1, 1] of 10·log₁₀(2² / mean squared error), in dB; reconstructions are clamped to that range.
pub fn psnr(images: &[f32], reconstructions: &[f32], count: usize) -> f64 {
    let size = (images.len() / count.max(1)).max(1);
    let of_image = |(x, y): (&[f32], &[f32])| {
        let error: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y.clamp(-1.0, 1.0)).powi(2)).sum();
        10.0 * (4.0 * size as f64 / error).log10()
    };
    images.chunks_exact(size).zip(reconstructions.chunks_exact(size)).map(of_image).sum::<f64>() / count as f64
}
