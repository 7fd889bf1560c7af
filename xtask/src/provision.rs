//! Installs what this machine lacks from PyPI under `target/toolchain/`: the CUDA compiler and libclang.

use crate::nvcc;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PINS: &str = "build/toolchain.txt";

/// libclang for bindgen, below the repository's root. `.cargo/config.toml` sets `LIBCLANG_PATH` to the same place.
const LIBCLANG: &str = "target/toolchain/libclang/clang/native/libclang.so";

/// Installs nvcc and libclang where they are missing.
pub fn all(root: &Path) -> Result<()> {
    if env::var_os("VF_NVCC").is_none_or(|v| v != "none") && nvcc::find(root)?.is_none() {
        install(root, "cuda", "nvidia-")?;
    }
    libclang(root)
}

/// Installs libclang where it is missing.
pub fn libclang(root: &Path) -> Result<()> {
    let provisioned = root.join(LIBCLANG);
    let named = env::var_os("LIBCLANG_PATH")
        .map(PathBuf::from)
        .filter(|p| p.exists());
    if provisioned.is_file() || named.is_some() {
        Ok(())
    } else {
        install(root, "libclang", "libclang")
    }
}

/// Installs the pinned packages whose names start with `prefix` into `target/toolchain/<name>`, which appears whole or not at all.
fn install(root: &Path, name: &str, prefix: &str) -> Result<()> {
    let pins =
        fs::read_to_string(root.join(PINS)).with_context(|| format!("cannot read {PINS}"))?;
    let toolchain = root.join("target/toolchain");
    // The process id keeps two of us apart; whoever renames last wins, and both installed the same files.
    let staging = toolchain.join(format!(".{name}.{}", std::process::id()));
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let installed = pip_install(&pinned(&pins, prefix), &staging)
        .and_then(|()| replace(&staging, &toolchain.join(name)));
    if staging.exists() {
        fs::remove_dir_all(&staging)
            .with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    installed.with_context(|| format!("cannot provision {name}"))
}

/// The requirements (with their hashes) of the packages whose names start with `prefix`.
fn pinned(pins: &str, prefix: &str) -> String {
    let joined = pins.replace("\\\n", " ");
    joined
        .lines()
        .filter(|line| line.starts_with(prefix))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn pip_install(requirements: &str, target: &Path) -> Result<()> {
    let names: Vec<&str> = requirements
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    eprintln!(
        "fetching {} from PyPI into target/toolchain",
        names.join(", ")
    );
    let list = target.join("requirements.txt");
    fs::write(&list, requirements)?;
    let python = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output();
    let python =
        python.context("python3 is not installed, and the compiler comes through its pip")?;
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
    pip.args([
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--target",
    ])
    .arg(target)
    .arg("--requirement")
    .arg(&list);
    let output = pip.output().context("cannot run pip")?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log
            .lines()
            .rev()
            .find(|line| line.starts_with("ERROR"))
            .unwrap_or("it gave no reason");
        bail!("pip could not install from PyPI (is there a network?): {reason}");
    }
    Ok(())
}

fn replace(staging: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        fs::remove_dir_all(target)
            .with_context(|| format!("cannot remove the old {}", target.display()))?;
    }
    fs::rename(staging, target)
        .with_context(|| format!("cannot move {} into place", target.display()))
}

#[cfg(test)]
mod tests {
    use super::pinned;

    #[test]
    fn pins_are_chosen_by_name_and_keep_their_hashes() {
        let pins =
            "# note\nnvidia-a==1 \\\n    --hash=sha256:aa\nlibclang==2 \\\n    --hash=sha256:bb\n";
        assert_eq!(
            pinned(pins, "nvidia-"),
            "nvidia-a==1      --hash=sha256:aa\n"
        );
        assert_eq!(
            pinned(pins, "libclang"),
            "libclang==2      --hash=sha256:bb\n"
        );
    }
}
