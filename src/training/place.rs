//! The folder of a run: what lies where, and what is there already.

use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::error::{Error, Result};

/// The folder of a run's checkpoints, in the run's own.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of a run's sample grids.
pub const GRIDS: &str = "grids";
/// The effective configuration of a run.
pub const CONFIG: &str = "config.yaml";

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In a folder that holds no run yet.
    New,
    /// From the last checkpoint in the folder.
    Resume,
}

/// Where a run finds what is there, and leaves what it makes.
pub struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) latest: Option<PathBuf>,
}

impl<'a> Place<'a> {
    /// The folder `out`, made where it is not there.
    ///
    /// # Errors
    /// A folder that holds a run where a new one begins, or none where one goes on.
    pub fn prepare(out: &'a Path, start: Start) -> Result<Place<'a>> {
        let checkpoints = out.join(CHECKPOINTS);
        for folder in [&checkpoints, &out.join(GRIDS)] {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let latest = checkpoint::latest(&checkpoints)?;
        match (start, &latest) {
            (Start::New, Some(_)) => {
                let out = out.display();
                let message = format!("{out} holds a run already: go on with --resume {out}, or choose another --out");
                Err(Error::Config(message))
            }
            (Start::Resume, None) => {
                let message = format!("{} holds no checkpoint to go on from", checkpoints.display());
                Err(Error::Checkpoint(message))
            }
            _ => Ok(Place { folder: out, latest }),
        }
    }
}

/// The folder of the run at `path` and a checkpoint in it: the latest, or the one that `path` is.
///
/// # Errors
/// A folder without a checkpoint, or a checkpoint whose run is not around it.
pub fn locate(path: &Path) -> Result<(PathBuf, PathBuf)> {
    if path.is_dir() {
        let checkpoints = path.join(CHECKPOINTS);
        let latest = if checkpoints.is_dir() { checkpoint::latest(&checkpoints)? } else { None };
        let latest = latest.ok_or_else(|| {
            Error::Checkpoint(format!("{} is not the folder of a run: it holds no checkpoint", path.display()))
        })?;
        return Ok((path.to_path_buf(), latest));
    }
    let run = path.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_path_buf();
    match run.join(CONFIG).exists() {
        true => Ok((run, path.to_path_buf())),
        false => {
            let path = path.display();
            Err(Error::Checkpoint(format!("{path}: there is no {CONFIG} in the run's folder, two above it")))
        }
    }
}
