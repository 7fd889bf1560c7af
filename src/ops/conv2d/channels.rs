//! Channels appended or taken away: on CUDA the tensors of convolutions have channels in multiples of 16 bytes. Parameters that
//! have more in memory than in files ([`Init::padded`](crate::nn::Init::padded)) are made in the same way, on every device.

use super::cpu;
use crate::device::cpu::conv::ConvShape;
use crate::device::{CudaKernel, Geometry, Kernel};
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

pub(super) const CHANNELS: Kernel<params::Conv2dChannels, 1, 1> = Kernel {
    name: "conv2d_channels",
    reads: ["x"],
    writes: ["y"],
    cpu: cpu::channels,
    cuda: Some(CudaKernel::new("conv2d_channels", |p, math| Geometry::elementwise(p.rows * p.to, math))),
};

/// The convolution with more channels, of which the further ones are zero. A CPU needs none.
pub(super) fn widened(s: &ConvShape, x: &Tensor) -> ConvShape {
    let bytes = x.dtype().size();
    let widened = |channels: usize| match x.device().is_cpu() || (channels * bytes).is_multiple_of(16) {
        true => channels,
        // A pixel of a single chunk would be half a sector of memory.
        false => channels.next_multiple_of(32 / bytes),
    };
    ConvShape { in_c: widened(s.in_c), out_c: widened(s.out_c), ..*s }
}

/// The first of `x`'s rows of `from` channels with `to` of them each, as a tensor of this shape. On CUDA one of the two numbers is a multiple
/// of 16 bytes, the larger one.
pub(crate) fn with_channels(x: &Tensor, from: usize, to: usize, shape: &[usize]) -> Result<Tensor> {
    if x.is_absent() || x.shape() == shape {
        return Ok(x.clone());
    }
    let mut y = Tensor::uninit(x.device(), shape, x.dtype())?;
    let rows = y.numel() / to;
    let p = params::Conv2dChannels { rows: rows as u32, from: from as u32, to: to as u32, ..Default::default() };
    x.device().launch(&CHANNELS, p, [x], [&mut y])?;
    Ok(y)
}

/// The weight of convolution `from`, or its gradient, as that of `to`.
pub(super) fn with_weight_channels(weight: &Tensor, from: &ConvShape, to: &ConvShape) -> Result<Tensor> {
    let taps = from.kernel_h * from.kernel_w;
    let shape = |outputs| [outputs, from.kernel_h, from.kernel_w, to.in_c];
    // Where inputs change, outputs that are not wanted are left behind at once.
    let outputs = if from.in_c == to.in_c { from.out_c } else { from.out_c.min(to.out_c) };
    let weight = with_channels(weight, from.in_c, to.in_c, &shape(outputs))?;
    with_channels(&weight, outputs * taps * to.in_c, to.out_c * taps * to.in_c, &shape(to.out_c))
}
