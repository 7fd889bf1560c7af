//! A training step as a whole on two devices.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vf_engine::device::{Device, sim};
use vf_engine::dtype::DType;
use vf_engine::kernels;
use vf_engine::nn::{ParamGradients, Parameters};
use vf_engine::training::Row;

/// A step's losses, its gradients by the parameters' names, and the most bytes that its activations held.
pub struct Outcome {
    pub losses: Row,
    pub gradients: BTreeMap<String, Vec<f32>>,
    pub peak: usize,
}

impl Outcome {
    /// Of `step`, which adds the gradients of `params` and gives its losses.
    pub fn of(
        params: &Parameters,
        step: impl FnOnce(&mut ParamGradients) -> vf_engine::Result<Row>,
    ) -> Result<Outcome> {
        let device = params.device();
        let before = device.memory().live;
        device.reset_peak_memory();
        let mut gradients = ParamGradients::default();
        let losses = step(&mut gradients)?;
        let parameters: usize = gradients.iter().map(|(_, gradient)| gradient.bytes()).sum();
        let peak = device.memory().peak - before - parameters;
        let named =
            gradients.iter().map(|(id, gradient)| Ok((params.name(id).to_string(), params.export(id, gradient)?)));
        Ok(Outcome { losses, gradients: named.collect::<Result<_>>()?, peak })
    }
}

/// What the differences of a step's losses and gradients between two devices may come to, relative to the reference.
pub struct Bounds {
    /// Of a loss.
    pub loss: f64,
    /// Of a gradient's norm.
    gradient: f64,
    /// Of the norm of all gradients: what sums lose whose terms cancel, as in the gradient of a key's bias, which is zero.
    floor: f64,
}

/// f32 sums in another order: a rounding is 6e-8, and a step has some hundred sums behind one another.
pub const F32: Bounds = Bounds { loss: 1e-5, gradient: 1e-4, floor: 1e-7 };

/// A rounding to bf16 is 2⁻⁹ of a value, each of a step's activations and their gradients has one, and errors of some forty layers
/// add up like their root.
pub const BF16: Bounds = Bounds { loss: 2e-2, gradient: 0.15, floor: 1e-3 };

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn compare(got: &Outcome, want: &Outcome, bounds: &Bounds) -> Result<()> {
    for ((name, got), (_, want)) in got.losses.iter().zip(&want.losses) {
        let error = f64::from((got - want).abs() / want.abs());
        ensure!(error <= bounds.loss, "{name} is {got}, not {want}: off by {error:.1e}");
    }
    let all = norm(want.gradients.values().flatten().map(|&v| f64::from(v)));
    ensure!(got.gradients.len() == want.gradients.len(), "{} gradients", got.gradients.len());
    let mut worst = (0.0, "");
    for ((name, got), want) in got.gradients.iter().zip(want.gradients.values()) {
        let size = norm(want.iter().map(|&v| f64::from(v)));
        let error = norm(got.iter().zip(want).map(|(&got, &want)| f64::from(got) - f64::from(want)));
        let share = error / (bounds.gradient * size + bounds.floor * all);
        // Not `share > 1.0`, which a NaN would pass.
        ensure!(share <= 1.0, "the gradient of {name} is off by {error:.1e} of {size:.1e} ({all:.1e} in all)");
        if share > worst.0 {
            worst = (share, name);
        }
    }
    println!("closest to its bound: the gradient of {} at {:.2}", worst.1, worst.0);
    Ok(())
}

/// The software GPU, unless this build has no kernels for it.
pub fn software_gpu() -> Result<Option<Device>> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(None);
    }
    Device::sim().context("`cargo xtask test` builds the software GPU first").map(Some)
}

/// That `step` does the same on the software GPU, in f32 and in bf16 and with all checks on, as on the CPU.
pub fn agrees_on_the_software_gpu(step: impl Fn(&Device, DType) -> Result<Outcome>) -> Result<()> {
    let Some(device) = software_gpu()? else { return Ok(()) };
    let want = step(&Device::cpu(), DType::F32)?;
    let gpu = sim::load()?;
    gpu.configure(&serde_json::json!({ "checks": "all" }))?;
    for (dtype, bounds) in [(DType::F32, F32), (DType::Bf16, BF16)] {
        let got = step(&device, dtype)?;
        compare(&got, &want, &bounds).with_context(|| format!("in {dtype}"))?;
        let findings = gpu.take_findings()?;
        ensure!(findings.is_empty(), "{} findings in {dtype}, the first: {}", findings.len(), findings[0]);
    }
    Ok(())
}
