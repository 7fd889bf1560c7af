//! Every op of the registry, case by case, against the f64 oracle: outputs as they are, gradients by finite differences
//! of the oracle; nothing unasked for, the same bits on any number of threads, and errors instead of panics.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;
#[allow(dead_code, reason = "tests/cuda.rs and tests/sim.rs use the rest")]
mod suite;

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, bail, ensure};
use rayon::ThreadPoolBuilder;
use suite::Drawn;
use vf_engine::device::{Device, Math};
use vf_engine::ops::REGISTRY;
use vf_engine::tensor::Tensor;

/// Runs `check` on every case that is not for benchmarks alone and collects what fails.
fn for_each_case(check: impl Fn(&Drawn) -> Result<()>) -> Result<()> {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in REGISTRY {
        for case in (entry.cases)().iter().filter(|case| !case.bench) {
            count += 1;
            // Fresh memory full of NaN shows outputs that were not written.
            let drawn = Drawn::new(case, &Device::cpu_poisoned(), Math::F32);
            if let Err(error) = drawn.and_then(|drawn| check(&drawn)) {
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
fn the_l1_loss_and_its_gradient() -> Result<()> {
    suite::beside::check_l1(&Device::cpu_poisoned())
}

#[test]
fn gradients_match_finite_differences_of_the_oracle() -> Result<()> {
    for_each_case(|drawn| drawn.check_all_gradients(drawn.apply(&[])?.2.len()))
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
                let (device, math) = (drawn.device.clone(), drawn.math);
                let wrong = Drawn { case: drawn.case, device, math, tensors, arrays: vec![] };
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
