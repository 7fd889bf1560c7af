//! Files that are at every moment either as they were or complete.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What a file is called while it is being written, appended to its name.
pub(super) const TEMPORARY: &str = ".tmp";

/// Writes what `body` writes to `path`: to a temporary name beside it, fsynced, renamed, the folder fsynced.
///
/// # Errors
/// [`Error::Io`] naming `path`; the temporary file is removed and a file that was at `path` is untouched.
pub(crate) fn write(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    let temporary = PathBuf::from(name);
    replace(path, &temporary, body).map_err(|source| {
        // Already failing: a temporary file that cannot be removed either is swept up by the next save.
        let _ = fs::remove_file(&temporary);
        let message = format!("could not be written, what was there before is untouched: {source}");
        Error::io(path, io::Error::new(source.kind(), message))
    })
}

fn replace(path: &Path, temporary: &Path, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(temporary)?);
    body(&mut file)?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    fs::rename(temporary, path)?;
    sync_folder(path)
}

/// Makes the rename itself survive a power cut.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
