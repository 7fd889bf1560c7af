//! What every training run does: steps over accumulated gradients, metrics, progress, grids, checkpoints, and going on
//! after a stop. What a kind of run is about is its [`Task`]: `vae::train` and `dit::train`.
//!
//! Everything random is a pure function of (seed, position), and a position is a number of batches; so a
//! checkpoint holds tensors and counters, and a resumed run repeats an unbroken one bit for bit.

mod place;
mod plan;
mod random_run;
mod settings;
mod spikes;
mod state;

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use place::{CHECKPOINTS, CONFIG, GRIDS, Place, Start, locate};
pub use plan::{KernelPlan, StepPlan, announce, plan};
pub use random_run::RandomRun;
pub use settings::{StepOptions, adam_settings, learning_rate, set_precision, step_options};
pub use state::load_weights;

use crate::checkpoint;
use crate::config::{OnNonFinite, Optim, SpikeAction, Train};
use crate::device::{Device, Graph};
use crate::error::{Error, Result};
use crate::metrics::{self, Metrics, Panel, Progress, plot_curves};
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;
use state::RunState;

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
    /// The losses of a batch, still on the device.
    type Losses;
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

    /// Copies a batch over another of the same shapes, in place.
    fn copy(from: &Self::Batch, to: &mut Self::Batch) -> Result<()>;

    /// Forward and backward of a batch; adds to `gradients`. Nothing here waits for the device or moves values between it and the
    /// host: the launches may be recorded.
    fn losses(
        &self,
        params: &Parameters,
        batch: &Self::Batch,
        gradients: &mut ParamGradients,
        options: StepOptions,
    ) -> Result<Self::Losses>;

    /// Waits for the device and reads a batch's losses, the total first.
    fn read(&self, losses: &Self::Losses) -> Result<Row>;

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
enum Done<L> {
    /// It was enqueued; its losses, by batch. Whether anything was not finite is seen at the next [`Run::check`].
    Enqueued(Rc<Vec<L>>),
    /// It was out of line, and the parameters are as they were; why.
    Skipped(String),
    /// It was out of line, and everything is as it was at the last checkpoint but for the data; why.
    RolledBack(String),
}

/// What [`Run::check`] found.
struct Checked {
    /// The last step's values to log, unless it was skipped.
    row: Option<Row>,
    /// How many steps changed nothing since the last check because something was not finite, and why.
    skipped: Option<(u64, String)>,
}

/// How far a run had come when the device was last looked at.
#[derive(Clone, Copy)]
struct Seen {
    step: u64,
    batches: u64,
    skipped: u64,
}

/// A step's launches, recorded, with the tensors that they read and write.
struct Recorded<T: Task> {
    graph: Graph,
    batches: Vec<T::Batch>,
    losses: Rc<Vec<T::Losses>>,
}

/// A run in progress.
struct Run<'a, T: Task> {
    /// The whole run's.
    config: T::Config,
    /// What of it is in force, by stage.
    active: T::Config,
    out: &'a Path,
    device: &'a Device,
    task: T,
    params: Parameters,
    adam: Adam,
    state: RunState<T::Evaluation>,
    seen: Seen,
    /// Whether a step like the next one has run, so that what its kernels need is loaded.
    warm: bool,
    recorded: Option<Recorded<T>>,
    /// The furthest step that was made, and how often the guard stepped in since.
    furthest: u64,
    escapes: u32,
}

/// How often the guard may step in before the run gets further: there is no going on from weights that are damaged.
const MAX_ESCAPES: u32 = 10;

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
    let seen = Seen { step: state.step, batches: state.batches, skipped: 0 };
    let (out, warm, recorded, furthest, escapes) = (place.folder, false, None, state.step, 0);
    let mut run =
        Run { config, active, out, device, task, params, adam, state, seen, warm, recorded, furthest, escapes };
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
        let mut ended = self.state.step >= steps;
        while !ended {
            let done = self.step()?;
            let step = self.state.step;
            let of_batches = match done {
                Done::Enqueued(losses) => Some(losses),
                Done::Skipped(reason) => {
                    progress.note(&format!("skipped {reason}"));
                    metrics.log(step, &[("skipped", 1.0)])?;
                    None
                }
                Done::RolledBack(reason) => {
                    progress.note(&format!("went back to step {step}: {reason}"));
                    *metrics = Metrics::resume(self.out, step)?;
                    metrics.log(step, &[("rolled_back", 1.0)])?;
                    ended = interrupt.load(Ordering::SeqCst);
                    continue;
                }
            };
            ended = step >= steps || interrupt.load(Ordering::SeqCst);
            let saves = due(step, checkpoint_every) && !ended;
            // Only here does the host wait for the device.
            if due(step, log_every) || saves || ended || self.stage_begins() {
                let checked = self.check(of_batches.as_ref().map(|losses| losses.as_slice()))?;
                if let Some((count, reason)) = checked.skipped {
                    progress.note(&format!("skipped {reason}"));
                    metrics.log(step, &[("skipped", count as f32)])?;
                }
                if let Some(row) = checked.row {
                    losses = row;
                    let mut row = losses.clone();
                    row.push(("images_per_second", progress.images_per_second()));
                    metrics.log(step, &row)?;
                }
            }
            progress.step(step, &losses[..SHOWN_LOSSES.min(losses.len())]);
            if due(step, grid_every) && !ended {
                self.show(metrics)?;
            }
            if saves {
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

    /// Whether the next step is the first of a stage.
    fn stage_begins(&self) -> bool {
        self.config.train().stages.iter().any(|stage| stage.step == self.state.step)
    }

    /// Takes over the settings in force at the next step.
    fn configure(&mut self) -> Result<()> {
        if self.config.train().stages.is_empty() {
            return Ok(());
        }
        self.active = self.config.at(self.state.step)?;
        self.adam.configure(adam_settings(self.active.optim()))?;
        // What was recorded has the settings of before in it.
        (self.recorded, self.warm) = (None, false);
        self.task.configure(&self.active)
    }

    /// One optimizer step. The host waits for nothing, unless there is a guard against spikes.
    fn step(&mut self) -> Result<Done<T::Losses>> {
        if self.stage_begins() {
            self.configure()?;
        }
        let batches = (0..self.config.train().accumulate).map(|_| self.next_batch()).collect::<Result<Vec<_>>>()?;
        let lr = learning_rate(self.active.optim(), self.state.step, self.config.train().steps);
        self.adam.set_lr(lr)?;
        self.state.step += 1;
        if self.guards() {
            return self.guarded(&batches);
        }
        if let Some(recorded) = &mut self.recorded {
            for (own, batch) in recorded.batches.iter_mut().zip(&batches) {
                T::copy(batch, own)?;
            }
            recorded.graph.run()?;
            return Ok(Done::Enqueued(recorded.losses.clone()));
        }
        // The first step loads what kernels need; the next is recorded.
        if self.records() && self.warm {
            let device = self.device;
            let (graph, losses) = device.capture(|| self.forward_backward_update(&batches))?;
            graph.run()?;
            let losses = Rc::new(losses);
            self.recorded = Some(Recorded { graph, batches, losses: losses.clone() });
            return Ok(Done::Enqueued(losses));
        }
        self.warm = true;
        Ok(Done::Enqueued(Rc::new(self.forward_backward_update(&batches)?)))
    }

    /// Whether steps are recorded: not where the device cannot, nor where somebody looks at single launches.
    fn records(&self) -> bool {
        let train = self.config.train();
        train.cuda_graph && !self.device.is_cpu() && !train.debug_sync && !train.debug_non_finite
    }

    fn forward_backward_update(&mut self, batches: &[T::Batch]) -> Result<Vec<T::Losses>> {
        let mut gradients = ParamGradients::default();
        let losses = self.forward_backward(batches, &mut gradients)?;
        self.adam.update(&mut self.params, &gradients, 1.0 / batches.len() as f32)?;
        Ok(losses)
    }

    fn forward_backward(&self, batches: &[T::Batch], gradients: &mut ParamGradients) -> Result<Vec<T::Losses>> {
        let options = step_options(self.config.train());
        batches.iter().map(|batch| self.task.losses(&self.params, batch, gradients, options)).collect()
    }

    fn guards(&self) -> bool {
        self.config.train().spike_guard.action != SpikeAction::Off
    }

    /// A step that is made only if its loss and gradients are in line with those before it: the host has to see them first.
    fn guarded(&mut self, batches: &[T::Batch]) -> Result<Done<T::Losses>> {
        let mut gradients = ParamGradients::default();
        let losses = self.forward_backward(batches, &mut gradients)?;
        let scale = 1.0 / batches.len() as f32;
        let seen = [self.mean(&losses)?[0].1, Adam::gradient_norm(&gradients)? * scale];
        // What is not finite is no outlier: the optimizer leaves it out, and `check` finds it.
        if seen.iter().all(|value| value.is_finite()) {
            let guard = &self.config.train().spike_guard;
            if let Some(reason) = spikes::outlier(guard, &self.state.recent, seen) {
                return self.escape(format!("step {}: {reason}", self.state.step));
            }
            spikes::remember(guard, &mut self.state.recent, seen);
        }
        self.adam.update(&mut self.params, &gradients, scale)?;
        if self.state.step > self.furthest {
            (self.furthest, self.escapes) = (self.state.step, 0);
        }
        Ok(Done::Enqueued(Rc::new(losses)))
    }

    /// Leaves a step out of line behind.
    fn escape(&mut self, reason: String) -> Result<Done<T::Losses>> {
        self.escapes += 1;
        if self.escapes > MAX_ESCAPES {
            let advice = "go on from an earlier checkpoint, lower optim.lr or raise train.spike_guard.factor";
            let furthest = self.furthest;
            let message =
                format!("{reason}; {MAX_ESCAPES} times the guard did not help past step {furthest}: {advice}");
            return Err(Error::Diverged(message));
        }
        let back_to = match self.config.train().spike_guard.action {
            SpikeAction::Rollback => checkpoint::latest(&self.out.join(CHECKPOINTS))?,
            _ => None,
        };
        let Some(path) = back_to else { return Ok(Done::Skipped(reason)) };
        let batches = self.state.batches;
        self.state = state::restore(&path, &mut self.params, &mut self.adam)?;
        // The data goes on: the same batches would lead to the same place.
        self.state.batches = batches;
        self.seen = Seen { step: self.state.step, batches, skipped: 0 };
        self.configure()?;
        Ok(Done::RolledBack(reason))
    }

    /// Waits for the device, and looks at what it did since the last check. `losses` are the last step's, unless the guard left it out.
    fn check(&mut self, losses: Option<&[T::Losses]>) -> Result<Checked> {
        let status = self.adam.status()?;
        let Seen { step: last_step, batches: last_batches, skipped: last_skipped } = self.seen;
        let skipped = status.skipped - last_skipped;
        self.seen = Seen { step: self.state.step, batches: self.state.batches, skipped: status.skipped };
        self.state.updates = status.updates;
        let row = losses.map(|losses| self.mean(losses)).transpose()?;
        let finite = row.as_ref().is_none_or(|row| row[0].1.is_finite() && status.gradient_norm.is_finite());
        let row = row.filter(|_| finite).map(|mut row| {
            row.extend([("grad_norm", status.gradient_norm), ("lr", self.adam.lr())]);
            row
        });
        if skipped == 0 && finite {
            return Ok(Checked { row, skipped: None });
        }
        let count = skipped.max(1);
        let steps = match self.state.step - last_step {
            1 => format!("step {}", self.state.step),
            several => format!("{count} of the {several} steps up to step {}", self.state.step),
        };
        let reason = format!("{steps}: {}", self.first_non_finite(last_batches)?);
        match self.config.train().on_non_finite {
            OnNonFinite::Stop => Err(Error::NonFinite(format!("{reason} (train.on_non_finite: stop)"))),
            OnNonFinite::Skip => Ok(Checked { row, skipped: Some((count, reason)) }),
        }
    }

    /// The losses of several batches, averaged value by value.
    fn mean(&self, losses: &[T::Losses]) -> Result<Row> {
        let rows = losses.iter().map(|losses| self.task.read(losses)).collect::<Result<Vec<_>>>()?;
        let average = |i: usize| rows.iter().map(|row| row[i].1).sum::<f32>() / rows.len() as f32;
        Ok(rows[0].iter().enumerate().map(|(i, (name, _))| (*name, average(i))).collect())
    }

    /// Names the first value that is not finite: a parameter, or an op's output or gradient when the batches from `first` on run
    /// once more with every value checked.
    fn first_non_finite(&mut self, first: u64) -> Result<String> {
        for id in self.params.ids() {
            if self.params.value(id).to_vec()?.iter().any(|v| !v.is_finite()) {
                return Ok(format!("parameter {} is not finite", self.params.name(id)));
            }
        }
        self.task.start(first)?;
        let mut found = None;
        for number in first..self.state.batches {
            let batch = self.task.next_batch(number)?;
            let options = StepOptions { check_finite: true, ..step_options(self.config.train()) };
            match self.task.losses(&self.params, &batch, &mut ParamGradients::default(), options) {
                Ok(_) => {}
                Err(Error::NonFinite(place)) => {
                    found = Some(place);
                    break;
                }
                Err(other) => return Err(other),
            }
        }
        self.task.start(self.state.batches)?;
        let unknown = "the gradients were not finite, and are with the parameters as they are now";
        Ok(found.unwrap_or_else(|| unknown.to_string()))
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
