//! Every op that has CUDA kernels, on the first GPU of this machine, against the same f64 oracle as the CPU. Where there is no GPU, the
//! software GPU of tests/sim.rs runs them instead.

#[path = "oracle/dispatch.rs"]
mod dispatch;
mod oracle;
#[allow(dead_code, reason = "tests/ops.rs uses the rest")]
mod suite;

use anyhow::Result;
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
    let ran = suite::check_all(|case, math| suite::check_case(case, &device, math))?;
    println!("{}: {ran} cases", device.name());
    suite::beside::OUTSIDE_OF_CASES.into_iter().try_for_each(|check| check(&device))
}
