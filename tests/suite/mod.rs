//! One case of the registry on a device: its inputs, its results, and what the f64 oracle says of them.

pub mod beside;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vf_engine::device::{Device, Math};
use vf_engine::dtype::DType;
use vf_engine::error::Error;
use vf_engine::ops::{Case, OpEntry, REGISTRY, Values};
use vf_engine::random;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

use super::dispatch::{self, Call};
use super::oracle::{Array, directional};

const SEED: u64 = 7;

/// Directions per input along which gradients are compared.
const DIRECTIONS: u64 = 3;

/// The step of the finite differences. The oracle's rounding, 1e-16 of a sum's terms, over the step is 1e-10; the error
/// from curvature, of the order of its square, is less; and a direction is unlikely to cross a kink so nearby.
const STEP: f64 = 1e-6;

/// A case with its inputs, for the engine and for the oracle.
pub struct Drawn<'a> {
    pub case: &'a Case,
    pub device: Device,
    pub math: Math,
    pub tensors: Vec<Tensor>,
    pub arrays: Vec<Array>,
}

impl<'a> Drawn<'a> {
    /// Draws the inputs and lets the device compute in `math`; the oracle gets the inputs as they are rounded to it.
    pub fn new(case: &'a Case, device: &Device, math: Math) -> Result<Drawn<'a>> {
        let device = device.clone();
        device.set_tf32(math == Math::Tf32);
        let mut tensors = case.draw(&device, SEED)?;
        let mut arrays = Vec::new();
        for (tensor, input) in tensors.iter_mut().zip(&case.inputs) {
            arrays.push(match input.values {
                // Integers do not come back from a tensor, so they are made here.
                Values::Below(bound) => {
                    let values: Vec<u32> = (0..tensor.numel() as u32).map(|i| (i * i + 3 * i) % bound).collect();
                    *tensor = Tensor::from_u32(&device, tensor.shape(), &values)?;
                    Array::new(tensor.shape(), values.iter().map(|&v| f64::from(v)).collect())
                }
                _ => {
                    let rounded = if input.keeps_f32 { tensor.clone() } else { round(tensor, math)? };
                    *tensor = input.as_taken(rounded, math.dtype())?;
                    Array::from_f32(tensor.shape(), &tensor.to_vec()?)
                }
            });
        }
        Ok(Drawn { case, device, math, tensors, arrays })
    }

    pub fn differentiable(&self) -> Vec<usize> {
        (0..self.tensors.len()).filter(|&i| self.case.inputs[i].differentiable).collect()
    }

    /// Applies the op with the inputs `leaves` as leaves: (tape, inputs, outputs).
    pub fn apply(&self, leaves: &[usize]) -> Result<(Tape, Vec<Var>, Vec<Var>)> {
        let tape = Tape::new(&self.device);
        let value = |(i, tensor): (usize, &Tensor)| match leaves.contains(&i) {
            true => tape.leaf(tensor.clone()),
            false => tape.constant(tensor.clone()),
        };
        let inputs: Vec<Var> = self.tensors.iter().enumerate().map(value).collect();
        let outputs = (self.case.run)(&tape, &inputs)?;
        Ok((tape, inputs, outputs))
    }

    /// The upstream gradient of output `i`, which has this shape and dtype.
    pub fn upstream(&self, i: usize, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let upstream = random::normal(&self.device, shape, SEED, random::stream(&format!("upstream {i}")))?;
        Ok(round(&upstream, self.math)?.to_dtype(dtype)?)
    }

    /// The gradients of the inputs `wanted`, from upstream gradients of the outputs `seeded`.
    pub fn gradients(&self, wanted: &[usize], seeded: &[usize]) -> Result<Vec<Vec<f32>>> {
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let (tape, inputs, outputs) = self.apply(wanted)?;
        let seeds = seeded.iter().map(|&i| {
            let output = outputs[i].value();
            Ok((&outputs[i], self.upstream(i, output.shape(), output.dtype())?))
        });
        let seeds: Vec<(&Var, Tensor)> = seeds.collect::<Result<_>>()?;
        let vars: Vec<&Var> = wanted.iter().map(|&i| &inputs[i]).collect();
        let mut gradients = tape.backward(&seeds, &vars)?;
        vars.iter().map(|var| Ok(gradients.take(var)?.to_vec()?)).collect()
    }

    /// What rounding adds to a tolerance, relative to the largest result: each time half a unit in the last bit, which of bf16's 8 bits
    /// is 2⁻⁸ of a value just above a power of two, and of TF32's 11 bits 2⁻¹¹. (A backward rounds twice, because it reads what the
    /// forward rounded.)
    fn rounding(&self) -> f64 {
        let roundings = f64::from(self.case.tolerance.roundings);
        match self.math {
            Math::F32 => 0.0,
            Math::Tf32 if self.factors_are_inputs() => 0.0,
            Math::Tf32 => roundings * 2f64.powi(-11),
            Math::Bf16 => roundings * 2f64.powi(-8),
        }
    }

    /// Whether all that is multiplied are inputs and upstream gradients. These have no more bits than TF32 here, so that their products are
    /// as exact as in f32. Other ops multiply what they made on the way, a convolution through an upsample sums of weights.
    fn factors_are_inputs(&self) -> bool {
        match self.case.op {
            "linear" | "matmul" => true,
            "conv2d" => self.case.settings.iter().all(|&(name, value)| name != "upsample" || value == 0.0),
            _ => false,
        }
    }

    fn oracle(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let call = Call { settings: &self.case.settings, inputs };
        dispatch::outputs(self.case.op, &call).with_context(|| format!("the oracle has no `{}`", self.case.op))
    }

    pub fn check_outputs(&self) -> Result<()> {
        let (_, _, outputs) = self.apply(&[])?;
        let expected = self.oracle(&self.arrays)?;
        ensure!(outputs.len() == expected.len(), "{} outputs, the oracle has {}", outputs.len(), expected.len());
        for (i, (output, expected)) in outputs.iter().zip(&expected).enumerate() {
            ensure!(output.shape() == expected.shape, "output {i}: {:?}, not {:?}", output.shape(), expected.shape);
            let largest = expected.data.iter().fold(0f64, |most, v| most.max(v.abs()));
            let allowed = (self.case.tolerance.forward + self.rounding()) * largest;
            for (at, (&got, &want)) in output.value().to_vec()?.iter().zip(&expected.data).enumerate() {
                let error = (f64::from(got) - want).abs();
                // Not `error > allowed`, which a NaN would pass.
                ensure!(
                    error <= allowed,
                    "output {i}, entry {at}: {got}, not {want}: off by {error:.2e} of {largest:.2e}"
                );
            }
        }
        Ok(())
    }

    /// Gradients against finite differences: from all of the outputs, and where there are several from each alone, as if the others'
    /// never arrived.
    pub fn check_all_gradients(&self, outputs: usize) -> Result<()> {
        self.check_gradients(&(0..outputs).collect::<Vec<_>>())?;
        if outputs > 1 { (0..outputs).try_for_each(|i| self.check_gradients(&[i])) } else { Ok(()) }
    }

    /// Gradients from the outputs `seeded` against finite differences.
    pub fn check_gradients(&self, seeded: &[usize]) -> Result<()> {
        let wanted = self.differentiable();
        let shapes: Vec<Vec<usize>> = self.oracle(&self.arrays)?.into_iter().map(|output| output.shape).collect();
        let dtypes: Vec<DType> = self.apply(&[])?.2.iter().map(|output| output.value().dtype()).collect();
        let upstream = seeded
            .iter()
            .map(|&i| Ok((i, Array::from_f32(&shapes[i], &self.upstream(i, &shapes[i], dtypes[i])?.to_vec()?))));
        let upstream: Vec<(usize, Array)> = upstream.collect::<Result<_>>()?;
        let loss = |inputs: &[Array]| -> f64 {
            let outputs = self.oracle(inputs).expect("it answered before");
            upstream.iter().map(|(i, upstream)| outputs[*i].dot(upstream)).sum()
        };
        for (&i, gradient) in wanted.iter().zip(self.gradients(&wanted, seeded)?) {
            let name = self.case.inputs[i].name;
            let gradient = Array::from_f32(&self.arrays[i].shape, &gradient);
            for seed in 0..DIRECTIONS {
                let stream = random::stream(&format!("direction {name}"));
                let along = random::normal(&self.device, &gradient.shape, seed, stream)?.to_vec()?;
                let mut direction: Vec<Array> = self.arrays.iter().map(|x| Array::zeros(&x.shape)).collect();
                direction[i] = Array::from_f32(&gradient.shape, &along);
                let want = directional(&loss, &self.arrays, &direction, STEP);
                let got = gradient.dot(&direction[i]);
                // What a derivative along a random direction is like: it may vanish by chance.
                let typical = gradient.norm() * direction[i].norm() / (along.len() as f64).sqrt();
                let error = (got - want).abs() / want.abs().max(typical).max(f64::MIN_POSITIVE);
                ensure!(
                    error <= self.case.tolerance.backward + 2.0 * self.rounding(),
                    "gradient of {name} from outputs {seeded:?}: {got} along direction {seed}, not {want}: off by {error:.2e}"
                );
            }
        }
        Ok(())
    }
}

/// Values that TF32 holds exactly, where `math` is that: f32 without its last 13 bits.
fn round(tensor: &Tensor, math: Math) -> Result<Tensor> {
    if math != Math::Tf32 {
        return Ok(tensor.clone());
    }
    let values: Vec<f32> = tensor.to_vec()?.into_iter().map(|v| f32::from_bits(v.to_bits() & !0x1FFF)).collect();
    Ok(Tensor::from_slice(tensor.device(), tensor.shape(), &values)?)
}

impl Drawn<'_> {
    /// Whether the op takes these inputs.
    ///
    /// # Errors
    /// Where it does and then leaves part of its results unwritten.
    pub fn try_out(&self) -> Result<bool> {
        let Ok((_, _, outputs)) = self.apply(&[]) else {
            return Ok(false);
        };
        let all: Vec<usize> = (0..outputs.len()).collect();
        let mut wanted = self.differentiable();
        wanted.retain(|&i| !self.tensors[i].is_absent());
        let mut results = if wanted.is_empty() { vec![] } else { self.gradients(&wanted, &all)? };
        for output in &outputs {
            results.push(output.value().to_vec()?);
        }
        ensure!(results.iter().flatten().all(|v| !v.is_nan()), "is accepted, and not all results are written");
        Ok(true)
    }
}

/// Every case, not for benchmarks alone, of the ops whose CUDA kernels are there, and what these compute in; of the ops that the variable
/// `VF_OPS` names, if it is set.
fn cuda_cases() -> Vec<(Case, Math)> {
    let asked = std::env::var("VF_OPS").ok();
    let chosen = |name| asked.as_deref().is_none_or(|names| names.split(',').any(|asked| asked == name));
    let complete = |entry: &OpEntry| (entry.kernels)().iter().all(|kernel| kernel.cuda_module.is_some());
    let entries = REGISTRY.iter().filter(|entry| chosen(entry.name) && complete(entry));
    let mut cases = vec![];
    for entry in entries {
        let tf32 = (entry.kernels)().iter().any(|kernel| kernel.tf32);
        for math in Math::ALL.into_iter().filter(|&math| math != Math::Tf32 || tf32) {
            cases.extend((entry.cases)().into_iter().filter(|case| !case.bench).map(|case| (case, math)));
        }
    }
    cases
}

/// The ops of these cases.
pub fn checked_ops() -> Vec<&'static str> {
    let checked = REGISTRY.iter().filter(|entry| (entry.cases)().iter().any(|case| !case.bench));
    checked.map(|entry| entry.name).collect()
}

/// Outputs and gradients of one case against the oracle. `false`: the op says that it does not take this shape on this device.
pub fn check_case(case: &Case, device: &Device, math: Math) -> Result<bool> {
    let drawn = Drawn::new(case, device, math)?;
    let outputs = match drawn.apply(&[]) {
        Ok((_, _, outputs)) => outputs.len(),
        Err(error) if matches!(error.downcast_ref(), Some(Error::Shape { message, .. }) if message.contains("CUDA")) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    drawn.check_outputs()?;
    drawn.check_all_gradients(outputs)?;
    Ok(true)
}

/// Checks every case in all that its kernels compute in by `check`, which is [`check_case`] and what else its device has to say. Of each op
/// and arithmetic, two cases at least must have run.
pub fn check_all(check: impl Fn(&Case, Math) -> Result<bool>) -> Result<usize> {
    let (mut failures, mut ran) = (Vec::new(), BTreeMap::new());
    for (case, math) in cuda_cases() {
        let count: &mut usize = ran.entry((case.op, math.suffix())).or_default();
        match check(&case, math) {
            Ok(taken) => *count += usize::from(taken),
            Err(error) => failures.push(format!("{} ({}) {}: {error:#}", case.op, case.label, math.suffix())),
        }
    }
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    ensure!(!ran.is_empty() && ran.values().all(|&count| count > 1), "too few cases ran: {ran:?}");
    Ok(ran.values().sum())
}
