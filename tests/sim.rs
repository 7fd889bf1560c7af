//! Every op that has CUDA kernels, on the software GPU: the kernels that nvcc compiled, through the driver's interface, against the same
//! f64 oracle as the CPU, with every check on.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;
#[allow(dead_code, reason = "tests/ops.rs uses the rest")]
mod suite;

use anyhow::{Context, Result, bail};
use vf_engine::device::{Device, Math, sim};
use vf_engine::kernels;

/// Schedules that every case runs under.
const SEEDS: [u64; 3] = [0, 1, 2];

/// And in TF32, whose kernels wait and share memory as the others of their templates do.
const TF32_SEEDS: [u64; 1] = [3];

/// Everything in one test, because the seed and the findings belong to the process.
#[test]
fn kernels_match_the_oracle_and_no_check_fires() -> Result<()> {
    if kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return Ok(());
    }
    let device = Device::sim().context("`cargo xtask test` builds the software GPU first")?;
    let gpu = sim::load()?;
    suite::check_all(|case, math| {
        let mut taken = true;
        for &seed in if math == Math::Tf32 { &TF32_SEEDS[..] } else { &SEEDS } {
            gpu.configure(&serde_json::json!({ "seed": seed, "checks": "all" }))?;
            taken &= suite::check_case(case, &device, math).with_context(|| format!("seed {seed}"))?;
            no_findings(gpu).with_context(|| format!("seed {seed}"))?;
        }
        Ok(taken)
    })?;
    suite::check_random(&device)?;
    suite::check_untaped(&device)?;
    suite::check_fill(&device)?;
    suite::check_conv2d_strays(&device)?;
    suite::check_image(&device)?;
    suite::check_l1(&device)?;
    suite::check_statistics(&device)?;
    suite::check_attention_blocks(&device)?;
    no_findings(gpu)
}

fn no_findings(gpu: &sim::SoftGpu) -> Result<()> {
    let findings = gpu.take_findings()?;
    match findings.first() {
        Some(first) => bail!("{} findings, the first: {first}", findings.len()),
        None => Ok(()),
    }
}
