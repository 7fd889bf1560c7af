//! Images from a trained LightningDiT, written as PNGs: any number of them, each from its own seed, going on where an
//! earlier call stopped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::decode::Decoder;
use super::guidance::Evaluations;
use super::{LightningDit, settings};
use crate::checkpoint::{Checkpoint, atomic};
use crate::config::DitConfig;
use crate::data::latents::{LatentStats, STATS_FILE};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::metrics::{save_png, to_rgb};
use crate::nn::Parameters;
use crate::training::{self, CONFIG};

/// The folder of the images, in the one that is asked for.
pub const IMAGES: &str = "images";
/// What the images were made with.
const DOCUMENT: &str = "samples.json";

/// A model, its tokenizer, and what they were trained with.
pub struct Generator {
    model: LightningDit,
    params: Parameters,
    decoder: Decoder,
    config: DitConfig,
    checkpoint: PathBuf,
}

/// Which images are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The classes, which take turns.
    pub classes: Vec<u32>,
    /// Images in all.
    pub count: usize,
    /// Image i starts from noise of seed `seed` + i.
    pub seed: u64,
    /// Images that are made at a time; the images do not depend on it.
    pub batch: usize,
}

/// What images depend on: whoever goes on must agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Document {
    /// SHA-256 of the model's weights.
    model_sha256: String,
    classes: Vec<u32>,
    seed: u64,
    sample: crate::config::SampleConfig,
}

/// What was made.
pub struct Generated {
    /// Images made now, and those that were there.
    pub images: [usize; 2],
    /// Whether Ctrl-C ended it before the last image.
    pub interrupted: bool,
    /// The model's runs, on whole batches.
    pub evaluations: Evaluations,
}

impl Generator {
    /// The model of a run of `train-dit`: its folder, for the latest checkpoint, or one of its checkpoints; its moving average
    /// where it has one and `average` asks for it. `set` are settings over the run's, `tokenizer` is another place of its
    /// tokenizer.
    ///
    /// # Errors
    /// Files that are not there or do not belong together, named.
    pub fn open(
        device: &Device,
        path: &Path,
        average: bool,
        tokenizer: Option<&Path>,
        set: &[String],
    ) -> Result<Generator> {
        let (run, checkpoint) = training::locate(path)?;
        let config = DitConfig::load(None, Some(&run.join(CONFIG)), set)?;
        let shape = settings::shape(&config)?;
        let stats = LatentStats::read(&run.join(STATS_FILE))?;
        let stats = LatentStats { multiplier: config.data.latent_multiplier as f32, ..stats };
        let Some(tokenizer) = tokenizer.or(config.data.tokenizer.as_deref()) else {
            let message = "the run was trained without a tokenizer: give the run of train-vae that made its latents";
            return Err(Error::Config(format!("{}: {message}", run.display())));
        };
        let decoder = Decoder::open(device, tokenizer, stats, &shape)?;
        let (model, mut params) = LightningDit::new(device, shape, 0)?;
        training::load_weights(&Checkpoint::open(&checkpoint)?, &mut params, average)?;
        Ok(Generator { model, params, decoder, config, checkpoint })
    }

    /// The checkpoint that the weights are from.
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// The settings in force.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// Classes that the model knows.
    pub fn classes(&self) -> usize {
        self.model.shape().num_classes
    }

    /// Makes the images that are not there yet, as `out`/images/NNNNNN.png. Once `interrupt` is true it finishes the batch and
    /// returns. `progress` is told how many images are there.
    ///
    /// # Errors
    /// A class that the model does not have, images in `out` that were made otherwise, or a file that cannot be written.
    pub fn generate(
        &self,
        request: &Request,
        out: &Path,
        interrupt: &AtomicBool,
        mut progress: impl FnMut(usize),
    ) -> Result<Generated> {
        if request.classes.is_empty() || request.batch == 0 {
            return Err(Error::Config("at least one class is needed, and a batch of at least 1".to_owned()));
        }
        if let Some(wrong) = request.classes.iter().find(|&&class| class as usize >= self.classes()) {
            return Err(Error::Config(format!("class {wrong} of a model of {} classes", self.classes())));
        }
        self.agree(request, out)?;
        let sampler = settings::sampler(&self.config);
        let missing: Vec<usize> = (0..request.count).filter(|&i| !path(out, i).exists()).collect();
        let mut generated = Generated {
            images: [0, request.count - missing.len()],
            interrupted: false,
            evaluations: Evaluations::default(),
        };
        progress(generated.images[1]);
        for batch in missing.chunks(request.batch) {
            if interrupt.load(Ordering::SeqCst) {
                generated.interrupted = true;
                break;
            }
            let classes: Vec<u32> = batch.iter().map(|&i| request.classes[i % request.classes.len()]).collect();
            let seeds: Vec<u64> = batch.iter().map(|&i| request.seed.wrapping_add(i as u64)).collect();
            let sampled = sampler.sample(&self.model, &self.params, &classes, &seeds, &mut |_, _| Ok(()))?;
            let images = self.decoder.decode(&sampled.latents)?;
            let [_, height, width, _] = images.dims::<4>("samples")?;
            for (&i, image) in batch.iter().zip(images.to_vec()?.chunks_exact(height * width * 3)) {
                save_png(&path(out, i), &to_rgb(image, height, width))?;
            }
            generated.images[0] += batch.len();
            generated.evaluations.add(sampled.evaluations);
            progress(generated.images[0] + generated.images[1]);
        }
        Ok(generated)
    }

    /// Notes what the images are made with, or makes sure that those in `out` were made with the same.
    fn agree(&self, request: &Request, out: &Path) -> Result<()> {
        let document = Document {
            model_sha256: self.params.sha256()?,
            classes: request.classes.clone(),
            seed: request.seed,
            sample: self.config.sample.clone(),
        };
        let folder = out.join(IMAGES);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let file = out.join(DOCUMENT);
        let damaged = |e: serde_json::Error| Error::data(format!("{}: {e}", file.display()));
        if file.exists() {
            let text = std::fs::read_to_string(&file).map_err(|e| Error::io(&file, e))?;
            let found: Document = serde_json::from_str(&text).map_err(damaged)?;
            if found != document {
                let what = "the images there are of another model, other classes, seed or settings";
                return Err(Error::Config(format!("{}: {what}: choose another --out", file.display())));
            }
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&document).map_err(damaged)?;
        atomic::write(&file, |file| file.write_all(text.as_bytes()))
    }
}

/// Where image `i` is.
pub fn path(out: &Path, i: usize) -> PathBuf {
    out.join(IMAGES).join(format!("{i:06}.png"))
}
