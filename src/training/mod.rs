//! What every training run does: steps over accumulated gradients, metrics, progress, grids, checkpoints, and going on
//! after a stop. What a kind of run is about is its [`Task`]: `vae::train` and `dit::train`.
//!
//! Everything random is a pure function of (seed, position), and a position is a number of batches; so a
//! checkpoint holds tensors and counters, and a resumed run repeats an unbroken one bit for bit.

mod settings;
mod spikes;
mod state;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use settings::{StepOptions, adam_settings, learning_rate, set_precision, step_options};
pub use state::load_weights;

use crate::checkpoint;
use crate::config::{OnNonFinite, Optim, SpikeAction, Train};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::metrics::{self, Metrics, Panel, Progress, plot_curves};
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;
use state::RunState;

/// The folder of a run's checkpoints, in the run's own.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of a run's sample grids.
pub const GRIDS: &str = "grids";
/// The effective configuration of a run.
pub const CONFIG: &str = "config.yaml";

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In a folder that holds no run yet.
    New,
    /// From the last checkpoint in the folder.
    Resume,
}

/// Values by the names they are logged under.
pub type Row = Vec<(&'static str, f32)>;

/// The configuration of a kind of run.
pub trait RunConfig: Sized {
    /// The optimizer's section.
    fn optim(&self) -> &Optim;
    /// The loop's section.
    fn train(&self) -> &Train;
    /// The configuration in force at a step: that of the last stage that has begun.
    ///
    /// # Errors
    /// As loading it.
    fn at(&self, step: u64) -> Result<Self>;
    /// Writes the configuration to a file.
    fn save(&self, path: &Path) -> Result<()>;
}

/// What a kind of run is about: its model, data and losses.
pub trait Task: Sized {
    /// Its configuration.
    type Config: RunConfig;
    /// One (micro-)batch.
    type Batch;
    /// How good a model is.
    type Evaluation: Copy + Serialize + DeserializeOwned;

    /// Panels of the loss curves.
    const PANELS: &'static [Panel<'static>];

    /// Starts to hand out batches from `first` on.
    fn start(&mut self, first: u64) -> Result<()>;

    /// Takes over the settings of a stage that begins.
    fn configure(&mut self, config: &Self::Config) -> Result<()>;

    /// Batch `number`, the next one.
    fn next_batch(&mut self, number: u64) -> Result<Self::Batch>;

    /// Forward and backward of a batch; adds to `gradients` and gives the losses, the total first.
    fn losses(
        &self,
        params: &Parameters,
        batch: &Self::Batch,
        gradients: &mut ParamGradients,
        options: StepOptions,
    ) -> Result<Row>;

    /// How good a model is.
    fn evaluate(&self, params: &Parameters, adam: &Adam) -> Result<Self::Evaluation>;

    /// An evaluation's values.
    fn row(evaluation: &Self::Evaluation) -> Row;

    /// Evaluates the model and draws its grid into the folder; `None` where there is nothing to draw.
    fn show(&self, at: Showing, metrics: &mut Metrics) -> Result<(Self::Evaluation, Option<PathBuf>)>;

    /// What became of the model, for a person: names and what to say.
    fn progress(first: &Self::Evaluation, last: &Self::Evaluation) -> Vec<(&'static str, String)>;
}

/// What a task shows.
pub struct Showing<'a> {
    /// The parameters as they are.
    pub params: &'a Parameters,
    /// The optimizer, which has their average.
    pub adam: &'a Adam,
    /// Steps done.
    pub step: u64,
    /// The folder of grids.
    pub folder: PathBuf,
}

impl Showing<'_> {
    /// Where this step's grid belongs.
    pub fn grid_path(&self) -> PathBuf {
        self.folder.join(format!("step_{:08}.png", self.step))
    }
}

/// What a run came to; its `Display` is for a person.
pub struct Summary {
    /// Steps done in all.
    pub step: u64,
    /// Whether Ctrl-C ended it before its last step.
    pub interrupted: bool,
    /// The last step's losses; nothing where no step was made.
    losses: Row,
    lines: Vec<(&'static str, String)>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let losses: Vec<String> = self.losses.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let losses = (!losses.is_empty()).then(|| ("losses", format!("{} at step {}", losses.join(", "), self.step)));
        self.lines.iter().chain(&losses).try_for_each(|(name, text)| writeln!(f, "{name:<13} {text}"))
    }
}

/// What became of a step.
enum Done {
    /// The parameters moved; the values to log.
    Updated(Row),
    /// Something was not finite or out of line, and the parameters are as they were; why.
    Skipped(String),
    /// Something was out of line, and everything is as it was at the last checkpoint but for the data; why.
    RolledBack(String),
}

/// Where a run finds what is there, and leaves what it makes.
pub struct Place<'a> {
    folder: &'a Path,
    latest: Option<PathBuf>,
}

impl<'a> Place<'a> {
    /// The folder `out`, made where it is not there.
    ///
    /// # Errors
    /// A folder that holds a run where a new one begins, or none where one goes on.
    pub fn prepare(out: &'a Path, start: Start) -> Result<Place<'a>> {
        let checkpoints = out.join(CHECKPOINTS);
        for folder in [&checkpoints, &out.join(GRIDS)] {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let latest = checkpoint::latest(&checkpoints)?;
        match (start, &latest) {
            (Start::New, Some(_)) => {
                let out = out.display();
                let message = format!("{out} holds a run already: go on with --resume {out}, or choose another --out");
                Err(Error::Config(message))
            }
            (Start::Resume, None) => {
                let message = format!("{} holds no checkpoint to go on from", checkpoints.display());
                Err(Error::Checkpoint(message))
            }
            _ => Ok(Place { folder: out, latest }),
        }
    }
}

/// The folder of the run at `path` and a checkpoint in it: the latest, or the one that `path` is.
///
/// # Errors
/// A folder without a checkpoint, or a checkpoint whose run is not around it.
pub fn locate(path: &Path) -> Result<(PathBuf, PathBuf)> {
    if path.is_dir() {
        let checkpoints = path.join(CHECKPOINTS);
        let latest = if checkpoints.is_dir() { checkpoint::latest(&checkpoints)? } else { None };
        let latest = latest.ok_or_else(|| {
            Error::Checkpoint(format!("{} is not the folder of a run: it holds no checkpoint", path.display()))
        })?;
        return Ok((path.to_path_buf(), latest));
    }
    let run = path.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_path_buf();
    match run.join(CONFIG).exists() {
        true => Ok((run, path.to_path_buf())),
        false => {
            let path = path.display();
            Err(Error::Checkpoint(format!("{path}: there is no {CONFIG} in the run's folder, two above it")))
        }
    }
}

/// A run in progress.
struct Run<'a, T: Task> {
    /// The whole run's.
    config: T::Config,
    /// What of it is in force, by stage.
    active: T::Config,
    out: &'a Path,
    task: T,
    params: Parameters,
    adam: Adam,
    state: RunState<T::Evaluation>,
}

/// Trains `params`, the parameters of `task`, in `place`. Once `interrupt` is true it finishes the step, saves and returns.
///
/// # Errors
/// Data or checkpoints that do not fit, named; a device failure; a non-finite loss where the policy is to stop.
pub fn run<T: Task>(
    config: T::Config,
    place: Place,
    mut task: T,
    mut params: Parameters,
    device: &Device,
    interrupt: &AtomicBool,
) -> Result<Summary> {
    device.synchronize_every_launch(config.train().debug_sync);
    let mut adam = Adam::new(&params, adam_settings(config.optim()))?;
    config.save(&place.folder.join(CONFIG))?;
    let state = match &place.latest {
        Some(path) => state::restore(path, &mut params, &mut adam)?,
        None => {
            let first = task.evaluate(&params, &adam)?;
            RunState { step: 0, batches: 0, updates: 0, first, recent: vec![] }
        }
    };
    task.start(state.batches)?;
    let active = config.at(state.step)?;
    let mut run = Run { config, active, out: place.folder, task, params, adam, state };
    run.configure()?;
    let mut metrics = match place.latest {
        Some(_) => Metrics::resume(run.out, run.state.step)?,
        None => Metrics::create(run.out)?,
    };
    if place.latest.is_none() {
        metrics.log(0, &T::row(&run.state.first))?;
    }
    run.train(&mut metrics, interrupt)
}

/// How many of a step's values the progress bar shows.
const SHOWN_LOSSES: usize = 4;

/// Whether something that happens every `every` steps (0: never) happens at `step`.
fn due(step: u64, every: u64) -> bool {
    every != 0 && step.is_multiple_of(every)
}

impl<T: Task> Run<'_, T> {
    fn train(mut self, metrics: &mut Metrics, interrupt: &AtomicBool) -> Result<Summary> {
        let &Train { steps, batch_size, accumulate, log_every, grid_every, checkpoint_every, .. } = self.config.train();
        let mut progress = Progress::new(self.state.step, steps, batch_size * accumulate);
        let mut losses = vec![];
        let ended = |step: u64| step >= steps || interrupt.load(Ordering::SeqCst);
        while !ended(self.state.step) {
            let done = self.step()?;
            let step = self.state.step;
            match done {
                Done::Updated(mut row) => {
                    losses.clone_from(&row);
                    progress.step(step, &row[..SHOWN_LOSSES.min(row.len())]);
                    if due(step, log_every) || ended(step) {
                        row.push(("images_per_second", progress.images_per_second()));
                        metrics.log(step, &row)?;
                    }
                }
                Done::Skipped(reason) => {
                    progress.note(&format!("skipped {reason}"));
                    metrics.log(step, &[("skipped", 1.0)])?;
                }
                Done::RolledBack(reason) => {
                    progress.note(&format!("went back to step {step}: {reason}"));
                    *metrics = Metrics::resume(self.out, step)?;
                    metrics.log(step, &[("rolled_back", 1.0)])?;
                    continue;
                }
            }
            if due(step, grid_every) && !ended(step) {
                self.show(metrics)?;
            }
            if due(step, checkpoint_every) && !ended(step) {
                self.save()?;
            }
        }
        progress.finish();
        let checkpoint = self.save()?;
        let (last, grid) = self.show(metrics)?;
        let plot = self.out.join("losses.png");
        plot_curves(&plot, &format!("{}: training", self.out.display()), &metrics::read(self.out)?, T::PANELS)?;
        let mut lines: Vec<(&str, String)> = vec![];
        lines.extend(grid.map(|grid| ("sample grid", grid.display().to_string())));
        lines.push(("loss curves", plot.display().to_string()));
        lines.push(("checkpoint", checkpoint.display().to_string()));
        lines.extend(T::progress(&self.state.first, &last));
        let step = self.state.step;
        Ok(Summary { step, interrupted: step < steps, losses, lines })
    }

    /// Takes over the settings in force at the next step.
    fn configure(&mut self) -> Result<()> {
        if self.config.train().stages.is_empty() {
            return Ok(());
        }
        self.active = self.config.at(self.state.step)?;
        self.adam.configure(adam_settings(self.active.optim()));
        self.task.configure(&self.active)
    }

    /// One optimizer step.
    fn step(&mut self) -> Result<Done> {
        if self.config.train().stages.iter().any(|stage| stage.step == self.state.step) {
            self.configure()?;
        }
        let options = step_options(self.config.train());
        let batches = (0..self.config.train().accumulate).map(|_| self.next_batch()).collect::<Result<Vec<_>>>()?;
        let mut gradients = ParamGradients::default();
        let mut rows = vec![];
        for batch in &batches {
            rows.push(self.task.losses(&self.params, batch, &mut gradients, options)?);
        }
        let lr = learning_rate(self.active.optim(), self.state.step, self.config.train().steps);
        self.state.step += 1;
        let scale = 1.0 / batches.len() as f32;
        let norm = Adam::gradient_norm(&gradients)?;
        if !norm.is_finite() || rows.iter().any(|row| !row[0].1.is_finite()) {
            let reason = format!("step {}: {}", self.state.step, self.first_non_finite(&batches)?);
            return match self.config.train().on_non_finite {
                OnNonFinite::Stop => Err(Error::NonFinite(format!("{reason} (train.on_non_finite: stop)"))),
                OnNonFinite::Skip => Ok(Done::Skipped(reason)),
            };
        }
        let mut row = mean(&rows);
        let guard = &self.config.train().spike_guard;
        if guard.action != SpikeAction::Off {
            let seen = [row[0].1, norm * scale];
            if let Some(reason) = spikes::outlier(guard, &self.state.recent, seen) {
                let reason = format!("step {}: {reason}", self.state.step);
                return self.escape(reason);
            }
            spikes::remember(guard, &mut self.state.recent, seen);
        }
        self.adam.update_at(lr, &mut self.params, &gradients, norm, scale)?;
        self.state.updates += 1;
        row.extend([("grad_norm", norm * scale), ("lr", lr)]);
        Ok(Done::Updated(row))
    }

    /// Leaves a step out of line behind.
    fn escape(&mut self, reason: String) -> Result<Done> {
        let back_to = match self.config.train().spike_guard.action {
            SpikeAction::Rollback => checkpoint::latest(&self.out.join(CHECKPOINTS))?,
            _ => None,
        };
        let Some(path) = back_to else { return Ok(Done::Skipped(reason)) };
        let batches = self.state.batches;
        self.state = state::restore(&path, &mut self.params, &mut self.adam)?;
        // The data goes on: the same batches would lead to the same place.
        self.state.batches = batches;
        self.configure()?;
        Ok(Done::RolledBack(reason))
    }

    /// Names the first value that is not finite: a parameter, or an op's output or gradient when the
    /// batches run once more with every value checked.
    fn first_non_finite(&self, batches: &[T::Batch]) -> Result<String> {
        for id in self.params.ids() {
            if self.params.value(id).to_vec()?.iter().any(|v| !v.is_finite()) {
                return Ok(format!("parameter {} is not finite", self.params.name(id)));
            }
        }
        for batch in batches {
            let options = StepOptions { check_finite: true, ..step_options(self.config.train()) };
            match self.task.losses(&self.params, batch, &mut ParamGradients::default(), options) {
                Ok(_) => {}
                Err(Error::NonFinite(place)) => return Ok(place),
                Err(other) => return Err(other),
            }
        }
        Ok("the norm of the gradients is not finite though each of them is".to_string())
    }

    fn next_batch(&mut self) -> Result<T::Batch> {
        let batch = self.task.next_batch(self.state.batches)?;
        self.state.batches += 1;
        Ok(batch)
    }

    fn show(&self, metrics: &mut Metrics) -> Result<(T::Evaluation, Option<PathBuf>)> {
        let (params, adam, step) = (&self.params, &self.adam, self.state.step);
        let shown = self.task.show(Showing { params, adam, step, folder: self.out.join(GRIDS) }, metrics)?;
        metrics.log(step, &T::row(&shown.0))?;
        Ok(shown)
    }

    fn save(&self) -> Result<PathBuf> {
        let folder = self.out.join(CHECKPOINTS);
        state::save(&folder, &self.params, &self.adam, &self.state, self.config.train().keep_last)
    }
}

/// Micro-batches' rows, averaged value by value.
fn mean(rows: &[Row]) -> Row {
    let average = |i: usize| rows.iter().map(|row| row[i].1).sum::<f32>() / rows.len() as f32;
    rows[0].iter().enumerate().map(|(i, (name, _))| (*name, average(i))).collect()
}
