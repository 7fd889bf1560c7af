//! `vf-engine info`: what this binary can run on, and what its kernels need.

use std::collections::BTreeMap;

use serde::Serialize;
use vf_engine::device::{Device, DeviceSpec, KernelInfo, cuda};
use vf_engine::kernels::{self, KernelResources};

/// Describe every device, the CUDA driver, and the kernels in this binary.
///
/// For each CUDA kernel and architecture: registers per thread, static shared memory per block and spilled
/// bytes, as ptxas reported them when the binary was built.
#[derive(clap::Args)]
pub struct Args {
    /// Opened to see that it works: auto, cpu, cuda, cuda:N or sim; with sim the software GPU takes the driver's place.
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Info {
    version: &'static str,
    /// The device that was asked for.
    device: String,
    cpu: Cpu,
    cuda: Cuda,
    kernels: Vec<Kernel>,
}

#[derive(Serialize)]
struct Cpu {
    threads: usize,
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Cuda {
    /// What is missing, in one sentence, where CUDA cannot be used.
    unavailable: Option<String>,
    driver_version: Option<String>,
    nvcc_version: Option<&'static str>,
    architectures: Vec<&'static str>,
    devices: Vec<cuda::DeviceInfo>,
}

#[derive(Serialize)]
struct Kernel {
    name: &'static str,
    tensors: Vec<&'static str>,
    params_bytes: usize,
    cuda_module: Option<&'static str>,
    cuda: Vec<KernelResources>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let info = gather(Device::open(args.device)?.name());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&info)?);
    } else {
        print(&info);
    }
    Ok(())
}

fn gather(device: String) -> Info {
    let (driver_version, devices, unavailable) = match cuda::devices() {
        Ok(((major, minor), devices)) if devices.is_empty() => {
            (Some(format!("{major}.{minor}")), devices, Some("the driver offers no GPU".to_string()))
        }
        Ok(((major, minor), devices)) => (Some(format!("{major}.{minor}")), devices, None),
        Err(reason) => (None, vec![], Some(reason.to_string())),
    };
    let mut architectures: Vec<_> = kernels::RESOURCES.iter().map(|r| r.arch).collect();
    architectures.sort_unstable();
    architectures.dedup();
    let registered = kernels::registered();
    let belongs = |entry: &str, to: &KernelInfo| {
        KernelInfo::of_entry(entry, &registered).is_some_and(|kernel| kernel.name == to.name)
    };
    let describe = |info: &KernelInfo| Kernel {
        name: info.name,
        tensors: info.tensors.clone(),
        params_bytes: info.params_bytes,
        cuda_module: info.cuda_module,
        cuda: kernels::RESOURCES.iter().filter(|r| belongs(r.kernel, info)).cloned().collect(),
    };
    Info {
        version: env!("CARGO_PKG_VERSION"),
        device,
        cpu: Cpu { threads: rayon::current_num_threads(), features: cpu_features() },
        cuda: Cuda { unavailable, driver_version, nvcc_version: kernels::NVCC_VERSION, architectures, devices },
        kernels: registered.iter().map(describe).collect(),
    }
}

/// The vector extensions that the CPU device was compiled for.
fn cpu_features() -> Vec<&'static str> {
    let all = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("fma", cfg!(target_feature = "fma")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("neon", cfg!(target_feature = "neon")),
    ];
    all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
}

fn print(info: &Info) {
    println!("vf-engine {} on {}", info.version, info.device);
    println!("\ncpu    {} threads, built for {}", info.cpu.threads, info.cpu.features.join(" "));
    let cuda = &info.cuda;
    match &cuda.driver_version {
        Some(version) => println!("cuda   driver {version}"),
        None => println!("cuda   no driver"),
    }
    for d in &cuda.devices {
        let (major, minor) = d.compute_capability;
        let gib = d.memory_bytes as f64 / f64::from(1 << 30);
        println!(
            "cuda:{}  {}: sm_{major}{minor}, {} multiprocessors, {gib:.1} GiB, {} KiB shared memory per block, {} MiB L2",
            d.ordinal,
            d.name,
            d.multiprocessors,
            d.shared_memory_per_block / 1024,
            d.l2_bytes >> 20
        );
    }
    if let Some(reason) = &cuda.unavailable {
        println!("       not usable: {reason}");
    }
    match cuda.nvcc_version {
        Some(version) => println!("       kernels compiled by nvcc {version} for {}", cuda.architectures.join(" ")),
        None => println!("       no CUDA kernels in this build: nvcc was not found (cargo xtask provision)"),
    }
    println!(
        "\n{:<28} {:<11} {:<8} {:>9} {:>12} {:>8}",
        "kernel", "entry", "arch", "registers", "shared bytes", "spills"
    );
    let mut cpu_only = vec![];
    for kernel in &info.kernels {
        if kernel.cuda_module.is_none() {
            cpu_only.push(kernel.name);
            continue;
        }
        let mut by_entry: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for r in &kernel.cuda {
            by_entry.entry(r.kernel).or_default().push(r);
        }
        for (entry, rows) in by_entry {
            for r in rows {
                let entry = &entry[kernel.name.len() + 1..];
                let spills = r.spill_store_bytes + r.spill_load_bytes;
                println!(
                    "{:<28} {entry:<11} {:<8} {:>9} {:>12} {spills:>8}",
                    kernel.name, r.arch, r.registers, r.shared_bytes
                );
            }
        }
    }
    if !cpu_only.is_empty() {
        println!("\non the CPU only so far: {}", cpu_only.join(", "));
    }
}
