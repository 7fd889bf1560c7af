//! Latents of a whole folder of images, written in shards as the reference lays them out.
//!
//! A shard appears whole or not at all, and everything in it is a pure function of the images, the tokenizer and the seed: a run
//! that was stopped goes on with the shards that are missing, and several processes can share the work.

use std::path::{Path, PathBuf};

use super::Tokenizer;
use crate::data::latents::{LatentFolder, LatentSource, LatentStats, Posterior, ShardWriter, shard_name};
use crate::data::{CropLoader, ImageFolder, Rgb};
use crate::device::{Device, philox};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::image;
use crate::random;
use crate::tensor::Tensor;

/// The share of images that may be unreadable before that is an error; one image always may.
const MAX_UNREADABLE: f64 = 0.01;

/// How latents are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extraction {
    /// Side of the centre crops in pixels.
    pub size: usize,
    /// Images, each with its mirror image, that go through the encoder at a time.
    pub batch: usize,
    /// Images in a shard, at most.
    pub shard: usize,
    /// What of the posterior is stored.
    pub posterior: Posterior,
    /// Seed of the samples.
    pub seed: u64,
    /// Decoding threads.
    pub workers: usize,
    /// This process among those that share the work: it takes every `world`-th image from `rank` on.
    pub rank: usize,
    /// The processes that share the work.
    pub world: usize,
}

/// What was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Images in this process's shards.
    pub images: usize,
    /// Shards written now, and those that were there already.
    pub shards: [usize; 2],
    /// Statistics of all latents; `None` while other processes' shards are missing.
    pub stats: Option<LatentStats>,
    /// Images that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// Writes the latents of every image of `folder` into `out`; `progress` is told how many images are done.
///
/// # Errors
/// Sizes that do not fit, shards in `out` that were made from something else, too many unreadable images, or a file that
/// cannot be written; each named.
pub fn extract(
    tokenizer: &Tokenizer,
    device: &Device,
    folder: &ImageFolder,
    settings: Extraction,
    out: &Path,
    mut progress: impl FnMut(usize),
) -> Result<Extracted> {
    settings.check()?;
    let [h, w, c] = tokenizer.latent_shape(settings.size)?;
    let source = LatentSource {
        tokenizer_sha256: tokenizer.hash().to_owned(),
        size: settings.size,
        posterior: settings.posterior,
        seed: settings.seed,
        images: folder.len(),
        names_sha256: folder.names_sha256(),
    };
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let mut extracted = Extracted { images: 0, shards: [0, 0], stats: None, unreadable: vec![] };
    let shards = settings.shards(folder.len(), settings.rank);
    // What is there is checked before hours of work.
    let mut missing = vec![];
    for (number, &[first, count]) in shards.iter().enumerate() {
        let path = out.join(shard_name(settings.rank, number));
        let shard = ShardWriter::new(path, &source, [c, h, w], first, settings.world, count);
        match shard.is_written()? {
            true => extracted.shards[1] += 1,
            false => missing.push(shard),
        }
        extracted.images += count;
    }
    let mut done = extracted.images - missing.iter().map(|shard| shard.images().len()).sum::<usize>();
    progress(done);
    for mut shard in missing {
        let before = done;
        // An image that turns out unreadable changes the shard's size: it is begun again without it.
        while let Written::Unreadable(image, error) =
            write_shard(tokenizer, device, folder, settings, &shard, |count| {
                done += count;
                progress(done);
            })?
        {
            log::warn!("left out an unreadable image: {error}");
            extracted.unreadable.push(error.to_string());
            check_unreadable(&extracted.unreadable, folder)?;
            shard.leave_out(image);
            extracted.images -= 1;
            done = before;
        }
        extracted.shards[0] += 1;
    }
    extracted.stats = stats(folder.len(), settings, out)?;
    Ok(extracted)
}

impl Extraction {
    fn check(&self) -> Result<()> {
        let Extraction { batch, shard, workers, rank, world, .. } = *self;
        for (what, value) in [("batch", batch), ("shard", shard), ("number of workers", workers), ("world size", world)]
        {
            if value == 0 {
                return Err(Error::Config(format!("the {what} is 0 and must be at least 1")));
            }
        }
        if rank >= world {
            return Err(Error::Config(format!("the rank is {rank}, and must be below the world size, {world}")));
        }
        Ok(())
    }

    /// (first image, number of images) of every shard of a rank, whose images are every `world`-th.
    fn shards(&self, images: usize, rank: usize) -> Vec<[usize; 2]> {
        let own = images.saturating_sub(rank).div_ceil(self.world);
        let starts = (0..own).step_by(self.shard);
        starts.map(|start| [rank + start * self.world, self.shard.min(own - start)]).collect()
    }
}

/// What became of a shard.
enum Written {
    Whole,
    /// This image cannot be read.
    Unreadable(usize, Error),
}

fn write_shard(
    tokenizer: &Tokenizer,
    device: &Device,
    folder: &ImageFolder,
    settings: Extraction,
    shard: &ShardWriter,
    mut progress: impl FnMut(usize),
) -> Result<Written> {
    let images = shard.images();
    if images.is_empty() {
        return Ok(Written::Whole);
    }
    let mut crops = CropLoader::new(folder, images, settings.size, settings.batch, settings.workers)?;
    let mut unreadable = None;
    let written = shard.write(|latents, flips, labels| {
        let mut batch: Vec<(usize, Rgb)> = vec![];
        for (image, crop) in crops.next_batch()? {
            match crop {
                Ok(crop) => batch.push((image, crop)),
                Err(error) => {
                    let stop = Error::data("an unreadable image");
                    unreadable.get_or_insert((image, error));
                    return Err(stop);
                }
            }
        }
        encode(tokenizer, device, settings, &batch, latents, flips)?;
        labels.extend(batch.iter().map(|(image, _)| folder.labels().map_or(0, |labels| i64::from(labels[*image]))));
        progress(batch.len());
        Ok(())
    });
    match unreadable {
        Some((image, error)) => Ok(Written::Unreadable(image, error)),
        None => written.map(|()| Written::Whole),
    }
}

/// Appends the latents of a batch, and of its mirror images, as (C, h, w).
fn encode(
    tokenizer: &Tokenizer,
    device: &Device,
    settings: Extraction,
    batch: &[(usize, Rgb)],
    latents: &mut Vec<f32>,
    flips: &mut Vec<f32>,
) -> Result<()> {
    let size = settings.size;
    let [h, w, c] = tokenizer.latent_shape(size)?;
    let mut pixels = vec![];
    for (_, crop) in batch {
        crop.append_to(&mut pixels, false);
        crop.append_to(&mut pixels, true);
    }
    let images = image::from_bytes(device, &[2 * batch.len(), size, size, 3], DType::F32, &pixels)?;
    let noise = match settings.posterior {
        Posterior::Mean => None,
        Posterior::Sample => {
            let mut noise = vec![0.0; 2 * batch.len() * h * w * c];
            for (i, values) in noise.chunks_exact_mut(h * w * c).enumerate() {
                // By image, so that a latent does not depend on where in a batch or shard it is made.
                let number = 2 * batch[i / 2].0 as u64 + i as u64 % 2;
                philox::normal(settings.seed, random::stream("extracted posterior").wrapping_add(number), values);
            }
            Some(Tensor::from_slice(device, &[2 * batch.len(), h, w, c], &noise)?)
        }
    };
    let encoded = tokenizer.encode(&images, noise)?.to_vec()?;
    for (i, pixels) in encoded.chunks_exact(h * w * c).enumerate() {
        let to = if i % 2 == 0 { &mut *latents } else { &mut *flips };
        to.extend((0..c).flat_map(|channel| pixels.iter().skip(channel).step_by(c)));
    }
    Ok(())
}

/// The statistics of all latents, once every process's shards are there.
fn stats(images: usize, settings: Extraction, out: &Path) -> Result<Option<LatentStats>> {
    let shards = |rank| (0..settings.shards(images, rank).len()).map(move |number| out.join(shard_name(rank, number)));
    let missing: Option<PathBuf> = (0..settings.world).flat_map(shards).find(|path| !path.exists());
    match missing {
        Some(_) => Ok(None),
        None => save_stats(out, settings.seed).map(Some),
    }
}

/// Computes the statistics of the latents in `folder`, and stores them beside the shards.
pub fn save_stats(folder: &Path, seed: u64) -> Result<LatentStats> {
    let latents = LatentFolder::open(folder)?;
    let stats = LatentStats::compute(&latents, seed);
    if let Some(flat) = stats.std.iter().position(|std| !(*std > 0.0 && std.is_finite())) {
        let what = format!("channel {flat} of the latents does not vary, or is not finite");
        return Err(Error::data(format!("{}: {what}: they cannot be normalised", folder.display())));
    }
    stats.save(&latents)?;
    Ok(stats)
}

fn check_unreadable(unreadable: &[String], folder: &ImageFolder) -> Result<()> {
    let allowed = (MAX_UNREADABLE * folder.len() as f64).max(1.0);
    match unreadable {
        [first, ..] if unreadable.len() as f64 > allowed => {
            let (count, root) = (unreadable.len(), folder.root().display());
            let advice = "remove or replace them";
            Err(Error::data(format!("{count} images in {root} are unreadable: {advice}; one is {first}")))
        }
        _ => Ok(()),
    }
}
