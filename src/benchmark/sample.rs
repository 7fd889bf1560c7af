//! Sampling, timed.

use serde::Serialize;

use super::median_s;
use super::step::process_peak_bytes;
use crate::config::DitConfig;
use crate::device::Device;
use crate::dit::guidance::Evaluations;
use crate::dit::{LightningDit, settings};
use crate::error::{Error, Result};

/// The time of a batch of samples, up to latents.
#[derive(Debug, Clone, Serialize)]
pub struct SampleTiming {
    /// Median seconds of a batch.
    pub median_s: f64,
    /// Batches timed.
    pub runs: usize,
    /// Images in a batch.
    pub images: usize,
    /// The model's runs on a batch with labels, and without.
    pub evaluations: [u64; 2],
    /// The share of two model runs for each step that was not needed.
    pub saved: f64,
    /// The most bytes that tensors held.
    pub peak_bytes: usize,
    /// The most bytes of memory the process had resident, where the system says (Linux).
    pub process_peak_bytes: Option<usize>,
}

/// Times `runs` batches of samples of a new model as `config` says, after one to warm up.
///
/// # Errors
/// A configuration that leaves sizes to the data; no images or no runs.
pub fn time_sampling(config: &DitConfig, images: usize, device: &Device, runs: usize) -> Result<SampleTiming> {
    if images == 0 {
        return Err(Error::Config("0 images measure nothing: ask for at least 1".to_owned()));
    }
    let (model, params) = LightningDit::new(device, settings::shape(config)?, config.train.seed)?;
    let sampler = settings::sampler(config);
    let labels: Vec<u32> = (0..images).map(|i| (i % model.shape().num_classes) as u32).collect();
    let seeds: Vec<u64> = (0..images as u64).collect();
    device.reset_peak_memory();
    let mut evaluations = Evaluations::default();
    let mut sample = || {
        evaluations = sampler.sample(&model, &params, &labels, &seeds, &mut |_, _| Ok(()))?.evaluations;
        Ok(())
    };
    sample()?;
    let median_s = median_s(device, runs, &mut sample)?;
    Ok(SampleTiming {
        median_s,
        runs,
        images,
        evaluations: [evaluations.conditional, evaluations.unconditional],
        saved: evaluations.saved(),
        peak_bytes: device.memory().peak,
        process_peak_bytes: process_peak_bytes(),
    })
}
