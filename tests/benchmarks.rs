//! The benchmark, whose checks are what a kernel is held to, covers every kernel.

use std::collections::BTreeSet;

use vf_engine::benchmark;
use vf_engine::device::{Device, Math};
use vf_engine::kernels::RESOURCES;

/// On a device that computes nothing, and launches what a GPU would.
#[test]
fn a_benchmark_case_launches_every_kernel_that_is_compiled() {
    let mut never: BTreeSet<&str> = RESOURCES.iter().map(|resources| resources.kernel).collect();
    for math in Math::ALL {
        let device = Device::plan();
        for case in benchmark::cases(math) {
            let launches = benchmark::launches(&case, &device, math);
            let launches = launches.unwrap_or_else(|error| panic!("{} ({}) in {math}: {error}", case.op, case.label));
            for launch in launches {
                never.remove(launch.entry.as_str());
            }
        }
    }
    assert!(never.is_empty(), "no benchmark case launches {never:?}");
}
