//! 2-D convolution of channels-last images, with zero padding of each side by its own amount:
//! `y[b, i, j, o] = residual[b, i, j, o] + bias[o] + Σ_{u, v, c} x[b, stride·i + u − top, stride·j + v − left, c]·weight[o, u, v, c]`.
//!
//! With `upsample` x is read as its nearest-neighbour ×2 upsample, which is never written. Backward applies the
//! transposes: dx gathers dy through the weights, dweight sums x·dy over pixels, dbias sums dy.

use super::{Case, Input, Tolerance, Values, check};
use crate::device::cpu::conv::{ConvShape, conv2d_bwd_data, conv2d_bwd_weight, conv2d_fwd};
use crate::device::cpu::rows::add;
use crate::device::{Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

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

const FWD: Kernel<params::Conv2dFwd, 4, 1> = Kernel {
    name: "conv2d_fwd",
    reads: ["x", "weight", "bias", "residual"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: None,
};

const BWD_DATA: Kernel<params::Conv2dBwdData, 2, 1> =
    Kernel { name: "conv2d_bwd_data", reads: ["dy", "weight"], writes: ["dx"], cpu: bwd_data_cpu, cuda: None };

const BWD_WEIGHT: Kernel<params::Conv2dBwdWeight, 2, 2> = Kernel {
    name: "conv2d_bwd_weight",
    reads: ["x", "dy"],
    writes: ["dweight", "dbias"],
    cpu: bwd_weight_cpu,
    cuda: None,
};

/// The scalars of a parameter struct from a [`ConvShape`], and back.
macro_rules! geometry {
    ($params:ident from $s:expr) => {
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
    weight: Tensor,
    shape: ConvShape,
}

impl Op<4> for Conv2d {
    const NAME: &'static str = "conv2d";
    type Saved = Saved;

    fn forward(&self, [x, weight, bias, residual]: [&Tensor; 4]) -> Result<([Tensor; 1], Saved)> {
        let shape = self.shape(x, weight, bias)?;
        let mut y = Tensor::uninit(x.device(), &[shape.batch, shape.out_h, shape.out_w, shape.out_c], x.dtype())?;
        check::optional(Self::NAME, "residual", residual, y.shape())?;
        x.device().launch(&FWD, geometry!(Conv2dFwd from shape), [x, weight, bias, residual], [&mut y])?;
        Ok(([y], Saved { x: x.clone(), weight: weight.clone(), shape }))
    }

    fn backward(
        &self,
        Saved { x, weight, shape }: &Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 4],
    ) -> Result<[Option<Tensor>; 4]> {
        let (dy, device) = (only(grads), x.device());
        let mut gradients = [None, None, None, needs[3].then(|| dy.clone())];
        if needs[0] {
            let mut dx = x.uninit_like()?;
            device.launch(&BWD_DATA, geometry!(Conv2dBwdData from shape), [dy, weight], [&mut dx])?;
            gradients[0] = Some(dx);
        }
        if needs[1] || needs[2] {
            let gradient = |needed: bool, shape: &[usize]| match needed {
                true => Tensor::uninit(device, shape, DType::F32),
                false => Tensor::absent(device),
            };
            let mut dweight = gradient(needs[1], weight.shape())?;
            let mut dbias = gradient(needs[2], &[shape.out_c])?;
            let writes = [&mut dweight, &mut dbias];
            device.launch(&BWD_WEIGHT, geometry!(Conv2dBwdWeight from shape), [x, dy], writes)?;
            gradients[1] = needs[1].then_some(dweight);
            gradients[2] = needs[2].then_some(dbias);
        }
        Ok(gradients)
    }
}

fn fwd_cpu(p: &params::Conv2dFwd, [x, weight, bias, residual]: [&[f32]; 4], [y]: [&mut [f32]; 1]) {
    conv2d_fwd(&geometry!(of p), x, weight, bias, y);
    add(y, residual);
}

fn bwd_data_cpu(p: &params::Conv2dBwdData, [dy, weight]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    conv2d_bwd_data(&geometry!(of p), dy, weight, dx);
}

fn bwd_weight_cpu(p: &params::Conv2dBwdWeight, [x, dy]: [&[f32]; 2], [dweight, dbias]: [&mut [f32]; 2]) {
    conv2d_bwd_weight(&geometry!(of p), x, dy, dweight, dbias);
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD_DATA.info(), BWD_WEIGHT.info()]
}

/// Winograd's transforms of 3×3 kernels lose one to two digits against a plain sum.
const TOLERANCE: Tolerance = Tolerance {
    forward: 1e-5,
    backward: 2e-5,
    why: "Winograd F(4,3) in f32 errs by up to 5e-6 of the largest result; the other algorithms by a tenth of that",
};

pub(super) fn cases() -> Vec<Case> {
    let same = Conv2d { stride: 1, padding: Padding::all(1), upsample: false };
    let halve = Conv2d { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, upsample: false };
    let double = Conv2d { upsample: true, ..same };
    let plain = Conv2d { stride: 1, padding: Padding::NONE, upsample: false };
    let patch = |stride, pixels| Conv2d { stride, padding: Padding::all(pixels), upsample: false };
    let test = |label, op, x, outputs, kernel| case(label, op, x, outputs, [kernel; 2], false);
    let bench = |label, op, x, outputs, kernel| case(label, op, x, outputs, [kernel; 2], true);
    vec![
        test("3×3, odd shapes", same, [2, 7, 9, 5], 6, 3),
        test("3×3, one pixel", same, [1, 1, 1, 3], 2, 3),
        test("3×3, as wide as the tiny preset", same, [1, 16, 18, 32], 48, 3),
        test("3×3, beyond one block of channels", same, [1, 9, 11, 70], 67, 3),
        test("RGB in", same, [1, 12, 10, 3], 32, 3),
        test("RGB out", same, [1, 12, 10, 32], 3, 3),
        test("halving, even", halve, [2, 8, 10, 5], 7, 3),
        test("halving, odd", halve, [1, 7, 9, 33], 34, 3),
        test("doubling", double, [2, 4, 5, 6], 7, 3),
        test("doubling, beyond one block of channels", double, [1, 5, 3, 35], 66, 3),
        test("1×1", plain, [2, 5, 7, 9], 11, 1),
        test("4×4, stride 2", patch(2, 1), [2, 12, 10, 3], 6, 4),
        test("4×4, stride 1", patch(1, 1), [2, 8, 7, 6], 5, 4),
        test("patches", patch(5, 0), [2, 15, 20, 3], 13, 5),
        case("unequal sides", patch(2, 1), [1, 9, 8, 4], 5, [5, 2], false),
        bare_case("no bias", patch(1, 1), [2, 6, 5, 4], 3, [4; 2], false),
        with_residual(test("residual, odd shapes", same, [2, 5, 7, 6], 9, 3), [2, 5, 7, 9]),
        with_residual(test("residual, RGB out", same, [1, 6, 10, 16], 3, 3), [1, 6, 10, 3]),
        with_residual(bare_case("residual, no bias, 1×1", plain, [2, 6, 5, 16], 24, [1; 2], false), [2, 6, 5, 24]),
        bench("f16d32, 256 pixels", same, [1, 256, 256, 128], 128, 3),
        bench("f16d32, 64 pixels", same, [1, 64, 64, 256], 256, 3),
        bench("f16d32, 16 pixels", same, [1, 16, 16, 512], 512, 3),
        bench("small, 128 pixels", same, [2, 128, 128, 64], 64, 3),
        bench("small, 32 pixels", same, [2, 32, 32, 128], 128, 3),
        bench("small, 8 pixels", same, [2, 8, 8, 256], 256, 3),
        bench("f16d32, images in", same, [1, 256, 256, 3], 128, 3),
        bench("f16d32, images out", same, [1, 256, 256, 128], 3, 3),
        bench("f16d32, halving", halve, [1, 256, 256, 128], 128, 3),
        bench("f16d32, doubling", double, [1, 64, 64, 256], 256, 3),
        bench("f16d32, shortcut", plain, [1, 64, 64, 128], 256, 1),
        bench("DINOv2's patches", patch(14, 0), [1, 224, 224, 3], 384, 14),
    ]
}

fn case(label: &'static str, op: Conv2d, x: [usize; 4], outputs: usize, kernel: [usize; 2], bench: bool) -> Case {
    let mut case = bare_case(label, op, x, outputs, kernel, bench);
    case.inputs[2] = Input::normal("bias", &[outputs]).f32();
    case
}

fn with_residual(mut case: Case, y: [usize; 4]) -> Case {
    case.inputs[3] = Input::normal("residual", &y);
    case.bytes += 4 * y.iter().product::<usize>() as u64;
    case
}

/// Without bias and residual.
fn bare_case(
    label: &'static str,
    op: Conv2d,
    x: [usize; 4],
    outputs: usize,
    [kh, kw]: [usize; 2],
    bench: bool,
) -> Case {
    let [b, h, w, inputs] = x;
    let Padding { top, left, bottom, right } = op.padding;
    let zoom = if op.upsample { 2 } else { 1 };
    let out_h = (zoom * h + top + bottom - kh) / op.stride + 1;
    let out_w = (zoom * w + left + right - kw) / op.stride + 1;
    let (taps, pixels) = (kh * kw * inputs, b * out_h * out_w);
    let scale = 1.0 / (taps as f32).sqrt();
    Case {
        op: "conv2d",
        label,
        inputs: vec![
            Input::normal("x", &x),
            Input::normal("weight", &[outputs, kh, kw, inputs]).values(Values::Normal(0.0, scale)),
            Input::absent("bias"),
            Input::absent("residual"),
        ],
        settings: vec![
            ("stride", op.stride as f64),
            ("top", top as f64),
            ("left", left as f64),
            ("bottom", bottom as f64),
            ("right", right as f64),
            ("upsample", f64::from(u8::from(op.upsample))),
        ],
        run: Box::new(move |tape, x| Ok(tape.apply(op, [&x[0], &x[1], &x[2], &x[3]])?.into())),
        tolerance: TOLERANCE,
        flops: (2 * pixels * taps * outputs) as u64,
        bytes: (4 * (b * h * w * inputs + taps * outputs + pixels * outputs)) as u64,
        bench,
    }
}
