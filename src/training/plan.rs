//! What a training step takes on a GPU, known before there is one: its memory by parts, its launches, and the bytes they move.

use std::fmt;

use serde::Serialize;

use super::{RandomRun, RunConfig};
use crate::config::Precision;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::metrics::note;

/// What a step of the run that `run` makes takes on a GPU, without computing anything: on a [`Device::plan`].
///
/// # Errors
/// A kernel without a CUDA version, or shapes that CUDA does not take, named.
pub fn plan<L>(device: &Device, run: impl FnOnce(&Device) -> Result<RandomRun<L>>) -> Result<StepPlan> {
    let mut run = run(device)?;
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
    let [parameter_bytes, optimizer_bytes, batch_bytes] = run.bytes();
    let (fixed, memory) = (run.bytes().iter().sum::<usize>(), device.memory());
    Ok(StepPlan {
        images: run.images(),
        parameters: run.params.numel(),
        parameter_bytes,
        optimizer_bytes,
        batch_bytes,
        activation_bytes: memory.kept - fixed,
        workspace_bytes: memory.peak - memory.kept,
        dram_bytes: kernels.iter().map(|kernel| kernel.dram_bytes).sum(),
        kernels,
    })
}

/// Says what a step takes, before a run on a GPU starts.
///
/// # Errors
/// As [`plan`] and [`StepPlan::fits`].
pub fn announce<L>(
    device: &Device,
    config: &impl RunConfig,
    run: impl FnOnce(&Device) -> Result<RandomRun<L>>,
) -> Result<()> {
    let Some(free) = device.free_memory()? else { return Ok(()) };
    let plan = plan(&device.plan_like(), run)?;
    note(format_args!("memory of a step: {plan}; {} launches", plan.launches()));
    plan.fits(free, config)
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
    /// Bytes of the step's batches: images or latents, features, noise.
    pub batch_bytes: usize,
    /// The most bytes held beside these when a backward pass begins: what forward saved for it, and gradients of batches before.
    pub activation_bytes: usize,
    /// What comes on top of all these at the peak: gradients and scratch.
    pub workspace_bytes: usize,
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
        self.parameter_bytes + self.optimizer_bytes + self.batch_bytes + self.activation_bytes + self.workspace_bytes
    }

    /// Kernel launches.
    pub fn launches(&self) -> usize {
        self.kernels.iter().map(|k| k.launches).sum()
    }

    /// The memory's parts by name, in bytes, and their sum.
    pub fn memory(&self) -> [(&'static str, usize); 6] {
        [
            ("parameters", self.parameter_bytes),
            ("optimizer", self.optimizer_bytes),
            ("batch", self.batch_bytes),
            ("activations", self.activation_bytes),
            ("workspace (gradients, scratch)", self.workspace_bytes),
            ("at the peak", self.peak_bytes()),
        ]
    }

    /// Whether the step fits into `free` bytes.
    ///
    /// # Errors
    /// One sentence with the parts, and those of the settings that would help.
    pub fn fits(&self, free: usize, config: &impl RunConfig) -> Result<()> {
        if self.peak_bytes() <= free {
            return Ok(());
        }
        let (train, optim) = (config.train(), config.optim());
        let model_fits = self.parameter_bytes + self.optimizer_bytes < free;
        let ways_out = [
            (model_fits && train.batch_size > 1, "lower train.batch_size (and raise train.accumulate)"),
            (model_fits && !train.checkpoint_activations, "set train.checkpoint_activations=true"),
            (model_fits && train.precision != Precision::Bf16, "set train.precision=bf16"),
            (optim.ema_decay.is_some(), "set optim.ema_decay=null"),
            (true, "take a smaller model (the section model)"),
        ];
        let ways_out: Vec<&str> = ways_out.iter().filter(|(helps, _)| *helps).map(|&(_, way)| way).collect();
        Err(Error::Device(format!(
            "a step does not fit into the {:.0} MiB that are free: {self}; {}",
            mib(free),
            ways_out.join(", or ")
        )))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::vae::random_run;

    fn tiny(set: &[&str]) -> (Config, StepPlan) {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        let config = Config::load(Some("tiny"), None, &set).unwrap();
        let plan = plan(&Device::plan(), |device| random_run(&config, 32, device)).unwrap();
        (config, plan)
    }

    #[test]
    fn an_accumulated_step_has_every_batch() {
        let (_, one) = tiny(&[]);
        let (_, three) = tiny(&["train.accumulate=3"]);
        assert_eq!((three.images, three.batch_bytes), (3 * one.images, 3 * one.batch_bytes));
        assert!(three.launches() > 2 * one.launches(), "{} and {} launches", one.launches(), three.launches());
        // When the last batch's backward begins, there are a gradient of each parameter, and the losses of the others.
        let kept = three.activation_bytes - one.activation_bytes - 4 * three.parameters;
        assert!(kept < 1000, "{kept} bytes beside gradients");
    }

    #[test]
    fn a_step_that_does_not_fit_names_what_helps() {
        let (config, plan) = tiny(&["optim.ema_decay=null"]);
        plan.fits(plan.peak_bytes(), &config).unwrap();
        let message = plan.fits(plan.peak_bytes() - 1, &config).unwrap_err().to_string();
        for part in [
            "parameters",
            "optimizer",
            "activations",
            "workspace",
            "train.batch_size",
            "checkpoint_activations",
            "bf16",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert!(!message.contains("ema_decay"), "there is no average: {message}");
        // Where the model alone is too large, nothing about the batch helps.
        let (config, plan) = tiny(&["optim.ema_decay=0.99"]);
        let message = plan.fits(plan.parameter_bytes, &config).unwrap_err().to_string();
        assert!(message.contains("ema_decay=null") && !message.contains("batch_size"), "{message}");
    }
}
