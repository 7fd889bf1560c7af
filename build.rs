//! Compiles what is not Rust: kernels/*.cu into fatbins where there is an nvcc, and kernels/philox.h for the host.
//!
//! `VF_NVCC` names the compiler (`none`: build without CUDA), `VF_REQUIRE_NVCC=1` makes its absence an error, and
//! `VF_CUDA_ARCHS` (for example `80,90a`, or `ptx` for no machine code at all) narrows the architectures.

#[path = "build/fatbin.rs"]
mod fatbin;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/resources.rs"]
mod resources;

use anyhow::{Context, Result, bail};
use fatbin::Module;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            format!("{error:#}").lines().for_each(|line| println!("cargo::error={line}"));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    println!("cargo::rustc-check-cfg=cfg(vf_cuda_kernels)");
    for name in nvcc::VARIABLES.into_iter().chain(["VF_REQUIRE_NVCC", "VF_CUDA_ARCHS"]) {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let nvcc = nvcc::find(&root)?;
    let modules = match &nvcc {
        Some(nvcc) => {
            println!("cargo::rerun-if-changed={}", nvcc.path.display());
            println!("cargo::rustc-cfg=vf_cuda_kernels");
            fatbin::compile(nvcc, &root.join("kernels"), &out)?
        }
        None => without_nvcc(&root)?,
    };
    let table = tables(nvcc.as_ref().map(|nvcc| nvcc.version.as_str()), &modules)?;
    fs::write(out.join("kernels.rs"), table).context("cannot write the kernels' tables")?;
    compile_philox();
    Ok(())
}

/// The same text that the kernels include: f32 operations as written, none contracted.
fn compile_philox() {
    let mut cc = cc::Build::new();
    cc.file("build/philox.c").include("kernels").flag_if_supported("-ffp-contract=off").opt_level(3);
    // fmaf is a slow library call unless the compiler may use the instruction.
    if env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| features.split(',').any(|f| f == "fma")) {
        cc.flag_if_supported("-mfma");
    }
    cc.compile("vf_philox");
}

fn without_nvcc(root: &Path) -> Result<Vec<Module>> {
    if env::var("VF_REQUIRE_NVCC").is_ok_and(|value| value == "1") {
        bail!("VF_REQUIRE_NVCC=1 and no nvcc is found: run `cargo xtask provision`, or set VF_NVCC");
    }
    println!(
        "cargo::warning=NO CUDA KERNELS in this build, which runs on the CPU only: nvcc is not found. `cargo xtask provision` fetches it."
    );
    // Look again once something is provisioned; cargo can watch only what exists.
    let toolchain = root.join("target/toolchain");
    fs::create_dir_all(&toolchain).context("cannot create target/toolchain")?;
    println!("cargo::rerun-if-changed={}", toolchain.display());
    Ok(vec![])
}

/// The Rust source that src/kernels.rs includes.
fn tables(version: Option<&str>, modules: &[Module]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "/// The nvcc that compiled the kernels.\npub const NVCC_VERSION: Option<&str> = {version:?};")?;
    writeln!(text, "/// Every module.\npub static FATBINS: &[Fatbin] = &[")?;
    for module in modules {
        writeln!(
            text,
            "    Fatbin {{ module: {:?}, image: {{ static IMAGE: &Aligned<[u8]> = &Aligned(*include_bytes!({:?})); &IMAGE.0 }} }},",
            module.name, module.fatbin
        )?;
    }
    writeln!(
        text,
        "];\n/// Every kernel on every architecture that has machine code.\npub static RESOURCES: &[KernelResources] = &["
    )?;
    for module in modules {
        for resources in &module.resources {
            writeln!(text, "    KernelResources {{ module: {:?}, {resources} }},", module.name)?;
        }
    }
    writeln!(text, "];")?;
    Ok(text)
}
