//! Nearest-neighbour doubling: y[b, i, j] = x[b, ⌊i/2⌋, ⌊j/2⌋]; backward sums each 2×2 square.
//!
//! The decoder uses [`Conv2d`](super::conv2d::Conv2d) with `upsample`, which never writes the doubled image.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, rows};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Doubles height and width: (B, H, W, C) → (B, 2H, 2W, C).
#[derive(Debug, Clone, Copy)]
pub struct Upsample;

const FWD: Kernel<params::UpsampleFwd, 1, 1> = Kernel {
    name: "upsample_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("upsample", |p, math| rows::pixels(p.batch * p.height, p.width, p.channels, math))),
};

const BWD: Kernel<params::UpsampleBwd, 1, 1> = Kernel {
    name: "upsample_bwd",
    reads: ["dy"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("upsample", |p, math| rows::pixels(p.batch * p.height, p.width, p.channels, math))),
};

impl Op<1> for Upsample {
    const NAME: &'static str = "upsample";
    type Saved = [usize; 4];

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], [usize; 4])> {
        let shape @ [b, h, w, c] = x.dims::<4>(Self::NAME)?;
        let mut y = Tensor::uninit(x.device(), &[b, 2 * h, 2 * w, c], x.dtype())?;
        let [batch, height, width, channels] = shape.map(|size| size as u32);
        let p = params::UpsampleFwd { batch, height, width, channels, ..Default::default() };
        x.device().launch(&FWD, p, [x], [&mut y])?;
        Ok(([y], shape))
    }

    fn backward(
        &self,
        shape: &[usize; 4],
        grads: [Option<&Tensor>; 1],
        [need]: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        if !need {
            return Ok([None]);
        }
        let dy = only(grads);
        let mut dx = Tensor::uninit(dy.device(), shape, dy.dtype())?;
        let [batch, height, width, channels] = shape.map(|size| size as u32);
        let p = params::UpsampleBwd { batch, height, width, channels, ..Default::default() };
        dy.device().launch(&BWD, p, [dy], [&mut dx])?;
        Ok([Some(dx)])
    }
}

fn fwd_cpu(p: &params::UpsampleFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let c = p.channels as usize;
    let row = p.width as usize * c;
    if row == 0 {
        return;
    }
    y.par_chunks_mut(4 * row).zip(x.par_chunks(row)).for_each(|(y, x)| {
        let (first, second) = y.split_at_mut(2 * row);
        for (y, x) in first.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
            y[..c].copy_from_slice(x);
            y[c..].copy_from_slice(x);
        }
        second.copy_from_slice(first);
    });
}

fn bwd_cpu(p: &params::UpsampleBwd, [dy]: [&[f32]; 1], [dx]: [&mut [f32]; 1]) {
    let c = p.channels as usize;
    let row = p.width as usize * c;
    if row == 0 {
        return;
    }
    dx.par_chunks_mut(row).zip(dy.par_chunks(4 * row)).for_each(|(dx, dy)| {
        let (top, bottom) = dy.split_at(2 * row);
        let squares = top.chunks_exact(2 * c).zip(bottom.chunks_exact(2 * c));
        for (dx, (top, bottom)) in dx.chunks_exact_mut(c).zip(squares) {
            for (i, dx) in dx.iter_mut().enumerate() {
                *dx = (top[i] + top[c + i]) + (bottom[i] + bottom[c + i]);
            }
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    [([2, 3, 5, 7], false), ([1, 1, 1, 3], false), ([2, 3, 9, 24], false), ([1, 128, 128, 128], true)]
        .into_iter()
        .map(|(shape, bench)| {
            let count = shape.iter().product::<usize>() as u64;
            Case {
                op: "upsample_nearest2",
                label: if bench { "a level of f16d32" } else { "odd shapes" },
                inputs: vec![Input::normal("x", &shape)],
                settings: vec![],
                run: Box::new(|tape, x| Ok(tape.apply(Upsample, [&x[0]])?.into())),
                tolerance: Tolerance::ELEMENTWISE,
                flops: 0,
                bytes: 20 * count,
                bench,
            }
        })
        .collect()
}
