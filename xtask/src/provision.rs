//! Installs what this machine lacks from PyPI under `target/toolchain/`: the CUDA compiler and libclang.

use crate::nvcc;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PINS: &str = "build/toolchain.txt";

/// What an installation consists of: the requirements that pip was given.
const INSTALLED: &str = "requirements.txt";

/// Where everything goes, below the repository's root. `.cargo/config.toml` sets `LIBCLANG_PATH` to a folder in it.
const TOOLCHAIN: &str = "target/toolchain";

/// Installs nvcc and libclang unless the machine has its own or the pinned ones are there.
pub fn all(root: &Path) -> Result<()> {
    let not_wanted = env::var_os("VF_NVCC").is_some_and(|v| v == "none");
    match nvcc::find(root)? {
        Some(own) if !own.path.starts_with(root.join(TOOLCHAIN)) => {
            println!("using nvcc {} of this machine, {}", own.version, own.path.display());
        }
        _ if not_wanted => {}
        _ => install(root, "cuda", "nvidia-")?,
    }
    libclang(root)
}

/// Installs libclang unless `LIBCLANG_PATH` names another or the pinned one is there.
pub fn libclang(root: &Path) -> Result<()> {
    let named = env::var_os("LIBCLANG_PATH").map(PathBuf::from).filter(|p| p.exists());
    if named.is_some_and(|path| !path.starts_with(root.join(TOOLCHAIN))) {
        return Ok(());
    }
    install(root, "libclang", "libclang")
}

/// Installs the pinned packages whose names start with `prefix` into `target/toolchain/<name>`, which appears whole or not at all.
/// A file in it says what was installed; where it already says the same, there is nothing to do.
fn install(root: &Path, name: &str, prefix: &str) -> Result<()> {
    let pins = fs::read_to_string(root.join(PINS)).with_context(|| format!("cannot read {PINS}"))?;
    let requirements = pinned(&pins, prefix);
    let toolchain = root.join(TOOLCHAIN);
    let target = toolchain.join(name);
    if fs::read_to_string(target.join(INSTALLED)).is_ok_and(|installed| installed == requirements) {
        return Ok(());
    }
    // The process id keeps two of us apart; whoever renames last wins, and both installed the same files.
    let staging = toolchain.join(format!(".{name}.{}", std::process::id()));
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let installed = pip_install(&requirements, &staging).and_then(|()| replace(&staging, &target));
    if staging.exists() {
        fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    installed.with_context(|| format!("cannot provision {name}"))
}

/// The requirements (with their hashes) of the packages whose names start with `prefix`.
fn pinned(pins: &str, prefix: &str) -> String {
    let joined = pins.replace("\\\n", " ");
    joined.lines().filter(|line| line.starts_with(prefix)).flat_map(|line| [line, "\n"]).collect()
}

fn pip_install(requirements: &str, target: &Path) -> Result<()> {
    let names: Vec<&str> = requirements.lines().filter_map(|line| line.split_whitespace().next()).collect();
    eprintln!("fetching {} from PyPI into target/toolchain", names.join(", "));
    let list = target.join(INSTALLED);
    fs::write(&list, requirements)?;
    let python = Command::new("python3").args(["-m", "pip", "--version"]).output();
    let python = python.context("python3 is not installed, and the compiler comes through its pip")?;
    if !python.status.success() {
        bail!("python3 has no pip: install it (Debian and Ubuntu: apt-get install python3-pip)");
    }
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--retries=2",
    ]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"])
        .arg(target)
        .arg("--requirement")
        .arg(&list);
    let output = pip.output().context("cannot run pip")?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log.lines().rev().find(|line| line.starts_with("ERROR")).unwrap_or("it gave no reason");
        bail!("pip could not install from PyPI (is there a network?): {reason}");
    }
    Ok(())
}

fn replace(staging: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("cannot remove the old {}", target.display()))?;
    }
    fs::rename(staging, target).with_context(|| format!("cannot move {} into place", target.display()))
}

#[cfg(test)]
mod tests {
    use super::pinned;

    #[test]
    fn pins_are_chosen_by_name_and_keep_their_hashes() {
        let pins = "# note\nnvidia-a==1 \\\n    --hash=sha256:aa\nlibclang==2 \\\n    --hash=sha256:bb\n";
        assert_eq!(pinned(pins, "nvidia-"), "nvidia-a==1      --hash=sha256:aa\n");
        assert_eq!(pinned(pins, "libclang"), "libclang==2      --hash=sha256:bb\n");
    }
}
