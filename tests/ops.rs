//! Every op of the registry, case by case, against the f64 oracle: outputs as they are, gradients by finite differences
//! of the oracle; nothing unasked for, the same bits on any number of threads, and errors instead of panics.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, bail, ensure};
use dispatch::Call;
use oracle::{Array, directional};
use rayon::ThreadPoolBuilder;
use vf_engine::device::Device;
use vf_engine::ops::{Case, REGISTRY, Values};
use vf_engine::random;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

const SEED: u64 = 7;

/// Directions per input along which gradients are compared.
const DIRECTIONS: u64 = 3;

/// The step of the finite differences. The oracle's rounding, 1e-16 of a sum's terms, over the step is 1e-10; the error
/// from curvature, of the order of its square, is less; and a direction is unlikely to cross a kink so nearby.
const STEP: f64 = 1e-6;

/// A case with its inputs, for the engine and for the oracle.
struct Drawn<'a> {
    case: &'a Case,
    device: Device,
    tensors: Vec<Tensor>,
    arrays: Vec<Array>,
}

impl<'a> Drawn<'a> {
    fn new(case: &'a Case) -> Result<Drawn<'a>> {
        // Fresh memory full of NaN shows outputs that were not written.
        let device = Device::cpu_poisoned();
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
                _ => Array::from_f32(tensor.shape(), &tensor.to_vec()?),
            });
        }
        Ok(Drawn { case, device, tensors, arrays })
    }

    fn differentiable(&self) -> Vec<usize> {
        (0..self.tensors.len()).filter(|&i| self.case.inputs[i].differentiable).collect()
    }

    /// Applies the op with the inputs `leaves` as leaves: (tape, inputs, outputs).
    fn apply(&self, leaves: &[usize]) -> Result<(Tape, Vec<Var>, Vec<Var>)> {
        let tape = Tape::new(&self.device);
        let value = |(i, tensor): (usize, &Tensor)| match leaves.contains(&i) {
            true => tape.leaf(tensor.clone()),
            false => tape.constant(tensor.clone()),
        };
        let inputs: Vec<Var> = self.tensors.iter().enumerate().map(value).collect();
        let outputs = (self.case.run)(&tape, &inputs)?;
        Ok((tape, inputs, outputs))
    }

    /// The upstream gradient of output `i`.
    fn upstream(&self, i: usize, shape: &[usize]) -> Result<Tensor> {
        Ok(random::normal(&self.device, shape, SEED, random::stream(&format!("upstream {i}")))?)
    }

    /// The gradients of the inputs `wanted`, from upstream gradients of the outputs `seeded`.
    fn gradients(&self, wanted: &[usize], seeded: &[usize]) -> Result<Vec<Vec<f32>>> {
        let (tape, inputs, outputs) = self.apply(wanted)?;
        let seeds = seeded.iter().map(|&i| Ok((&outputs[i], self.upstream(i, outputs[i].shape())?)));
        let seeds: Vec<(&Var, Tensor)> = seeds.collect::<Result<_>>()?;
        let vars: Vec<&Var> = wanted.iter().map(|&i| &inputs[i]).collect();
        let mut gradients = tape.backward(&seeds, &vars)?;
        vars.iter().map(|var| Ok(gradients.take(var)?.to_vec()?)).collect()
    }

    fn oracle(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let call = Call { settings: &self.case.settings, inputs };
        dispatch::outputs(self.case.op, &call).with_context(|| format!("the oracle has no `{}`", self.case.op))
    }

    fn check_outputs(&self) -> Result<()> {
        let (_, _, outputs) = self.apply(&[])?;
        let expected = self.oracle(&self.arrays)?;
        ensure!(outputs.len() == expected.len(), "{} outputs, the oracle has {}", outputs.len(), expected.len());
        for (i, (output, expected)) in outputs.iter().zip(&expected).enumerate() {
            ensure!(output.shape() == expected.shape, "output {i}: {:?}, not {:?}", output.shape(), expected.shape);
            let largest = expected.data.iter().fold(0f64, |most, v| most.max(v.abs()));
            let allowed = self.case.tolerance.forward * largest;
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

    /// Gradients from the outputs `seeded` against finite differences.
    fn check_gradients(&self, seeded: &[usize]) -> Result<()> {
        let wanted = self.differentiable();
        let shapes: Vec<Vec<usize>> = self.oracle(&self.arrays)?.into_iter().map(|output| output.shape).collect();
        let upstream =
            seeded.iter().map(|&i| Ok((i, Array::from_f32(&shapes[i], &self.upstream(i, &shapes[i])?.to_vec()?))));
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
                    error <= self.case.tolerance.backward,
                    "gradient of {name} from outputs {seeded:?}: {got} along direction {seed}, not {want}: off by {error:.2e}"
                );
            }
        }
        Ok(())
    }
}

impl Drawn<'_> {
    /// Whether the op takes these inputs.
    ///
    /// # Errors
    /// Where it does and then leaves part of its results unwritten.
    fn try_out(&self) -> Result<bool> {
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

/// Runs `check` on every case that is not for benchmarks alone and collects what fails.
fn for_each_case(check: impl Fn(&Drawn) -> Result<()>) -> Result<()> {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in REGISTRY {
        for case in (entry.cases)().iter().filter(|case| !case.bench) {
            count += 1;
            if let Err(error) = Drawn::new(case).and_then(|drawn| check(&drawn)) {
                failures
                    .push(format!("{} ({}): {error:#}\n  (tolerances: {})", case.op, case.label, case.tolerance.why));
            }
        }
    }
    ensure!(count > 0, "the registry has no cases");
    ensure!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn outputs_match_the_oracle() -> Result<()> {
    for_each_case(|drawn| drawn.check_outputs())
}

#[test]
fn gradients_match_finite_differences_of_the_oracle() -> Result<()> {
    for_each_case(|drawn| {
        let outputs = drawn.apply(&[])?.2.len();
        drawn.check_gradients(&(0..outputs).collect::<Vec<_>>())?;
        // One stream alone: the others' gradients never arrive.
        if outputs > 1 { (0..outputs).try_for_each(|i| drawn.check_gradients(&[i])) } else { Ok(()) }
    })
}

/// The tape fails where an op returns a gradient that was not asked for, or none that was; here each input is asked for
/// alone, and the answer must not depend on what else was asked.
#[test]
fn each_gradient_comes_alone() -> Result<()> {
    for_each_case(|drawn| {
        let wanted = drawn.differentiable();
        let outputs: Vec<usize> = (0..drawn.apply(&[])?.2.len()).collect();
        for (&i, together) in wanted.iter().zip(drawn.gradients(&wanted, &outputs)?) {
            let alone = drawn.gradients(&[i], &outputs)?.remove(0);
            ensure!(
                bits(&alone) == bits(&together),
                "gradient of {} differs when asked for alone",
                drawn.case.inputs[i].name
            );
        }
        Ok(())
    })
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let pools = [1, 2, 5].map(|threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start"));
    for_each_case(|drawn| {
        let run = || -> Result<Vec<Vec<u32>>> {
            let outputs = drawn.apply(&[])?.2;
            let all: Vec<usize> = (0..outputs.len()).collect();
            let mut results = drawn.gradients(&drawn.differentiable(), &all)?;
            for output in &outputs {
                results.push(output.value().to_vec()?);
            }
            Ok(results.iter().map(|values| bits(values)).collect())
        };
        let first = pools[0].install(run)?;
        for pool in &pools[1..] {
            ensure!(pool.install(run)? == first, "{} threads give other bits", pool.current_num_threads());
        }
        Ok(())
    })
}

/// Shapes that are easily passed by mistake: too few dimensions, too many, none, one too long, empty, absent.
fn wrong_shapes(right: &[usize]) -> Vec<Vec<usize>> {
    let mut wrong = vec![vec![], vec![0], vec![1], vec![2, 0, 3]];
    for axis in 0..right.len() {
        for size in [0, right[axis] + 1] {
            let mut shape = right.to_vec();
            shape[axis] = size;
            wrong.push(shape);
        }
    }
    wrong.push([&[1], right].concat());
    wrong.push([right, &[1]].concat());
    wrong.push(right[..right.len() - 1].to_vec());
    wrong
}

#[test]
fn wrong_shapes_are_errors_and_never_panic() -> Result<()> {
    for_each_case(|drawn| {
        let mut refused = 0;
        for i in 0..drawn.tensors.len() {
            for shape in wrong_shapes(drawn.tensors[i].shape()) {
                let mut tensors = drawn.tensors.clone();
                tensors[i] = Tensor::zeros(&drawn.device, &shape)?;
                let wrong = Drawn { case: drawn.case, device: drawn.device.clone(), tensors, arrays: vec![] };
                let name = drawn.case.inputs[i].name;
                match catch_unwind(AssertUnwindSafe(|| wrong.try_out())) {
                    Ok(result) => {
                        refused += usize::from(!result.with_context(|| format!("{name} of shape {shape:?}"))?)
                    }
                    Err(_) => bail!("panics where {name} has shape {shape:?}"),
                }
            }
        }
        // A function of single elements takes any shape; whatever has two inputs has some that do not fit.
        ensure!(refused > 0 || drawn.tensors.len() == 1, "accepts any shapes");
        Ok(())
    })
}
