//! 2×2 max-pool with stride 2, as VGG's; an odd last row or column is dropped.
//!
//! The gradient goes to the first largest of each square in row order; NaN counts as the largest.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, rows};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Halves height and width: (B, H, W, C) → (B, ⌊H/2⌋, ⌊W/2⌋, C).
#[derive(Debug, Clone, Copy)]
pub struct MaxPool;

const FWD: Kernel<params::MaxPoolFwd, 1, 1> = Kernel {
    name: "max_pool_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("max_pool", |p, math| {
        rows::pixels(p.batch * (p.height / 2), p.width / 2, p.channels, math)
    })),
};

const BWD: Kernel<params::MaxPoolBwd, 2, 1> = Kernel {
    name: "max_pool_bwd",
    reads: ["x", "dy"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("max_pool", |p, math| {
        rows::pixels(p.batch * p.height.div_ceil(2), p.width.div_ceil(2), p.channels, math)
    })),
};

impl Op<1> for MaxPool {
    const NAME: &'static str = "max_pool";
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        let shape @ [b, h, w, c] = x.dims::<4>(Self::NAME)?;
        if h < 2 || w < 2 {
            return Err(Error::shape(Self::NAME, format!("needs at least 2×2 pixels, got shape {shape:?}")));
        }
        let mut y = Tensor::uninit(x.device(), &[b, h / 2, w / 2, c], x.dtype())?;
        let [batch, height, width, channels] = shape.map(|size| size as u32);
        let p = params::MaxPoolFwd { batch, height, width, channels, ..Default::default() };
        x.device().launch(&FWD, p, [x], [&mut y])?;
        Ok(([y], x.clone()))
    }

    fn backward(&self, x: &Tensor, grads: [Option<&Tensor>; 1], [need]: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        if !need {
            return Ok([None]);
        }
        let [batch, height, width, channels] = x.dims::<4>(Self::NAME)?.map(|size| size as u32);
        let mut dx = x.uninit_like()?;
        let p = params::MaxPoolBwd { batch, height, width, channels, ..Default::default() };
        x.device().launch(&BWD, p, [x, only(grads)], [&mut dx])?;
        Ok([Some(dx)])
    }
}

/// Which of the four corners of a square holds its first largest value.
fn largest(x: &[f32], corners: [usize; 4]) -> usize {
    let mut best = corners[0];
    for at in &corners[1..] {
        if x[*at] > x[best] || (x[*at].is_nan() && !x[best].is_nan()) {
            best = *at;
        }
    }
    best
}

fn fwd_cpu(p: &params::MaxPoolFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let (h, c) = (p.height as usize, p.channels as usize);
    let (row, out_row) = (p.width as usize * c, p.width as usize / 2 * c);
    if out_row == 0 {
        return;
    }
    y.par_chunks_mut(out_row).enumerate().for_each(|(i, y)| {
        let (image, line) = (i / (h / 2), i % (h / 2));
        let pair = &x[(image * h + 2 * line) * row..][..2 * row];
        for (at, y) in y.iter_mut().enumerate() {
            *y = pair[largest(pair, square(at, c, row))];
        }
    });
}

fn bwd_cpu(p: &params::MaxPoolBwd, [x, dy]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    let (h, c) = (p.height as usize, p.channels as usize);
    let (row, out_row) = (p.width as usize * c, p.width as usize / 2 * c);
    if out_row == 0 {
        return;
    }
    dx.par_chunks_mut(h * row).enumerate().for_each(|(image, dx)| {
        dx.fill(0.0);
        dx.par_chunks_exact_mut(2 * row).enumerate().for_each(|(line, pair)| {
            let x = &x[(image * h + 2 * line) * row..][..2 * row];
            let dy = &dy[(image * (h / 2) + line) * out_row..][..out_row];
            for (at, dy) in dy.iter().enumerate() {
                pair[largest(x, square(at, c, row))] = *dy;
            }
        });
    });
}

/// The places of output element `at` of a row in the pair of input rows that it pools.
fn square(at: usize, c: usize, row: usize) -> [usize; 4] {
    let corner = at / c * 2 * c + at % c;
    [corner, corner + c, corner + row, corner + row + c]
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    [
        ([2, 6, 4, 3], "even sizes", false),
        ([2, 5, 7, 3], "odd sizes", false),
        // So few that no square has two equal largest in bf16, where there is no derivative.
        ([1, 5, 7, 8], "odd sizes, even channels", false),
        ([1, 256, 256, 64], "VGG", true),
    ]
    .into_iter()
    .map(|(shape, label, bench)| {
        let count = shape.iter().product::<usize>() as u64;
        Case {
            op: "max_pool2",
            label,
            inputs: vec![Input::normal("x", &shape)],
            settings: vec![],
            run: Box::new(|tape, x| Ok(tape.apply(MaxPool, [&x[0]])?.into())),
            tolerance: Tolerance::ELEMENTWISE,
            flops: count,
            bytes: 5 * count,
            bench,
        }
    })
    .collect()
}
