//! Checks of shapes that the ops share: what does not fit is an error that names the tensor and what was expected.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// (rows, columns) of a tensor that has elements, the last dimension as columns.
pub(super) fn matrix(op: &'static str, name: &str, tensor: &Tensor) -> Result<(usize, usize)> {
    if tensor.shape().is_empty() || tensor.numel() == 0 || u32::try_from(tensor.numel()).is_err() {
        let message = format!("{name} has shape {:?}, expected 1 to 2³² − 1 elements", tensor.shape());
        return Err(Error::shape(op, message));
    }
    Ok(tensor.rows_cols())
}

/// That a tensor has exactly this shape.
pub(super) fn shape(op: &'static str, name: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(Error::shape(op, format!("{name} has shape {:?}, expected {expected:?}", tensor.shape())))
}

/// That a tensor has this dtype: a GPU's kernel takes its word for it.
pub(super) fn dtype(op: &'static str, name: &str, tensor: &Tensor, expected: DType) -> Result<()> {
    if tensor.dtype() == expected {
        return Ok(());
    }
    Err(Error::shape(op, format!("{name} is {}, expected {expected}", tensor.dtype())))
}

/// That a vector of parameters has this length, and is f32: parameters that are no matrices are, whatever the op computes in.
pub(super) fn parameters(op: &'static str, name: &str, tensor: &Tensor, length: usize) -> Result<()> {
    shape(op, name, tensor, &[length])?;
    if tensor.dtype() == DType::F32 {
        return Ok(());
    }
    Err(Error::shape(op, format!("{name} is {}, expected f32 as all vectors of parameters", tensor.dtype())))
}

/// As [`parameters`], of an optional vector.
pub(super) fn optional_parameters(op: &'static str, name: &str, tensor: &Tensor, length: usize) -> Result<()> {
    if tensor.is_absent() { Ok(()) } else { parameters(op, name, tensor, length) }
}

/// That an optional tensor is absent or has exactly this shape.
pub(super) fn optional(op: &'static str, name: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.is_absent() { Ok(()) } else { shape(op, name, tensor, expected) }
}

/// The rows of `x` (B, .., C) that each row of a tensor (B, C) serves.
pub(super) fn rows_per_batch(op: &'static str, name: &str, tensor: &Tensor, x: &Tensor) -> Result<usize> {
    let (rows, cols) = matrix(op, "x", x)?;
    let batch = x.shape()[0];
    shape(op, name, tensor, &[batch, cols])?;
    Ok(rows / batch)
}

/// As [`rows_per_batch`] of those of (scale, shift) that are there; all rows where neither is.
pub(super) fn modulation(op: &'static str, scale: &Tensor, shift: &Tensor, x: &Tensor) -> Result<usize> {
    let mut rows = matrix(op, "x", x)?.0;
    for (name, tensor) in [("scale", scale), ("shift", shift)] {
        if !tensor.is_absent() {
            rows = rows_per_batch(op, name, tensor, x)?;
        }
    }
    Ok(rows)
}

/// That rows of `cols` elements start at multiples of 16 bytes where the device is a GPU, whose kernels read 16 at a time.
pub(super) fn aligned(op: &'static str, what: &str, cols: usize, x: &Tensor) -> Result<()> {
    let step = 16 / x.dtype().size();
    if x.device().is_cpu() || cols.is_multiple_of(step) {
        return Ok(());
    }
    Err(Error::shape(op, format!("{what} is {cols}; on CUDA it must be a multiple of {step} for {}", x.dtype())))
}
