//! Mean and standard deviation of latents, channel by channel.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors};

use super::write::write_header;
use super::{FORMAT, LatentFolder, METADATA_KEY, StatsDocument};
use crate::checkpoint::atomic;
use crate::data::order::Order;
use crate::device::mmap::map_file;
use crate::error::{Error, Result};

/// The name of the file of statistics in a folder of latents.
pub const STATS_FILE: &str = "latents_stats.safetensors";

/// The reference's file of them, which this engine does not read yet.
const REFERENCE_FILE: &str = "latents_stats.pt";

/// The most images that statistics are computed over, the reference's number.
pub const STATS_IMAGES: usize = 10_000;

/// What latents are normalised with: (z − mean)/std·multiplier.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentStats {
    /// Per channel.
    pub mean: Vec<f32>,
    /// Per channel, of the sample (n − 1).
    pub std: Vec<f32>,
    /// Multiplies what was normalised.
    pub multiplier: f32,
    /// The tokenizer that they are of, where it is known.
    pub tokenizer_sha256: Option<String>,
    /// Images that they were computed over; 0 where there are none.
    pub images: usize,
}

impl LatentStats {
    /// Those that leave latents as they are but for the multiplier.
    pub fn identity(channels: usize, multiplier: f32) -> LatentStats {
        let (mean, std) = (vec![0.0; channels], vec![1.0; channels]);
        LatentStats { mean, std, multiplier, tokenizer_sha256: None, images: 0 }
    }

    /// Of up to [`STATS_IMAGES`] images of a folder, chosen by `seed`: means and unbiased standard deviations over images
    /// and pixels, in f64.
    pub fn compute(folder: &LatentFolder, seed: u64) -> LatentStats {
        let [channels, h, w] = folder.shape();
        let images = folder.len().min(STATS_IMAGES);
        let chosen: Vec<usize> = match images == folder.len() {
            true => (0..images).collect(),
            false => {
                let mut order = Order::new(seed, folder.len());
                (0..images as u64).filter_map(|place| order.images(place).next()).collect()
            }
        };
        let count = (images * h * w) as f64;
        // Two passes: differences from the mean do not cancel.
        let pass = |of: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0f64; channels];
            for &image in &chosen {
                for (at, value) in folder.stored(image, false).enumerate() {
                    sums[at / (h * w)] += of(at / (h * w), f64::from(value));
                }
            }
            sums
        };
        let mean: Vec<f64> = pass(&|_, value| value).iter().map(|sum| sum / count).collect();
        let squares = pass(&|channel, value| (value - mean[channel]).powi(2));
        LatentStats {
            std: squares.iter().map(|sum| (sum / (count - 1.0)).sqrt() as f32).collect(),
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            multiplier: 1.0,
            tokenizer_sha256: folder.tokenizer_sha256().map(str::to_owned),
            images,
        }
    }

    /// Those stored beside a folder's shards.
    ///
    /// # Errors
    /// None are there, the file is damaged, or they are of another tokenizer or another number of channels than the
    /// latents.
    pub fn of(folder: &LatentFolder) -> Result<LatentStats> {
        let path = folder.path().join(STATS_FILE);
        if !path.exists() {
            let found = match folder.path().join(REFERENCE_FILE).exists() {
                true => format!("{REFERENCE_FILE} is there, which this version does not read; "),
                false => String::new(),
            };
            let advice = format!("make it with `vf-engine extract --stats {}`", folder.path().display());
            return Err(Error::data(format!("{} is not there: {found}{advice}", path.display())));
        }
        let stats = LatentStats::read(&path)?;
        if stats.mean.len() != folder.shape()[0] {
            let (have, want) = (stats.mean.len(), folder.shape()[0]);
            return Err(Error::data(format!("{}: of {have} channels, and the latents have {want}", path.display())));
        }
        match (stats.tokenizer_sha256.as_deref(), folder.tokenizer_sha256()) {
            (Some(stats), Some(latents)) if stats != latents => {
                let what = "of another tokenizer than the latents beside it";
                Err(Error::data(format!("{}: {what}: remove it and make it again", path.display())))
            }
            _ => Ok(stats),
        }
    }

    /// Reads a file of statistics.
    pub fn read(path: &Path) -> Result<LatentStats> {
        let wrong = |what: String| Error::data(format!("{}: {what}", path.display()));
        let map = map_file(path)?;
        let file = SafeTensors::deserialize(&map).map_err(|error| wrong(format!("not a whole file ({error})")))?;
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|error| wrong(error.to_string()))?;
        let values = |name: &str| -> Result<Vec<f32>> {
            let view = file.tensor(name).map_err(|_| wrong(format!("it has no tensor {name}")))?;
            match (view.dtype(), view.shape()) {
                (Dtype::F32, [1, _, 1, 1]) => {
                    Ok(view.data().as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
                }
                (dtype, shape) => Err(wrong(format!("{name} is {dtype:?} {shape:?}, not F32 (1, C, 1, 1)"))),
            }
        };
        let (mean, std) = (values("mean")?, values("std")?);
        let fine = |&std: &f32| std > 0.0 && std.is_finite();
        if mean.len() != std.len() || !std.iter().all(fine) || !mean.iter().all(|mean| mean.is_finite()) {
            return Err(wrong("means and standard deviations are not those of as many channels that vary".to_owned()));
        }
        let document = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let document: Option<StatsDocument> = document.and_then(|text| serde_json::from_str(text).ok());
        let (tokenizer_sha256, images) =
            document.map_or((None, 0), |document| (document.tokenizer_sha256, document.images));
        Ok(LatentStats { mean, std, multiplier: 1.0, tokenizer_sha256, images })
    }

    /// Writes the statistics beside a folder's shards, where [`LatentStats::of`] finds them.
    pub fn save(&self, folder: &LatentFolder) -> Result<()> {
        self.write(&folder.path().join(STATS_FILE), folder.shape())
    }

    /// Writes the statistics of latents (C, h, w).
    pub fn write(&self, path: &Path, [c, h, w]: [usize; 3]) -> Result<()> {
        let document = StatsDocument {
            kind: "latent statistics".to_owned(),
            format: FORMAT,
            tokenizer_sha256: self.tokenizer_sha256.clone(),
            images: self.images,
        };
        atomic::write(path, |file| {
            let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&document)?)]);
            let nothing = vec![0, c, h, w];
            let tensors = vec![
                ("mean", Dtype::F32, vec![1, c, 1, 1]),
                ("std", Dtype::F32, vec![1, c, 1, 1]),
                ("latents", Dtype::F32, nothing.clone()),
                ("latents_flip", Dtype::F32, nothing),
                ("labels", Dtype::I64, vec![0]),
            ];
            write_header(file, tensors, metadata)?;
            self.mean.iter().chain(&self.std).try_for_each(|value| file.write_all(&value.to_le_bytes()))
        })
    }

    /// (z − mean)/std·multiplier.
    pub fn normalise(&self, channel: usize, z: f32) -> f32 {
        (z - self.mean[channel]) / self.std[channel] * self.multiplier
    }

    /// The inverse, of channels-last values.
    pub fn restore(&self, latents: &mut [f32]) {
        for pixel in latents.chunks_exact_mut(self.mean.len()) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = *value * self.std[channel] / self.multiplier + self.mean[channel];
            }
        }
    }
}
