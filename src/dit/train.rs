//! The training run of a LightningDiT: latents in, losses and gradients out, the validation loss, and sample grids.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::decode::Decoder;
use super::step::{Batch, StepLosses, evaluate, training_step};
use super::{DitShape, LightningDit, Sampler, Transport, random_run, settings};
use crate::config::DitConfig;
use crate::data::latents::{LatentBatch, LatentFolder, LatentLoader, LatentLoaderSettings, LatentStats, STATS_FILE};
use crate::device::{Device, philox};
use crate::error::Result;
use crate::metrics::{GridRow, Metrics, Panel, image_grid, save_png};
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;
use crate::random;
use crate::tensor::Tensor;
use crate::training::{self, Place, Row, Showing, Start, StepOptions, Summary, Task, set_precision};

/// Trains a LightningDiT as `config` says, into the folder `out`. Once `interrupt` is true it finishes the step, saves and
/// returns.
///
/// # Errors
/// Settings, data or checkpoints that do not fit, named; a device failure; a non-finite loss where the
/// policy is to stop.
pub fn run(
    mut config: DitConfig,
    out: &Path,
    start: Start,
    device: &Device,
    interrupt: &AtomicBool,
) -> Result<Summary> {
    let latents = LatentFolder::open(config.training_latents()?)?;
    settings::resolve(&mut config, &latents)?;
    let shape = settings::shape(&config)?;
    let stats = stats(&config, &latents)?;
    let valid = config.data.valid.as_ref().map(LatentFolder::open).transpose()?;
    if let Some(valid) = &valid {
        settings::resolve(&mut config, valid)?;
    }
    let decoder = match &config.data.tokenizer {
        Some(path) => Some(Decoder::open(device, path, stats.clone(), &shape)?),
        None => None,
    };
    training::announce(device, &config, |device| random_run(&config, device))?;
    let place = Place::prepare(out, start)?;
    // Beside the checkpoints, so that sampling needs no latents.
    stats.write(&out.join(STATS_FILE), latents.shape())?;
    let (model, mut params) = LightningDit::new(device, shape.clone(), config.train.seed)?;
    set_precision(&config.train, &mut params)?;
    let mut task = DitTask {
        transport: settings::transport(&config),
        sampler: settings::sampler(&config),
        config: config.clone(),
        device: device.clone(),
        shape,
        model,
        latents: Arc::new(latents),
        stats: Arc::new(stats),
        loader: None,
        valid: vec![],
        held_out: valid.is_some(),
        decoder,
    };
    task.valid = task.valid_batches(valid.as_ref().unwrap_or(&task.latents))?;
    training::run(config, place, task, params, device, interrupt)
}

/// What the latents are normalised with.
fn stats(config: &DitConfig, latents: &LatentFolder) -> Result<LatentStats> {
    let multiplier = config.data.latent_multiplier as f32;
    match config.data.latent_norm {
        true => Ok(LatentStats { multiplier, ..LatentStats::of(latents)? }),
        false => {
            let tokenizer_sha256 = latents.tokenizer_sha256().map(str::to_owned);
            Ok(LatentStats { tokenizer_sha256, ..LatentStats::identity(latents.shape()[0], multiplier) })
        }
    }
}

/// A LightningDiT in training.
struct DitTask {
    config: DitConfig,
    device: Device,
    shape: DitShape,
    model: LightningDit,
    transport: Transport,
    sampler: Sampler,
    latents: Arc<LatentFolder>,
    stats: Arc<LatentStats>,
    loader: Option<LatentLoader>,
    /// Fixed images, noise and times.
    valid: Vec<Batch>,
    /// Whether those images are not trained on.
    held_out: bool,
    decoder: Option<Decoder>,
}

/// How good a model's moving average is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The squared error on fixed images, noise and times spread evenly over the path.
    pub mse: f32,
    /// The direction's error on the same.
    pub cos: f32,
    /// Whether these images are not trained on.
    pub held_out: bool,
}

const PANELS: &[Panel] = &[
    Panel { title: "loss", series: &[("total", "total"), ("mse", "squared error"), ("cos", "direction")], log: false },
    Panel {
        title: "squared error at fixed times, of the moving average",
        series: &[("valid_mse", "held-out images"), ("fixed_mse", "training images")],
        log: false,
    },
    Panel { title: "norm of the gradients", series: &[("grad_norm", "all")], log: true },
    Panel { title: "learning rate", series: &[("lr", "lr")], log: false },
];

/// The fraction of the golden ratio: its multiples are spread evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl DitTask {
    /// The first images of a folder, at times that do not change during the run.
    fn valid_batches(&self, folder: &LatentFolder) -> Result<Vec<Batch>> {
        let count = folder.len().min(self.config.data.valid_images);
        let indices: Vec<usize> = (0..count).collect();
        let [t0, t1] = self.transport.train_interval();
        let batches = indices.chunks(self.config.train.batch_size).enumerate();
        let batch = |(number, indices): (usize, &[usize])| {
            let drawn = folder.batch(&self.stats, indices.to_vec());
            let place = |i: &usize| (t0 + (t1 - t0) * ((*i as f64 + 0.5) * GOLDEN).fract()) as f32;
            let times: Vec<f32> = indices.iter().map(place).collect();
            self.batch(&drawn, &times, &drawn.labels, random::stream("valid noise").wrapping_add(number as u64))
        };
        batches.map(batch).collect()
    }

    fn batch(&self, drawn: &LatentBatch, times: &[f32], labels: &[u32], noise: u64) -> Result<Batch> {
        let (side, channels, count) = (self.shape.input_size, self.shape.in_channels, times.len());
        let shape = [count, side, side, channels];
        Ok(Batch {
            latents: Tensor::from_slice(&self.device, &shape, &drawn.latents)?,
            noise: random::normal(&self.device, &shape, self.config.train.seed, noise)?,
            point: self.transport.point(&self.device, times)?,
            labels: Tensor::from_u32(&self.device, &[count], labels)?,
        })
    }

    /// Labels, some of them dropped.
    fn drop_labels(&self, labels: &[u32], number: u64) -> Vec<u32> {
        let Some(null) = self.shape.null_label() else { return labels.to_vec() };
        let mut chances = vec![0.0; labels.len()];
        let stream = random::stream("label dropout").wrapping_add(number);
        philox::uniform(self.config.train.seed, stream, &mut chances);
        let dropped = |chance: f32| f64::from(chance) < self.shape.class_dropout_prob;
        labels.iter().zip(chances).map(|(&label, chance)| if dropped(chance) { null } else { label }).collect()
    }

    fn evaluate_average(&self, params: &Parameters) -> Result<Evaluation> {
        let (mut mse, mut cos, mut count) = (0.0, 0.0, 0);
        for batch in &self.valid {
            let losses = evaluate(&self.model, params, &self.transport, batch)?.losses.read()?;
            mse += f64::from(losses.mse) * batch.len() as f64;
            cos += f64::from(losses.cos) * batch.len() as f64;
            count += batch.len();
        }
        let mean = |sum: f64| (sum / count as f64) as f32;
        Ok(Evaluation { mse: mean(mse), cos: mean(cos), held_out: self.held_out })
    }

    /// Images of classes spread evenly over all there are, each from a seed of its own.
    fn sample(&self, params: &Parameters, decoder: &Decoder) -> Result<Tensor> {
        let (count, classes) = (self.config.train.grid_images, self.shape.num_classes);
        let class = |i: usize| if classes > count { i * classes / count } else { i % classes };
        let labels: Vec<u32> = (0..count).map(|i| class(i) as u32).collect();
        let seeds: Vec<u64> = (0..count as u64).map(|i| self.config.train.seed.wrapping_add(i)).collect();
        let sampled = self.sampler.sample(&self.model, params, &labels, &seeds, &mut |_, _| Ok(()))?;
        decoder.decode(&sampled.latents)
    }
}

impl Task for DitTask {
    type Config = DitConfig;
    type Batch = Batch;
    type Losses = StepLosses;
    type Evaluation = Evaluation;

    const PANELS: &'static [Panel<'static>] = PANELS;

    fn start(&mut self, first: u64) -> Result<()> {
        let settings = LatentLoaderSettings {
            batch_size: self.config.train.batch_size,
            flip: self.config.data.flip,
            seed: self.config.train.seed,
            workers: self.config.data.workers,
        };
        self.loader = Some(LatentLoader::new(self.latents.clone(), self.stats.clone(), settings, first)?);
        Ok(())
    }

    fn configure(&mut self, config: &DitConfig) -> Result<()> {
        self.transport = settings::transport(config);
        self.sampler = settings::sampler(config);
        Ok(())
    }

    fn next_batch(&mut self, number: u64) -> Result<Batch> {
        let drawn = self.loader.as_mut().expect("a run starts before it steps").next_batch()?;
        let (seed, interval) = (self.config.train.seed, self.transport.train_interval());
        let times = self.transport.times.draw(interval, drawn.labels.len(), seed, number);
        let labels = self.drop_labels(&drawn.labels, number);
        self.batch(&drawn, &times, &labels, random::stream("noise").wrapping_add(number))
    }

    fn copy(from: &Batch, to: &mut Batch) -> Result<()> {
        to.copy_from(from)
    }

    fn losses(
        &self,
        params: &Parameters,
        batch: &Batch,
        gradients: &mut ParamGradients,
        options: StepOptions,
    ) -> Result<StepLosses> {
        Ok(training_step(&self.model, params, &self.transport, batch, gradients, options)?.losses)
    }

    fn read(&self, losses: &StepLosses) -> Result<Row> {
        Ok(losses.read()?.row())
    }

    fn evaluate(&self, params: &Parameters, adam: &Adam) -> Result<Evaluation> {
        self.evaluate_average(&adam.averaged(params)?)
    }

    fn row(evaluation: &Evaluation) -> Row {
        match evaluation.held_out {
            true => vec![("valid_mse", evaluation.mse), ("valid_cos", evaluation.cos)],
            false => vec![("fixed_mse", evaluation.mse), ("fixed_cos", evaluation.cos)],
        }
    }

    fn show(&self, at: Showing, metrics: &mut Metrics) -> Result<(Evaluation, Option<PathBuf>)> {
        let params = at.adam.averaged(at.params)?;
        let evaluation = self.evaluate_average(&params)?;
        let Some(decoder) = &self.decoder else { return Ok((evaluation, None)) };
        let images = self.sample(&params, decoder)?;
        let [_, height, width, _] = images.dims::<4>("grid")?;
        let pixels = images.to_vec()?;
        let caption = format!("step {}: squared error {:.4}", at.step, evaluation.mse);
        let grid = image_grid(&caption, height, width, &[GridRow { label: "samples", images: &pixels }])?;
        metrics.log_image(at.step, "samples", &grid)?;
        let path = at.grid_path();
        save_png(&path, &grid)?;
        Ok((evaluation, Some(path)))
    }

    fn progress(first: &Evaluation, last: &Evaluation) -> Vec<(&'static str, String)> {
        let of = if last.held_out { "held-out" } else { "training" };
        vec![(
            "squared error",
            format!("{:.4} → {:.4} (moving average, {of} images at fixed times)", first.mse, last.mse),
        )]
    }
}
