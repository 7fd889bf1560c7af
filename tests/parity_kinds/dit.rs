//! Whole LightningDiTs: every intermediate token, the losses, every gradient, two steps of AdamW and of the moving
//! average; and B/1 at full size.

use crate::support::compare::{NOISE_MULTIPLE, Tolerance};
use crate::support::golden::{self, Golden};
use anyhow::{Context, Result, ensure};
use vf_engine::device::Device;
use vf_engine::dit::{Batch, DitShape, LightningDit, Transport, training_step};
use vf_engine::nn::{Forward, ParamGradients, ParamId, Parameters, Stream};
use vf_engine::ops::gate::GateResidual;
use vf_engine::ops::timestep_embedding::TimestepEmbedding;
use vf_engine::optim::{Adam, AdamSettings};
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;
use vf_engine::training::StepOptions;

/// A set, and a model with the set's parameters.
pub struct Bench<'a> {
    pub set: &'a Golden,
    pub device: Device,
    pub model: LightningDit,
    pub params: Parameters,
}

impl Bench<'_> {
    pub fn new(set: &Golden, shape: DitShape) -> Result<Bench<'_>> {
        let device = golden::device()?;
        let (model, mut params) = LightningDit::new(&device, shape, 0)?;
        for id in params.ids().filter(|&id| params.is_trainable(id)).collect::<Vec<_>>() {
            let shape = params.export_shape(id);
            let golden = set.param(params.name(id), &shape)?;
            params.set(id, params.import(id, &shape, &golden.data)?)?;
        }
        Ok(Bench { set, device, model, params })
    }

    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let golden = self.set.tensor(name)?;
        Ok(Tensor::from_slice(&self.device, &golden.shape, &golden.data)?)
    }

    pub fn labels(&self, name: &str) -> Result<Tensor> {
        let (shape, labels) = self.set.integers(name)?;
        Ok(Tensor::from_u32(&self.device, shape, &labels.iter().map(|&label| label as u32).collect::<Vec<_>>())?)
    }

    fn check(&self, report: &mut Report, name: &str, actual: &Tensor) -> Result<()> {
        report.push((name.to_owned(), self.set.check(name, actual.shape(), &actual.to_vec()?)?));
        Ok(())
    }

    fn batch(&self) -> Result<Batch> {
        Ok(Batch {
            latents: self.tensor("x1")?,
            noise: self.tensor("x0")?,
            point: Transport::lightning().point(&self.device, &self.set.stored("t")?.data)?,
            labels: self.labels("y_train")?,
        })
    }
}

type Report = Vec<(String, f64)>;

/// The shape that a set's `config` describes.
pub fn shape(config: &serde_json::Value) -> Result<DitShape> {
    let number = |key: &str| config[key].as_u64().map(|n| n as usize).with_context(|| format!("no config.{key}"));
    let flag = |key: &str| config[key].as_bool().with_context(|| format!("no config.{key}"));
    Ok(DitShape {
        input_size: number("input_size")?,
        patch_size: number("patch_size")?,
        in_channels: number("in_channels")?,
        hidden_size: number("hidden_size")?,
        depth: number("depth")?,
        num_heads: number("num_heads")?,
        mlp_ratio: 4.0,
        num_classes: number("num_classes")?,
        class_dropout_prob: 0.1,
        learn_sigma: false,
        use_qknorm: flag("use_qknorm")?,
        use_swiglu: flag("use_swiglu")?,
        use_rope: flag("use_rope")?,
        use_rmsnorm: flag("use_rmsnorm")?,
        wo_shift: flag("wo_shift")?,
    })
}

/// A small model: forward, step, optimizer.
pub fn check(set: &Golden) -> Result<Report> {
    let mut bench = Bench::new(set, shape(&set.metadata["config"])?)?;
    let mut report = Vec::new();
    check_forward(&bench, &mut report)?;

    let transport = Transport::lightning();
    let batch = bench.batch()?;
    let run = |bench: &Bench| -> Result<_> {
        let mut gradients = ParamGradients::default();
        let step =
            training_step(&bench.model, &bench.params, &transport, &batch, &mut gradients, StepOptions::default())?;
        Ok((step, gradients))
    };
    let device = bench.device.clone();
    let scalar = |value: f32| Tensor::scalar(&device, value);
    let (step, gradients) = run(&bench)?;
    bench.check(&mut report, "pred", &step.prediction)?;
    bench.check(&mut report, "mse_per_sample", &step.losses.mse)?;
    bench.check(&mut report, "cos_per_sample", &step.losses.cos)?;
    let losses = step.losses.read()?;
    for (name, value) in [("mse", losses.mse), ("cos", losses.cos), ("total", losses.total)] {
        bench.check(&mut report, name, &scalar(value)?)?;
    }
    check_gradients(&bench, &gradients, &mut report)?;

    let mut adam = Adam::new(&bench.params, adam_settings(set)?)?;
    update(&mut bench, &mut adam, &gradients)?;
    check_update(&bench, &adam, 1, &mut report)?;
    let (step, gradients) = run(&bench)?;
    bench.check(&mut report, "total_step2", &scalar(step.losses.read()?.total)?)?;
    update(&mut bench, &mut adam, &gradients)?;
    check_update(&bench, &adam, 2, &mut report)?;
    Ok(report)
}

/// B/1: its output, and the gradients of Σ out·gout.
pub fn check_full(set: &Golden) -> Result<Report> {
    let text = set.metadata["config"].as_str().context("config is no text")?;
    let words: Vec<&str> = text.split(' ').collect();
    let after = |name: &str| -> Result<usize> {
        let at = words.iter().position(|word| *word == name).with_context(|| format!("no {name} in {text}"))?;
        Ok(words[at + 1].parse()?)
    };
    let name = words[0].strip_prefix("LightningDiT-").context("no LightningDiT")?;
    let shape = DitShape::named(name, after("input")?, after("in_channels")?).context("no such size")?;
    ensure!(after("num_classes")? == shape.num_classes, "another number of classes");
    let bench = Bench::new(set, shape)?;
    let mut report = Vec::new();
    let tape = Tape::new(&bench.device);
    let pass = Forward::new(&tape, &bench.params);
    let [x, t] = [bench.tensor("x")?, bench.tensor("t")?].map(|tensor| tape.constant(tensor));
    let out = bench.model.forward(&pass, &x, &t, &tape.constant(bench.labels("y")?))?;
    bench.check(&mut report, "out", out.value())?;
    let trainable = pass.trainable();
    let wanted: Vec<&Var> = trainable.iter().map(|(_, var)| var).collect();
    let mut found = tape.gradients(&[(&out, bench.tensor("gout")?)], &wanted)?;
    let mut gradients = ParamGradients::default();
    gradients.collect(&trainable, &mut found)?;
    check_gradients(&bench, &gradients, &mut report)?;
    Ok(report)
}

fn check_forward(bench: &Bench, report: &mut Report) -> Result<()> {
    let (model, params) = (&bench.model, &bench.params);
    let positions = params.find("pos_embed").context("no pos_embed")?;
    bench.check(report, "param.pos_embed", params.value(positions))?;
    ensure!(!params.is_trainable(positions), "pos_embed is trained");
    if let Some((cos, sin)) = model.rope_tables() {
        bench.check(report, "buffer.feat_rope.freqs_cos", cos)?;
        bench.check(report, "buffer.feat_rope.freqs_sin", sin)?;
    }
    let tape = Tape::inference(&bench.device);
    let pass = Forward::new(&tape, params);
    let [x, t] = [bench.tensor("x")?, bench.tensor("t")?].map(|tensor| tape.constant(tensor));
    let labels = tape.constant(bench.labels("y")?);
    let [frequencies] = tape.apply(TimestepEmbedding { dim: 256 }, [&t])?;
    bench.check(report, "t_freq", frequencies.value())?;
    bench.check(report, "t_emb", model.time_embedding(&pass, &t)?.value())?;
    bench.check(report, "y_emb", model.label_embedding(&pass, &labels)?.value())?;
    let mut condition = model.condition(&pass, &t, &labels)?;
    let mut tokens = Stream::whole(&pass, model.tokens(&pass, &x)?)?;
    bench.check(report, "tokens0", tokens.x.value())?;
    for i in 0..model.shape().depth {
        (tokens, condition) = model.block(&pass, i, &tokens, &condition)?;
        let [joined] = tape.apply(GateResidual, [&tokens.x, &tokens.gate, &tokens.branch])?;
        bench.check(report, &format!("block{i}_out"), joined.value())?;
    }
    bench.check(report, "out", model.head(&pass, &tokens, &condition)?.value())
}

fn check_gradients(bench: &Bench, gradients: &ParamGradients, report: &mut Report) -> Result<()> {
    let params = &bench.params;
    for id in params.ids() {
        let name = params.name(id);
        if !params.is_trainable(id) {
            ensure!(gradients.get(id).is_none(), "{name} has a gradient");
            continue;
        }
        let gradient = gradients.get(id).with_context(|| format!("no gradient of {name}"))?;
        let (shape, values) = without_padding(params, id, gradient)?;
        let share = bench.set.check_gradient(name, &shape, &values)?;
        report.push((format!("grad.{name}"), share));
    }
    Ok(())
}

/// A parameter's tensor, which may be its gradient, without what files do not have of it; convolutions stay channels-last.
fn without_padding(params: &Parameters, id: ParamId, tensor: &Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
    match params.export_shape(id) {
        shape if shape.len() == 4 => Ok((tensor.shape().to_vec(), tensor.to_vec()?)),
        shape => Ok((shape, params.export(id, tensor)?)),
    }
}

fn adam_settings(set: &Golden) -> Result<AdamSettings> {
    let number = |key: &str| set.metadata[key].as_f64().with_context(|| format!("no {key}"));
    let beta = |i: usize| set.metadata["betas"][i].as_f64().context("no betas");
    Ok(AdamSettings {
        lr: number("lr")? as f32,
        betas: (beta(0)? as f32, beta(1)? as f32),
        eps: number("adam_eps")? as f32,
        weight_decay: number("weight_decay")? as f32,
        decoupled: true,
        ema_decay: Some(number("ema_decay")? as f32),
        grad_clip: None,
    })
}

fn update(bench: &mut Bench, adam: &mut Adam, gradients: &ParamGradients) -> Result<()> {
    Ok(adam.update(&mut bench.params, gradients, 1.0)?)
}

/// Parameters and their averages after `steps` updates, where the set has them.
fn check_update(bench: &Bench, adam: &Adam, steps: usize, report: &mut Report) -> Result<()> {
    let decay = bench.set.metadata["ema_decay"].as_f64().context("no ema_decay")?;
    let has = |name: &String| bench.set.stored(name).is_ok();
    for slot in adam.slots() {
        let name = bench.params.name(slot.id);
        // A small set has samples of a large gradient, and nothing of what an optimizer made of it.
        if !has(&format!("grad.{name}")) {
            continue;
        }
        let of_param = format!("adamw{steps}.{name}");
        if has(&of_param) {
            let share = check_moved(bench, &of_param, slot.id, bench.params.value(slot.id), steps as f64)?;
            report.push((of_param, share));
        }
        let of_average = format!("ema{steps}.{name}");
        if has(&of_average) {
            let share = check_moved(bench, &of_average, slot.id, &slot.ema, steps as f64 * (1.0 - decay))?;
            report.push((of_average, share));
        }
    }
    Ok(())
}

/// Compares a parameter that Adam moved. An update is lr·g/(|g| + eps), so that a gradient's allowed error δ passes into
/// it as lr·δ·eps/(|g| − δ + eps)², and where |g| ≤ δ the update may point either way; `moves` is how many updates are in
/// the tensor.
fn check_moved(bench: &Bench, name: &str, id: ParamId, actual: &Tensor, moves: f64) -> Result<f64> {
    let set = bench.set;
    let expected = set.tensor(name)?;
    let (shape, actual) = without_padding(&bench.params, id, actual)?;
    ensure!(expected.shape == shape, "{name}: shape {shape:?}");
    let gradient_name = format!("grad.{}", bench.params.name(id));
    let gradient = set.tensor(&gradient_name)?;
    let delta = NOISE_MULTIPLE * set.noise(&gradient_name).context("no noise")?.absolute;
    let number = |key: &str| set.metadata[key].as_f64().with_context(|| format!("no {key}"));
    let (lr, eps) = (number("lr")?, number("adam_eps")?);
    // The noise that the set gives for the tensor itself is that of the entries whose update turned around.
    let rounding = Tolerance::new(None, expected.largest()).absolute;
    let mut worst: f64 = 0.0;
    for (i, ((&a, &e), &g)) in actual.iter().zip(&expected.data).zip(&gradient.data).enumerate() {
        let sure = f64::from(g).abs() - delta;
        let passed = if sure > 0.0 { (delta * eps / (sure + eps).powi(2)).min(2.0) } else { 2.0 };
        let allowed = rounding + moves * lr * passed;
        let error = (f64::from(a) - f64::from(e)).abs();
        ensure!(error <= allowed, "{name}, entry {i}: {a} but golden {e}, off by {error:.3e}, allowed {allowed:.3e}");
        worst = worst.max(error / allowed);
    }
    Ok(worst)
}
