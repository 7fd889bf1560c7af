//! The VF loss: both parts, their sum, and the gradients of each.

use crate::support::golden::{self, Golden};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use vf_engine::ops::conv2d::{Conv2d, Padding};
use vf_engine::ops::vf_loss::VfLoss;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

/// Compares every case of the set; returns every tensor's error as a share of its tolerance.
pub fn check(set: &Golden) -> Result<Vec<(String, f64)>> {
    let cases = set.metadata["cases"].as_array().context("`cases` is no list")?;
    let mut report = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let context = || format!("case {number}");
        check_case(set, &format!("case{number}"), case, &mut report).with_context(context)?;
    }
    Ok(report)
}

fn check_case(set: &Golden, prefix: &str, case: &Value, report: &mut Vec<(String, f64)>) -> Result<()> {
    let device = golden::device()?;
    let number = |key: &str| case[key].as_f64().map(|v| v as f32).with_context(|| format!("no {key}"));
    let op = VfLoss { cos_margin: number("cos_margin")?, distmat_margin: number("distmat_margin")? };
    let [distmat_weight, cos_weight] = [number("distmat_weight")?, number("cos_weight")?];
    let tensor = |part: &str| -> Result<Tensor> {
        let golden = set.tensor(&format!("{prefix}.{part}"))?;
        Ok(Tensor::from_slice(&device, &golden.shape, &golden.data)?)
    };
    let mut compare = |part: &str, shape: &[usize], actual: &[f32]| -> Result<()> {
        let name = format!("{prefix}.{part}");
        let share = set.check(&name, shape, actual)?;
        report.push((name, share));
        Ok(())
    };

    let (z, f) = (tensor("z")?, tensor("f")?);
    let [b, h, w, cz] = z.dims::<4>("vf_loss")?;
    let tape = Tape::new(&device);
    let z = tape.leaf(z.reshape(&[b, h * w, cz])?);
    let proj = tape.leaf(tensor("proj")?);
    let mut parameters = vec![("grad_proj", proj.clone())];
    let [outputs, inputs] = [proj.shape()[0], proj.shape()[3]];
    let [mdms, mcos] = match case["mode"].as_str() {
        Some("reverse") => {
            let features = tape.constant(f.reshape(&[b, h * w, outputs])?);
            tape.apply(op, [&z, &proj.reshape(&[outputs, inputs])?, &features])?
        }
        Some("forward") => {
            let bias = tape.leaf(tensor("proj_bias")?);
            let pointwise = Conv2d { stride: 1, padding: Padding::NONE, upsample: false };
            let absent = tape.constant(Tensor::absent(&device)?);
            let [projected] = tape.apply(pointwise, [&tape.constant(f), &proj, &bias, &absent])?;
            compare("fp", projected.shape(), &projected.value().to_vec()?)?;
            parameters.push(("grad_proj_bias", bias));
            tape.apply(op, [&z, &absent, &projected.reshape(&[b, h * w, cz])?])?
        }
        other => bail!("projection mode {other:?}"),
    };
    let values = [mdms.value().to_scalar()?, mcos.value().to_scalar()?];
    compare("mdms", &[1], &values[..1])?;
    compare("mcos", &[1], &values[1..])?;
    compare("total", &[1], &[distmat_weight * values[0] + cos_weight * values[1]])?;

    let image = [b, h, w, cz];
    let seeded = |seeds: &[(&Var, f32)], wanted: &[&Var]| -> Result<_> {
        let seeds: Vec<_> =
            seeds.iter().map(|(var, weight)| Ok((*var, Tensor::scalar(&device, *weight)?))).collect::<Result<_>>()?;
        Ok(tape.gradients(&seeds, wanted)?)
    };
    for (part, seed) in [("grad_z_mdms", &mdms), ("grad_z_mcos", &mcos)] {
        compare(part, &image, &seeded(&[(seed, 1.0)], &[&z])?.take(&z)?.to_vec()?)?;
    }
    let wanted: Vec<&Var> = parameters.iter().map(|(_, var)| var).chain([&z]).collect();
    let mut gradients = seeded(&[(&mdms, distmat_weight), (&mcos, cos_weight)], &wanted)?;
    compare("grad_z", &image, &gradients.take(&z)?.to_vec()?)?;
    for (part, var) in &parameters {
        compare(part, var.shape(), &gradients.take(var)?.to_vec()?)?;
    }
    Ok(())
}
