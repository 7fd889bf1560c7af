//! The developer's commands: `cargo xtask help` lists them.

#[path = "../../build/nvcc.rs"]
mod nvcc;
mod provision;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

const HELP: &str = "\
cargo xtask <command>

  demo           provision, build, and train the demo VA-VAE on the bundled photographs
  test           provision, then everything that CI checks, cheapest first: `check`, and what every CUDA kernel moves
  check          format, clippy, tests, documentation, with what this machine has
  check-kernels  every CUDA kernel on the software GPU: against the oracle with all checks under three schedules, then what it moves
  provision      install nvcc and libclang under target/toolchain where the machine has none
  bindings       regenerate src/params.rs from kernels/*.h
  bench-peers    run a script of bench/ with PyTorch, in a virtual environment under target/peers: compare.py step";

fn main() -> process::ExitCode {
    let command = env::args().nth(1);
    let rest: Vec<String> = env::args().skip(2).collect();
    match run(command.as_deref(), &rest) {
        Ok(()) => process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            process::ExitCode::FAILURE
        }
    }
}

fn run(command: Option<&str>, rest: &[String]) -> Result<()> {
    let root = root();
    match command {
        Some("demo") => demo(&root, rest),
        Some("test") => provision::all(&root).and_then(|()| check(&root, true)),
        Some("check") => check(&root, false),
        Some("check-kernels") => provision::all(&root).and_then(|()| check_kernels(&root)),
        Some("provision") => provision::all(&root),
        Some("bindings") => bindings(&root),
        Some("bench-peers") => bench_peers(&root, rest),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("no command `{other}`\n\n{HELP}"),
    }
}

/// Trains the demo on the best device. Without a network the CPU alone will do.
fn demo(root: &Path, rest: &[String]) -> Result<()> {
    if let Err(error) = provision::all(root) {
        eprintln!("warning: {error:#}\nwarning: going on WITHOUT CUDA kernels: this build runs on the CPU only");
    }
    let mut cargo = cargo(root, &["run", "--release", "--bin", "vf-engine", "--", "train-vae", "--preset", "demo"]);
    cargo.args(["--device", "auto", "--out"]).arg(free_folder(root, "runs/demo")).args(rest);
    succeed(&mut cargo)
}

/// `name`, or `name-2`, `name-3`, … below the root: the first that is not there yet, so that every demo is kept.
fn free_folder(root: &Path, name: &str) -> String {
    let mut names = std::iter::once(name.to_string()).chain((2..).map(|number| format!("{name}-{number}")));
    names.find(|name| !root.join(name).exists()).expect("there is always another number")
}

/// Format, lints, tests and documentation, cheapest first. With `strict` it is all that CI checks: kernels are counted as well, and a missing nvcc
/// or libclang is an error.
fn check(root: &Path, strict: bool) -> Result<()> {
    succeed(&mut cargo(root, &["fmt", "--all", "--check"]))?;
    // A macro declares these, where cargo fmt does not look.
    succeed(Command::new("rustfmt").args(["--check", "--edition", "2024"]).args(rust_files(&root.join("src/ops"))?))?;
    let steps: [&[&str]; 4] = [
        &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
        // tests/sim.rs loads it.
        &["build", "--release", "--package", "softgpu"],
        &["test", "--release", "--workspace"],
        &["doc", "--release", "--workspace", "--no-deps"],
    ];
    for step in steps {
        let mut cargo = cargo(root, step);
        cargo.env("RUSTDOCFLAGS", "-D warnings");
        if step[0] == "clippy" {
            // It runs build.rs once more, for itself: no need for machine code.
            cargo.env("VF_CUDA_ARCHS", "ptx");
        }
        if strict {
            cargo.env("VF_REQUIRE_NVCC", "1");
        }
        succeed(&mut cargo)?;
    }
    if strict { count_kernels(root) } else { Ok(()) }
}

/// The Rust files below a folder.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Every CUDA kernel on the software GPU: its results and what the checks find, then what it moves by the counters.
fn check_kernels(root: &Path) -> Result<()> {
    let steps: [&[&str]; 2] = [
        &["build", "--release", "--package", "softgpu"],
        &["test", "--release", "--package", "vf-engine", "--test", "sim"],
    ];
    for step in steps {
        succeed(cargo(root, step).env("VF_REQUIRE_NVCC", "1"))?;
    }
    count_kernels(root)
}

/// The table of what each kernel does at its benchmark shapes; fails where one breaks a rule.
fn count_kernels(root: &Path) -> Result<()> {
    for dtype in ["f32", "tf32", "bf16"] {
        println!("\nkernels in {dtype}:");
        let arguments =
            ["run", "--release", "--quiet", "--bin", "vf-engine", "--", "bench", "kernels", "--device", "sim"];
        let mut cargo = cargo(root, &arguments);
        succeed(cargo.args(["--check", "--dtype", dtype]).env("VF_REQUIRE_NVCC", "1"))?;
    }
    Ok(())
}

/// Rewrites src/params.rs. The engine itself need not compile for this.
fn bindings(root: &Path) -> Result<()> {
    provision::libclang(root)?;
    succeed(cargo(root, &["test", "--quiet", "--package", "xtask", "--test", "bindings"]).env("VF_BLESS", "1"))
}

/// Runs a script of bench/ in its own virtual environment, which it makes at first use.
fn bench_peers(root: &Path, rest: &[String]) -> Result<()> {
    let scripts = root.join("bench");
    let [script, arguments @ ..] = rest else {
        bail!("which script? `cargo xtask bench-peers <script of bench/> [arguments]`")
    };
    let script = scripts.join(script);
    if !script.is_file() {
        bail!("there is no {}", script.display());
    }
    let environment = root.join("target/peers");
    let python = environment.join("bin/python");
    if !environment.join("complete").exists() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        succeed(
            Command::new(&python)
                .args(["-m", "pip", "install", "--requirement"])
                .arg(scripts.join("peers/requirements.txt")),
        )?;
        std::fs::write(environment.join("complete"), "").context("cannot mark target/peers as complete")?;
    }
    succeed(Command::new(&python).arg(script).args(arguments).current_dir(root))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root);
    cargo
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let first = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("`{program} {first}` failed ({status})");
    }
    Ok(())
}
