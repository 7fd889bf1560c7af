//! The training run of a VA-VAE: images and features in, losses and gradients out, and what its grids show.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::features::{Features, Images};
use super::step::{Batch, Evaluation, Objective, StepLosses, VfObjective, evaluate, training_step};
use super::{Projection, VaVae, VaeShape, random_run};
use crate::config::Config;
use crate::data::{ImageFolder, Loader, LoaderSettings};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::metrics::{GridRow, Metrics, Panel, image_grid, save_png};
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;
use crate::random;
use crate::tensor::Tensor;
use crate::training::{self, Place, Row, Showing, StepOptions, Summary, Task, set_precision};

pub use crate::training::Start;

/// The model's shape as configured; the projection is there where features of `feature_channels` are.
pub fn shape(config: &Config, feature_channels: Option<usize>) -> VaeShape {
    let m = &config.model;
    VaeShape {
        ch: m.ch,
        ch_mult: m.ch_mult.clone(),
        num_res_blocks: m.num_res_blocks,
        attn_resolutions: m.attn_resolutions.clone(),
        resolution: m.resolution,
        in_channels: m.in_channels,
        out_ch: m.out_ch,
        z_channels: m.z_channels,
        embed_dim: m.embed_dim,
        projection: feature_channels.map(|foundation_channels| Projection {
            foundation_channels,
            reverse: config.loss.reverse_proj,
            frozen: config.loss.proj_fix,
        }),
    }
}

/// The objective as configured.
pub fn objective(config: &Config) -> Objective {
    let l = &config.loss;
    let vf = VfObjective {
        vf_weight: l.vf_weight as f32,
        adaptive: l.adaptive_vf,
        cos_margin: l.cos_margin as f32,
        distmat_margin: l.distmat_margin as f32,
        cos_weight: l.cos_weight as f32,
        distmat_weight: l.distmat_weight as f32,
    };
    Objective { kl_weight: l.kl_weight as f32, pp_style: l.pp_style, vf: (l.vf_weight > 0.0).then_some(vf) }
}

/// Trains a VA-VAE as `config` says, into the folder `out`. Once `interrupt` is true it finishes the step, saves and returns.
///
/// # Errors
/// Settings, data or checkpoints that do not fit, named; a device failure; a non-finite loss where the
/// policy is to stop.
pub fn run(config: &Config, out: &Path, start: Start, device: &Device, interrupt: &AtomicBool) -> Result<Summary> {
    let folder = ImageFolder::open(config.training_images()?)?;
    let features = Features::open(config, &folder, device)?;
    training::announce(device, config, |device| random_run(config, features.channels().unwrap_or_default(), device))?;
    let place = Place::prepare(out, start)?;
    let (model, mut params) = VaVae::new(device, shape(config, features.channels()), config.train.seed)?;
    set_precision(&config.train, &mut params)?;
    let shown = first_images(config, &folder, &features, device)?;
    let (config, device) = (config.clone(), device.clone());
    let objective = objective(&config);
    let task = VaeTask {
        config: config.clone(),
        device: device.clone(),
        model,
        objective,
        features,
        folder,
        loader: None,
        shown,
    };
    training::run(config, place, task, params, &device, interrupt)
}

const PANELS: &[Panel] = &[
    Panel {
        title: "reconstruction: sum of |input − reconstruction| per image", series: &[("nll", "nll")], log: true
    },
    Panel { title: "VF loss", series: &[("vf", "vf"), ("mdms", "distance matrix"), ("mcos", "cosine")], log: false },
    Panel { title: "KL divergence per image", series: &[("kl", "kl")], log: true },
    Panel {
        title: "gradient norms",
        series: &[("grad_norm", "all"), ("nll_grad_norm", "nll at conv_out"), ("vf_grad_norm", "vf at conv_out")],
        log: true,
    },
    Panel { title: "PSNR of the grid's images, dB", series: &[("psnr", "psnr")], log: false },
    Panel {
        title: "VF alignment: mean cosine of latents and features",
        series: &[("vf_alignment", "alignment")],
        log: false,
    },
];

/// A VA-VAE in training.
struct VaeTask {
    config: Config,
    device: Device,
    model: VaVae,
    objective: Objective,
    features: Features,
    folder: ImageFolder,
    loader: Option<Loader>,
    /// The images of the grid, and their features.
    shown: (Tensor, Option<Tensor>),
}

impl Task for VaeTask {
    type Config = Config;
    type Batch = Batch;
    type Losses = StepLosses;
    type Evaluation = Evaluation;

    const PANELS: &'static [Panel<'static>] = PANELS;

    fn start(&mut self, first: u64) -> Result<()> {
        self.loader = Some(Loader::new(&self.folder, loader_settings(&self.config), first)?);
        Ok(())
    }

    fn configure(&mut self, config: &Config) -> Result<()> {
        self.objective = objective(config);
        Ok(())
    }

    fn next_batch(&mut self, number: u64) -> Result<Batch> {
        let drawn = self.loader.as_mut().expect("a run starts before it steps").next_batch()?;
        let side = self.config.model.resolution;
        let drawn = Images { bytes: &drawn.images, side, indices: &drawn.indices, flipped: &drawn.flipped };
        let dtype = self.config.train.precision.dtype();
        let images = drawn.normalized(&self.device, dtype)?;
        let features = self.features.of(&self.device, dtype, &drawn)?;
        let stream = random::stream("posterior").wrapping_add(number);
        let latents = self.model.latent_shape(images.dims("va_vae")?)?;
        let noise = random::normal(&self.device, &latents, self.config.train.seed, stream)?;
        Ok(Batch { images, features, noise })
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
        Ok(training_step(&self.model, params, &self.objective, batch, gradients, options)?.losses)
    }

    fn read(&self, losses: &StepLosses) -> Result<Row> {
        Ok(losses.read()?.row())
    }

    fn evaluate(&self, params: &Parameters, _: &Adam) -> Result<Evaluation> {
        let (images, features) = &self.shown;
        Ok(evaluate(&self.model, params, images, features.as_ref())?.1)
    }

    fn row(evaluation: &Evaluation) -> Row {
        evaluation.row()
    }

    /// Evaluates the grid's images and draws them above their reconstructions.
    fn show(&self, at: Showing, metrics: &mut Metrics) -> Result<(Evaluation, Option<PathBuf>)> {
        let (images, features) = &self.shown;
        let (reconstruction, evaluation) = evaluate(&self.model, at.params, images, features.as_ref())?;
        let [_, height, width, _] = images.dims::<4>("grid")?;
        let (inputs, outputs) = (images.to_vec()?, reconstruction.to_vec()?);
        let rows = [GridRow { label: "input", images: &inputs }, GridRow { label: "reconstruction", images: &outputs }];
        let caption = format!("step {}: {:.2} dB PSNR", at.step, evaluation.psnr);
        let grid = image_grid(&caption, height, width, &rows)?;
        metrics.log_image(at.step, "reconstructions", &grid)?;
        let path = at.grid_path();
        save_png(&path, &grid)?;
        Ok((evaluation, Some(path)))
    }

    fn progress(first: &Evaluation, last: &Evaluation) -> Vec<(&'static str, String)> {
        let mut lines = vec![("PSNR", format!("{:.2} dB → {:.2} dB", first.psnr, last.psnr))];
        if let (Some(first), Some(last)) = (first.vf_alignment, last.vf_alignment) {
            let text = format!("{first:.3} → {last:.3} (mean cosine similarity of latents and features)");
            lines.push(("VF alignment", text));
        }
        lines
    }
}

/// The share of images that may be unreadable before a run ends; one image always may.
const MAX_UNREADABLE: f64 = 0.05;

fn loader_settings(config: &Config) -> LoaderSettings {
    let (data, train) = (&config.data, &config.train);
    LoaderSettings {
        batch_size: train.batch_size,
        size: config.model.resolution,
        crop: data.crop,
        flip: data.flip,
        seed: train.seed,
        workers: data.workers,
        memory: data.cache_mb << 20,
        max_unreadable: MAX_UNREADABLE,
    }
}

/// The folder's first images that can be read, cropped at the centre, and their features.
fn first_images(
    config: &Config,
    folder: &ImageFolder,
    features: &Features,
    device: &Device,
) -> Result<(Tensor, Option<Tensor>)> {
    let side = config.model.resolution;
    let (mut pixels, mut indices) = (vec![], vec![]);
    for index in 0..folder.len() {
        if indices.len() == config.train.grid_images {
            break;
        }
        let Ok(crop) = folder.center_crop(index, side) else { continue };
        crop.append_to(&mut pixels, false);
        indices.push(index);
    }
    if indices.is_empty() {
        let message = format!("all {} images in {} are unreadable", folder.len(), folder.root().display());
        return Err(Error::data(message));
    }
    let flipped = vec![false; indices.len()];
    let images = Images { bytes: &pixels, side, indices: &indices, flipped: &flipped };
    Ok((images.normalized(device, DType::F32)?, features.of(device, config.train.precision.dtype(), &images)?))
}
