//! 2-D convolution of channels-last images, with zero padding of each side by its own amount:
//! `y[b, i, j, o] = residual[b, i, j, o] + bias[o] + Σ_{u, v, c} x[b, stride·i + u − top, stride·j + v − left, c]·weight[o, u, v, c]`.
//!
//! With `upsample` x is read as its nearest-neighbour ×2 upsample, which is never written. Backward applies the
//! transposes: dx gathers dy through the weights, dweight sums x·dy over pixels, dbias sums dy.
//!
//! On CUDA the convolution of an upsample is four convolutions of x with sums of weights, one for each parity of y's rows and columns; see
//! `kernels/conv2d.h`.

/// The scalars of a parameter struct from a [`ConvShape`] and a device, and back.
macro_rules! geometry {
    ($params:ident of $s:expr, on $device:expr) => {
        params::$params {
            batch: $s.batch as u32,
            height: $s.in_h as u32,
            width: $s.in_w as u32,
            inputs: $s.in_c as u32,
            outputs: $s.out_c as u32,
            kernel_height: $s.kernel_h as u32,
            kernel_width: $s.kernel_w as u32,
            stride: $s.stride as u32,
            top: $s.pad_top as u32,
            left: $s.pad_left as u32,
            out_height: $s.out_h as u32,
            out_width: $s.out_w as u32,
            upsample: u32::from($s.upsample),
            phased: u32::from($s.upsample && !$device.is_cpu()),
            ..Default::default()
        }
    };
    (of $p:expr) => {
        ConvShape {
            batch: $p.batch as usize,
            in_h: $p.height as usize,
            in_w: $p.width as usize,
            in_c: $p.inputs as usize,
            out_h: $p.out_height as usize,
            out_w: $p.out_width as usize,
            out_c: $p.outputs as usize,
            kernel_h: $p.kernel_height as usize,
            kernel_w: $p.kernel_width as usize,
            stride: $p.stride as usize,
            pad_top: $p.top as usize,
            pad_left: $p.left as usize,
            upsample: $p.upsample == 1,
        }
    };
}

mod cases;
mod channels;
mod cpu;
mod limits;
mod tiles;

pub(super) use cases::cases;

use super::check;
use crate::device::cpu::conv::ConvShape;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;
pub(crate) use channels::with_channels;
use channels::{CHANNELS, widened, with_weight_channels};
use limits::check_cuda;
use tiles::{Gather, WeightTiles, statistics_parts};

/// A convolution: x (B, H, W, I), weight (O, kh, kw, I), bias (O) or absent, residual (as the result) or absent →
/// (B, H′, W′, O) with H′ = (H + top + bottom − kh)/stride + 1 rounded down (2H for H with `upsample`), and W′ likewise.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d {
    /// Pixels of x per pixel of y, in both directions.
    pub stride: usize,
    /// Zeros around x (around its upsample with `upsample`).
    pub padding: Padding,
    /// Doubles x by nearest neighbour first; needs stride 1.
    pub upsample: bool,
}

/// A convolution before a group norm: → y, and its statistics for [`GroupNorm`](super::group_norm::GroupNorm), (B, parts, groups, 2) f32. They
/// are absent on the CPU, and on CUDA where they would not come for free; they carry no gradient.
#[derive(Debug, Clone, Copy)]
pub struct Conv2dBeforeNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// The norm's groups of neighbouring channels.
    pub groups: usize,
}

/// Rows and columns of zeros around an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// No padding.
    pub const NONE: Padding = Padding::all(0);

    /// The same on all sides.
    pub const fn all(pixels: usize) -> Padding {
        Padding { top: pixels, left: pixels, bottom: pixels, right: pixels }
    }
}

const FWD: Kernel<params::Conv2dFwd, 4, 2> = Kernel {
    name: "conv2d_fwd",
    reads: ["x", "weight", "bias", "residual"],
    writes: ["y", "statistics"],
    cpu: cpu::fwd,
    cuda: Some(
        CudaKernel::new("conv2d", |p: &params::Conv2dFwd, math| gather(&Gather::forward(p), p.tile, math)).with_tf32(),
    ),
};

const BWD_DATA: Kernel<params::Conv2dBwdData, 2, 1> = Kernel {
    name: "conv2d_bwd_data",
    reads: ["dy", "weight"],
    writes: ["dx"],
    cpu: cpu::bwd_data,
    cuda: Some(
        CudaKernel::new("conv2d", |p: &params::Conv2dBwdData, math| gather(&Gather::backward(p), p.tile, math))
            .with_tf32(),
    ),
};

const BWD_WEIGHT: Kernel<params::Conv2dBwdWeight, 2, 2> = Kernel {
    name: "conv2d_bwd_weight",
    reads: ["x", "dy"],
    writes: ["dweight", "dbias"],
    cpu: cpu::bwd_weight,
    cuda: Some(
        CudaKernel::new("conv2d_weight", |p: &params::Conv2dBwdWeight, math| Geometry {
            grid: [WeightTiles::of(p).count(p.tile, math), p.splits, 1],
            block: [params::MATRIX_THREADS, 1, 1],
            shared_bytes: params::MATRIX_SHARED,
        })
        .with_tf32(),
    ),
};

const BWD_WEIGHT_SUM: Kernel<params::Conv2dBwdWeightSum, 2, 2> = Kernel {
    name: "conv2d_bwd_weight_sum",
    reads: ["parts", "bias_parts"],
    writes: ["dweight", "dbias"],
    cpu: cpu::bwd_weight_sum,
    cuda: Some(CudaKernel::new("conv2d_weight", |p, _| {
        each(p.outputs * p.kernel_height * p.kernel_width * p.inputs / 4 + p.outputs)
    })),
};

const PHASES: Kernel<params::Conv2dPhases, 1, 1> = Kernel {
    name: "conv2d_phases",
    reads: ["weight"],
    writes: ["phases"],
    cpu: cpu::phases,
    cuda: Some(CudaKernel::new("conv2d_weight", |p, math| {
        each(4 * p.outputs * phase_taps(p.kernel_height) * phase_taps(p.kernel_width) * p.inputs / math.lanes())
    })),
};

/// A block for each tile; behind the slabs lies a row's pixel for each row, and the taps and one more.
fn gather(g: &Gather, tile: u32, math: Math) -> Geometry {
    let [rows, _] = tiles::shape(tile, math);
    Geometry {
        grid: [g.tiles(tile, math), 1, 1],
        block: [params::MATRIX_THREADS, 1, 1],
        shared_bytes: params::MATRIX_SHARED + 4 * rows + 16 * (g.taps + 1),
    }
}

/// A thread for each.
fn each(threads: u32) -> Geometry {
    let block = params::CONV2D_WEIGHT_THREADS;
    Geometry { grid: [threads.div_ceil(block), 1, 1], block: [block, 1, 1], shared_bytes: 0 }
}

/// Taps along one axis of the convolutions that one through the upsample falls into.
const fn phase_taps(kernel: u32) -> u32 {
    kernel / 2 + 1
}

impl Conv2d {
    fn shape(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<ConvShape> {
        let fail = |message: String| Err(Error::shape(Self::NAME, message));
        let ([batch, in_h, in_w, in_c], [out_c, kernel_h, kernel_w, inputs]) =
            (x.dims::<4>(Self::NAME)?, weight.dims(Self::NAME)?);
        if in_c != inputs {
            return fail(format!(
                "x {:?} has {in_c} channels, but weight {:?} takes {inputs}",
                x.shape(),
                weight.shape()
            ));
        }
        check::optional(Self::NAME, "bias", bias, &[out_c])?;
        if self.stride == 0 || weight.numel() == 0 || x.numel() == 0 {
            return fail(format!(
                "stride {}, x {:?} and weight {:?} must not be empty",
                self.stride,
                x.shape(),
                weight.shape()
            ));
        }
        if self.upsample && self.stride != 1 {
            return fail(format!("upsample needs stride 1, not {}", self.stride));
        }
        let Padding { top, left, bottom, right } = self.padding;
        let zoom = if self.upsample { 2 } else { 1 };
        let (height, width) = (zoom * in_h + top + bottom, zoom * in_w + left + right);
        if height < kernel_h || width < kernel_w {
            return fail(format!("a {kernel_h}×{kernel_w} kernel does not fit into {height}×{width} padded pixels"));
        }
        Ok(ConvShape {
            batch,
            in_h,
            in_w,
            in_c,
            out_h: (height - kernel_h) / self.stride + 1,
            out_w: (width - kernel_w) / self.stride + 1,
            out_c,
            kernel_h,
            kernel_w,
            stride: self.stride,
            pad_top: top,
            pad_left: left,
            upsample: self.upsample,
        })
    }
}

/// What backward of [`Conv2d`] needs.
pub struct Saved {
    x: Tensor,
    /// As the kernels take it.
    weight: Tensor,
    shape: ConvShape,
    /// What the kernels compute; x and weight have its channels.
    wide: ConvShape,
}

impl Op<4> for Conv2d {
    const NAME: &'static str = "conv2d";
    type Saved = Saved;

    fn forward(&self, inputs: [&Tensor; 4]) -> Result<([Tensor; 1], Saved)> {
        let ([y, _], saved) = self.convolve(inputs, None)?;
        Ok(([y], saved))
    }

    fn backward(&self, saved: &Saved, grads: [Option<&Tensor>; 1], needs: [bool; 4]) -> Result<[Option<Tensor>; 4]> {
        gradients(saved, only(grads), needs)
    }
}

impl Op<4, 2> for Conv2dBeforeNorm {
    const NAME: &'static str = "conv2d";
    type Saved = Saved;

    fn forward(&self, inputs: [&Tensor; 4]) -> Result<([Tensor; 2], Saved)> {
        self.conv.convolve(inputs, Some(self.groups))
    }

    fn backward(&self, saved: &Saved, grads: [Option<&Tensor>; 2], needs: [bool; 4]) -> Result<[Option<Tensor>; 4]> {
        let [Some(dy), None] = grads else {
            return Err(Error::Gradient(
                "conv2d: statistics carry no gradient; pass them on as a constant".to_string(),
            ));
        };
        gradients(saved, dy, needs)
    }
}

impl Conv2d {
    /// y, and its statistics of so many groups.
    fn convolve(
        &self,
        [x, weight, bias, residual]: [&Tensor; 4],
        groups: Option<usize>,
    ) -> Result<([Tensor; 2], Saved)> {
        let shape = self.shape(x, weight, bias)?;
        check::optional(Self::NAME, "residual", residual, &output(&shape))?;
        if groups == Some(0) {
            return Err(Error::shape(Self::NAME, "statistics of 0 groups".to_string()));
        }
        let (device, wide) = (x.device(), widened(&shape, x));
        if !device.is_cpu() {
            check_cuda(&wide)?;
        }
        let x = with_channels(x, shape.in_c, wide.in_c, &input(&wide))?;
        let bias = with_channels(bias, shape.out_c, wide.out_c, &[wide.out_c])?;
        let residual = with_channels(residual, shape.out_c, wide.out_c, &output(&wide))?;
        let mut weight = with_weight_channels(weight, &shape, &wide)?;
        if wide.upsample && !device.is_cpu() {
            weight = phases(&weight, &wide)?;
        }
        let mut y = Tensor::uninit(device, &output(&wide), x.dtype())?;
        let mut p = geometry!(Conv2dFwd of wide, on device);
        p.tile = Gather::forward(&p).tile(device.multiprocessors());
        p.groups = groups.map_or(0, |groups| groups as u32);
        let parts = match groups {
            Some(groups) if !device.is_cpu() && wide.out_c == shape.out_c => {
                statistics_parts(&p, groups as u32) as usize
            }
            _ => 0,
        };
        let mut statistics = match parts {
            0 => Tensor::absent(device)?,
            _ => Tensor::uninit(device, &[wide.batch, parts, p.groups as usize, 2], DType::F32)?,
        };
        device.launch(&FWD, p, [&x, &weight, &bias, &residual], [&mut y, &mut statistics])?;
        let y = with_channels(&y, wide.out_c, shape.out_c, &output(&shape))?;
        Ok(([y, statistics], Saved { x, weight, shape, wide }))
    }
}

fn gradients(
    Saved { x, weight, shape, wide }: &Saved,
    upstream: &Tensor,
    needs: [bool; 4],
) -> Result<[Option<Tensor>; 4]> {
    let device = x.device();
    let dy = with_channels(upstream, shape.out_c, wide.out_c, &output(wide))?;
    let mut dx = None;
    if needs[0] {
        let mut p = geometry!(Conv2dBwdData of wide, on device);
        p.tile = Gather::backward(&p).tile(device.multiprocessors());
        let mut of_wide = x.uninit_like()?;
        device.launch(&BWD_DATA, p, [&dy, weight], [&mut of_wide])?;
        dx = Some(with_channels(&of_wide, wide.in_c, shape.in_c, &input(shape))?);
    }
    let [dweight, dbias] = weight_gradient(wide, [x, &dy], [needs[1], needs[2]])?;
    let dweight = dweight.map(|dweight| with_weight_channels(&dweight, wide, shape)).transpose()?;
    let dbias = dbias.map(|dbias| with_channels(&dbias, wide.out_c, shape.out_c, &[shape.out_c])).transpose()?;
    Ok([dx, dweight, dbias, needs[3].then(|| upstream.clone())])
}

fn input(s: &ConvShape) -> [usize; 4] {
    [s.batch, s.in_h, s.in_w, s.in_c]
}

fn output(s: &ConvShape) -> [usize; 4] {
    [s.batch, s.out_h, s.out_w, s.out_c]
}

/// The weights of the four convolutions that one through the upsample falls into.
fn phases(weight: &Tensor, s: &ConvShape) -> Result<Tensor> {
    let p = params::Conv2dPhases {
        inputs: s.in_c as u32,
        outputs: s.out_c as u32,
        kernel_height: s.kernel_h as u32,
        kernel_width: s.kernel_w as u32,
        top: s.pad_top as u32,
        left: s.pad_left as u32,
        ..Default::default()
    };
    let taps = [p.kernel_height, p.kernel_width].map(|kernel| phase_taps(kernel) as usize);
    let mut phases = Tensor::uninit(weight.device(), &[2, 2, s.out_c, taps[0], taps[1], s.in_c], weight.dtype())?;
    weight.device().launch(&PHASES, p, [weight], [&mut phases])?;
    Ok(phases)
}

/// (dweight, dbias), as far as they are needed.
fn weight_gradient(s: &ConvShape, [x, dy]: [&Tensor; 2], needs: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
    if needs == [false; 2] {
        return Ok([None, None]);
    }
    let device = x.device();
    let gradients = |parts: usize, taps: [usize; 2]| -> Result<[Tensor; 2]> {
        let gradient = |shape: &[usize], needed| match needed {
            true => Tensor::uninit(device, shape, DType::F32),
            false => Tensor::absent(device),
        };
        Ok([gradient(&[parts * s.out_c, taps[0], taps[1], s.in_c], needs[0])?, gradient(&[parts * s.out_c], needs[1])?])
    };
    let [mut dweight, mut dbias] = gradients(1, [s.kernel_h, s.kernel_w])?;
    let mut p = geometry!(Conv2dBwdWeight of s, on device);
    // A CPU shares work in its own way.
    (p.tile, p.splits) = match device.is_cpu() {
        true => (0, 1),
        false => WeightTiles::of(&p).share(x.dtype(), device.multiprocessors()),
    };
    if p.splits == 1 && p.phased == 0 {
        device.launch(&BWD_WEIGHT, p, [x, dy], [&mut dweight, &mut dbias])?;
    } else {
        let tiles = WeightTiles::of(&p);
        let taps = [tiles.taps[0] as usize, tiles.taps[1] as usize];
        let [mut parts, mut bias_parts] = gradients((tiles.classes * p.splits) as usize, taps)?;
        device.launch(&BWD_WEIGHT, p, [x, dy], [&mut parts, &mut bias_parts])?;
        let p = params::Conv2dBwdWeightSum {
            inputs: p.inputs,
            outputs: p.outputs,
            kernel_height: p.kernel_height,
            kernel_width: p.kernel_width,
            top: p.top,
            left: p.left,
            phased: p.phased,
            splits: p.splits,
            ..Default::default()
        };
        device.launch(&BWD_WEIGHT_SUM, p, [&parts, &bias_parts], [&mut dweight, &mut dbias])?;
    }
    Ok([needs[0].then_some(dweight), needs[1].then_some(dbias)])
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD_DATA.info(), BWD_WEIGHT.info(), BWD_WEIGHT_SUM.info(), PHASES.info(), CHANNELS.info()]
}
