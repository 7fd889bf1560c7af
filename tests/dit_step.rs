//! A training step of LightningDiT as a whole: what may change how it is computed, and must not change what; and what it takes on a GPU.

mod support;

use anyhow::Result;
use support::dit::{batch, random_model, shape};
use support::step::{Outcome, agrees_on_the_software_gpu, software_gpu};
use vf_engine::config::DitConfig;
use vf_engine::device::Device;
use vf_engine::dit::{DitShape, LightningDit, Transport, evaluate, random_run, settings, training_step};
use vf_engine::dtype::DType;
use vf_engine::nn::ParamGradients;
use vf_engine::optim::{Adam, AdamSettings};
use vf_engine::tensor::Tensor;
use vf_engine::training::{StepOptions, plan};

fn step(device: &Device, dtype: DType, shape: DitShape, checkpoint_activations: bool) -> Result<Outcome> {
    let transport = Transport::lightning();
    let (model, mut params) = random_model(device, shape)?;
    params.compute_in(dtype)?;
    let batch = batch(device, &transport, model.shape())?;
    let options = StepOptions { checkpoint_activations, ..StepOptions::default() };
    Outcome::of(&params, |gradients| {
        Ok(training_step(&model, &params, &transport, &batch, gradients, options)?.losses.read()?.row())
    })
}

/// Every switch of the model both ways; 130 and 196 channels inside the MLPs of the first two, in memory 136 and 200.
fn shapes() -> [DitShape; 3] {
    [
        DitShape { depth: 2, mlp_ratio: 4.1, ..shape() },
        DitShape { depth: 1, mlp_ratio: 4.1, use_qknorm: false, use_swiglu: false, wo_shift: true, ..shape() },
        DitShape { depth: 1, use_rmsnorm: false, use_rope: false, patch_size: 2, learn_sigma: true, ..shape() },
    ]
}

fn check_checkpointing(device: &Device, dtype: DType) -> Result<()> {
    // More tokens than parameters.
    let shape = DitShape { input_size: 12, ..shape() };
    let [kept, again] = [false, true].map(|checkpoint| step(device, dtype, shape.clone(), checkpoint));
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

fn check_padding(device: &Device, dtype: DType, shape: DitShape) -> Result<()> {
    let transport = Transport::lightning();
    let (model, mut params) = random_model(device, shape)?;
    params.compute_in(dtype)?;
    let settings = AdamSettings {
        lr: 1e-2,
        betas: (0.9, 0.95),
        eps: 1e-8,
        weight_decay: 0.1,
        decoupled: true,
        ema_decay: Some(0.9),
        grad_clip: Some(1.0),
    };
    let mut adam = Adam::new(&params, settings)?;
    let batch = batch(device, &transport, model.shape())?;
    for _ in 0..3 {
        let mut gradients = ParamGradients::default();
        training_step(&model, &params, &transport, &batch, &mut gradients, StepOptions::default())?;
        adam.update(&mut params, &gradients, 1.0)?;
    }
    let mut padded = 0;
    for slot in adam.slots() {
        let (name, shape) = (params.name(slot.id), params.export_shape(slot.id));
        for tensor in [params.value(slot.id), &slot.exp_avg, &slot.exp_avg_sq, &slot.ema] {
            let again = params.import(slot.id, &shape, &params.export(slot.id, tensor)?)?;
            assert_eq!(bits(tensor)?, bits(&again)?, "{name} in {dtype}");
        }
        padded += usize::from(shape.iter().product::<usize>() < params.value(slot.id).numel());
    }
    // Of each block the first layer's weight and bias, and the second's weight.
    assert_eq!(padded, 3 * model.shape().depth);
    Ok(())
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    Ok(tensor.to_vec()?.into_iter().map(f32::to_bits).collect())
}

/// What memory has of an MLP beyond the reference's width: a file gives it back as zeros, and zeros it must be.
#[test]
fn training_leaves_zeros_beyond_the_references_widths() -> Result<()> {
    let gpu = software_gpu()?;
    for shape in shapes().into_iter().take(2) {
        check_padding(&Device::cpu_poisoned(), DType::F32, shape.clone())?;
        for dtype in [DType::F32, DType::Bf16] {
            gpu.iter().try_for_each(|device| check_padding(device, dtype, shape.clone()))?;
        }
    }
    Ok(())
}

/// Of one block of XL/1 in bf16, by the difference of two depths: evaluations go forward alone.
#[test]
fn a_block_takes_few_launches() -> Result<()> {
    let launches = |depth: usize| -> Result<[usize; 2]> {
        let model = ["input_size=16", "in_channels=32", "num_classes=1000"].map(|set| format!("model.{set}"));
        let step = [format!("model.depth={depth}"), "train.batch_size=32".into(), "train.precision=bf16".into()];
        let config = DitConfig::load(Some("XL/1"), None, &[&model[..], &step].concat())?;
        let whole = plan(&Device::plan(), |device| random_run(&config, device))?.launches();
        let (device, transport) = (Device::plan(), settings::transport(&config));
        let (model, mut params) = LightningDit::new(&device, settings::shape(&config)?, 0)?;
        params.compute_in(DType::Bf16)?;
        let batch = batch(&device, &transport, model.shape())?;
        let forward = device.record_launches(|| evaluate(&model, &params, &transport, &batch).map(drop))?.len();
        Ok([forward, whole - forward])
    };
    let ([few_forward, few_backward], [more_forward, more_backward]) = (launches(2)?, launches(3)?);
    // Forward: adaLN and its six parts, two norms, qkv, attention, proj, w12, w3. Backward: two for each of the five linear layers,
    // two for each norm, one each for attention and the parts; and the rest of two weights' gradients, whose tiles the multiprocessors of
    // an A100 share.
    assert_eq!((more_forward - few_forward, more_backward - few_backward), (9, 18));
    Ok(())
}
