//! A training step of LightningDiT as a whole: what may change how it is computed, and must not change what; and what it takes on a GPU.

mod support;

use anyhow::{Result, ensure};
use support::dit::{batch, random_model, shape};
use support::step::{Outcome, agrees_on_the_software_gpu, software_gpu};
use vf_engine::config::DitConfig;
use vf_engine::device::Device;
use vf_engine::dit::{DitShape, Transport, evaluate, random_run, settings, training_step};
use vf_engine::dtype::DType;
use vf_engine::training::{StepOptions, plan};

fn step(device: &Device, dtype: DType, shape: DitShape, checkpoint_activations: bool) -> Result<Outcome> {
    let transport = Transport::lightning();
    let (model, mut params) = random_model(device, shape)?;
    params.compute_in(dtype)?;
    let batch = batch(device, &transport)?;
    let options = StepOptions { checkpoint_activations, ..StepOptions::default() };
    Outcome::of(&params, |gradients| {
        Ok(training_step(&model, &params, &transport, &batch, gradients, options)?.losses.read()?.row())
    })
}

/// Every switch of the model both ways.
fn shapes() -> [DitShape; 3] {
    [
        DitShape { depth: 2, ..shape() },
        DitShape { depth: 1, use_qknorm: false, use_swiglu: false, wo_shift: true, ..shape() },
        DitShape { depth: 1, use_rmsnorm: false, use_rope: false, patch_size: 2, learn_sigma: true, ..shape() },
    ]
}

fn check_checkpointing(device: &Device, dtype: DType) -> Result<()> {
    let [kept, again] = [false, true].map(|checkpoint| step(device, dtype, shape(), checkpoint));
    let (kept, again) = (kept?, again?);
    assert_eq!(kept.losses, again.losses);
    assert_eq!(kept.gradients, again.gradients);
    assert!(kept.gradients.len() > 40, "{} gradients", kept.gradients.len());
    assert!(4 * again.peak < 3 * kept.peak, "{} bytes, and {} without", again.peak, kept.peak);
    Ok(())
}

#[test]
fn checkpointed_activations_save_memory_and_change_no_bit() -> Result<()> {
    check_checkpointing(&Device::cpu_poisoned(), DType::F32)?;
    match software_gpu()? {
        Some(device) => check_checkpointing(&device, DType::Bf16),
        None => Ok(()),
    }
}

#[test]
fn the_software_gpu_steps_as_the_cpu_does() -> Result<()> {
    for shape in shapes() {
        agrees_on_the_software_gpu(|device, dtype| step(device, dtype, shape.clone(), false))?;
    }
    Ok(())
}
