//! A training step as a whole on two devices.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vf_engine::device::{Device, Math, sim};
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

/// TF32 rounds to 2⁻¹² of a value, and factors of products alone: less than an eighth of bf16. A loss follows in proportion. A gradient begins
/// with the signs of L1's differences, of which as many change as values move, and what those come to grows like the root of their number:
/// an eighth of the rounding is a third of the error, and here half of bf16's bounds.
pub const TF32: Bounds = Bounds { loss: 5e-3, gradient: 0.075, floor: 5e-4 };

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn compare(got: &Outcome, want: &Outcome, bounds: &Bounds) -> Result<()> {
    let names = |losses: &Row| losses.iter().map(|&(name, _)| name).collect::<Vec<_>>();
    ensure!(
        names(&got.losses) == names(&want.losses),
        "losses {:?}, not {:?}",
        names(&got.losses),
        names(&want.losses)
    );
    for ((name, got), (_, want)) in got.losses.iter().zip(&want.losses) {
        let error = f64::from((got - want).abs() / want.abs());
        ensure!(error <= bounds.loss, "{name} is {got}, not {want}: off by {error:.1e}");
    }
    compare_gradients(got, want, bounds)
}

/// That the gradients of `got` are those of `want`, by their norms.
pub fn compare_gradients(got: &Outcome, want: &Outcome, bounds: &Bounds) -> Result<()> {
    let all = norm(want.gradients.values().flatten().map(|&v| f64::from(v)));
    ensure!(got.gradients.keys().eq(want.gradients.keys()), "gradients of {:?}", got.gradients.keys());
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

/// That `step` does the same on the software GPU, in f32, TF32 and bf16 and with all checks on, as on the CPU.
pub fn agrees_on_the_software_gpu(step: impl Fn(&Device, DType) -> Result<Outcome>) -> Result<()> {
    let Some(device) = software_gpu()? else { return Ok(()) };
    let want = step(&Device::cpu(), DType::F32)?;
    let gpu = sim::load()?;
    gpu.configure(&serde_json::json!({ "checks": "all" }))?;
    for (math, bounds) in [(Math::F32, F32), (Math::Tf32, TF32), (Math::Bf16, BF16)] {
        device.set_tf32(math == Math::Tf32);
        let got = step(&device, math.dtype())?;
        device.set_tf32(false);
        let math = math.suffix();
        compare(&got, &want, &bounds).with_context(|| format!("in {math}"))?;
        let findings = gpu.take_findings()?;
        ensure!(findings.is_empty(), "{} findings in {math}, the first: {}", findings.len(), findings[0]);
    }
    Ok(())
}
