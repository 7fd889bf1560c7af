//! Files as memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// The bytes of a file, read from disk as they are touched.
///
/// # Errors
/// [`Error::Io`] naming the file when it cannot be opened or mapped.
pub fn map_file(path: impl AsRef<Path>) -> Result<Mmap> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    // SAFETY: a mapped file must not be changed in place while it is mapped. The files that are mapped are
    // checkpoints, weights and cached features, which this engine only ever replaces by renaming a new file over
    // them: a mapping then keeps the old file's bytes. The map is read-only, so nothing is written through it.
    unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))
}
