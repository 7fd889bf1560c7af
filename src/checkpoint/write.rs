//! Writing checkpoints and weights.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{FORMAT, METADATA_KEY, atomic, file_name, leftovers, list};
use crate::error::{Error, Result};

/// A tensor to be written: its name, its shape, and how to get its values.
pub struct Entry<'a> {
    name: String,
    shape: Vec<usize>,
    read: Box<dyn Fn() -> Result<Cow<'a, [f32]>> + 'a>,
}

impl<'a> Entry<'a> {
    /// A tensor that lies in memory, row-major.
    pub fn new(name: impl Into<String>, shape: &[usize], values: &'a [f32]) -> Entry<'a> {
        Entry { name: name.into(), shape: shape.to_vec(), read: Box::new(move || Ok(Cow::Borrowed(values))) }
    }

    /// A tensor that `read` fetches when its turn comes, so that one tensor at a time is copied from a device.
    pub fn lazy(name: impl Into<String>, shape: &[usize], read: impl Fn() -> Result<Vec<f32>> + 'a) -> Entry<'a> {
        Entry { name: name.into(), shape: shape.to_vec(), read: Box::new(move || read().map(Cow::Owned)) }
    }
}

/// What a checkpoint holds.
pub struct Snapshot<'a> {
    /// The number of optimizer steps done.
    pub step: u64,
    /// All tensors; names must differ.
    pub tensors: Vec<Entry<'a>>,
    /// Everything else: configuration, random number counters, data position. Numbers keep their bits, but JSON
    /// has no NaN or infinity (they become null).
    pub state: Value,
}

/// Saves a checkpoint in the folder `run` and removes the oldest ones, so that `keep_last` (none: all) are left.
/// The one just saved and files that are not checkpoints are never removed.
///
/// # Errors
/// [`Error::Io`] naming the file, e.g. on a full disk; [`Error::Checkpoint`] for names or shapes that cannot be. Earlier
/// checkpoints are untouched then.
pub fn save(run: &Path, snapshot: &Snapshot, keep_last: Option<usize>) -> Result<PathBuf> {
    let path = run.join(file_name(snapshot.step));
    let document = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "step": snapshot.step,
        "state": snapshot.state,
    });
    write_file(&path, &snapshot.tensors, &json!({ METADATA_KEY: document.to_string() }))?;
    prune(run, &path, keep_last)?;
    Ok(path)
}

/// Writes tensors alone to `path`, for other programs: nothing but names, shapes and values.
///
/// # Errors
/// As [`save`].
pub fn export(path: &Path, tensors: &[Entry]) -> Result<()> {
    // Readers in Python ask for the framework whose layout the tensors have.
    write_file(path, tensors, &json!({ "format": "pt" }))
}

fn write_file(path: &Path, tensors: &[Entry], metadata: &Value) -> Result<()> {
    let header = header(path, tensors, metadata)?;
    atomic::write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|entry| write_values(file, entry))
    })
}

/// The safetensors header: names, shapes and offsets, padded to 8 bytes. The `safetensors` crate's own writer has no place
/// for a tensor that cannot be fetched.
fn header(path: &Path, tensors: &[Entry], metadata: &Value) -> Result<Vec<u8>> {
    let mut header = serde_json::Map::from_iter([("__metadata__".to_owned(), metadata.clone())]);
    let mut names = HashSet::new();
    let mut start = 0;
    for Entry { name, shape, .. } in tensors {
        if name == "__metadata__" || !names.insert(name) {
            return Err(Error::Checkpoint(format!("{}: two tensors cannot both be called {name}", path.display())));
        }
        let end = start + size_of::<f32>() * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }));
        start = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

fn write_values(file: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let values = (entry.read)().map_err(|error| io::Error::other(format!("{}: {error}", entry.name)))?;
    if values.len() != entry.shape.iter().product::<usize>() {
        let message =
            format!("{} has {} values, which do not fit the shape {:?}", entry.name, values.len(), entry.shape);
        return Err(io::Error::other(message));
    }
    if cfg!(target_endian = "little") {
        file.write_all(bytemuck::cast_slice(&values))
    } else {
        values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
    }
}

fn prune(run: &Path, saved: &Path, keep_last: Option<usize>) -> Result<()> {
    let mut stale = leftovers(run)?;
    if let Some(keep) = keep_last {
        let others: Vec<_> = list(run)?.into_iter().map(|(_, path)| path).filter(|path| path != saved).collect();
        stale.extend_from_slice(&others[..others.len().saturating_sub(keep.saturating_sub(1))]);
    }
    stale.iter().try_for_each(|path| fs::remove_file(path).map_err(|source| Error::io(path, source)))
}
