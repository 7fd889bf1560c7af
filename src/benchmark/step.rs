//! Whole VA-VAE training steps: timed, or planned without computing anything.

use serde::Serialize;

use crate::config::Config;
use crate::device::Device;
use crate::error::Result;
use crate::nn::{ParamGradients, Parameters};
use crate::optim::Adam;
use crate::random;
use crate::vae::{Batch, VaVae, train, training_step};

/// The time of whole training steps.
#[derive(Debug, Clone, Serialize)]
pub struct StepTiming {
    /// Median seconds of a step: forward, backward and the optimizer's update.
    pub median_s: f64,
    /// Steps timed.
    pub runs: usize,
    /// Images per step.
    pub images: usize,
    /// Parameters of the model.
    pub parameters: usize,
    /// The most bytes that tensors held.
    pub peak_bytes: usize,
    /// The most bytes of memory the process had resident, where the system says (Linux).
    pub process_peak_bytes: Option<usize>,
    /// Kernel launches of a step on a GPU.
    pub launches: usize,
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
}

/// A model with its optimizer and a batch of random images and features.
struct Bench<'a> {
    config: &'a Config,
    model: VaVae,
    params: Parameters,
    adam: Adam,
    batch: Batch,
    /// Bytes of parameters, optimizer and batch.
    bytes: [usize; 3],
}

impl<'a> Bench<'a> {
    fn new(config: &'a Config, feature_channels: usize, device: &Device) -> Result<Bench<'a>> {
        let live = || device.memory().live;
        let before = live();
        let with_features = (config.loss.vf_weight > 0.0).then_some(feature_channels);
        let (model, mut params) = VaVae::new(device, train::shape(config, with_features), config.train.seed)?;
        train::set_precision(config, &mut params)?;
        let with_parameters = live();
        let adam = Adam::new(&params, train::adam_settings(config))?;
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
        Ok(Bench { config, model, params, adam, batch, bytes })
    }

    fn step(&mut self) -> Result<()> {
        let mut gradients = ParamGradients::default();
        let objective = train::objective(self.config);
        training_step(
            &self.model,
            &self.params,
            &objective,
            &self.batch,
            &mut gradients,
            train::step_options(self.config),
        )?;
        let norm = Adam::gradient_norm(&gradients)?;
        self.adam.update(&mut self.params, &gradients, norm, 1.0)
    }
}

/// Times VA-VAE training steps of `config` on random images and random features of `feature_channels` channels,
/// after two to warm up.
pub fn time_step(config: &Config, feature_channels: usize, device: &Device, runs: usize) -> Result<StepTiming> {
    let mut bench = Bench::new(config, feature_channels, device)?;
    device.reset_peak_memory();
    bench.step()?;
    let launches = device.record_launches(|| bench.step())?.len();
    let mut seconds = (0..runs).map(|_| device.time(|| bench.step())).collect::<Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(StepTiming {
        median_s: seconds[seconds.len() / 2],
        runs,
        images: config.train.batch_size,
        parameters: bench.params.numel(),
        peak_bytes: device.memory().peak,
        process_peak_bytes: process_peak_bytes(),
        launches,
    })
}

/// What such a step takes on a GPU, without computing anything.
///
/// # Errors
/// A kernel without a CUDA version, or shapes that CUDA does not take, named.
pub fn plan_step(config: &Config, feature_channels: usize) -> Result<StepPlan> {
    let device = Device::plan();
    let mut bench = Bench::new(config, feature_channels, &device)?;
    device.reset_peak_memory();
    let mut kernels: Vec<KernelPlan> = vec![];
    for launch in device.record_launches(|| bench.step())? {
        match kernels.iter_mut().find(|kernel| kernel.entry == launch.entry) {
            Some(kernel) => {
                kernel.launches += 1;
                kernel.dram_bytes += launch.bytes;
            }
            None => kernels.push(KernelPlan { entry: launch.entry, launches: 1, dram_bytes: launch.bytes }),
        }
    }
    kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.dram_bytes));
    let [parameter_bytes, optimizer_bytes, batch_bytes] = bench.bytes;
    Ok(StepPlan {
        images: config.train.batch_size,
        parameters: bench.params.numel(),
        parameter_bytes,
        optimizer_bytes,
        batch_bytes,
        working_bytes: device.memory().peak - bench.bytes.iter().sum::<usize>(),
        dram_bytes: kernels.iter().map(|kernel| kernel.dram_bytes).sum(),
        kernels,
    })
}

fn process_peak_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}
