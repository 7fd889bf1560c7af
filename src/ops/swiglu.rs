//! y = silu(gate)·value for x = gate | value (Shazeer, 2020); dgate = dy·value·silu′(gate), dvalue = dy·silu(gate), with
//! silu′(g) = σ(g)·(1 + g·(1 − σ(g))).

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check};
use crate::device::cpu::math::sigmoid;
use crate::device::cpu::rows::rows_per_task;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// The gated linear unit of LightningDiT's MLP: (.., 2H) → (.., H).
#[derive(Debug, Clone, Copy)]
pub struct SwiGlu;

const FWD: Kernel<params::SwigluFwd, 1, 1> = Kernel {
    name: "swiglu_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("swiglu", |p, math| geometry(p.rows, p.hidden, math))),
};

const BWD: Kernel<params::SwigluBwd, 2, 1> = Kernel {
    name: "swiglu_bwd",
    reads: ["x", "dy"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("swiglu", |p, math| geometry(p.rows, p.hidden, math))),
};

/// A thread takes 16 bytes.
fn geometry(rows: u32, hidden: u32, math: Math) -> Geometry {
    let threads = u64::from(rows) * u64::from(hidden / math.lanes());
    let blocks = threads.div_ceil(u64::from(params::SWIGLU_THREADS)) as u32;
    Geometry { grid: [blocks, 1, 1], block: [params::SWIGLU_THREADS, 1, 1], shared_bytes: 0 }
}

impl Op<1> for SwiGlu {
    const NAME: &'static str = "swiglu";
    /// The input.
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        let (rows, double) = check::matrix(Self::NAME, "x", x)?;
        if !double.is_multiple_of(2) {
            return Err(Error::shape(Self::NAME, format!("{double} columns are not two equal halves")));
        }
        check::aligned(Self::NAME, "the hidden width", double / 2, x)?;
        let mut shape = x.shape().to_vec();
        shape[x.shape().len() - 1] = double / 2;
        let mut y = Tensor::uninit(x.device(), &shape, x.dtype())?;
        let p = params::SwigluFwd { rows: rows as u32, hidden: (double / 2) as u32, ..Default::default() };
        x.device().launch(&FWD, p, [x], [&mut y])?;
        Ok(([y], x.clone()))
    }

    fn backward(&self, x: &Tensor, grads: [Option<&Tensor>; 1], needs: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        if !needs[0] {
            return Ok([None]);
        }
        let (rows, double) = x.rows_cols();
        let mut dx = x.uninit_like()?;
        let p = params::SwigluBwd { rows: rows as u32, hidden: (double / 2) as u32, ..Default::default() };
        x.device().launch(&BWD, p, [x, only(grads)], [&mut dx])?;
        Ok([Some(dx)])
    }
}

fn fwd_cpu(p: &params::SwigluFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let hidden = p.hidden as usize;
    let task = rows_per_task(hidden) * hidden;
    y.par_chunks_mut(task).zip(x.par_chunks(2 * task)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(hidden).zip(x.chunks_exact(2 * hidden)) {
            let (gate, value) = x.split_at(hidden);
            for ((y, &gate), value) in y.iter_mut().zip(gate).zip(value) {
                *y = gate * sigmoid(gate) * value;
            }
        }
    });
}

fn bwd_cpu(p: &params::SwigluBwd, [x, dy]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    let hidden = p.hidden as usize;
    let task = rows_per_task(hidden) * hidden;
    dx.par_chunks_mut(2 * task).zip(x.par_chunks(2 * task)).zip(dy.par_chunks(task)).for_each(|((dx, x), dy)| {
        let rows = dx.chunks_exact_mut(2 * hidden).zip(x.chunks_exact(2 * hidden)).zip(dy.chunks_exact(hidden));
        rows.for_each(|((dx, x), dy)| bwd_row(x, dy, dx));
    });
}

/// A function of its own, whose arguments the compiler knows not to overlap: inlined it does not vectorise.
#[inline(never)]
fn bwd_row(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let ((gate, value), (dgate, dvalue)) = (x.split_at(dy.len()), dx.split_at_mut(dy.len()));
    for ((((dgate, dvalue), &gate), value), dy) in dgate.iter_mut().zip(dvalue).zip(gate).zip(value).zip(dy) {
        let s = sigmoid(gate);
        *dgate = dy * value * s * (1.0 + gate * (1.0 - s));
        *dvalue = dy * gate * s;
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], bench: bool) -> Case {
    let count = shape.iter().product::<usize>() as u64 / 2;
    Case {
        op: "swiglu",
        label,
        inputs: vec![Input::normal("x", shape)],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(SwiGlu, [&x[0]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 5 * count,
        bytes: 12 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 14], false),
        case("one hidden channel", &[7, 2], false),
        case("many rows", &[3, 131, 258], false),
        case("one chunk a row, for CUDA", &[5, 16], false),
        case("part of a block, for CUDA", &[3, 43, 2 * 72], false),
        case("DiT-B/1", &[8, 256, 4096], true),
        case("DiT-XL/1", &[4, 256, 6144], true),
    ]
}
