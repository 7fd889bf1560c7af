//! A training step of the VA-VAE as a whole: what may change how it is computed, and must not change what.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vf_engine::config::Config;
use vf_engine::device::{Device, sim};
use vf_engine::dtype::DType;
use vf_engine::kernels;
use vf_engine::nn::{ParamGradients, Parameters};
use vf_engine::random;
use vf_engine::tensor::Tensor;
use vf_engine::training::StepOptions;
use vf_engine::vae::plan::RandomRun;
use vf_engine::vae::{Batch, Losses, VaVae, train, training_step};

const FEATURE_CHANNELS: usize = 48;

/// The `tiny` preset's model with random images and features.
struct Bench {
    config: Config,
    model: VaVae,
    params: Parameters,
    batch: Batch,
}

/// A step's losses, its gradients by the parameters' names, and the most bytes that its activations held.
struct Outcome {
    losses: Losses,
    gradients: BTreeMap<String, Vec<f32>>,
    peak: usize,
}

impl Bench {
    fn new(device: &Device) -> Result<Bench> {
        let config = Config::load(Some("tiny"), None, &[])?;
        let (model, params) = VaVae::new(device, train::shape(&config, Some(FEATURE_CHANNELS)), 0)?;
        let side = config.model.resolution;
        let shape = [config.train.batch_size, side, side, 3];
        let [b, h, w, z] = model.latent_shape(shape)?;
        let draw = |shape: &[usize], name| random::normal(device, shape, 1, random::stream(name));
        let batch = Batch {
            images: random::uniform(device, &shape, 1, random::stream("images"), -1.0, 1.0)?,
            features: Some(draw(&[b, h * w, FEATURE_CHANNELS], "features")?),
            noise: draw(&[b, h, w, z], "noise")?,
        };
        Ok(Bench { config, model, params, batch })
    }

    fn step(&self, options: StepOptions) -> Result<Outcome> {
        let (objective, mut gradients) = (train::objective(&self.config), ParamGradients::default());
        let device = self.params.device();
        let before = device.memory().live;
        device.reset_peak_memory();
        let step = training_step(&self.model, &self.params, &objective, &self.batch, &mut gradients, options)?;
        let parameters: usize = gradients.iter().map(|(_, gradient)| gradient.bytes()).sum();
        let peak = device.memory().peak - before - parameters;
        let named = gradients.iter().map(|(id, gradient)| Ok((self.params.name(id).to_string(), gradient.to_vec()?)));
        Ok(Outcome { losses: step.losses.read()?, gradients: named.collect::<Result<_>>()?, peak })
    }
}

#[test]
fn checkpointed_activations_save_memory_and_change_no_bit() -> Result<()> {
    let bench = Bench::new(&Device::cpu())?;
    let kept = bench.step(StepOptions::default())?;
    let again = bench.step(StepOptions { checkpoint_activations: true, ..StepOptions::default() })?;
    assert_eq!(kept.losses, again.losses);
    assert_eq!(kept.gradients, again.gradients);
    assert!(kept.gradients.len() > 100, "{} gradients", kept.gradients.len());
    assert!(4 * again.peak < 3 * kept.peak, "{} bytes, and {} without", again.peak, kept.peak);
    Ok(())
}

/// What the differences of a step's losses and gradients between two devices may come to, relative to the reference.
struct Bounds {
    /// Of a loss.
    loss: f64,
    /// Of a gradient's norm.
    gradient: f64,
    /// Of the norm of all gradients: what sums lose whose terms cancel, as in the gradient of a key's bias, which is zero.
    floor: f64,
}

/// f32 sums in another order: a rounding is 6e-8, and a step has some hundred sums behind one another.
const F32: Bounds = Bounds { loss: 1e-5, gradient: 1e-4, floor: 1e-7 };

/// A rounding to bf16 is 2⁻⁹ of a value, each of a step's activations and their gradients has one, and errors of some forty layers
/// add up like their root.
const BF16: Bounds = Bounds { loss: 2e-2, gradient: 0.15, floor: 1e-3 };

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn compare(got: &Outcome, want: &Outcome, bounds: &Bounds) -> Result<()> {
    for ((name, got), (_, want)) in got.losses.row().into_iter().zip(want.losses.row()) {
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

/// The total losses of ten steps of `tiny` at 32×32 on one random batch, from parameters off by up to `nudge` of themselves.
fn ten_losses(device: &Device, precision: &str, nudge: f32, seed: u64) -> Result<Vec<f64>> {
    let settings = ["model.resolution=32".to_string(), format!("train.precision={precision}")];
    let config = Config::load(Some("tiny"), None, &settings)?;
    let mut run = RandomRun::new(&config, FEATURE_CHANNELS, device)?;
    if nudge > 0.0 {
        for id in run.params.ids() {
            let value = run.params.value(id);
            let stream = random::stream(run.params.name(id));
            let share = random::uniform(device, value.shape(), seed, stream, -nudge, nudge)?.to_vec()?;
            let nudged: Vec<f32> = value.to_vec()?.iter().zip(share).map(|(v, share)| v + v * share).collect();
            let nudged = Tensor::from_slice(device, value.shape(), &nudged)?;
            run.params.set(id, nudged)?;
        }
    }
    (0..10).map(|_| Ok(f64::from(run.step()?.read()?.total))).collect()
}

/// Runs drift apart: Adam's first steps are the gradient's signs, and where a gradient is all rounding, its parameter goes another way. How
/// far is measured on the CPU, by the farthest of eight runs from parameters that were off by a rounding of the precision: up to a step,
/// the software GPU, which rounds at every step, may be four times as far, and what one step's losses may be.
#[test]
fn ten_steps_on_the_software_gpu_track_the_cpu() -> Result<()> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(());
    }
    let cpu = Device::cpu();
    let want = ten_losses(&cpu, "f32", 0.0, 0)?;
    ensure!(want[9] < 0.9 * want[0], "nothing is learnt: {want:?}");
    let device = Device::sim().context("`cargo xtask test` builds the software GPU first")?;
    for (precision, rounding, bounds) in [("f32", 2.0_f32.powi(-24), F32), ("bf16", 2.0_f32.powi(-9), BF16)] {
        let nudged: Vec<_> = (1..=8).map(|seed| ten_losses(&cpu, "f32", rounding, seed)).collect::<Result<_>>()?;
        let got = ten_losses(&device, precision, 0.0, 0)?;
        let mut drift = 0.0_f64;
        for (step, (got, want)) in got.iter().zip(&want).enumerate() {
            drift = nudged.iter().map(|run| (run[step] - want).abs() / want).fold(drift, f64::max);
            let error = (got - want).abs() / want;
            let message = format!(
                "{precision}, step {}: {got}, {want} on the CPU, off by {error:.1e}; the CPU drifts by {drift:.1e}",
                step + 1
            );
            println!("{message}");
            // Not `error > bound`, which a NaN would pass.
            ensure!(error <= 4.0 * drift + bounds.loss, message);
        }
    }
    Ok(())
}

#[test]
fn the_software_gpu_steps_as_the_cpu_does() -> Result<()> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(());
    }
    let want = Bench::new(&Device::cpu())?.step(StepOptions::default())?;
    let device = Device::sim().context("`cargo xtask test` builds the software GPU first")?;
    let gpu = sim::load()?;
    gpu.configure(&serde_json::json!({ "checks": "all" }))?;
    let mut bench = Bench::new(&device)?;
    for (dtype, bounds) in [(DType::F32, F32), (DType::Bf16, BF16)] {
        bench.params.compute_in(dtype)?;
        let got = bench.step(StepOptions::default())?;
        compare(&got, &want, &bounds).with_context(|| format!("in {dtype}"))?;
        let findings = gpu.take_findings()?;
        ensure!(findings.is_empty(), "{} findings in {dtype}, the first: {}", findings.len(), findings[0]);
    }
    Ok(())
}
