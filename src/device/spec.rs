//! How a user names a device.

use std::str::FromStr;

/// Which device to open: what `--device` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSpec {
    /// CUDA where a driver, a GPU and all kernels are there; the CPU otherwise.
    Auto,
    /// The native CPU.
    Cpu,
    /// The CUDA device of this ordinal.
    Cuda(usize),
    /// The CUDA kernels on the software GPU.
    Sim,
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let unknown = || format!("unknown device '{text}': use auto, cpu, cuda, cuda:N or sim");
        match text.split_once(':') {
            None => match text {
                "auto" => Ok(DeviceSpec::Auto),
                "cpu" => Ok(DeviceSpec::Cpu),
                "cuda" => Ok(DeviceSpec::Cuda(0)),
                "sim" => Ok(DeviceSpec::Sim),
                _ => Err(unknown()),
            },
            Some(("cuda", ordinal)) => ordinal.parse().map(DeviceSpec::Cuda).map_err(|_| unknown()),
            Some(_) => Err(unknown()),
        }
    }
}
