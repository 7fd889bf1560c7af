//! The oracle against PyTorch: its forwards give the golden outputs, and finite differences of them the golden
//! gradients. Once this holds, the engine is judged by the oracle at any shape.

mod oracle;
mod support;

use anyhow::{Context, Result, bail, ensure};
use oracle::{Array, directional};
use serde_json::Value;
use std::collections::BTreeMap;
use support::fill::hash_fill;
use support::golden::Golden;
use support::kind::{Kind, files};

/// The oracle rounds in f64, so a golden value differs from it by the noise that the set states (three digits of it:
/// hence the tenth) and by its own storing as f32.
fn tolerance(golden: &Golden, name: &str) -> Result<f64> {
    let noise = golden.noise(name).map_or(0.0, |noise| noise.absolute);
    Ok(1.1 * noise + f64::from(f32::EPSILON) * largest(&array(golden, name)?))
}

fn largest(a: &Array) -> f64 {
    a.data.iter().fold(0.0, |most, v| v.abs().max(most))
}

fn array(golden: &Golden, name: &str) -> Result<Array> {
    let tensor = golden.tensor(name)?;
    Ok(Array::from_f32(&tensor.shape, &tensor.data))
}

fn check_forward(golden: &Golden, name: &str, actual: &Array) -> Result<()> {
    let expected = array(golden, name)?;
    ensure!(expected.shape == actual.shape, "{name}: {:?}, golden {:?}", actual.shape, expected.shape);
    let error = largest(&expected.zip(actual, |a, b| a - b));
    let allowed = tolerance(golden, name)?;
    ensure!(error <= allowed, "{name}: off by {error:.3e}, allowed {allowed:.3e}");
    Ok(())
}

/// Compares the golden gradient `name` with finite differences of `loss` (over the differentiated input alone) along
/// random directions. `scale` bounds the sum of magnitudes inside the loss: its rounding, divided by h, is FD's noise.
fn check_gradient(
    golden: &Golden,
    name: &str,
    input: &Array,
    loss: &dyn Fn(&Array) -> f64,
    scale: f64,
    h: f64,
) -> Result<()> {
    let gradient = array(golden, name)?;
    let rms = |a: &Array| a.norm() / (a.data.len() as f64).sqrt();
    let step = if rms(input) > 0.0 { rms(input) } else { 1.0 };
    for seed in 0..2 {
        let random = hash_fill(name, seed, input.data.len(), 1.0, 0.0);
        let direction = Array::from_f32(&input.shape, &random).map(|v| v * step);
        let expected = gradient.dot(&direction);
        let f = |inputs: &[Array]| loss(&inputs[0]);
        let actual = directional(&f, std::slice::from_ref(input), std::slice::from_ref(&direction), h);
        // Entries' errors are taken as independent: they add up as squares do, to four times the largest at most.
        let allowed = 4.0 * tolerance(golden, name)? * direction.norm() + 1e-15 * scale / h;
        let error = (actual - expected).abs();
        ensure!(error <= allowed, "{name}: {actual:.9e} but golden {expected:.9e}, allowed {allowed:.1e}");
        let vanishes = rms(&gradient) <= tolerance(golden, name)?;
        // A wrong gradient is off by about ‖g‖·rms(d); a tolerance near that would pass anything.
        let sharp = allowed <= 1e-3 * gradient.norm() * rms(&direction);
        ensure!(sharp || vanishes, "{name}: tolerance {allowed:.1e} tells nothing");
    }
    Ok(())
}

type Tensors = BTreeMap<String, Array>;

/// All tensors `<op>.*` of a set, by the part of the name after the dot.
fn tensors_of(golden: &Golden, op: &str) -> Result<Tensors> {
    let prefix = format!("{op}.");
    let names = golden.names().filter(|name| name.starts_with(&prefix));
    names.map(|name| Ok((name[prefix.len()..].to_owned(), array(golden, name)?))).collect()
}

/// The outputs of `op` by name, from its inputs; `settings` is what the set's metadata says of it.
fn forward(op: &str, settings: &Value, t: &Tensors) -> Result<Vec<(&'static str, Array)>> {
    let get = |name: &str| t.get(name).unwrap_or_else(|| panic!("{op} has no {name}"));
    let number = |name: &str| settings[name].as_f64().unwrap_or_else(|| panic!("{op} has no {name}"));
    let pair = |name: &str| (get(&format!("p.{name}weight")), get(&format!("p.{name}bias")));
    let linear = |x: &Array, layer: &str| {
        let (weight, bias) = pair(&format!("{layer}."));
        oracle::linear(x, weight, Some(bias))
    };
    let group_norm = |x: &Array, layer: &str, silu: bool| {
        let (weight, bias) = pair(layer);
        oracle::group_norm(x, weight, bias, 32, 1e-6, silu)
    };
    let conv = |x: &Array, layer: &str, stride: usize, pads: [usize; 4]| {
        let weight = get(&format!("p.{layer}weight"));
        let ([_, h, w, _], [_, kh, kw, _]) = (x.dims(), weight.dims());
        let geometry = oracle::ConvGeometry::new([h, w], [kh, kw], stride, pads);
        oracle::conv2d(x, weight, t.get(&format!("p.{layer}bias")), geometry)
    };
    let add = |a: &Array, b: &Array| a.zip(b, |a, b| a + b);

    let out = match op {
        "rmsnorm" | "rmsnorm_small" => oracle::rms_norm(get("x"), Some(get("p.weight")), number("eps"), None),
        "layernorm_noaffine" => oracle::layer_norm(get("x"), None, number("eps"), None),
        "layernorm_affine" => oracle::layer_norm(get("x"), Some(pair("")), number("eps"), None),
        "groupnorm32_silu" => group_norm(get("x"), "", true),
        "groupnorm32" => group_norm(get("x"), "", false),
        "batchnorm_train" => {
            let (weight, bias) = pair("");
            let channels = &weight.shape;
            let running = (&Array::zeros(channels), &Array::zeros(channels).map(|_| 1.0));
            let norm = oracle::batch_norm_train(get("x"), weight, bias, number("eps"), number("momentum"), running);
            return Ok(vec![
                ("out", norm.y),
                ("b.running_mean", norm.running_mean),
                ("b.running_var", norm.running_var),
            ]);
        }
        "batchnorm_eval" => {
            let (weight, bias) = pair("");
            let statistics = (get("b.running_mean"), get("b.running_var"));
            oracle::batch_norm_eval(get("x"), weight, bias, number("eps"), statistics)
        }
        "l2_normalize" => oracle::l2_normalize(get("x"), 1e-12),
        "rope2d" => {
            let (size, d) = (number("S") as usize, number("head_dim") as usize);
            let angle = Array::build([size * size, d], |[n, c]| oracle::rope_angle(n / size, n % size, c, d));
            return Ok(vec![
                ("out", oracle::rope_2d(get("x"), size)),
                ("cos", angle.map(f64::cos)),
                ("sin", angle.map(f64::sin)),
            ]);
        }
        "dit_attention" => {
            let x = get("x");
            let ([b, n, c], heads) = (x.dims(), number("heads") as usize);
            let width = n.isqrt();
            let qkv = linear(x, "qkv");
            let part = |i: usize| qkv.last_axis(i * c, (i + 1) * c).reshape(&[b, n, heads, c / heads]);
            let normed = |x: Array, weight: &str| oracle::rms_norm(&x, t.get(weight), 1e-6, None);
            let q = oracle::rope_2d(&normed(part(0), "p.q_norm.weight"), width);
            let k = oracle::rope_2d(&normed(part(1), "p.k_norm.weight"), width);
            linear(&oracle::attention(&q, &k, &part(2)).reshape(&[b, n, c]), "proj")
        }
        "swiglu" => linear(&oracle::swiglu(&linear(get("x"), "w12")), "w3"),
        "modulate_gate" => {
            let y = oracle::modulate(get("h"), get("scale"), Some(get("shift")));
            oracle::gate_residual(get("x"), get("gate"), &y)
        }
        "modulate_noshift" => oracle::modulate(get("h"), get("scale"), None),
        "timestep_embed" => {
            let frequencies = oracle::timestep_embedding(get("t"), 256);
            linear(&oracle::silu(&linear(&frequencies, "mlp.0")), "mlp.2")
        }
        "final_layer" => {
            let c = linear(&oracle::silu(get("c")), "adaLN_modulation.1");
            let width = c.shape[1] / 2;
            let (shift, scale) = (c.last_axis(0, width), c.last_axis(width, 2 * width));
            let weight = get("p.norm_final.weight");
            linear(&oracle::rms_norm(get("x"), Some(weight), 1e-6, Some((&scale, &shift))), "linear")
        }
        "conv3x3" | "conv3x3_big" => conv(get("x"), "", 1, [1; 4]),
        "conv3x3_s2_asym" | "conv3x3_s2_asym_odd" => conv(get("x"), "conv.", 2, [0, 0, 1, 1]),
        "conv1x1" => conv(get("x"), "", 1, [0; 4]),
        "conv4x4_s2" => conv(get("x"), "", 2, [1; 4]),
        "conv4x4_s1" => conv(get("x"), "", 1, [1; 4]),
        "upsample_nearest2" => oracle::upsample_nearest2(get("x")),
        "upsample_conv" => conv(&oracle::upsample_nearest2(get("x")), "conv.", 1, [1; 4]),
        "maxpool2" => oracle::max_pool2(get("x")),
        "leaky_relu" => oracle::leaky_relu(get("x"), 0.2),
        "silu" => oracle::silu(get("x")),
        "gelu_tanh" => oracle::gelu_tanh(get("x")),
        "gelu_erf" => oracle::gelu_erf(get("x")),
        "resblock" => {
            let h = conv(&group_norm(get("x"), "norm1.", true), "conv1.", 1, [1; 4]);
            let h = conv(&group_norm(&h, "norm2.", true), "conv2.", 1, [1; 4]);
            add(&conv(get("x"), "nin_shortcut.", 1, [0; 4]), &h)
        }
        "attnblock" => {
            let x = get("x");
            let [b, h, w, c] = x.dims();
            let normed = group_norm(x, "norm.", false);
            let tokens = |layer: &str| conv(&normed, layer, 1, [0; 4]).reshape(&[b, h * w, 1, c]);
            let mixed = oracle::attention(&tokens("q."), &tokens("k."), &tokens("v."));
            add(x, &conv(&mixed.reshape(&x.shape), "proj_out.", 1, [0; 4]))
        }
        "diag_gaussian" => {
            let sample = oracle::diagonal_gaussian(get("moments"), get("eps"));
            return Ok(vec![("z", sample.z), ("kl", sample.kl), ("kl_nosum", sample.kl_terms)]);
        }
        "bilinear_resize" | "bicubic_aa_down" | "bicubic_aa_up" => {
            let [_, h, w, _] = get("gout").dims();
            match op {
                "bilinear_resize" => oracle::resize_bilinear(get("x"), h, w),
                _ => oracle::resize_bicubic_antialias(get("x"), h, w),
            }
        }
        "cosine_similarity" => oracle::cosine_similarity(get("a"), get("b"), 1e-8),
        "hinge_d" => Array::new(&[1], vec![oracle::hinge_d(get("real"), get("fake"))]),
        _ if op.starts_with("sdpa") => oracle::attention(get("q"), get("k"), get("v")),
        _ => bail!("operation {op} is not known here"),
    };
    Ok(vec![("out", out)])
}

fn check_op(golden: &Golden, op: &str, settings: &Value) -> Result<()> {
    let tensors = tensors_of(golden, op)?;
    for (output, actual) in forward(op, settings, &tensors)? {
        check_forward(golden, &format!("{op}.{output}"), &actual)?;
    }
    let differentiable: Vec<&str> = tensors.keys().filter_map(|name| name.strip_prefix("grad_")).collect();
    ensure!(!differentiable.is_empty(), "no gradients");
    // Σ over outputs of out·gout, or with magnitudes: what the upstream gradients make of the outputs.
    let weigh = |tensors: &Tensors, term: &dyn Fn(f64, f64) -> f64| -> f64 {
        let outputs = forward(op, settings, tensors).expect("ran before");
        let upstream = outputs.iter().filter_map(|(name, out)| Some((out, tensors.get(&format!("g{name}"))?)));
        upstream.map(|(out, gout)| out.zip(gout, term).sum()).sum()
    };
    let scale = weigh(&tensors, &|out, gout| (out * gout).abs());
    for input in differentiable {
        let loss = |x: &Array| {
            let mut moved = tensors.clone();
            moved.insert(input.to_owned(), x.clone());
            weigh(&moved, &|out, gout| out * gout)
        };
        check_gradient(golden, &format!("{op}.grad_{input}"), &tensors[input], &loss, scale, 1e-5)?;
    }
    Ok(())
}

fn check_vf_case(golden: &Golden, number: usize, case: &Value) -> Result<()> {
    let value = |key: &str| case[key].as_f64().with_context(|| format!("no {key}"));
    let settings = oracle::VfSettings {
        distmat_margin: value("distmat_margin")?,
        cos_margin: value("cos_margin")?,
        distmat_weight: value("distmat_weight")?,
        cos_weight: value("cos_weight")?,
    };
    let name = |part: &str| format!("case{number}.{part}");
    let tokens = |part: &str| -> Result<Array> {
        let image = array(golden, &name(part))?;
        let [b, h, w, c] = image.dims();
        Ok(image.reshape(&[b, h * w, c]))
    };
    let (z, f, weight) = (tokens("z")?, tokens("f")?, array(golden, &name("proj"))?);
    let weight = weight.reshape(&[weight.shape[0], weight.shape[3]]);
    let bias = match case["mode"].as_str() {
        Some("reverse") => None,
        Some("forward") => Some(array(golden, &name("proj_bias"))?),
        other => bail!("projection mode {other:?}"),
    };
    let loss = |z: &Array, weight: &Array, bias: Option<&Array>| {
        let projection = match bias {
            None => oracle::Projection::Reverse { weight },
            Some(bias) => oracle::Projection::Forward { weight, bias },
        };
        oracle::vf_loss(z, &f, projection, settings)
    };
    let vf = loss(&z, &weight, bias.as_ref());
    for (part, actual) in [("mdms", vf.mdms), ("mcos", vf.mcos), ("total", vf.total)] {
        check_forward(golden, &name(part), &Array::new(&[1], vec![actual]))?;
    }
    // A pair nearer to its margin than the step would bend the difference: hence the small h.
    let gradient = |part: &str, input: &Array, f: &dyn Fn(&Array) -> f64| {
        let flat = array(golden, &name(part))?;
        let input = input.reshape(&flat.shape);
        let shape = match flat.shape.len() {
            4 if part.starts_with("grad_z") => z.shape.clone(),
            4 => weight.shape.clone(),
            _ => flat.shape,
        };
        check_gradient(golden, &name(part), &input, &|x| f(&x.reshape(&shape)), 1.0, 1e-8)
    };
    gradient("grad_z", &z, &|z| loss(z, &weight, bias.as_ref()).total)?;
    gradient("grad_z_mdms", &z, &|z| loss(z, &weight, bias.as_ref()).mdms)?;
    gradient("grad_z_mcos", &z, &|z| loss(z, &weight, bias.as_ref()).mcos)?;
    gradient("grad_proj", &weight, &|w| loss(&z, w, bias.as_ref()).total)?;
    if let Some(bias) = &bias {
        gradient("grad_proj_bias", bias, &|b| loss(&z, &weight, Some(b)).total)?;
    }
    Ok(())
}

/// Every golden set of one kind.
fn sets(kind: Kind) -> Result<Vec<Golden>> {
    let all: Vec<Golden> = files()?.iter().map(|path| Golden::open(path)).collect::<Result<_>>()?;
    let sets: Vec<Golden> = all.into_iter().filter(|golden| golden.kind == kind).collect();
    ensure!(!sets.is_empty(), "no golden set of kind {kind:?}");
    Ok(sets)
}

/// Fails with every problem found, not just the first.
fn report(problems: Vec<anyhow::Error>) {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{problem:#}")).collect();
    assert!(lines.is_empty(), "{} problems:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn operations() -> Result<()> {
    let mut problems = Vec::new();
    for golden in sets(Kind::Ops)? {
        let ops = golden.metadata["ops"].as_object().context("`ops` is no table")?;
        for (op, settings) in ops {
            let checked = check_op(&golden, op, settings);
            problems.extend(checked.with_context(|| format!("{} {op}", golden.path.display())).err());
        }
    }
    report(problems);
    Ok(())
}

#[test]
fn position_tables() -> Result<()> {
    for golden in sets(Kind::Ops)? {
        let tables = golden.names().filter_map(|name| Some((name, name.strip_prefix("sincos_pos_embed.D")?)));
        for (name, sizes) in tables {
            let (dim, side) = sizes.split_once('S').with_context(|| format!("{name}: expected D..S.."))?;
            let (dim, side) = (dim.parse()?, side.parse()?);
            check_forward(&golden, name, &oracle::sincos_pos_embed(dim, side, side))?;
        }
    }
    Ok(())
}

#[test]
fn vf_losses() -> Result<()> {
    let mut problems = Vec::new();
    for golden in sets(Kind::VfLoss)? {
        let cases = golden.metadata["cases"].as_array().context("`cases` is no list")?;
        for (number, case) in cases.iter().enumerate() {
            let checked = check_vf_case(&golden, number, case);
            problems.extend(checked.with_context(|| format!("{}", golden.path.display())).err());
        }
    }
    report(problems);
    Ok(())
}
