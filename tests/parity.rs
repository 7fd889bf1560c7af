//! The engine against the reference implementation: every golden set, forward and all gradients.
//!
//! Sets are the files of `tests/golden/` and of the directory that `VF_GOLDEN_DIR` names. A set of no known kind is a
//! failure; kinds of which the engine has no part yet are listed by name.

mod parity_kinds;
mod support;

use anyhow::{Context, Result};
use parity_kinds::{dit, ops, sampler, transport, vae, vf_loss, vit};
use std::process::Command;
use support::cli;
use support::golden::Golden;
use support::kind::{Kind, files};

/// What checks a set: every tensor's name, and its error as a share of its tolerance.
type Check = fn(&Golden) -> Result<Vec<(String, f64)>>;

/// The check of a kind; `None` for those that are not yet supported.
fn check_of(kind: Kind) -> Option<Check> {
    match kind {
        Kind::Ops => Some(ops::check),
        Kind::VfLoss => Some(vf_loss::check),
        Kind::Vae => Some(vae::check),
        Kind::VitDinov2 | Kind::VitMae => Some(vit::check),
        Kind::Dit => Some(dit::check),
        Kind::FullDit => Some(dit::check_full),
        Kind::Transport => Some(transport::check),
        Kind::Sampler => Some(sampler::check),
        Kind::VaeGan | Kind::Adaptive | Kind::FullVaVae | Kind::Uniformity => None,
    }
}

/// Checks every set of these kinds; fails with all problems, not just the first.
fn check_sets(kinds: &[Kind]) {
    let mut problems = Vec::new();
    let mut checked = 0;
    for path in files().expect("the golden directories can be listed") {
        let result = Golden::open(&path).and_then(|set| {
            let Some(check) = kinds.contains(&set.kind).then(|| check_of(set.kind)).flatten() else {
                return Ok(());
            };
            checked += 1;
            let report = check(&set).with_context(|| format!("{}", path.display()))?;
            anyhow::ensure!(!report.is_empty(), "{}: nothing was compared", path.display());
            let (name, share) = report.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("just checked");
            println!(
                "{}: {} tensors agree; closest to its tolerance: {name} at {share:.3}",
                path.display(),
                report.len()
            );
            Ok(())
        });
        problems.extend(result.err().map(|problem| format!("{problem:#}")));
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert!(checked > 0, "no golden set of kind {kinds:?}");
}

#[test]
fn every_set_is_known() {
    let mut problems = Vec::new();
    for path in files().expect("the golden directories can be listed") {
        match Golden::open(&path) {
            Err(problem) => problems.push(format!("{problem:#}")),
            Ok(set) if check_of(set.kind).is_none() => {
                println!("{}: {:?} is not yet supported", path.display(), set.kind);
            }
            Ok(_) => {}
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn operations() {
    check_sets(&[Kind::Ops]);
}

#[test]
fn vf_losses() {
    check_sets(&[Kind::VfLoss]);
}

#[test]
fn va_vaes() {
    check_sets(&[Kind::Vae]);
}

#[test]
fn lightning_dits() {
    check_sets(&[Kind::Dit]);
}

#[test]
fn lightning_dit_b1() {
    check_sets(&[Kind::FullDit]);
}

#[test]
fn transports() {
    check_sets(&[Kind::Transport]);
}

#[test]
fn samplers() {
    check_sets(&[Kind::Sampler]);
}

#[test]
fn frozen_vits() {
    check_sets(&[Kind::VitDinov2, Kind::VitMae]);
}

/// The bundled sets through the CUDA kernels, with the same tolerances; without the samplers and the whole B/1, which take
/// minutes: tests/sim.rs has the operations that they alone use. The device is a process's, so this is another one.
#[test]
fn the_software_gpu_agrees_as_the_cpu_does() {
    if vf_engine::kernels::FATBINS.is_empty() {
        eprintln!("skipped: this build has no CUDA kernels, because nvcc was not found");
        return;
    }
    let mut tests = Command::new(std::env::current_exe().expect("this test's file"));
    tests.args(["--exact", "operations", "vf_losses", "frozen_vits", "va_vaes", "transports", "lightning_dits"]);
    let printed = cli::succeed(tests.env("VF_GOLDEN_DEVICE", "sim").env_remove("VF_GOLDEN_DIR"));
    assert!(printed.contains("6 passed"), "{printed}");
}
