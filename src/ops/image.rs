//! Images as they come out of files: bytes are uploaded, a quarter of what f32 would be, and made y = byte / 127.5 − 1 where they are
//! needed.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values};
use crate::device::{CudaKernel, Device, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::params;
use crate::tensor::Tensor;

const IMAGE: Kernel<params::Image, 1, 1> = Kernel {
    name: "image",
    reads: ["bytes"],
    writes: ["y"],
    cpu: image_cpu,
    cuda: Some(CudaKernel::new("image", |p, math| Geometry::elementwise(p.count, math))),
};

/// Elements per parallel task.
const GRAIN: usize = 1 << 14;

/// Images (B, H, W, C) in [−1, 1] of their bytes.
///
/// # Errors
/// When there is not a byte for every element of `shape`.
pub fn from_bytes(device: &Device, shape: &[usize], dtype: DType, bytes: &[u8]) -> Result<Tensor> {
    if bytes.len() != shape.iter().product::<usize>() {
        return Err(Error::shape("image", format!("{} bytes do not fill shape {shape:?}", bytes.len())));
    }
    let mut words = vec![0u32; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    normalize(&Tensor::from_u32(device, &[words.len()], &words)?, shape, dtype)
}

/// The same of bytes that are on the device, four to a word, the lowest first.
fn normalize(words: &Tensor, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let count = shape.iter().product::<usize>();
    if words.dtype() != DType::U32 || words.numel() != count.div_ceil(4) {
        return Err(Error::shape("image", format!("{words:?} does not hold {count} bytes")));
    }
    let mut y = Tensor::uninit(words.device(), shape, dtype)?;
    let p = params::Image { count: count as u32, ..Default::default() };
    words.device().launch(&IMAGE, p, [words], [&mut y])?;
    Ok(y)
}

fn image_cpu(_: &params::Image, [words]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let bytes: &[u8] = bytemuck::cast_slice(words);
    y.par_chunks_mut(GRAIN).zip(bytes.par_chunks(GRAIN)).for_each(|(y, bytes)| {
        for (y, byte) in y.iter_mut().zip(bytes) {
            *y = f32::from(*byte) / 127.5 - 1.0;
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![IMAGE.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label, shape: [usize; 4], bench| {
        let count = shape.iter().product::<usize>();
        Case {
            op: "image",
            label,
            inputs: vec![
                Input::normal("words", &[count.div_ceil(4)]).values(Values::Below(u32::MAX)).constant(),
                // What the dtype of the result is.
                Input::normal("like", &[1]).constant(),
            ],
            settings: vec![("height", shape[1] as f64), ("width", shape[2] as f64), ("channels", shape[3] as f64)],
            run: Box::new(move |tape, x| {
                Ok(vec![tape.constant(normalize(x[0].value(), &shape, x[1].value().dtype())?)])
            }),
            tolerance: Tolerance::ELEMENTWISE,
            flops: 2 * count as u64,
            bytes: 5 * count as u64,
            bench,
        }
    };
    vec![
        case("odd shapes", [1, 5, 7, 3], false),
        case("part of a block", [1, 17, 13, 3], false),
        case("an image of f16d32", [1, 256, 256, 3], true),
    ]
}
