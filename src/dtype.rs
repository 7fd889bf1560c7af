//! Element types of tensors.

use std::fmt;

use serde::Serialize;

/// The element type of a [`Tensor`](crate::tensor::Tensor).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// 32-bit float: master weights, statistics, reductions, and everything on the CPU.
    F32,
    /// bfloat16: activations and compute weights on CUDA.
    Bf16,
    /// 32-bit unsigned integer: labels and indices.
    U32,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::Bf16 => 2,
        }
    }

    /// The suffix of a CUDA entry point, as in `rms_norm_fwd_bf16`.
    pub fn suffix(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::U32 => "u32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suffix())
    }
}
