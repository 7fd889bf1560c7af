//! What a training step takes on a GPU, known before there is one: its memory by parts, its launches, and the bytes they move.

use std::fmt;

use serde::Serialize;

use super::RandomRun;
use crate::device::Device;
use crate::error::{Error, Result};

/// What a step of the run that `run` makes takes on a GPU, without computing anything.
///
/// # Errors
/// A kernel without a CUDA version, or shapes that CUDA does not take, named.
pub fn plan<L>(run: impl FnOnce(&Device) -> Result<RandomRun<L>>) -> Result<StepPlan> {
    let device = Device::plan();
    let mut run = run(&device)?;
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
    Ok(StepPlan {
        images: run.images(),
        parameters: run.params.numel(),
        parameter_bytes,
        optimizer_bytes,
        batch_bytes,
        working_bytes: device.memory().peak - run.bytes().iter().sum::<usize>(),
        dram_bytes: kernels.iter().map(|kernel| kernel.dram_bytes).sum(),
        kernels,
    })
}

/// Says what a step takes, before a run on a GPU starts.
///
/// # Errors
/// As [`plan`] and [`StepPlan::fits`].
pub fn announce<L>(device: &Device, run: impl FnOnce(&Device) -> Result<RandomRun<L>>) -> Result<()> {
    let Some(free) = device.free_memory()? else { return Ok(()) };
    let plan = plan(run)?;
    eprintln!("memory of a step: {plan}; {} launches", plan.launches());
    plan.fits(free)
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
    /// Bytes of the batch: images or latents, features, noise.
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
            false => {
                "the model itself is too large: take a smaller one (the section model), or set optim.ema_decay=null"
            }
        };
        Err(Error::Device(format!(
            "a step does not fit into the {:.0} MiB that are free: {self}; {way_out}",
            mib(free)
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
