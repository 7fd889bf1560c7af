//! out = x + gate·y: the gated residuals of adaptive layer norm (Peebles and Xie, 2023), and the layer scale of vision
//! transformers (Touvron et al., 2021), where one gate serves the whole batch.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check};
use crate::device::cpu::rows::{add_up, rows_per_task, store};
use crate::device::{Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// x (B, .., C), gate (B, C) or (1, C), y as x → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct GateResidual;

const FWD: Kernel<params::GateFwd, 3, 1> =
    Kernel { name: "gate_fwd", reads: ["x", "gate", "y"], writes: ["out"], cpu: fwd_cpu, cuda: None };

const BWD: Kernel<params::GateBwd, 3, 2> =
    Kernel { name: "gate_bwd", reads: ["gate", "y", "dout"], writes: ["dgate", "dy"], cpu: bwd_cpu, cuda: None };

impl Op<3> for GateResidual {
    const NAME: &'static str = "gate";
    /// gate and y.
    type Saved = [Tensor; 2];

    fn forward(&self, [x, gate, y]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        let (rows, cols) = check::matrix(Self::NAME, "x", x)?;
        check::shape(Self::NAME, "y", y, x.shape())?;
        let batch = x.shape()[0];
        let [gates, width] = gate.dims(Self::NAME)?;
        if (gates != 1 && gates != batch) || width != cols {
            let message = format!("gate has shape {:?}, expected [{batch}, {cols}] or [1, {cols}]", gate.shape());
            return Err(Error::shape(Self::NAME, message));
        }
        let rows_per_gate = (rows / gates) as u32;
        let p = params::GateFwd { rows: rows as u32, cols: cols as u32, rows_per_gate, ..Default::default() };
        let mut out = x.uninit_like()?;
        x.device().launch(&FWD, p, [x, gate, y], [&mut out])?;
        Ok(([out], [gate.clone(), y.clone()]))
    }

    fn backward(
        &self,
        [gate, y]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let dout = only(grads);
        let [dgate, dy] = gradients([gate, y], dout, [needs[1], needs[2]])?;
        Ok([needs[0].then(|| dout.clone()), dgate, dy])
    }
}

/// (dgate, dy) as far as they are needed.
pub(super) fn gradients([gate, y]: [&Tensor; 2], dout: &Tensor, needs: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
    let mut gradients = super::grads::allocate([gate, y], needs)?;
    if needs.contains(&true) {
        let (rows, cols) = y.rows_cols();
        let rows_per_gate = (rows / gate.shape()[0]) as u32;
        let p = params::GateBwd { rows: rows as u32, cols: cols as u32, rows_per_gate, ..Default::default() };
        y.device().launch(&BWD, p, [gate, y, dout], gradients.each_mut())?;
    }
    Ok(super::grads::asked(gradients, needs))
}

fn fwd_cpu(p: &params::GateFwd, [x, gate, y]: [&[f32]; 3], [out]: [&mut [f32]; 1]) {
    let (cols, rows_per_gate) = (p.cols as usize, p.rows_per_gate as usize);
    let task = rows_per_task(cols);
    out.par_chunks_mut(task * cols).enumerate().for_each(|(t, out)| {
        for (r, out) in out.chunks_exact_mut(cols).enumerate() {
            let row = t * task + r;
            let (x, y) = (&x[row * cols..][..cols], &y[row * cols..][..cols]);
            let gate = &gate[row / rows_per_gate * cols..][..cols];
            for (((out, x), y), gate) in out.iter_mut().zip(x).zip(y).zip(gate) {
                *out = x + gate * y;
            }
        }
    });
}

fn bwd_cpu(p: &params::GateBwd, [gate, y, dout]: [&[f32]; 3], [dgate, dy]: [&mut [f32]; 2]) {
    let (cols, rows_per_gate) = (p.cols as usize, p.rows_per_gate as usize);
    let task = rows_per_task(cols) * cols;
    dy.par_chunks_mut(task).zip(dout.par_chunks(task)).enumerate().for_each(|(t, (dy, dout))| {
        for (r, (dy, dout)) in dy.chunks_exact_mut(cols).zip(dout.chunks_exact(cols)).enumerate() {
            let gate = &gate[(t * task / cols + r) / rows_per_gate * cols..][..cols];
            for ((dy, dout), gate) in dy.iter_mut().zip(dout).zip(gate) {
                *dy = gate * dout;
            }
        }
    });
    let per_gate = rows_per_gate * cols;
    dgate.par_chunks_mut(cols).zip(y.par_chunks(per_gate)).zip(dout.par_chunks(per_gate)).for_each(
        |((dgate, y), dout)| {
            let partials: Vec<Vec<f32>> = y
                .par_chunks(task)
                .zip(dout.par_chunks(task))
                .map(|(y, dout)| {
                    let mut sums = vec![0f32; cols];
                    for (y, dout) in y.chunks_exact(cols).zip(dout.chunks_exact(cols)) {
                        for ((sum, y), dout) in sums.iter_mut().zip(y).zip(dout) {
                            *sum += dout * y;
                        }
                    }
                    sums
                })
                .collect();
            store(dgate, &add_up(partials.iter().map(Vec::as_slice), cols));
        },
    );
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], gates: usize, bench: bool) -> Case {
    let count = shape.iter().product::<usize>() as u64;
    Case {
        op: "gate",
        label,
        inputs: vec![
            Input::normal("x", shape),
            Input::normal("gate", &[gates, shape[shape.len() - 1]]),
            Input::normal("y", shape),
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(GateResidual, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 2 * count,
        bytes: 12 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 7], 2, false),
        case("layer scale", &[3, 11, 129], 1, false),
        case("many rows", &[2, 131, 200], 2, false),
        case("DiT-B/1", &[8, 256, 768], 8, true),
    ]
}
