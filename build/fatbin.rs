//! kernels/<module>.cu to <module>.fatbin, several at a time, only where something changed.

use crate::nvcc::Nvcc;
use crate::resources::{self, Resources};
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::SystemTime;
use std::{env, fs, thread};

/// Machine code is made for those of these that nvcc knows. A letter names an architecture's own instructions (wgmma, tcgen05).
const ARCHS: [&str; 6] = ["80", "86", "89", "90a", "100a", "120"];

/// For every other architecture the driver compiles this PTX.
const PTX: &str = "80";

/// A compiled `.cu`.
pub struct Module {
    pub name: String,
    pub fatbin: PathBuf,
    pub resources: Vec<Resources>,
}

/// Compiles every `.cu` of `kernels`.
pub fn compile(nvcc: &Nvcc, kernels: &Path, out: &Path) -> Result<Vec<Module>> {
    let mut sources = vec![];
    for entry in fs::read_dir(kernels).with_context(|| format!("cannot list {}", kernels.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            sources.push(path);
        }
    }
    sources.sort();
    let archs = architectures(nvcc)?;
    let workers = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1).min(sources.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, sources, archs) = (sender.clone(), &next, &sources, &archs);
            scope.spawn(move || {
                while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let module = Job { nvcc, source, kernels, out }.run(archs);
                    sender.send(module).expect("the receiver outlives the scope");
                }
            });
        }
    });
    drop(sender);
    let mut modules = receiver.into_iter().collect::<Result<Vec<Module>>>()?;
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(modules)
}

/// The architectures to make machine code for: `VF_CUDA_ARCHS`, or all that this nvcc knows.
fn architectures(nvcc: &Nvcc) -> Result<Vec<String>> {
    let output = Command::new(&nvcc.path).arg("--list-gpu-code").output().context("cannot run nvcc")?;
    let known = String::from_utf8_lossy(&output.stdout);
    // The list leaves out the lettered ones, which came with their plain ones.
    let knows =
        |arch: &str| known.split_whitespace().any(|code| code.strip_prefix("sm_") == Some(arch.trim_end_matches('a')));
    let chosen = env::var("VF_CUDA_ARCHS").unwrap_or_default();
    match chosen.as_str() {
        "" => Ok(ARCHS.into_iter().filter(|arch| knows(arch)).map(str::to_owned).collect()),
        "ptx" => Ok(vec![]),
        list => list
            .split(',')
            .map(|arch| match knows(arch) {
                true => Ok(arch.to_owned()),
                false => bail!(
                    "VF_CUDA_ARCHS: nvcc {} does not know {arch:?}; it takes a list such as 80,90a, or ptx",
                    nvcc.version
                ),
            })
            .collect(),
    }
}

struct Job<'a> {
    nvcc: &'a Nvcc,
    source: &'a Path,
    kernels: &'a Path,
    out: &'a Path,
}

impl Job<'_> {
    fn run(&self, archs: &[String]) -> Result<Module> {
        let name = self.source.file_stem().context("a source has a name")?.to_string_lossy().into_owned();
        let file = |extension: &str| self.out.join(format!("{name}.{extension}"));
        let (fatbin, depends, log, recipe) = (file("fatbin"), file("d"), file("log"), file("recipe"));
        let mut command = self.command(archs, &fatbin, &depends);
        let wanted = format!("nvcc {}\n{command:?}\n", self.nvcc.version);
        let current = fs::read_to_string(&recipe).is_ok_and(|made| made == wanted) && self.is_newer(&fatbin, &depends);
        if !current {
            // The recipe comes last: without it nothing counts as made.
            fs::remove_file(&recipe).or_else(|error| if recipe.exists() { Err(error) } else { Ok(()) })?;
            let output = command.output().context("cannot run nvcc")?;
            let said = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                bail!(
                    "nvcc cannot compile {}:\n{said}{}",
                    self.source.display(),
                    String::from_utf8_lossy(&output.stdout)
                );
            }
            fs::write(&log, said.as_bytes())?;
            fs::write(&recipe, wanted)?;
        }
        let resources = resources::parse(&fs::read_to_string(&log)?)?;
        resources::refuse_local_memory(&resources).map_err(|spills| anyhow!("{}: {spills}", self.source.display()))?;
        Ok(Module { name, fatbin, resources })
    }

    fn command(&self, archs: &[String], fatbin: &Path, depends: &Path) -> Command {
        let mut nvcc = Command::new(&self.nvcc.path);
        // The software GPU reads the PTX, so it stays uncompressed. Only device code is made: any host compiler will do.
        nvcc.args(["-fatbin", "-O3", "-std=c++17", "-lineinfo", "--no-compress", "-allow-unsupported-compiler"]);
        nvcc.args(["-Xptxas", "-v", "-Werror", "all-warnings"]);
        for arch in archs {
            nvcc.arg("-gencode").arg(format!("arch=compute_{arch},code=sm_{arch}"));
        }
        nvcc.arg("-gencode").arg(format!("arch=compute_{PTX},code=compute_{PTX}"));
        nvcc.arg("-MD").arg("-MF").arg(depends).arg("-o").arg(fatbin).arg(self.source);
        nvcc
    }

    /// Whether `made` is newer than the source and every header of ours it includes. (nvcc's own belong to its version.)
    fn is_newer(&self, made: &Path, depends: &Path) -> bool {
        let time = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
        let (Some(made), Ok(depends)) = (time(made), fs::read_to_string(depends)) else { return false };
        let files = depends.split_whitespace().map(Path::new).filter(|path| path.starts_with(self.kernels));
        files.map(time).all(|time| time.is_some_and(|time| time < made))
    }
}
