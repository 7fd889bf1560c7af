//! What the tests of whole kernels share: a machine to run them on, and their parameters as bytes.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::PathBuf;

use softgpu::exec::launch::{Config, Machine, Outcome, launch};
use softgpu::exec::program::LoadedModule;
use softgpu::gpu::Gpu;
use softgpu::memory::Arena;
use softgpu::options::{Checks, Options};

/// A machine with all checks, whose schedule follows `seed`.
pub fn machine(seed: u64) -> Machine {
    let gpu = Gpu::named("a100").expect("a model");
    let options = Options { checks: Checks { init: true, race: true }, seed, threads: 2, ..Options::default() };
    Machine { gpu, arena: Arena::new(64 << 20).expect("room for device memory"), options }
}

/// A folder beside the tests.
pub fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", name].iter().collect()
}

/// Runs a kernel; `values` are its arguments, little-endian, cut or padded with zeros to the parameters' sizes.
pub fn run(machine: &Machine, module: &LoadedModule, kernel: &str, config: &Config, values: &[u64]) -> Outcome {
    let program = module.kernels.get(kernel).unwrap_or_else(|| panic!("the module has no kernel {kernel}"));
    assert_eq!(program.params.len(), values.len(), "parameters of {kernel}");
    let mut params = vec![0; program.param_bytes as usize];
    for (param, value) in program.params.iter().zip(values) {
        let bytes = param.bytes.min(8) as usize;
        params[param.offset as usize..][..bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
    launch(machine, program, config, &params).unwrap_or_else(|error| panic!("{kernel} does not launch: {error}"))
}
