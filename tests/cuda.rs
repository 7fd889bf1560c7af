//! Every op that has CUDA kernels, on the first GPU of this machine, against the same f64 oracle as the CPU. Where there is no GPU, the
//! software GPU of tests/sim.rs runs them instead.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;
#[allow(dead_code, reason = "tests/ops.rs uses the rest")]
mod suite;

use anyhow::{Result, ensure};
use vf_engine::device::Device;

#[test]
fn kernels_match_the_oracle() -> Result<()> {
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return Ok(());
        }
    };
    let cases = suite::cuda_cases();
    ensure!(!cases.is_empty(), "no op has CUDA kernels");
    let mut failures = Vec::new();
    for (case, dtype) in cases.iter().flat_map(|case| suite::DTYPES.map(|dtype| (case, dtype))) {
        if let Err(error) = suite::check_case(case, &device, dtype) {
            failures.push(format!("{} ({}) {dtype}: {error:#}", case.op, case.label));
        }
    }
    ensure!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    println!("{}: {} cases", device.name(), cases.len());
    suite::check_random(&device)
}
