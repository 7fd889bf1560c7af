//! Every op that has CUDA kernels, on the software GPU: the kernels that nvcc compiled, through the driver's interface, against the same
//! f64 oracle as the CPU, with every check on.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;
#[allow(dead_code, reason = "tests/ops.rs uses the rest")]
mod suite;

use std::process::Command;
use std::sync::Mutex;
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};
use vf_engine::device::{Device, sim};
use vf_engine::kernels;

/// Schedules that everything runs under.
const SEEDS: [u64; 3] = [0, 1, 2];

/// Everything in one test, because the seed and the findings belong to the process: this one where the variable `VF_OPS` names the ops, else
/// one for each op, as many at a time as there are processors.
#[test]
fn kernels_match_the_oracle_and_no_check_fires() -> Result<()> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(());
    }
    match env::var("VF_OPS") {
        Ok(ops) => check(&ops.split(',').collect::<Vec<_>>()),
        Err(_) => check_in_processes(),
    }
}

fn check_in_processes() -> Result<()> {
    let ops: Vec<&str> = [suite::beside::NAME].into_iter().chain(suite::checked_ops()).collect();
    let (next, failures) = (Mutex::new(ops.into_iter()), Mutex::new(vec![]));
    let take = || next.lock().expect("no panic while holding it").next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(op) = take() {
                    if let Err(error) = check_in_process(op) {
                        failures.lock().expect("no panic while holding it").push(format!("{op}: {error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner()?;
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

fn check_in_process(op: &str) -> Result<()> {
    let mut test = Command::new(env::current_exe()?);
    test.args(["--exact", "kernels_match_the_oracle_and_no_check_fires", "--nocapture"]).env("VF_OPS", op);
    let output = test.output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && printed.contains("1 passed");
    ensure!(passed, "{}:\n{printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The cases of `ops`, and what the table of cases does not reach, if that is among them.
fn check(ops: &[&str]) -> Result<()> {
    let device = Device::sim().context("`cargo xtask test` builds the software GPU first")?;
    let gpu = sim::load()?;
    let under_all_schedules = |check: &dyn Fn() -> Result<bool>| {
        let mut taken = true;
        for seed in SEEDS {
            gpu.configure(&serde_json::json!({ "seed": seed, "checks": "all" }))?;
            taken &= check().with_context(|| format!("seed {seed}"))?;
            no_findings(gpu).with_context(|| format!("seed {seed}"))?;
        }
        Ok(taken)
    };
    if ops.contains(&suite::beside::NAME) {
        for check in suite::beside::OUTSIDE_OF_CASES {
            under_all_schedules(&|| check(&device).map(|()| true))?;
        }
    }
    if ops.iter().any(|&op| op != suite::beside::NAME) {
        suite::check_all(|case, math| under_all_schedules(&|| suite::check_case(case, &device, math)))?;
    }
    Ok(())
}

fn no_findings(gpu: &sim::SoftGpu) -> Result<()> {
    let findings = gpu.take_findings()?;
    match findings.first() {
        Some(first) => bail!("{} findings, the first: {first}", findings.len()),
        None => Ok(()),
    }
}
