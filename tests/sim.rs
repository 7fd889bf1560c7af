//! Every op that has CUDA kernels, on the software GPU: the kernels that nvcc compiled, through the driver's interface, against the same
//! f64 oracle as the CPU, with every check on.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;
#[allow(dead_code, reason = "tests/ops.rs uses the rest")]
mod suite;

use anyhow::{Context, Result, bail};
use vf_engine::device::{Device, sim};
use vf_engine::kernels;

/// Schedules that everything runs under.
const SEEDS: [u64; 3] = [0, 1, 2];

/// Everything in one test, because the seed and the findings belong to the process.
#[test]
fn kernels_match_the_oracle_and_no_check_fires() -> Result<()> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(());
    }
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
    suite::check_all(|case, math| under_all_schedules(&|| suite::check_case(case, &device, math)))?;
    for check in suite::beside::OUTSIDE_OF_CASES {
        under_all_schedules(&|| check(&device).map(|()| true))?;
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
