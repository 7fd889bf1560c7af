//! The training run: data, steps, metrics, grids, checkpoints, and going on after a stop.
//!
//! Everything random is a pure function of (seed, position), and a position is a number of batches; so a
//! checkpoint holds tensors and counters, and a resumed run repeats an unbroken one bit for bit.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::features::Features;
use super::plan;
use super::state::{self, RunState};
use super::step::{
    Batch, Evaluation, Losses, Objective, StepLosses, StepOptions, VfObjective, evaluate, training_step,
};
use super::{Projection, VaVae, VaeShape};
use crate::checkpoint;
use crate::config::{Config, OnNonFinite, Precision};
use crate::data::{self, ImageFolder, Loader, LoaderSettings};
use crate::device::{Device, Graph};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::metrics::{self, GridRow, Metrics, Panel, Progress, image_grid, plot_curves, save_png};
use crate::nn::{ParamGradients, Parameters};
use crate::optim::{Adam, AdamSettings};
use crate::random;
use crate::tensor::Tensor;

const CHECKPOINTS: &str = "checkpoints";
const GRIDS: &str = "grids";

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In a folder that holds no run yet.
    New,
    /// From the last checkpoint in the folder.
    Resume,
}

/// What a run came to; its `Display` is for a person.
pub struct Summary {
    /// Steps done in all.
    pub step: u64,
    /// Whether Ctrl-C ended it before its last step.
    pub interrupted: bool,
    first: Evaluation,
    last: Evaluation,
    /// The last step's losses; nothing where no step was made.
    losses: Row,
    grid: PathBuf,
    plot: PathBuf,
    checkpoint: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sample grid   {}", self.grid.display())?;
        writeln!(f, "loss curves   {}", self.plot.display())?;
        writeln!(f, "checkpoint    {}", self.checkpoint.display())?;
        if !self.losses.is_empty() {
            let losses: Vec<String> = self.losses.iter().map(|(name, value)| format!("{name} {value}")).collect();
            writeln!(f, "losses        {} at step {}", losses.join(", "), self.step)?;
        }
        writeln!(f, "PSNR          {:.2} dB → {:.2} dB", self.first.psnr, self.last.psnr)?;
        if let (Some(first), Some(last)) = (self.first.vf_alignment, self.last.vf_alignment) {
            writeln!(f, "VF alignment  {first:.3} → {last:.3} (mean cosine similarity of latents and features)")?;
        }
        Ok(())
    }
}

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

/// How steps are computed, as configured.
pub fn step_options(config: &Config) -> StepOptions {
    let train = &config.train;
    StepOptions { check_finite: train.debug_non_finite, checkpoint_activations: train.checkpoint_activations }
}

/// Lets the device and the model compute in the configured precision.
///
/// # Errors
/// A precision that the device does not have.
pub fn set_precision(config: &Config, params: &mut Parameters) -> Result<()> {
    let precision = config.train.precision;
    if params.device().is_cpu() && precision != Precision::F32 {
        let message = format!("train.precision: the CPU computes in f32; use --device cuda or sim for {precision}");
        return Err(Error::Config(message));
    }
    params.device().set_tf32(precision == Precision::Tf32);
    params.compute_in(if precision == Precision::Bf16 { DType::Bf16 } else { DType::F32 })
}

/// The optimizer as configured.
pub fn adam_settings(config: &Config) -> AdamSettings {
    let o = &config.optim;
    AdamSettings {
        lr: o.lr as f32,
        betas: (o.betas[0] as f32, o.betas[1] as f32),
        eps: o.eps as f32,
        weight_decay: o.weight_decay as f32,
        decoupled: true,
        ema_decay: o.ema_decay.map(|d| d as f32),
        grad_clip: o.grad_clip.map(|g| g as f32),
    }
}

/// What [`Run::check`] found.
struct Checked {
    /// The last step's values to log, unless it was skipped.
    row: Option<Row>,
    /// Which steps changed nothing since the last check, because something was not finite.
    skipped: Option<String>,
}

/// A step's launches, recorded, with the tensors that they read and write.
struct Recorded {
    graph: Graph,
    batches: Vec<Batch>,
    losses: Rc<Vec<StepLosses>>,
}

/// A run in progress.
struct Run<'a> {
    config: &'a Config,
    out: &'a Path,
    device: &'a Device,
    model: VaVae,
    params: Parameters,
    adam: Adam,
    objective: Objective,
    folder: ImageFolder,
    features: Features,
    loader: Loader,
    state: RunState,
    /// Steps, batches and skipped steps when the device was last looked at.
    checked: (u64, u64, u64),
    recorded: Option<Recorded>,
    /// Steps done when this process began.
    began: u64,
    /// The images of the grid, and their features.
    shown: (Tensor, Option<Tensor>),
}

/// Trains a VA-VAE as `config` says, into the folder `out`. Once `interrupt` is true it finishes the step, saves and returns.
///
/// # Errors
/// Settings, data or checkpoints that do not fit, named; a device failure; a non-finite loss where the
/// policy is to stop.
pub fn run(config: &Config, out: &Path, start: Start, device: &Device, interrupt: &AtomicBool) -> Result<Summary> {
    device.synchronize_every_launch(config.train.debug_sync);
    let mut run = Run::prepare(config, out, start, device)?;
    let mut metrics = match start {
        Start::New => Metrics::create(out)?,
        Start::Resume => Metrics::resume(out, run.state.step)?,
    };
    let train = &config.train;
    if start == Start::New {
        metrics.log(0, &run.state.first.row())?;
    }
    let mut progress = Progress::new(run.state.step, train.steps, train.batch_size * train.accumulate);
    let mut losses = vec![];
    let mut ended = run.state.step >= train.steps;
    while !ended {
        let of_batches = run.step()?;
        let step = run.state.step;
        ended = step >= train.steps || interrupt.load(Ordering::SeqCst);
        let saves = due(step, train.checkpoint_every) && !ended;
        // Only here does the host wait for the device.
        if due(step, train.log_every) || saves || ended {
            let checked = run.check(&of_batches)?;
            if let Some(reason) = checked.skipped {
                progress.note(&format!("skipped {reason}"));
            }
            if let Some(row) = checked.row {
                losses = row;
                let mut row = losses.clone();
                row.push(("images_per_second", progress.images_per_second()));
                metrics.log(step, &row)?;
            }
        }
        progress.step(step, &losses[..SHOWN_LOSSES.min(losses.len())]);
        if due(step, train.grid_every) && !ended {
            run.show(&mut metrics)?;
        }
        if saves {
            run.save()?;
        }
    }
    progress.finish();
    let checkpoint = run.save()?;
    let (last, grid) = run.show(&mut metrics)?;
    let plot = out.join("losses.png");
    plot_curves(&plot, &format!("{}: training", out.display()), &metrics::read(out)?, PANELS)?;
    let (step, interrupted) = (run.state.step, run.state.step < train.steps);
    Ok(Summary { step, interrupted, first: run.state.first, last, losses, grid, plot, checkpoint })
}

/// How many of a step's values the progress bar shows.
const SHOWN_LOSSES: usize = 4;

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

/// Whether something that happens every `every` steps (0: never) happens at `step`.
fn due(step: u64, every: u64) -> bool {
    every != 0 && step.is_multiple_of(every)
}

type Row = Vec<(&'static str, f32)>;

impl<'a> Run<'a> {
    fn prepare(config: &'a Config, out: &'a Path, start: Start, device: &'a Device) -> Result<Run<'a>> {
        let folder = ImageFolder::open(config.training_images()?)?;
        let features = Features::open(config, &folder, device)?;
        if let Some(free) = device.free_memory()? {
            let plan = plan::plan(config, features.channels().unwrap_or_default())?;
            eprintln!("memory of a step: {plan}; {} launches", plan.launches());
            plan.fits(free)?;
        }
        let checkpoints = out.join(CHECKPOINTS);
        for folder in [&checkpoints, &out.join(GRIDS)] {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let latest = checkpoint::latest(&checkpoints)?;
        let (model, mut params) = VaVae::new(device, shape(config, features.channels()), config.train.seed)?;
        set_precision(config, &mut params)?;
        let mut adam = Adam::new(&params, adam_settings(config))?;
        let state = match (start, latest) {
            (Start::New, Some(_)) => {
                let out = out.display();
                let message = format!("{out} holds a run already: go on with --resume {out}, or choose another --out");
                return Err(Error::Config(message));
            }
            (Start::Resume, None) => {
                let message = format!("{} holds no checkpoint to go on from", checkpoints.display());
                return Err(Error::Checkpoint(message));
            }
            (Start::New, None) => None,
            (Start::Resume, Some(path)) => Some(state::restore(&path, &mut params, &mut adam)?),
        };
        config.save(&out.join("config.yaml"))?;
        let shown = first_images(config, &folder, &features, device)?;
        let first = match state {
            Some(ref state) => state.first,
            None => evaluate(&model, &params, &shown.0, shown.1.as_ref())?.1,
        };
        let state = state.unwrap_or(RunState { step: 0, batches: 0, updates: 0, first });
        let loader = Loader::new(&folder, loader_settings(config), state.batches)?;
        let objective = objective(config);
        let (checked, recorded, began) = ((state.step, state.batches, 0), None, state.step);
        let run = Run {
            config,
            out,
            device,
            model,
            params,
            adam,
            objective,
            folder,
            features,
            loader,
            state,
            checked,
            recorded,
            began,
            shown,
        };
        Ok(run)
    }

    /// Enqueues one optimizer step; the host waits for nothing.
    fn step(&mut self) -> Result<Rc<Vec<StepLosses>>> {
        let position = self.state.batches;
        let count = self.config.train.accumulate as u64;
        let mut batches = vec![];
        for at in position..position + count {
            let drawn = self.loader.next_batch()?;
            batches.push(self.batch(&drawn, at)?);
        }
        self.state.batches += count;
        self.state.step += 1;
        if let Some(recorded) = &mut self.recorded {
            for (own, batch) in recorded.batches.iter_mut().zip(&batches) {
                own.copy_from(batch)?;
            }
            recorded.graph.run()?;
            return Ok(recorded.losses.clone());
        }
        // The first step loads what kernels need; the next is recorded.
        if self.records() && self.state.step > self.began + 1 {
            let device = self.device.clone();
            let (graph, losses) = device.capture(|| self.update(&batches))?;
            graph.run()?;
            let losses = Rc::new(losses);
            self.recorded = Some(Recorded { graph, batches, losses: losses.clone() });
            return Ok(losses);
        }
        self.update(&batches).map(Rc::new)
    }

    /// Whether steps are recorded: not where the device cannot, nor where somebody looks at single launches.
    fn records(&self) -> bool {
        let train = &self.config.train;
        train.cuda_graph && !self.device.is_cpu() && !train.debug_sync && !train.debug_non_finite
    }

    /// Forward, backward and the optimizer's update.
    fn update(&mut self, batches: &[Batch]) -> Result<Vec<StepLosses>> {
        let mut gradients = ParamGradients::default();
        let options = step_options(self.config);
        let losses = batches.iter().map(|batch| self.losses(batch, &mut gradients, options)).collect::<Result<_>>()?;
        self.adam.update(&mut self.params, &gradients, 1.0 / batches.len() as f32)?;
        Ok(losses)
    }

    fn losses(&self, batch: &Batch, gradients: &mut ParamGradients, options: StepOptions) -> Result<StepLosses> {
        let step = training_step(&self.model, &self.params, &self.objective, batch, gradients, options)?;
        Ok(step.losses)
    }

    /// Waits for the device, and looks at what it did since the last check.
    fn check(&mut self, losses: &[StepLosses]) -> Result<Checked> {
        let status = self.adam.status()?;
        let (last_step, last_batches, last_skipped) = self.checked;
        let skipped = status.skipped - last_skipped;
        let losses = losses.iter().map(StepLosses::read).collect::<Result<Vec<_>>>()?;
        let mean = Losses::mean(&losses).filter(|mean| mean.total.is_finite() && status.gradient_norm.is_finite());
        self.checked = (self.state.step, self.state.batches, status.skipped);
        self.state.updates = status.updates;
        let row = mean.map(|mean| {
            let mut row = mean.row();
            row.extend([("grad_norm", status.gradient_norm), ("lr", self.config.optim.lr as f32)]);
            row
        });
        if skipped == 0 && row.is_some() {
            return Ok(Checked { row, skipped: None });
        }
        let steps = match self.state.step - last_step {
            1 => format!("step {}", self.state.step),
            several => format!("{} of the {several} steps up to step {}", skipped.max(1), self.state.step),
        };
        let reason = format!("{steps}: {}", self.first_non_finite(last_batches)?);
        match self.config.train.on_non_finite {
            OnNonFinite::Stop => Err(Error::NonFinite(format!("{reason} (train.on_non_finite: stop)"))),
            OnNonFinite::Skip => Ok(Checked { row, skipped: Some(reason) }),
        }
    }

    /// Names the first value that is not finite: a parameter, or an op's output or gradient when the batches from
    /// `position` on run once more with every value checked.
    fn first_non_finite(&self, position: u64) -> Result<String> {
        for id in self.params.ids() {
            if self.params.value(id).to_vec()?.iter().any(|v| !v.is_finite()) {
                return Ok(format!("parameter {} is not finite", self.params.name(id)));
            }
        }
        let mut loader = Loader::new(&self.folder, loader_settings(self.config), position)?;
        for at in position..self.state.batches {
            let batch = self.batch(&loader.next_batch()?, at)?;
            let options = StepOptions { check_finite: true, ..step_options(self.config) };
            match self.losses(&batch, &mut ParamGradients::default(), options) {
                Ok(_) => {}
                Err(Error::NonFinite(place)) => return Ok(place),
                Err(other) => return Err(other),
            }
        }
        Ok("the gradients were not finite, and are with the parameters as they are now".to_string())
    }

    /// Batch number `position` of the run, from what the loader drew for it.
    fn batch(&self, drawn: &data::Batch, position: u64) -> Result<Batch> {
        let side = self.config.model.resolution;
        let shape = [drawn.indices.len(), side, side, 3];
        let images = Tensor::from_slice(self.device, &shape, &drawn.images)?;
        let features = self.features.of(&images, &drawn.indices, &drawn.flipped)?;
        let stream = random::stream("posterior").wrapping_add(position);
        let noise = random::normal(self.device, &self.model.latent_shape(shape)?, self.config.train.seed, stream)?;
        Ok(Batch { images, features, noise })
    }

    /// Evaluates the grid's images, logs how good they are and draws them above their reconstructions.
    fn show(&self, metrics: &mut Metrics) -> Result<(Evaluation, PathBuf)> {
        let (images, features) = &self.shown;
        let (reconstruction, evaluation) = evaluate(&self.model, &self.params, images, features.as_ref())?;
        metrics.log(self.state.step, &evaluation.row())?;
        let [_, height, width, _] = images.dims::<4>("grid")?;
        let (inputs, outputs) = (images.to_vec()?, reconstruction.to_vec()?);
        let rows = [GridRow { label: "input", images: &inputs }, GridRow { label: "reconstruction", images: &outputs }];
        let caption = format!("step {}: {:.2} dB PSNR", self.state.step, evaluation.psnr);
        let grid = image_grid(&caption, height, width, &rows)?;
        metrics.log_image(self.state.step, "reconstructions", &grid)?;
        let path = self.out.join(GRIDS).join(format!("step_{:08}.png", self.state.step));
        save_png(&path, &grid)?;
        Ok((evaluation, path))
    }

    fn save(&self) -> Result<PathBuf> {
        let folder = self.out.join(CHECKPOINTS);
        state::save(&folder, &self.params, &self.adam, &self.state, self.config.train.keep_last)
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
        let start = pixels.len();
        pixels.resize(start + side * side * 3, 0.0);
        crop.write_f32(false, &mut pixels[start..]);
        indices.push(index);
    }
    if indices.is_empty() {
        let message = format!("all {} images in {} are unreadable", folder.len(), folder.root().display());
        return Err(Error::data(message));
    }
    let images = Tensor::from_slice(device, &[indices.len(), side, side, 3], &pixels)?;
    let flips = vec![false; indices.len()];
    let features = features.of(&images, &indices, &flips)?;
    Ok((images, features))
}
