//! Whole training steps, timed.

use serde::Serialize;

use super::median_s;
use crate::device::Device;
use crate::error::Result;
use crate::training::RandomRun;

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

/// Times `runs` steps of `run`, which is on `device`, after two to warm up.
pub fn time_step<L>(mut run: RandomRun<L>, device: &Device, runs: usize) -> Result<StepTiming> {
    device.reset_peak_memory();
    run.step()?;
    let launches = device.record_launches(|| run.step().map(drop))?.len();
    let median_s = median_s(device, runs, || run.step().map(drop))?;
    Ok(StepTiming {
        median_s,
        runs,
        images: run.images(),
        parameters: run.params.numel(),
        peak_bytes: device.memory().peak,
        process_peak_bytes: process_peak_bytes(),
        launches,
    })
}

pub(super) fn process_peak_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}
