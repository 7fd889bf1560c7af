//! LightningDiT beyond its golden numbers: how a step may be computed, and how noise becomes latents.

mod support;

use anyhow::Result;
use support::dit::{batch, random_model, shape};
use vf_engine::device::Device;
use vf_engine::dit::guidance::Guidance;
use vf_engine::dit::sampler::{LastStep, Method, Sde, initial_noise};
use vf_engine::dit::solver::FixedMethod;
use vf_engine::dit::transport::{DiffusionForm, LossWeight, Path, Prediction};
use vf_engine::dit::{DitShape, LightningDit, Sampler, Transport, training_step};
use vf_engine::nn::{ParamGradients, Parameters};
use vf_engine::random;
use vf_engine::tensor::Tensor;
use vf_engine::training::StepOptions;

/// The gradient of a loss of every prediction and weighting, along a direction in all parameters.
#[test]
fn gradients_of_every_loss_are_its_derivatives() -> Result<()> {
    let device = Device::cpu_poisoned();
    let (model, mut params) = random_model(&device, DitShape { depth: 1, ..shape() })?;
    for (path, prediction, loss_weight) in [
        (Path::Linear, Prediction::Velocity, LossWeight::None),
        (Path::Vp, Prediction::Noise, LossWeight::Velocity),
        (Path::Gvp, Prediction::Score, LossWeight::Likelihood),
    ] {
        let transport = Transport { path, prediction, loss_weight, ..Transport::lightning() };
        let batch = batch(&device, &transport, model.shape())?;
        let total = |params: &Parameters| -> Result<(f64, ParamGradients)> {
            let mut gradients = ParamGradients::default();
            let step = training_step(&model, params, &transport, &batch, &mut gradients, StepOptions::default())?;
            Ok((f64::from(step.losses.read()?.total), gradients))
        };
        let id = params.find("blocks.0.mlp.w3.weight").expect("there is one");
        let gradient = total(&params)?.1.get(id).expect("asked for").to_vec()?;
        let value = params.value(id).to_vec()?;
        let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        let mut moved = |step: f32| -> Result<f64> {
            let values: Vec<f32> = value.iter().zip(&gradient).map(|(v, g)| v + step * g / norm).collect();
            let tensor = Tensor::from_slice(&device, params.value(id).shape(), &values)?;
            params.set(id, tensor)?;
            Ok(total(&params)?.0)
        };
        let (h, ahead, behind) = (0.02, moved(0.02)?, moved(-0.02)?);
        moved(0.0)?;
        let slope = (ahead - behind) / (2.0 * h);
        // The quotient errs by h² of the third derivative, and by the loss's rounding, 6e-8 of it, over h.
        let allowed = 1e-2 * f64::from(norm) + 1e-5 * ahead.abs();
        assert!((slope - f64::from(norm)).abs() < allowed, "{path:?} {prediction:?}: {slope} and {norm}");
    }
    Ok(())
}

/// Files have the reference's widths, and a seed its numbers, whatever memory has beside them.
#[test]
fn files_do_not_know_of_padding() -> Result<()> {
    let device = Device::cpu_poisoned();
    // ⅔·4·32 = 85.3 and 4.1·32 = 131.2, rounded down; SwiGLU's first layer has two of them.
    for (use_swiglu, [first, second], rows, hidden) in
        [(true, ["w12", "w3"], 170, 85), (false, ["fc1", "fc2"], 131, 131)]
    {
        let mlp_ratio = if use_swiglu { 4.0 } else { 4.1 };
        let odd = DitShape { hidden_size: 32, num_heads: 2, depth: 1, use_swiglu, mlp_ratio, ..shape() };
        let (_, mut params) = LightningDit::new(&device, odd, 3)?;
        let of = |name: String| params.find(&format!("blocks.0.mlp.{name}")).expect("there is one");
        for (name, shape) in [
            (format!("{first}.weight"), vec![rows, 32]),
            (format!("{first}.bias"), vec![rows]),
            (format!("{second}.weight"), vec![32, hidden]),
        ] {
            let id = of(name);
            assert_eq!(params.export_shape(id), shape);
            assert_eq!(params.value(id).numel() * hidden, shape.iter().product::<usize>() * hidden.next_multiple_of(8));
            if let [outputs, inputs] = shape[..] {
                let bound = (6.0 / (inputs + outputs) as f32).sqrt();
                let drawn = random::uniform(&device, &shape, 3, random::stream(params.name(id)), -bound, bound)?;
                assert!(params.export(id, params.value(id))? == drawn.to_vec()?, "{}", params.name(id));
            }
        }
        for id in params.ids().collect::<Vec<_>>() {
            let shape = params.export_shape(id);
            let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32 / 7.0 - 3.0).collect();
            let value = params.import(id, &shape, &values)?;
            let zeros = value.to_vec()?.iter().filter(|v| v.to_bits() == 0).count();
            assert!(zeros >= value.numel() - values.len(), "{} has {zeros} zeros", params.name(id));
            params.set(id, value)?;
            assert!(params.export(id, params.value(id))? == values, "{}", params.name(id));
        }
        let counted: usize = params.ids().map(|id| params.export_shape(id).iter().product::<usize>()).sum();
        assert_eq!(params.numel(), counted);
    }
    Ok(())
}

#[test]
fn an_image_is_the_same_in_any_batch() -> Result<()> {
    let device = Device::cpu_poisoned();
    let (model, params) = random_model(&device, shape())?;
    let labels = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3];
    let seeds: Vec<u64> = (100..110).collect();
    let guidance = Some(Guidance { scale: 4.0, channels: Some(3), interval_start: 0.2 });
    let sde =
        Sde { heun: false, form: DiffusionForm::Sigma, norm: 1.0, last_step: LastStep::Mean, last_step_size: 0.04 };
    for method in [Method::Fixed(FixedMethod::Heun), Method::Sde(sde)] {
        let sampler = Sampler { method, points: 6, guidance, ..Sampler::lightning() };
        let sample = |range: std::ops::Range<usize>| -> Result<Vec<f32>> {
            let (labels, seeds) = (&labels[range.clone()], &seeds[range]);
            Ok(sampler.sample(&model, &params, labels, seeds, &mut |_, _| Ok(()))?.latents.to_vec()?)
        };
        let whole = sample(0..10)?;
        assert!(whole.iter().all(|v| v.is_finite()));
        let mut parts = vec![];
        for range in [0..1, 1..4, 4..9, 9..10] {
            parts.extend(sample(range)?);
        }
        assert!(whole == parts, "{method:?}");
        // Image 3 and image 1 have one class and another seed.
        assert_ne!(whole[128..256], whole[384..512], "{method:?}");
    }
    Ok(())
}

/// At the reference's settings guidance costs 15 % less than two evaluations a step.
#[test]
fn the_unconditional_half_is_skipped_where_it_is_not_used() -> Result<()> {
    let device = Device::cpu_poisoned();
    let (model, params) = random_model(&device, DitShape { depth: 1, ..shape() })?;
    let guidance = Guidance { scale: 10.0, channels: Some(3), interval_start: 0.11 };
    let sampler = Sampler { guidance: Some(guidance), ..Sampler::lightning() };
    let evaluations = sampler.sample(&model, &params, &[1], &[0], &mut |_, _| Ok(()))?.evaluations;
    assert_eq!((evaluations.times, evaluations.conditional), (249, 249));
    // 0.3·s / (1 − 0.7·s) < 0.11 for s < 0.2918: 73 of the 249 steps.
    assert_eq!(evaluations.unconditional, 249 - 73);
    assert!((evaluations.saved() - 73.0 / 498.0).abs() < 1e-12);
    let plain = Sampler { guidance: None, ..sampler.clone() };
    let evaluations = plain.sample(&model, &params, &[1], &[0], &mut |_, _| Ok(()))?.evaluations;
    assert_eq!((evaluations.runs(), evaluations.saved()), (249, 0.0));

    let problem = |sampler: &Sampler, model: &LightningDit, params: &Parameters, class: u32| {
        let sampled = sampler.sample(model, params, &[class], &[0], &mut |_, _| Ok(()));
        sampled.err().expect("cannot be sampled").to_string()
    };
    assert!(problem(&sampler, &model, &params, 11).contains("class 11 of a model of 10 classes"));
    let (never_dropped, its_params) = random_model(&device, DitShape { class_dropout_prob: 0.0, depth: 1, ..shape() })?;
    assert!(problem(&sampler, &never_dropped, &its_params, 1).contains("cannot be guided"));
    assert!(problem(&plain, &never_dropped, &its_params, 10).contains("class 10"));
    let too_many = Sampler { guidance: Some(Guidance { channels: Some(9), ..guidance }), ..sampler };
    assert!(problem(&too_many, &model, &params, 1).contains("the latents have 8"));
    Ok(())
}

/// A new model's output is 0 everywhere, so that each equation has a solution to compare with.
fn solve_with_zero_output(transport: Transport, sde: Sde, points: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let device = Device::cpu_poisoned();
    let smallest = DitShape { hidden_size: 8, num_heads: 2, depth: 1, ..shape() };
    let (model, params) = LightningDit::new(&device, smallest, 0)?;
    let sampler = Sampler { transport, method: Method::Sde(sde), points, shift: 0.0, guidance: None };
    let seeds: Vec<u64> = (0..64).collect();
    let labels = vec![0; seeds.len()];
    let start = initial_noise(&params, [4, 4, 8], &seeds)?.to_vec()?;
    let sampled = sampler.sample(&model, &params, &labels, &seeds, &mut |_, _| Ok(()))?;
    assert_eq!(sampled.evaluations.unconditional, 0);
    Ok((start, sampled.latents.to_vec()?))
}

/// With a score of 0 and no diffusion dx = (α′/α)·x·dt, so that x/α stays; the last step divides by α.
#[test]
fn without_diffusion_a_stochastic_equation_is_the_flow() -> Result<()> {
    for path in [Path::Linear, Path::Gvp, Path::Vp] {
        let transport =
            Transport { path, prediction: Prediction::Score, sample_eps: Some(0.2), ..Transport::lightning() };
        let sde = Sde {
            heun: true,
            form: DiffusionForm::Constant,
            norm: 0.0,
            last_step: LastStep::Tweedie,
            last_step_size: 0.1,
        };
        let (start, end) = solve_with_zero_output(transport, sde, 200)?;
        let t0 = if path == Path::Vp { 0.0 } else { 0.2 };
        let grown = 1.0 / path.at(t0).alpha;
        for (start, end) in start.iter().zip(&end).take(200) {
            let expected = f64::from(*start) * grown;
            // Heun's method errs by about (steps' length)²/12 of third derivatives.
            assert!((f64::from(*end) - expected).abs() < 2e-3 * expected.abs() + 1e-5, "{path:?}: {end} {expected}");
        }
    }
    Ok(())
}

/// A velocity of 0 on the linear path has the score −x/σ, so that dx = −(w/σ)·x·dt + √(2w)·dW, whose variance follows
/// V′ = −2w/σ·V + 2w from 1.
#[test]
fn the_noise_of_a_stochastic_equation_has_its_variance() -> Result<()> {
    for (form, heun) in [(DiffusionForm::Constant, false), (DiffusionForm::Sigma, false), (DiffusionForm::Sigma, true)]
    {
        let sde = Sde { heun, form, norm: 0.7, last_step: LastStep::None, last_step_size: 0.5 };
        let transport = Transport { sample_eps: Some(0.3), ..Transport::lightning() };
        let (_, end) = solve_with_zero_output(transport, sde, 100)?;
        let (mut variance, steps) = (1.0, 100_000);
        for i in 0..steps {
            let t = 0.7 * f64::from(i) / f64::from(steps);
            let w = Path::Linear.diffusion(t, form, 0.7);
            variance += 0.7 / f64::from(steps) * 2.0 * w * (1.0 - variance / (1.0 - t));
        }
        let found = end.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / end.len() as f64;
        // 8192 numbers: a standard error of √(2/8192) = 1.6 %; the steps of 0.007 add less than one percent.
        assert!((found / variance - 1.0).abs() < 5.0 * 0.016 + 0.01, "{form:?}: {found} for {variance}");
    }
    Ok(())
}
