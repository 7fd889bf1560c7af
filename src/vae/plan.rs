//! What a training step takes on a GPU, known before there is one: its memory by parts, its launches, and the bytes they move.

use std::fmt;

use serde::Serialize;

use super::{Batch, StepLosses, VaVae, train, training_step};
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;
use crate::random;
use crate::training;

/// What a step of `config` takes on a GPU, without computing anything; features have `feature_channels` channels.
///
/// # Errors
/// A kernel without a CUDA version, or shapes that CUDA does not take, named.
pub fn plan(config: &Config, feature_channels: usize) -> Result<StepPlan> {
    let device = Device::plan();
    let mut run = RandomRun::new(config, feature_channels, &device)?;
    device.reset_peak_memory();
    let mut kernels: Vec<KernelPlan> = vec![];
    for launch in device.record_launches(|| run.step().map(drop))? {
        match kernels.iter_mut().find(|kernel| kernel.entry == launch.entry) {
            Some(kernel) => {
                kernel.launches += 1;
                kernel.dram_bytes += launch.bytes;
            }
            None => kernels.push(KernelPlan { entry: launch.entry, launches: 1, dram_bytes: launch.bytes }),
        }
    }
    kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.dram_bytes));
    let [parameter_bytes, optimizer_bytes, batch_bytes] = run.bytes;
    Ok(StepPlan {
        images: config.train.batch_size,
        parameters: run.params.numel(),
        parameter_bytes,
        optimizer_bytes,
        batch_bytes,
        working_bytes: device.memory().peak - run.bytes.iter().sum::<usize>(),
        dram_bytes: kernels.iter().map(|kernel| kernel.dram_bytes).sum(),
        kernels,
    })
}

/// What a training step takes on a GPU, by its launches and tensors.
#[derive(Debug, Clone, Serialize)]
pub struct StepPlan {
    /// Images per step.
    pub images: usize,
    /// Scalars in the model's parameters.
    pub parameters: usize,
    /// Bytes of the parameters.
    pub parameter_bytes: usize,
    /// Bytes of the optimizer's moments and averages.
    pub optimizer_bytes: usize,
    /// Bytes of the batch: images, features, noise.
    pub batch_bytes: usize,
    /// The most bytes held beside these: what forward saves for backward, gradients, and scratch.
    pub working_bytes: usize,
    /// Bytes of the tensors that all launches read and write.
    pub dram_bytes: u64,
    /// Kernels in the order of their bytes.
    pub kernels: Vec<KernelPlan>,
}

/// What one kernel does in a step.
#[derive(Debug, Clone, Serialize)]
pub struct KernelPlan {
    /// The kernel's entry.
    pub entry: String,
    /// How often it is launched.
    pub launches: usize,
    /// Bytes of the tensors that it reads and writes.
    pub dram_bytes: u64,
}

impl StepPlan {
    /// The most bytes that tensors hold.
    pub fn peak_bytes(&self) -> usize {
        self.parameter_bytes + self.optimizer_bytes + self.batch_bytes + self.working_bytes
    }

    /// Kernel launches.
    pub fn launches(&self) -> usize {
        self.kernels.iter().map(|k| k.launches).sum()
    }

    /// The memory's parts by name, in bytes, and their sum.
    pub fn memory(&self) -> [(&'static str, usize); 5] {
        [
            ("parameters", self.parameter_bytes),
            ("optimizer", self.optimizer_bytes),
            ("batch", self.batch_bytes),
            ("activations, gradients, scratch", self.working_bytes),
            ("at the peak", self.peak_bytes()),
        ]
    }

    /// Whether the step fits into `free` bytes.
    ///
    /// # Errors
    /// One sentence with the parts, and the settings that make the largest smaller.
    pub fn fits(&self, free: usize) -> Result<()> {
        if self.peak_bytes() <= free {
            return Ok(());
        }
        let way_out = match self.working_bytes > self.parameter_bytes + self.optimizer_bytes {
            true => {
                "lower train.batch_size (and raise train.accumulate), set train.checkpoint_activations=true, or train.precision=bf16"
            }
            false => "the model itself is too large: lower model.ch or model.ch_mult, or set optim.ema_decay=null",
        };
        Err(Error::Device(format!(
            "a step does not fit into the {:.0} MiB that are free: {self}; {way_out}",
            mib(free)
        )))
    }
}

/// A model with its optimizer and a batch of random images and features: what steps are timed and planned with.
pub struct RandomRun<'a> {
    config: &'a Config,
    model: VaVae,
    /// The model's parameters.
    pub params: Parameters,
    adam: Adam,
    batch: Batch,
    /// Bytes of parameters, optimizer and batch.
    bytes: [usize; 3],
}

impl<'a> RandomRun<'a> {
    /// A new model as `config` says, on `device`; features have `feature_channels` channels.
    pub fn new(config: &'a Config, feature_channels: usize, device: &Device) -> Result<RandomRun<'a>> {
        let live = || device.memory().live;
        let before = live();
        let with_features = (config.loss.vf_weight > 0.0).then_some(feature_channels);
        let (model, mut params) = VaVae::new(device, train::shape(config, with_features), config.train.seed)?;
        training::set_precision(&config.train, &mut params)?;
        let with_parameters = live();
        let adam = Adam::new(&params, training::adam_settings(&config.optim))?;
        let with_optimizer = live();
        let side = config.model.resolution;
        let image_shape = [config.train.batch_size, side, side, config.model.in_channels];
        let [b, h, w, z] = model.latent_shape(image_shape)?;
        let seed = config.train.seed;
        let draw = |shape: &[usize], name| random::normal(device, shape, seed, random::stream(name));
        let batch = Batch {
            images: random::uniform(device, &image_shape, seed, random::stream("images"), -1.0, 1.0)?,
            features: with_features.map(|channels| draw(&[b, h * w, channels], "features")).transpose()?,
            noise: draw(&[b, h, w, z], "noise")?,
        };
        let bytes = [with_parameters - before, with_optimizer - with_parameters, live() - with_optimizer];
        Ok(RandomRun { config, model, params, adam, batch, bytes })
    }

    /// One step: forward, backward and the optimizer's update. Returns its losses, which are not read yet.
    pub fn step(&mut self) -> Result<StepLosses> {
        let mut gradients = ParamGradients::default();
        let objective = train::objective(self.config);
        let step = training_step(
            &self.model,
            &self.params,
            &objective,
            &self.batch,
            &mut gradients,
            training::step_options(&self.config.train),
        )?;
        self.adam.update(&mut self.params, &gradients, 1.0)?;
        Ok(step.losses)
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The memory's parts in one line.
impl fmt::Display for StepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.memory().map(|(name, bytes)| format!("{name} {:.0} MiB", mib(bytes)));
        f.write_str(&parts.join(", "))
    }
}
