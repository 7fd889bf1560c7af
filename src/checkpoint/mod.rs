//! Checkpoints: everything a run needs to go on bit for bit, in one safetensors file.
//!
//! `checkpoint_<step>.safetensors` holds the tensors a caller names (`model.*`, `optim.*`, …) as f32 and, in its
//! metadata, a JSON document with the step and the caller's state. Any safetensors reader can open it. It is written under a
//! temporary name, fsynced and renamed, so whatever ends the process, the last complete checkpoint stays loadable.

pub(crate) mod atomic;
mod read;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

pub use read::Checkpoint;
pub use write::{Entry, Snapshot, export, save};

use crate::error::{Error, Result};

/// Version of the metadata document; a reader refuses newer ones.
const FORMAT: u64 = 1;

/// The metadata key under which the document stands.
const METADATA_KEY: &str = "vf_engine";

/// The newest checkpoint in the folder `run`, if there is one.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub fn latest(run: &Path) -> Result<Option<PathBuf>> {
    Ok(list(run)?.pop().map(|(_, path)| path))
}

/// The checkpoints in a folder, by step. Other files, temporary ones among them, do not count.
fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found: Vec<_> = files(run)?.into_iter().filter_map(|path| Some((step_of(&path, "")?, path))).collect();
    found.sort();
    Ok(found)
}

/// What interrupted saves left behind.
fn leftovers(run: &Path) -> Result<Vec<PathBuf>> {
    Ok(files(run)?.into_iter().filter(|path| step_of(path, atomic::TEMPORARY).is_some()).collect())
}

fn files(run: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(run).map_err(|source| Error::io(run, source))?;
    entries.map(|entry| Ok(entry.map_err(|source| Error::io(run, source))?.path())).collect()
}

fn file_name(step: u64) -> String {
    format!("checkpoint_{step:08}.safetensors")
}

/// The step a file name stands for, if it is a checkpoint's name followed by `suffix`.
fn step_of(path: &Path, suffix: &str) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    let step = name.strip_prefix("checkpoint_")?.strip_suffix(".safetensors")?.parse().ok()?;
    (file_name(step) == name).then_some(step)
}
