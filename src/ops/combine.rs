//! y = Σᵢ cᵢ·xᵢ over a few tensors of one shape, in one pass: the steps of differential equation solvers, and conversions
//! between velocity, noise and score at one time.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads};
use crate::device::cpu::math::mul_add;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Up to eight tensors of any one shape and their coefficients → the same shape.
#[derive(Debug, Clone, Copy)]
pub struct Combine<const N: usize>(pub [f32; N]);

/// The most tensors that the kernels know.
pub const MOST: usize = 8;

const FWD: Kernel<params::CombineFwd, MOST, 1> = Kernel {
    name: "combine_fwd",
    reads: ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("combine", |p, math| Geometry::elementwise(p.count, math))),
};

const BWD: Kernel<params::CombineBwd, 1, MOST> = Kernel {
    name: "combine_bwd",
    reads: ["dy"],
    writes: ["dx0", "dx1", "dx2", "dx3", "dx4", "dx5", "dx6", "dx7"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("combine", |p, math| Geometry::elementwise(p.count, math))),
};

/// Elements per parallel task.
const GRAIN: usize = 1 << 13;

/// Σᵢ cᵢ·xᵢ of `terms`, at least one and at most [`MOST`], outside the tape.
///
/// # Errors
/// When the shapes differ.
pub fn combine(terms: &[(f32, &Tensor)]) -> Result<Tensor> {
    let first = terms[0].1;
    check::matrix("combine", "x", first)?;
    for (_, x) in terms {
        check::shape("combine", "x", x, first.shape())?;
    }
    let absent = Tensor::absent(first.device())?;
    let reads = std::array::from_fn(|i| terms.get(i).map_or(&absent, |term| term.1));
    let coefficients = std::array::from_fn(|i| terms.get(i).map_or(0.0, |term| term.0));
    let p = params::CombineFwd { coefficients, count: first.numel() as u32, ..Default::default() };
    let mut y = first.uninit_like()?;
    first.device().launch(&FWD, p, reads, [&mut y])?;
    Ok(y)
}

impl<const N: usize> Op<N> for Combine<N> {
    const NAME: &'static str = "combine";
    type Saved = ();

    fn forward(&self, inputs: [&Tensor; N]) -> Result<([Tensor; 1], ())> {
        const { assert!(N >= 1 && N <= MOST, "the kernels know one to eight tensors") };
        let terms: Vec<(f32, &Tensor)> = self.0.iter().copied().zip(inputs).collect();
        Ok(([combine(&terms)?], ()))
    }

    fn backward(&self, (): &(), grads: [Option<&Tensor>; 1], needs: [bool; N]) -> Result<[Option<Tensor>; N]> {
        let dy = only(grads);
        let needed = |i: usize| needs.get(i).copied().unwrap_or(false);
        let coefficients = std::array::from_fn(|i| self.0.get(i).copied().unwrap_or(0.0));
        let p = params::CombineBwd { coefficients, count: dy.numel() as u32, ..Default::default() };
        let mut gradients = grads::allocate([dy; MOST], std::array::from_fn(needed))?;
        dy.device().launch(&BWD, p, [dy], gradients.each_mut())?;
        let mut gradients = gradients.into_iter();
        Ok(std::array::from_fn(|i| gradients.next().filter(|_| needed(i))))
    }
}

fn fwd_cpu(p: &params::CombineFwd, inputs: [&[f32]; MOST], [y]: [&mut [f32]; 1]) {
    y.par_chunks_mut(GRAIN).enumerate().for_each(|(task, y)| {
        y.fill(0.0);
        for (x, &factor) in inputs.iter().zip(&p.coefficients).filter(|(x, _)| !x.is_empty()) {
            add_scaled(y, &x[task * GRAIN..], factor);
        }
    });
}

/// A function of its own, whose arguments the compiler knows not to overlap: inlined it does not vectorise.
#[inline(never)]
fn add_scaled(y: &mut [f32], x: &[f32], factor: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = mul_add(factor, *x, *y);
    }
}

fn bwd_cpu(p: &params::CombineBwd, [dy]: [&[f32]; 1], outputs: [&mut [f32]; MOST]) {
    for (dx, factor) in outputs.into_iter().zip(p.coefficients) {
        dx.par_chunks_mut(GRAIN).zip(dy.par_chunks(GRAIN)).for_each(|(dx, dy)| {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = factor * dy;
            }
        });
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

const NAMES: [&str; MOST] = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"];

fn case<const N: usize>(label: &'static str, shape: &[usize], coefficients: [f32; N], bench: bool) -> Case {
    let count = shape.iter().product::<usize>() as u64;
    Case {
        op: "combine",
        label,
        inputs: NAMES[..N].iter().map(|name| Input::normal(name, shape)).collect(),
        settings: NAMES.into_iter().zip(coefficients).map(|(name, value)| (name, f64::from(value))).collect(),
        run: Box::new(move |tape, x| Ok(tape.apply(Combine(coefficients), std::array::from_fn(|i| &x[i]))?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 2 * N as u64 * count,
        bytes: 4 * (N as u64 + 1) * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("one tensor", &[3, 5], [-1.5], false),
        case("an Euler step, odd shapes", &[2, 7, 11], [1.0, 0.01], false),
        case("three tensors, two gradients", &[5, 409], [0.5, -2.0, 0.75], false).constant(1),
        case("eight tensors", &[3, 131], [1.0, 0.5, -0.25, 2.0, 0.0, -1.0, 0.125, 3.0], false),
        case("an Euler step of f16d32 latents", &[64, 16, 16, 32], [1.0, 0.004], true),
        case(
            "a step of order five of f16d32 latents",
            &[64, 16, 16, 32],
            [1.0, 0.091, 0.449, 0.651, -0.322, 0.131],
            true,
        ),
    ]
}
