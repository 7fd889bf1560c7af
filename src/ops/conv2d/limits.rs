//! The shapes that the CUDA kernels take.

use super::{Conv2d, phase_taps};
use crate::device::cpu::conv::ConvShape;
use crate::error::{Error, Result};
use crate::op::Op;

/// The taps for whose bits a register has room.
const MOST_TAPS: u32 = 32;

/// The rows and columns for which half a register has room.
const MOST_PIXELS: usize = 1 << 14;

/// What the CUDA kernels have room for in a register.
pub(super) fn check_cuda(s: &ConvShape) -> Result<()> {
    let fail = |message: String| Err(Error::shape(Conv2d::NAME, message));
    let (kernel, sides) = ([s.kernel_h, s.kernel_w], [s.in_h, s.in_w, s.out_h, s.out_w]);
    let weight = s.out_c * s.in_c * s.kernel_h * s.kernel_w;
    for elements in [s.batch * s.in_h * s.in_w * s.in_c, s.batch * s.out_h * s.out_w * s.out_c, weight] {
        if i32::try_from(elements).is_err() {
            return fail(format!("on CUDA a tensor has less than 2³¹ elements, not {elements}"));
        }
    }
    if sides.iter().any(|&side| side >= MOST_PIXELS) {
        return fail(format!("on CUDA images have less than {} rows and columns, not {sides:?}", MOST_PIXELS));
    }
    // See `outside_unless` in kernels/conv2d_weight.cu: a slab has 32 rows at most, and K runs over those that the last one lacks.
    for [height, width, channels] in [[s.in_h, s.in_w, s.in_c], [s.out_h, s.out_w, s.out_c]] {
        let chunks = (height + 32 * s.stride + s.kernel_h) * width * channels.div_ceil(4);
        if chunks >= 1 << 30 {
            return fail(format!("on CUDA {width} pixels of {channels} channels are too long a row"));
        }
    }
    let taps = if s.upsample { kernel.map(|side| 2 * phase_taps(side as u32)) } else { kernel.map(|side| side as u32) };
    let patches = s.pad_top == 0 && s.pad_left == 0 && (s.out_h - 1) * s.stride + s.kernel_h <= s.in_h;
    let patches =
        patches && (s.out_w - 1) * s.stride + s.kernel_w <= s.in_w && kernel.iter().all(|&side| side <= s.stride);
    if taps[0] * taps[1] > MOST_TAPS && !patches {
        let message = "on CUDA a kernel that is larger than its stride, or than the image, has at most";
        return fail(format!("{message} {} taps, not {kernel:?}", MOST_TAPS));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::dtype::DType;
    use crate::ops::conv2d::Padding;
    use crate::tensor::Tensor;

    #[test]
    fn rows_are_no_longer_than_cuda_can_tell_apart() {
        let device = Device::plan();
        let forward = |width: usize| {
            let x = Tensor::uninit(&device, &[1, 1, width, 1 << 16], DType::Bf16)?;
            let weight = Tensor::uninit(&device, &[8, 1, 1, 1 << 16], DType::Bf16)?;
            let absent = Tensor::absent(&device)?;
            let conv = Conv2d { stride: 1, padding: Padding::NONE, upsample: false };
            conv.forward([&x, &weight, &absent, &absent]).map(drop)
        };
        forward(1 << 8).unwrap();
        let message = forward(1 << 12).unwrap_err().to_string();
        assert!(message.contains("on CUDA 4096 pixels of 65536 channels"), "{message}");
    }
}
