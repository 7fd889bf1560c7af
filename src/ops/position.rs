//! The fixed position embedding of diffusion transformers: no op, a table made once.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The base of the geometric series of frequencies.
const THETA: f64 = 10_000.0;

/// The 2-D sine-cosine table (height·width, dim) of MAE and DiT: the token's column in the first half, its row in the
/// second; each half is the sines, then the cosines, of place·10000^(−i / (dim/4)).
///
/// # Errors
/// When `dim` is not a positive multiple of 4, or the grid is empty.
pub fn sincos_table(device: &Device, dim: usize, height: usize, width: usize) -> Result<Tensor> {
    if dim == 0 || !dim.is_multiple_of(4) || height * width == 0 {
        let message = format!("width {dim} must be a positive multiple of 4, and the grid {height}×{width} not empty");
        return Err(Error::shape("sincos_table", message));
    }
    let quarter = dim / 4;
    let value = |at: usize| {
        let (token, channel) = (at / dim, at % dim);
        let place = if channel < 2 * quarter { token % width } else { token / width };
        let angle = place as f64 * THETA.powf(-((channel % quarter) as f64) / quarter as f64);
        (if (channel / quarter).is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
    };
    let values: Vec<f32> = (0..height * width * dim).map(value).collect();
    Tensor::from_slice(device, &[height * width, dim], &values)
}
