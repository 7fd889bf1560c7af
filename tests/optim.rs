//! The optimizer and the weighing of loss streams against their f64 definitions.

mod oracle;

use approx::abs_diff_eq;
use oracle::{Adam as OracleAdam, AdamState, Array, adam_step, ema, global_norm};
use vf_engine::device::{Device, sim};
use vf_engine::dtype::DType;
use vf_engine::error::Result;
use vf_engine::kernels;
use vf_engine::nn::{Fill, Forward, Init, ParamGradients, Parameters};
use vf_engine::ops::adaptive;
use vf_engine::optim::{Adam, AdamSettings};
use vf_engine::random;
use vf_engine::tape::Tape;
use vf_engine::tensor::Tensor;

/// A step rounds a dozen times at 2⁻²⁴; ten steps add up.
const ROUNDING: f64 = 1e-5;

const SHAPES: [[usize; 2]; 3] = [[3, 7], [129, 1], [250, 131]];

fn array(tensor: &Tensor) -> Array {
    Array::from_f32(tensor.shape(), &tensor.to_vec().unwrap())
}

fn assert_close(actual: &Tensor, expected: &Array, what: &str) {
    let largest = expected.data.iter().fold(0f64, |most, v| most.max(v.abs()));
    for (a, e) in array(actual).data.iter().zip(&expected.data) {
        assert!(abs_diff_eq!(a, e, epsilon = ROUNDING * largest), "{what}: {a} and not {e}");
    }
}

fn gradients(params: &Parameters, step: u64) -> Result<ParamGradients> {
    let mut gradients = ParamGradients::default();
    for id in params.ids() {
        let stream = random::stream(params.name(id)) ^ step;
        gradients.accumulate(id, random::normal(params.device(), params.value(id).shape(), 1, stream)?)?;
    }
    Ok(gradients)
}

fn check(device: &Device, settings: AdamSettings, micro_batches: f32) -> Result<()> {
    let mut params = Parameters::new(device);
    for (i, shape) in SHAPES.iter().enumerate() {
        Init::new(&mut params, 5).tensor(&format!("p{i}"), shape, Fill::Uniform(1.0))?;
    }
    if !device.is_cpu() {
        params.compute_in(DType::Bf16)?;
    }
    let mut adam = Adam::new(&params, settings)?;
    let zeros = |id| Array::zeros(params.value(id).shape());
    let mut states: Vec<_> =
        params.ids().map(|id| AdamState { parameter: array(params.value(id)), m: zeros(id), v: zeros(id) }).collect();
    let mut averages: Vec<_> = states.iter().map(|state| state.parameter.clone()).collect();
    let oracle = OracleAdam {
        lr: settings.lr.into(),
        beta1: settings.betas.0.into(),
        beta2: settings.betas.1.into(),
        eps: settings.eps.into(),
        weight_decay: settings.weight_decay.into(),
    };
    for step in 1..=10 {
        let gradients = gradients(&params, step)?;
        let arrays: Vec<_> = gradients.iter().map(|(_, gradient)| array(gradient)).collect();
        adam.update(&mut params, &gradients, 1.0 / micro_batches)?;
        let mean_norm = global_norm(&arrays) / f64::from(micro_batches);
        let status = adam.status()?;
        assert_eq!((status.updates, status.skipped), (step, 0));
        assert!((f64::from(status.gradient_norm) / mean_norm - 1.0).abs() < 1e-6, "the norm of step {step}");
        let clip = settings.grad_clip.map_or(1.0, |largest| (f64::from(largest) / mean_norm).min(1.0));
        for ((state, average), gradient) in states.iter_mut().zip(&mut averages).zip(&arrays) {
            *state = adam_step(state, &gradient.map(|g| clip * g / f64::from(micro_batches)), step as i32, oracle);
            if let Some(decay) = settings.ema_decay {
                *average = ema(average, &state.parameter, decay.into());
            }
        }
    }
    for ((slot, state), average) in adam.slots().iter().zip(&states).zip(&averages) {
        let name = params.name(slot.id);
        assert_close(params.value(slot.id), &state.parameter, name);
        let taken = Forward::new(&Tape::inference(device), &params).param(slot.id).value().to_vec()?;
        let rounded = params.value(slot.id).to_dtype(params.dtype())?.to_vec()?;
        assert!(taken == rounded, "the copy of {name} is not what the parameter rounds to");
        assert_close(&slot.exp_avg, &state.m, &format!("first moment of {name}"));
        assert_close(&slot.exp_avg_sq, &state.v, &format!("second moment of {name}"));
        match settings.ema_decay {
            Some(_) => assert_close(&slot.ema, average, &format!("average of {name}")),
            None => assert!(slot.ema.is_absent()),
        }
    }
    Ok(())
}

const PLAIN: AdamSettings = AdamSettings {
    lr: 1e-2,
    betas: (0.5, 0.9),
    eps: 1e-8,
    weight_decay: 0.0,
    decoupled: true,
    ema_decay: None,
    grad_clip: None,
};

/// Plain, with everything at once, and clipped.
fn check_all(device: &Device) -> Result<()> {
    check(device, PLAIN, 1.0)?;
    let all = AdamSettings { weight_decay: 0.1, ema_decay: Some(0.9), betas: (0.9, 0.95), ..PLAIN };
    check(device, all, 1.0)?;
    check(device, AdamSettings { grad_clip: Some(3.0), ..PLAIN }, 4.0)?;
    check(device, AdamSettings { grad_clip: Some(1e6), eps: 1e-3, ..PLAIN }, 2.0)
}

/// A gradient that is not finite changes nothing but the count of skipped steps.
fn check_skipping(device: &Device) -> Result<()> {
    let mut params = Parameters::new(device);
    let id = Init::new(&mut params, 0).tensor("p", &[3, 5], Fill::Uniform(1.0))?;
    let mut adam = Adam::new(&params, AdamSettings { ema_decay: Some(0.5), ..PLAIN })?;
    let mut update = |params: &mut Parameters, value: f32| -> Result<()> {
        let mut gradients = ParamGradients::default();
        gradients.accumulate(id, Tensor::from_slice(device, &[3, 5], &[value; 15])?)?;
        adam.update(params, &gradients, 1.0)
    };
    update(&mut params, 0.5)?;
    let before = params.value(id).to_vec()?;
    for bad in [f32::NAN, f32::INFINITY] {
        update(&mut params, bad)?;
        assert_eq!(params.value(id).to_vec()?, before, "after a gradient of {bad}");
    }
    update(&mut params, 0.5)?;
    assert_ne!(params.value(id).to_vec()?, before);
    assert!(adam.slots()[0].exp_avg.to_vec()?.iter().all(|m| m.is_finite()));
    let status = adam.status()?;
    assert_eq!((status.updates, status.skipped), (2, 2));
    Ok(())
}

#[test]
fn adam_follows_its_definition() -> Result<()> {
    check_all(&Device::cpu_poisoned())?;
    check_skipping(&Device::cpu_poisoned())
}

#[test]
fn adam_follows_its_definition_on_the_software_gpu() -> Result<()> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(());
    }
    let device = Device::sim()?;
    check_all(&device)?;
    check_skipping(&device)?;
    let findings = sim::load()?.take_findings()?;
    assert!(findings.is_empty(), "{} findings, the first: {}", findings.len(), findings[0]);
    Ok(())
}

#[test]
fn coupled_decay_is_a_gradient() -> Result<()> {
    let device = Device::cpu();
    let update = |decoupled: bool, weight_decay: f32, gradient: f32| -> Result<f32> {
        let mut params = Parameters::new(&device);
        let id = Init::new(&mut params, 0).tensor("p", &[1], Fill::Constant(2.0))?;
        // A large eps keeps the step proportional to the gradient.
        let mut adam = Adam::new(&params, AdamSettings { weight_decay, decoupled, eps: 1e3, lr: 1.0, ..PLAIN })?;
        let mut gradients = ParamGradients::default();
        gradients.accumulate(id, Tensor::scalar(&device, gradient)?)?;
        adam.update(&mut params, &gradients, 1.0)?;
        params.value(id).to_scalar()
    };
    assert_eq!(update(false, 0.25, 1.0)?, update(false, 0.0, 1.5)?);
    assert_ne!(update(true, 0.25, 1.0)?, update(false, 0.25, 1.0)?);
    Ok(())
}

#[test]
fn adaptive_weights_are_clamped_ratios_of_norms() -> Result<()> {
    let device = Device::cpu_poisoned();
    let x = random::normal(&device, &[77, 501], 3, 4)?;
    let squared = f64::from(adaptive::sum_of_squares(&x)?.to_scalar()?);
    assert!((squared / array(&x).dot(&array(&x)) - 1.0).abs() < 1e-6);

    let weight = |nll: f32, other: f32| -> Result<f32> {
        adaptive::weight(&Tensor::scalar(&device, nll)?, &Tensor::scalar(&device, other)?, 1e4, 0.5)?.to_scalar()
    };
    assert!((f64::from(weight(9.0, 4.0)?) - 0.5 * 3.0 / (2.0 + 1e-4)).abs() < 1e-6);
    assert_eq!(weight(9.0, 0.0)?, 0.5 * 1e4, "3 / 1e-4 = 3e4 is clamped before the factor");
    assert!(weight(f32::NAN, 1.0)?.is_nan());

    let (sum, scale) = (random::normal(&device, &[40_001], 3, 5)?, Tensor::scalar(&device, -0.75)?);
    let other = random::normal(&device, &[40_001], 3, 6)?;
    let expected = array(&sum).zip(&array(&other), |a, b| a - 0.75 * b);
    let alias = sum.clone();
    assert_close(&adaptive::add_scaled(sum, &other, &scale)?, &expected, "out of place");
    assert_close(&adaptive::add_scaled(alias, &other, &scale)?, &expected, "in place");
    Ok(())
}
