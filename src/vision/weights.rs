//! Weight files of frozen models: named tensors that are taken one by one, until none is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::device::mmap::map_file;
use crate::error::{Error, Result};

/// The tensors of a safetensors file, as f32.
///
/// A model [`take`](Weights::take)s what it needs, which checks names and shapes, and then calls
/// [`finish`](Weights::finish), so that a tensor which the model would silently ignore is an error.
pub struct Weights {
    path: PathBuf,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    /// Reads a safetensors file of f32, f16 or bf16 tensors.
    ///
    /// # Errors
    /// Names the file when it cannot be read, is truncated or is not safetensors, and the tensor
    /// when it has another dtype.
    pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
        let path = path.as_ref();
        let bytes = map_file(path)?;
        let broken = |error: safetensors::SafeTensorError| {
            let what = format!("{} is not a whole safetensors file ({error})", path.display());
            Error::Checkpoint(format!("{what}: fetch or convert it again"))
        };
        let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = widen(&view).ok_or_else(|| {
                let what = format!("{}: {name} holds {:?}", path.display(), view.dtype());
                Error::Checkpoint(format!("{what}, and weights are read from F32, F16 or BF16 only"))
            })?;
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        Ok(Weights { path: path.to_path_buf(), metadata, tensors })
    }

    /// Tensors that come from elsewhere: name, shape and row-major values. `origin` stands for the
    /// file in messages.
    pub fn from_tensors(
        origin: impl Into<PathBuf>,
        tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    ) -> Weights {
        let tensors = tensors.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect();
        Weights { path: origin.into(), metadata: BTreeMap::new(), tensors }
    }

    /// A value of the file's own metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Whether there is a tensor of this name that has not been taken.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor with `N` dimensions.
    ///
    /// # Errors
    /// Names the file and the tensor when it is missing or has another number of dimensions.
    pub fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let (shape, _) = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        shape[..].try_into().map_err(|_| self.error(format!("{name} has shape {shape:?}, and needs {N} dimensions")))
    }

    /// Removes and returns the row-major values of a tensor, which must have this shape.
    ///
    /// # Errors
    /// Names the file and the tensor when it is missing or has another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (found, values) = self.tensors.remove(name).ok_or_else(|| self.missing(name))?;
        if found != shape || values.len() != shape.iter().product::<usize>() {
            return Err(self.error(format!("{name} has shape {found:?}, and the rest of the model needs {shape:?}")));
        }
        Ok(values)
    }

    /// Drops the tensors whose names start with one of `prefixes`: parts of a training
    /// checkpoint that play no role in the forward pass.
    pub fn ignore(&mut self, prefixes: &[&str]) {
        self.tensors.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
    }

    /// Checks that nothing was left over.
    ///
    /// # Errors
    /// Names the file and the tensors that nobody took.
    pub fn finish(self) -> Result<()> {
        let Some((first, _)) = self.tensors.first_key_value() else { return Ok(()) };
        let more = match self.tensors.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Err(self.error(format!("{first}{more} has no place in this model: these are weights of another architecture")))
    }

    /// A complaint about this file.
    pub fn error(&self, message: impl AsRef<str>) -> Error {
        Error::Checkpoint(format!("{}: {}", self.path.display(), message.as_ref()))
    }

    fn missing(&self, name: &str) -> Error {
        self.error(format!("{name} is missing: timm's names for a ViT in DINOv2 or MAE style are expected"))
    }
}

fn widen(view: &TensorView) -> Option<Vec<f32>> {
    let data = view.data();
    // The mapped bytes are not aligned to the element: safetensors only aligns to one byte.
    let pairs = || data.chunks_exact(2).map(|b| [b[0], b[1]]);
    match view.dtype() {
        Dtype::F32 => Some(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}
