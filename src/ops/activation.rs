//! Element-wise activations: SiLU, GELU and leaky ReLU.
//!
//! - SiLU: x·σ(x), with derivative σ(x)·(1 + x·(1 − σ(x)));
//! - GELU: x·Φ(x), with derivative Φ(x) + x·φ(x); Φ the normal distribution, φ its density;
//! - GELU by tanh: ½x(1 + tanh u) = x·σ(2u) with u = √(2/π)(x + 0.044715x³) (Hendrycks and Gimpel, 2016);
//! - leaky ReLU: x where x > 0, slope·x elsewhere.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use rayon::prelude::*;

use super::{Case, Input, Tolerance};
use crate::device::cpu::math::{erf, exp, sigmoid};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// x·σ(x): (any shape) → the same shape.
#[derive(Debug, Clone, Copy)]
pub struct Silu;

/// The Gaussian error linear unit: (any shape) → the same shape.
#[derive(Debug, Clone, Copy)]
pub enum Gelu {
    /// By the error function, as timm's ViTs.
    Erf,
    /// By its tanh approximation, as LightningDiT's plain MLP.
    Tanh,
}

/// x where x > 0, slope·x elsewhere: (any shape) → the same shape.
#[derive(Debug, Clone, Copy)]
pub struct LeakyRelu {
    /// The factor of the negative side.
    pub slope: f32,
}

const FWD: Kernel<params::ActivationFwd, 1, 1> = Kernel {
    name: "activation_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("activation", |p, math| Geometry::elementwise(p.count, math))),
};

const BWD: Kernel<params::ActivationBwd, 2, 1> = Kernel {
    name: "activation_bwd",
    reads: ["x", "dy"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("activation", |p, math| Geometry::elementwise(p.count, math))),
};

/// Elements per parallel task.
const GRAIN: usize = 1 << 12;

/// The function's number in `kernels/activation.h`, and the slope where it has one.
trait Activation {
    fn kind(&self) -> (u32, f32);
}

impl Activation for Silu {
    fn kind(&self) -> (u32, f32) {
        (params::ACTIVATION_SILU, 0.0)
    }
}

impl Activation for Gelu {
    fn kind(&self) -> (u32, f32) {
        match self {
            Gelu::Erf => (params::ACTIVATION_GELU_ERF, 0.0),
            Gelu::Tanh => (params::ACTIVATION_GELU_TANH, 0.0),
        }
    }
}

impl Activation for LeakyRelu {
    fn kind(&self) -> (u32, f32) {
        (params::ACTIVATION_LEAKY_RELU, self.slope)
    }
}

fn forward(f: &impl Activation, x: &Tensor) -> Result<([Tensor; 1], Tensor)> {
    let (kind, slope) = f.kind();
    let mut y = x.uninit_like()?;
    let p = params::ActivationFwd { count: x.numel() as u32, kind, slope, ..Default::default() };
    x.device().launch(&FWD, p, [x], [&mut y])?;
    Ok(([y], x.clone()))
}

fn backward(f: &impl Activation, x: &Tensor, dy: &Tensor, [need]: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
    if !need {
        return Ok([None]);
    }
    let (kind, slope) = f.kind();
    let mut dx = x.uninit_like()?;
    let p = params::ActivationBwd { count: x.numel() as u32, kind, slope, ..Default::default() };
    x.device().launch(&BWD, p, [x, dy], [&mut dx])?;
    Ok([Some(dx)])
}

impl Op<1> for Silu {
    const NAME: &'static str = "silu";
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        forward(self, x)
    }

    fn backward(&self, x: &Tensor, grads: [Option<&Tensor>; 1], needs: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        backward(self, x, only(grads), needs)
    }
}

impl Op<1> for Gelu {
    const NAME: &'static str = "gelu";
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        forward(self, x)
    }

    fn backward(&self, x: &Tensor, grads: [Option<&Tensor>; 1], needs: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        backward(self, x, only(grads), needs)
    }
}

impl Op<1> for LeakyRelu {
    const NAME: &'static str = "leaky_relu";
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        forward(self, x)
    }

    fn backward(&self, x: &Tensor, grads: [Option<&Tensor>; 1], needs: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        backward(self, x, only(grads), needs)
    }
}

fn fwd_cpu(p: &params::ActivationFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    match p.kind {
        params::ACTIVATION_SILU => map(y, x, |x| silu(x).0),
        params::ACTIVATION_GELU_ERF => map(y, x, |x| gelu_erf(x).0),
        params::ACTIVATION_GELU_TANH => map(y, x, |x| gelu_tanh(x).0),
        _ => map(y, x, |x| if x > 0.0 { x } else { p.slope * x }),
    }
}

fn bwd_cpu(p: &params::ActivationBwd, [x, dy]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    match p.kind {
        params::ACTIVATION_SILU => zip(dx, x, dy, |x| silu(x).1),
        params::ACTIVATION_GELU_ERF => zip(dx, x, dy, |x| gelu_erf(x).1),
        params::ACTIVATION_GELU_TANH => zip(dx, x, dy, |x| gelu_tanh(x).1),
        _ => zip(dx, x, dy, |x| if x > 0.0 { 1.0 } else { p.slope }),
    }
}

/// SiLU and its derivative; callers that use one alone pay for one alone.
#[inline(always)]
pub(super) fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// GELU and its derivative.
#[inline(always)]
pub(super) fn gelu_erf(x: f32) -> (f32, f32) {
    let density = exp(-0.5 * x * x) * (0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
    (x * normal_cdf(x), normal_cdf(x) + x * density)
}

/// GELU by tanh and its derivative.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> (f32, f32) {
    let s = sigmoid(gelu_tanh_argument(x));
    (x * s, s * (1.0 + x * (1.0 - s) * (GELU_TANH + 3.0 * GELU_TANH * GELU_CUBIC * x * x)))
}

/// 2·√(2/π), the factor of x in 2u.
const GELU_TANH: f32 = 2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The factor of x³ relative to that of x.
const GELU_CUBIC: f32 = 0.044_715;

#[inline(always)]
fn gelu_tanh_argument(x: f32) -> f32 {
    GELU_TANH * (x + GELU_CUBIC * x * x * x)
}

#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

fn map(y: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32 + Sync) {
    y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = f(x);
        }
    });
}

fn zip(dx: &mut [f32], x: &[f32], dy: &[f32], derivative: impl Fn(f32) -> f32 + Sync) {
    let inputs = x.par_chunks(GRAIN).zip(dy.par_chunks(GRAIN));
    dx.par_chunks_mut(GRAIN).zip(inputs).for_each(|(dx, (x, dy))| {
        for ((dx, &x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = derivative(x) * dy;
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |op: &'static str, shape: &[usize], settings: Vec<(&'static str, f64)>, bench: bool| {
        let count = shape.iter().product::<usize>() as u64;
        Case {
            op,
            label: if bench { "a level of the small VAE" } else { "odd shapes, tails" },
            inputs: vec![Input::normal("x", shape).values(super::Values::Normal(0.0, 3.0))],
            run: match op {
                "silu" => Box::new(|tape, x| Ok(tape.apply(Silu, [&x[0]])?.into())),
                "gelu_erf" => Box::new(|tape, x| Ok(tape.apply(Gelu::Erf, [&x[0]])?.into())),
                "gelu_tanh" => Box::new(|tape, x| Ok(tape.apply(Gelu::Tanh, [&x[0]])?.into())),
                _ => {
                    let slope = settings[0].1 as f32;
                    Box::new(move |tape, x| Ok(tape.apply(LeakyRelu { slope }, [&x[0]])?.into()))
                }
            },
            settings,
            tolerance: Tolerance::ELEMENTWISE,
            flops: 12 * count,
            bytes: 8 * count,
            bench,
        }
    };
    ["silu", "gelu_erf", "gelu_tanh", "leaky_relu"]
        .into_iter()
        .flat_map(|op| {
            let settings = || if op == "leaky_relu" { vec![("slope", 0.2)] } else { vec![] };
            [
                case(op, &[3, 7, 13], settings(), false),
                case(op, &[5001], settings(), false),
                case(op, &[2, 128, 128, 64], settings(), true),
            ]
        })
        .collect()
}
