//! Packed q|k|v columns cut into three tensors; the gradient puts them together again.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, rows};
use crate::device::cpu::rows::rows_per_task;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// Thirds of the last dimension: (.., 3C) → three of (.., C).
#[derive(Debug, Clone, Copy)]
pub struct Split3;

const FWD: Kernel<params::SplitFwd, 1, 3> = Kernel {
    name: "split_fwd",
    reads: ["x"],
    writes: ["a", "b", "c"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("split", |p, math| thirds(p.rows, p.cols, math))),
};

const BWD: Kernel<params::SplitBwd, 3, 1> = Kernel {
    name: "split_bwd",
    reads: ["da", "db", "dc"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("split", |p, math| thirds(p.rows, p.cols, math))),
};

/// A layer of blocks for each of the three.
fn thirds(rows: u32, cols: u32, math: Math) -> Geometry {
    rows::rows(rows, cols, rows::width(cols, math), 3)
}

impl Op<1, 3> for Split3 {
    const NAME: &'static str = "split";
    /// The shape of the packed tensor.
    type Saved = Vec<usize>;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 3], Self::Saved)> {
        let (rows, packed) = check::matrix(Self::NAME, "x", x)?;
        if !packed.is_multiple_of(3) {
            return Err(Error::shape(Self::NAME, format!("{packed} columns are not three equal parts")));
        }
        let mut shape = x.shape().to_vec();
        shape[x.shape().len() - 1] = packed / 3;
        let part = || Tensor::uninit(x.device(), &shape, x.dtype());
        let [mut a, mut b, mut c] = [part()?, part()?, part()?];
        let p = params::SplitFwd { rows: rows as u32, cols: (packed / 3) as u32, ..Default::default() };
        x.device().launch(&FWD, p, [x], [&mut a, &mut b, &mut c])?;
        Ok(([a, b, c], x.shape().to_vec()))
    }

    fn backward(
        &self,
        shape: &Self::Saved,
        grads: [Option<&Tensor>; 3],
        needs: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let Some(any) = grads.into_iter().flatten().next().filter(|_| needs[0]) else {
            return Ok([None]);
        };
        let (rows, cols) = any.rows_cols();
        let absent = Tensor::absent(any.device())?;
        let mut dx = Tensor::uninit(any.device(), shape, any.dtype())?;
        let p = params::SplitBwd { rows: rows as u32, cols: cols as u32, ..Default::default() };
        any.device().launch(&BWD, p, grads.map(|grad| grad.unwrap_or(&absent)), [&mut dx])?;
        Ok([Some(dx)])
    }
}

fn fwd_cpu(p: &params::SplitFwd, [x]: [&[f32]; 1], [a, b, c]: [&mut [f32]; 3]) {
    let cols = p.cols as usize;
    let task = rows_per_task(cols) * cols;
    let parts = a.par_chunks_mut(task).zip(b.par_chunks_mut(task)).zip(c.par_chunks_mut(task));
    x.par_chunks(3 * task).zip(parts).for_each(|(x, ((a, b), c))| {
        let parts = a.chunks_exact_mut(cols).zip(b.chunks_exact_mut(cols)).zip(c.chunks_exact_mut(cols));
        for (x, ((a, b), c)) in x.chunks_exact(3 * cols).zip(parts) {
            a.copy_from_slice(&x[..cols]);
            b.copy_from_slice(&x[cols..2 * cols]);
            c.copy_from_slice(&x[2 * cols..]);
        }
    });
}

fn bwd_cpu(p: &params::SplitBwd, parts: [&[f32]; 3], [dx]: [&mut [f32]; 1]) {
    let cols = p.cols as usize;
    let task = rows_per_task(3 * cols);
    dx.par_chunks_mut(task * 3 * cols).enumerate().for_each(|(t, dx)| {
        for (r, dx) in dx.chunks_exact_mut(3 * cols).enumerate() {
            let row = (t * task + r) * cols;
            for (dx, part) in dx.chunks_exact_mut(cols).zip(parts) {
                if part.is_empty() {
                    dx.fill(0.0);
                } else {
                    dx.copy_from_slice(&part[row..row + cols]);
                }
            }
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], bench: bool) -> Case {
    Case {
        op: "split",
        label,
        inputs: vec![Input::normal("x", shape)],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Split3, [&x[0]])?.into())),
        tolerance: Tolerance { forward: 0.0, ..Tolerance::ELEMENTWISE },
        flops: 0,
        bytes: 8 * shape.iter().product::<usize>() as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 21], false),
        case("one dimension", &[3], false),
        case("many rows", &[3, 1001, 15], false),
        case("several vectors a row", &[2, 37, 3 * 72], false),
        case("DiT-B/1 qkv", &[8, 256, 2304], true),
    ]
}
