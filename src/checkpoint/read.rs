//! Reading checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use serde_json::Value;

use super::{FORMAT, METADATA_KEY};
use crate::device::mmap;
use crate::error::{Error, Result};

/// A checkpoint opened for reading; tensors are read from the mapped file when asked for.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Mmap,
    tensors: Metadata,
    /// Where the first tensor starts in the file.
    start: usize,
    document: Document,
}

#[derive(Debug, Deserialize)]
struct Document {
    format: u64,
    version: String,
    step: u64,
    state: Value,
}

impl Checkpoint {
    /// Opens a checkpoint and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened; [`Error::Checkpoint`] if it is truncated, not a safetensors file, not a
    /// checkpoint, of a newer version, or holds something else than f32.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let wrong = |message: String| Error::Checkpoint(format!("{} {message}", path.display()));
        let file = mmap::map_file(path)?;
        let (header, tensors) =
            SafeTensors::read_metadata(&file).map_err(|error| wrong(explain(&error, file.len())))?;
        let text = tensors.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let text = text.ok_or_else(|| wrong("holds no training state: it is not a checkpoint of vf-engine".into()))?;
        let document: Document =
            serde_json::from_str(text).map_err(|error| wrong(format!("has a damaged training state: {error}")))?;
        if document.format > FORMAT {
            return Err(wrong(format!(
                "was written by vf-engine {} in format {}, but this version reads formats up to {FORMAT}",
                document.version, document.format
            )));
        }
        if let Some((name, info)) = by_name(&tensors).into_iter().find(|(_, info)| info.dtype != Dtype::F32) {
            return Err(wrong(format!("holds {name} as {:?}, but a checkpoint's tensors are F32", info.dtype)));
        }
        Ok(Checkpoint { path: path.to_owned(), start: 8 + header, file, tensors, document })
    }

    /// The number of optimizer steps done.
    pub fn step(&self) -> u64 {
        self.document.step
    }

    /// What was saved as [`Snapshot::state`](super::Snapshot::state).
    pub fn state(&self) -> &Value {
        &self.document.state
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        by_name(&self.tensors).into_keys().collect()
    }

    /// A tensor's shape and its values, row-major.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let info = self.tensors.info(name).ok_or_else(|| self.wrong(format!("lacks the tensor {name}")))?;
        let (from, to) = info.data_offsets;
        let bytes = &self.file[self.start + from..self.start + to];
        let values = bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        Ok((info.shape.clone(), values))
    }

    /// Checks that the checkpoint holds exactly the tensors `expected`, by name and shape.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and the first tensor that is missing, unexpected or of another shape.
    pub fn expect<'a>(&self, expected: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<()> {
        let mut found = by_name(&self.tensors);
        for (name, shape) in expected {
            let info = found.remove(name).ok_or_else(|| self.wrong(format!("lacks the tensor {name}")))?;
            if info.shape != shape {
                return Err(
                    self.wrong(format!("holds {name} of shape {:?}, but the model needs {shape:?}", info.shape))
                );
            }
        }
        match found.keys().next() {
            Some(name) => Err(self.wrong(format!("holds the tensor {name}, which the model does not have"))),
            None => Ok(()),
        }
    }

    fn wrong(&self, message: String) -> Error {
        Error::Checkpoint(format!("{} {message}", self.path.display()))
    }
}

fn by_name(tensors: &Metadata) -> BTreeMap<String, &TensorInfo> {
    tensors.tensors().into_iter().collect()
}

fn explain(error: &SafeTensorError, length: usize) -> String {
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            format!("is truncated or damaged: its {length} bytes are not what its header announces")
        }
        other => format!("is not a safetensors file: {other}"),
    }
}
