//! Finding nvcc. Shared by build.rs, which compiles with it, and xtask, which fetches one where there is none.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Older toolkits lack flags and architectures that the kernels are compiled with.
const OLDEST: (u32, u32) = (12, 4);

/// Where `cargo xtask provision` puts nvcc, below the repository's root.
const PROVISIONED: &str = "target/toolchain/cuda/nvidia/cu13/bin/nvcc";

/// Changes of these can change which nvcc is found.
pub const VARIABLES: [&str; 3] = [NAMED, "CUDA_HOME", "CUDA_PATH"];

/// Names the nvcc to use, or `none`.
const NAMED: &str = "VF_NVCC";

/// An nvcc that runs and is new enough.
pub struct Nvcc {
    pub path: PathBuf,
    /// As it says itself, for example `13.0.88`.
    pub version: String,
}

/// The first usable nvcc of: `VF_NVCC` (a path, or `none` for a build without CUDA), `CUDA_HOME` and `CUDA_PATH`, `PATH`,
/// `/usr/local/cuda`, the provisioned toolkit.
///
/// # Errors
/// If `VF_NVCC` names something that is not a usable nvcc. The other places are passed over when theirs is too old or broken.
pub fn find(root: &Path) -> Result<Option<Nvcc>> {
    if let Some(named) = env::var_os(NAMED).filter(|v| !v.is_empty()) {
        if named == "none" {
            return Ok(None);
        }
        let nvcc = probe(Path::new(&named)).context("VF_NVCC must name a usable nvcc, or be `none`")?;
        return Ok(Some(nvcc));
    }
    let [_, homes @ ..] = VARIABLES;
    let homes = homes.into_iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin/nvcc"));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::split_paths(&path).map(|dir| dir.join("nvcc"));
    let fixed = [PathBuf::from("/usr/local/cuda/bin/nvcc"), root.join(PROVISIONED)];
    Ok(homes.chain(path).chain(fixed).filter(|p| p.is_file()).find_map(|p| probe(&p).ok()))
}

/// Runs `nvcc --version`, whose last lines read `Cuda compilation tools, release 13.0, V13.0.88`.
fn probe(path: &Path) -> Result<Nvcc> {
    let output =
        Command::new(path).arg("--version").output().with_context(|| format!("cannot run {}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().filter_map(|word| word.strip_prefix('V')).find(|v| v.contains('.'));
    let version = version.with_context(|| format!("`{} --version` does not say a version", path.display()))?;
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        bail!("{} is version {version}; {}.{} is the oldest that will do", path.display(), OLDEST.0, OLDEST.1);
    }
    Ok(Nvcc { path: path.to_owned(), version: version.to_owned() })
}
