//! Single operations and small blocks of them: outputs, and the gradients of every input and parameter.
//!
//! What an operation is follows from its name (`sdpa64`, `conv3x3_s2_asym`), its settings in the set's metadata and the
//! shapes of its tensors. The loss is Σ over outputs of Σ out·gout.

use crate::support::golden::{self, Golden};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use vf_engine::device::Device;
use vf_engine::op::Op;
use vf_engine::ops::activation::{Gelu, LeakyRelu, Silu};
use vf_engine::ops::add::Add;
use vf_engine::ops::attention::Attention;
use vf_engine::ops::batch_norm::{BatchNormEval, BatchNormTrain, track};
use vf_engine::ops::chunk::Chunk;
use vf_engine::ops::conv2d::{Conv2d, Padding};
use vf_engine::ops::cosine_similarity::CosineSimilarity;
use vf_engine::ops::gate::GateResidual;
use vf_engine::ops::gaussian::{GaussianSample, KlTerms};
use vf_engine::ops::group_norm::GroupNorm;
use vf_engine::ops::hinge::HingeLoss;
use vf_engine::ops::l2_normalize::L2Normalize;
use vf_engine::ops::layer_norm::LayerNorm;
use vf_engine::ops::linear::{Activation, Linear};
use vf_engine::ops::max_pool::MaxPool;
use vf_engine::ops::mlp::Mlp;
use vf_engine::ops::modulate::Modulate;
use vf_engine::ops::position::sincos_table;
use vf_engine::ops::resize::Resize;
use vf_engine::ops::rms_norm::RmsNorm;
use vf_engine::ops::rope::{Rope2d, rope_tables};
use vf_engine::ops::timestep_embedding::TimestepEmbedding;
use vf_engine::ops::upsample::Upsample;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

/// Compares every operation of the set; returns every tensor's error as a share of its tolerance.
pub fn check(set: &Golden) -> Result<Vec<(String, f64)>> {
    let listed = set.metadata["ops"].as_object().context("`ops` is no table")?;
    let stored: BTreeSet<&str> = set.names().filter_map(|name| name.split('.').next()).collect();
    let names: BTreeSet<&str> = listed.keys().map(String::as_str).chain(stored).collect();
    let mut report = Vec::new();
    let mut problems = Vec::new();
    for op in names {
        let settings = listed.get(op).unwrap_or(&Value::Null);
        let checked = match op {
            "sincos_pos_embed" => check_position_tables(set),
            _ if op.starts_with("diag_gaussian") => check_gaussian(set, op),
            _ => check_op(set, op, settings),
        };
        match checked {
            Ok(shares) => report.extend(shares),
            Err(problem) => problems.push(format!("{op}: {problem:#}")),
        }
    }
    ensure!(problems.is_empty(), "{} operations:\n{}", problems.len(), problems.join("\n"));
    Ok(report)
}

/// One operation's inputs, on a tape of its own.
struct Bench<'a> {
    set: &'a Golden,
    op: &'a str,
    settings: &'a Value,
    device: Device,
    tape: Tape,
    leaves: RefCell<BTreeMap<String, Var>>,
}

impl Bench<'_> {
    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.op)
    }

    fn has(&self, part: &str) -> bool {
        self.set.stored(&self.name(part)).is_ok()
    }

    fn tensor(&self, part: &str) -> Result<Tensor> {
        let golden = self.set.tensor(&self.name(part))?;
        Ok(Tensor::from_slice(&self.device, &golden.shape, &golden.data)?)
    }

    fn setting(&self, name: &str) -> Option<f64> {
        self.settings[name].as_f64()
    }

    /// The input or parameter `part`: a leaf where the set has its gradient.
    fn var(&self, part: &str) -> Result<Var> {
        if let Some(var) = self.leaves.borrow().get(part) {
            return Ok(var.clone());
        }
        let tensor = self.tensor(part)?;
        if !self.has(&format!("grad_{part}")) {
            return Ok(self.tape.constant(tensor));
        }
        let var = self.tape.leaf(tensor);
        self.leaves.borrow_mut().insert(part.to_owned(), var.clone());
        Ok(var)
    }

    fn absent(&self) -> Result<Var> {
        Ok(self.tape.constant(Tensor::absent(&self.device)?))
    }

    fn optional(&self, part: &str) -> Result<Var> {
        if self.has(part) { self.var(part) } else { self.absent() }
    }

    fn apply<const N: usize, O: Op<N>>(&self, op: O, inputs: [&Var; N]) -> Result<Var> {
        let [y] = self.tape.apply(op, inputs)?;
        Ok(y)
    }

    fn linear(&self, x: &Var, layer: &str) -> Result<Var> {
        let [weight, bias] = [format!("p.{layer}.weight"), format!("p.{layer}.bias")];
        self.apply(Linear, [x, &self.var(&weight)?, &self.optional(&bias)?])
    }

    fn conv(&self, x: &Var, layer: &str, op: Conv2d) -> Result<Var> {
        let [weight, bias] = [format!("p.{layer}weight"), format!("p.{layer}bias")];
        self.apply(op, [x, &self.var(&weight)?, &self.optional(&bias)?, &self.absent()?])
    }

    fn group_norm(&self, x: &Var, layer: &str, silu: bool) -> Result<Var> {
        let [weight, bias] = [format!("p.{layer}weight"), format!("p.{layer}bias")];
        let groups = self.setting("groups").unwrap_or(32.0) as usize;
        let eps = self.setting("eps").unwrap_or(1e-6) as f32;
        let inputs = [x, &self.var(&weight)?, &self.var(&bias)?, &self.absent()?];
        let [y, _] = self.tape.apply(GroupNorm { groups, eps, silu }, inputs)?;
        Ok(y)
    }

    /// The norm of transformer layers: RMS where it has no bias, else LayerNorm.
    fn norm(&self, x: &Var, layer: &str, modulation: [&Var; 2]) -> Result<Var> {
        let [weight, bias] = [format!("p.{layer}weight"), format!("p.{layer}bias")];
        let [scale, shift] = modulation;
        if self.has(&weight) && !self.has(&bias) {
            return self.apply(RmsNorm { eps: 1e-6 }, [x, &self.var(&weight)?, scale, shift]);
        }
        let eps = if self.has(&weight) { 1e-5 } else { 1e-6 };
        self.apply(LayerNorm { eps }, [x, &self.optional(&weight)?, &self.optional(&bias)?, scale, shift])
    }

    /// Columns `from..to` of x (rows, width): a product with columns of the identity, which is exact.
    fn columns(&self, x: &Var, from: usize, to: usize) -> Result<Var> {
        let width = x.shape()[1];
        let mut picks = vec![0.0; (to - from) * width];
        (from..to).for_each(|column| picks[(column - from) * width + column] = 1.0);
        let picks = self.tape.constant(Tensor::from_slice(&self.device, &[to - from, width], &picks)?);
        self.apply(Linear, [x, &picks, &self.absent()?])
    }
}

const SAME: Conv2d = Conv2d { stride: 1, padding: Padding::all(1), upsample: false };
const POINTWISE: Conv2d = Conv2d { padding: Padding::NONE, ..SAME };
const HALVE: Conv2d = Conv2d { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, upsample: false };
const DOUBLE: Conv2d = Conv2d { upsample: true, ..SAME };

/// The operation's outputs by name.
fn forward(b: &Bench) -> Result<Vec<(&'static str, Var)>> {
    let is = |family: &str| b.op.starts_with(family);
    let eps = |default: f64| b.setting("eps").unwrap_or(default) as f32;
    let none = b.absent()?;
    let out = match b.op {
        _ if is("rmsnorm") => b.apply(RmsNorm { eps: eps(1e-6) }, [&b.var("x")?, &b.var("p.weight")?, &none, &none])?,
        _ if is("layernorm") => {
            let affine = [b.optional("p.weight")?, b.optional("p.bias")?];
            b.apply(LayerNorm { eps: eps(1e-5) }, [&b.var("x")?, &affine[0], &affine[1], &none, &none])?
        }
        _ if is("groupnorm") => b.group_norm(&b.var("x")?, "", b.op.ends_with("silu"))?,
        _ if is("batchnorm_train") => return batch_norm_train(b, eps(1e-5)),
        _ if is("batchnorm_eval") => {
            let statistics = [b.var("b.running_mean")?, b.var("b.running_var")?];
            let affine = [b.var("p.weight")?, b.var("p.bias")?];
            let op = BatchNormEval { eps: eps(1e-5) };
            b.apply(op, [&b.var("x")?, &affine[0], &affine[1], &statistics[0], &statistics[1]])?
        }
        _ if is("rope2d") => return rope(b),
        _ if is("sdpa") => attention(b)?,
        _ if is("dit_attention") => dit_attention(b)?,
        _ if is("swiglu") => {
            let [w1, b1, w2, b2] =
                ["p.w12.weight", "p.w12.bias", "p.w3.weight", "p.w3.bias"].map(|part| b.optional(part));
            let op = Mlp { activation: Activation::SwiGlu };
            b.apply(op, [&b.var("x")?, &w1?, &b1?, &w2?, &b2?, &none, &none])?
        }
        _ if is("modulate") => {
            let y = b.apply(Modulate, [&b.var("h")?, &b.var("scale")?, &b.optional("shift")?])?;
            match b.has("gate") {
                true => b.apply(GateResidual, [&b.var("x")?, &b.var("gate")?, &y])?,
                false => y,
            }
        }
        _ if is("timestep_embed") => {
            let dim = b.var("p.mlp.0.weight")?.shape()[1];
            let features = b.apply(TimestepEmbedding { dim }, [&b.var("t")?])?;
            b.linear(&b.apply(Silu, [&b.linear(&features, "mlp.0")?])?, "mlp.2")?
        }
        _ if is("final_layer") => {
            let c = b.linear(&b.apply(Silu, [&b.var("c")?])?, "adaLN_modulation.1")?;
            let width = c.shape()[1] / 2;
            let (shift, scale) = (b.columns(&c, 0, width)?, b.columns(&c, width, 2 * width)?);
            b.linear(&b.norm(&b.var("x")?, "norm_final.", [&scale, &shift])?, "linear")?
        }
        _ if is("conv") => convolution(b)?,
        _ if is("upsample_nearest2") => b.apply(Upsample, [&b.var("x")?])?,
        _ if is("upsample_conv") => b.conv(&b.var("x")?, "conv.", DOUBLE)?,
        _ if is("maxpool2") => b.apply(MaxPool, [&b.var("x")?])?,
        _ if is("leaky_relu") => {
            let slope = b.setting("slope").unwrap_or(0.2) as f32;
            b.apply(LeakyRelu { slope }, [&b.var("x")?])?
        }
        _ if is("silu") => b.apply(Silu, [&b.var("x")?])?,
        _ if is("gelu_tanh") => b.apply(Gelu::Tanh, [&b.var("x")?])?,
        _ if is("gelu_erf") => b.apply(Gelu::Erf, [&b.var("x")?])?,
        _ if is("resblock") => {
            let x = b.var("x")?;
            let h = b.conv(&b.group_norm(&x, "norm1.", true)?, "conv1.", SAME)?;
            let h = b.conv(&b.group_norm(&h, "norm2.", true)?, "conv2.", SAME)?;
            let shortcut = match b.has("p.nin_shortcut.weight") {
                true => b.conv(&x, "nin_shortcut.", POINTWISE)?,
                false => x,
            };
            b.apply(Add, [&shortcut, &h])?
        }
        _ if is("attnblock") => attention_block(b)?,
        _ if is("bilinear") || is("bicubic") => {
            let [_, height, width, _] = b.tensor("gout")?.dims::<4>("resize")?;
            let resize = match is("bilinear") {
                true => Resize::bilinear(height, width),
                false => Resize::bicubic_antialias(height, width),
            };
            b.apply(resize, [&b.var("x")?])?
        }
        _ if is("cosine_similarity") => b.apply(CosineSimilarity { eps: eps(1e-8) }, [&b.var("a")?, &b.var("b")?])?,
        _ if is("l2_normalize") => b.apply(L2Normalize { eps: eps(1e-12) }, [&b.var("x")?])?,
        _ if is("hinge_d") => b.apply(HingeLoss, [&b.var("real")?, &b.var("fake")?])?,
        _ => bail!("no operation of this name is known"),
    };
    Ok(vec![("out", out)])
}

fn batch_norm_train(b: &Bench, eps: f32) -> Result<Vec<(&'static str, Var)>> {
    let momentum = b.setting("momentum").unwrap_or(0.1) as f32;
    let inputs = [b.var("x")?, b.var("p.weight")?, b.var("p.bias")?];
    let [y, mean, var] = b.tape.apply(BatchNormTrain { eps }, inputs.each_ref())?;
    // The set's running statistics start at (0, 1).
    let channels = mean.shape()[0];
    let start = |value: f32| Tensor::from_slice(&b.device, &[channels], &vec![value; channels]);
    let running_mean = b.tape.constant(track(start(0.0)?, mean.value(), momentum)?);
    let running_var = b.tape.constant(track(start(1.0)?, var.value(), momentum)?);
    Ok(vec![("out", y), ("b.running_mean", running_mean), ("b.running_var", running_var)])
}

/// x is (B, N, heads, d) on a square grid.
fn rope(b: &Bench) -> Result<Vec<(&'static str, Var)>> {
    let x = b.var("x")?;
    let [batch, n, heads, d] = x.value().dims::<4>("rope2d")?;
    let side = b.setting("S").map_or(n.isqrt(), |side| side as usize);
    let (cos, sin) = rope_tables(&b.device, side, side, d)?;
    let (cos, sin) = (b.tape.constant(cos), b.tape.constant(sin));
    let y = b.apply(Rope2d { heads, grid_h: side, grid_w: side }, [&x.reshape(&[batch, n, heads * d])?, &cos, &sin])?;
    Ok(vec![("out", y.reshape(x.shape())?), ("cos", cos), ("sin", sin)])
}

/// q, k and v are (B, N, heads, d).
fn attention(b: &Bench) -> Result<Var> {
    let [q, k, v] = [b.var("q")?, b.var("k")?, b.var("v")?];
    let heads = q.shape()[2];
    let flat = |x: &Var| -> Result<Var> {
        let [batch, n, heads, d] = x.value().dims::<4>("attention")?;
        Ok(x.reshape(&[batch, n, heads * d])?)
    };
    Ok(b.apply(Attention { heads }, [&flat(&q)?, &flat(&k)?, &flat(&v)?])?.reshape(q.shape())?)
}

fn dit_attention(b: &Bench) -> Result<Var> {
    let x = b.var("x")?;
    let [batch, n, dim] = x.value().dims::<3>("dit_attention")?;
    let heads = b.setting("heads").context("no heads")? as usize;
    let side = n.isqrt();
    let (cos, sin) = rope_tables(&b.device, side, side, dim / heads)?;
    let (cos, sin) = (b.tape.constant(cos), b.tape.constant(sin));
    let none = b.absent()?;
    let [q, k, v] = b.tape.apply(Chunk::<3>, [&b.linear(&x, "qkv")?])?;
    let turned = |x: &Var, norm: &str| -> Result<Var> {
        let per_head = x.reshape(&[batch * n, heads, dim / heads])?;
        let normed = match b.has(&format!("p.{norm}weight")) {
            true => b.norm(&per_head, norm, [&none, &none])?,
            false => per_head,
        };
        b.apply(Rope2d { heads, grid_h: side, grid_w: side }, [&normed.reshape(&[batch, n, dim])?, &cos, &sin])
    };
    let mixed = b.apply(Attention { heads }, [&turned(&q, "q_norm.")?, &turned(&k, "k_norm.")?, &v])?;
    b.linear(&mixed, "proj")
}

/// `convKxK`, with `_s2` for stride 2 and `_asym` for the encoder's downsampling.
fn convolution(b: &Bench) -> Result<Var> {
    let layer = if b.has("p.conv.weight") { "conv." } else { "" };
    let kernel = b.tensor(&format!("p.{layer}weight"))?.shape()[1];
    let stride = if b.op.contains("_s2") { 2 } else { 1 };
    let op = match b.op.contains("_asym") {
        true => HALVE,
        false => Conv2d { stride, padding: Padding::all((kernel - 1) / 2), upsample: false },
    };
    b.conv(&b.var("x")?, layer, op)
}

fn attention_block(b: &Bench) -> Result<Var> {
    let x = b.var("x")?;
    let [batch, h, w, c] = x.value().dims::<4>("attnblock")?;
    let normed = b.group_norm(&x, "norm.", false)?;
    let tokens = |layer: &str| -> Result<Var> { Ok(b.conv(&normed, layer, POINTWISE)?.reshape(&[batch, h * w, c])?) };
    let mixed = b.apply(Attention { heads: 1 }, [&tokens("q.")?, &tokens("k.")?, &tokens("v.")?])?;
    b.apply(Add, [&x, &b.conv(&mixed.reshape(x.shape())?, "proj_out.", POINTWISE)?])
}

fn bench<'a>(set: &'a Golden, op: &'a str, settings: &'a Value) -> Result<Bench<'a>> {
    let device = golden::device()?;
    let tape = Tape::new(&device);
    Ok(Bench { set, op, settings, device, tape, leaves: RefCell::default() })
}

fn check_op(set: &Golden, op: &str, settings: &Value) -> Result<Vec<(String, f64)>> {
    let b = bench(set, op, settings)?;
    let outputs = forward(&b)?;
    let mut report = Vec::new();
    let mut compare = |part: &str, actual: &Tensor| -> Result<()> {
        let name = b.name(part);
        let share = set.check(&name, actual.shape(), &actual.to_vec()?)?;
        report.push((name, share));
        Ok(())
    };
    let mut seeds = Vec::new();
    for (name, var) in &outputs {
        compare(name, var.value())?;
        let upstream = format!("g{name}");
        if b.has(&upstream) {
            seeds.push((var, b.tensor(&upstream)?));
        }
    }
    let leaves = b.leaves.borrow();
    let prefix = b.name("grad_");
    for name in set.names().filter_map(|name| name.strip_prefix(&prefix)) {
        ensure!(leaves.contains_key(name), "the set has a gradient of `{name}`, which the forward does not use");
    }
    let wanted: Vec<&Var> = leaves.values().collect();
    let mut gradients = b.tape.gradients(&seeds, &wanted)?;
    for (name, var) in leaves.iter() {
        compare(&format!("grad_{name}"), &gradients.take(var)?)?;
    }
    Ok(report)
}

/// The set has a KL per sample and one per entry, the engine a batch mean: every sample is a batch of its own.
fn check_gaussian(set: &Golden, op: &str) -> Result<Vec<(String, f64)>> {
    let b = bench(set, op, &Value::Null)?;
    let batch = b.tensor("moments")?.shape()[0];
    let sample = |part: &str, i: usize| -> Result<Tensor> {
        let all = set.tensor(&b.name(part))?;
        let mut shape = all.shape;
        shape[0] = 1;
        let count: usize = shape.iter().product();
        Ok(Tensor::from_slice(&b.device, &shape, &all.data[i * count..][..count])?)
    };
    let mut parts: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for i in 0..batch {
        let (moments, noise) = (b.tape.leaf(sample("moments", i)?), b.tape.leaf(sample("eps", i)?));
        let [z, kl] = b.tape.apply(GaussianSample, [&moments, &noise])?;
        let terms = b.apply(KlTerms, [&moments])?;
        let seeds = [(&z, sample("gz", i)?), (&kl, sample("gkl", i)?), (&terms, sample("gkl_nosum", i)?)];
        let mut gradients = b.tape.gradients(&seeds, &[&moments, &noise])?;
        let (grad_moments, grad_noise) = (gradients.take(&moments)?, gradients.take(&noise)?);
        let results = [
            ("z", z.value()),
            ("kl", kl.value()),
            ("kl_nosum", terms.value()),
            ("grad_moments", &grad_moments),
            ("grad_eps", &grad_noise),
        ];
        for (part, tensor) in results {
            parts.entry(part).or_default().extend(tensor.to_vec()?);
        }
    }
    let check = |(part, values): (&str, Vec<f32>)| -> Result<(String, f64)> {
        let name = b.name(part);
        let shape = set.tensor(&name)?.shape;
        Ok((name.clone(), set.check(&name, &shape, &values)?))
    };
    parts.into_iter().map(check).collect()
}

/// `sincos_pos_embed.D<width>S<side>`: tables of square grids.
fn check_position_tables(set: &Golden) -> Result<Vec<(String, f64)>> {
    let device = golden::device()?;
    let mut report = Vec::new();
    for name in set.names().filter(|name| name.starts_with("sincos_pos_embed.")) {
        let sizes = name.strip_prefix("sincos_pos_embed.D").and_then(|sizes| sizes.split_once('S'));
        let (dim, side) = sizes.with_context(|| format!("{name}: expected D<width>S<side>"))?;
        let (dim, side) = (dim.parse()?, side.parse()?);
        let table = sincos_table(&device, dim, side, side)?;
        report.push((name.to_owned(), set.check(name, table.shape(), &table.to_vec()?)?));
    }
    Ok(report)
}
