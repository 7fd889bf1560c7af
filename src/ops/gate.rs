//! out = x + gate·y: the gated residuals of adaptive layer norm (Peebles and Xie, 2023), and the layer scale of vision
//! transformers (Touvron et al., 2021), where one gate serves the whole batch.

use rayon::prelude::*;

use super::channel_tile::{self, ChannelTile};
use super::part_sums::{self, add_parts};
use super::{Case, Input, Tolerance, check, grads};
use crate::device::cpu::rows::{add_up, rows_per_task, store};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// x (B, .., C), gate (B, C) or (1, C), y as x → (B, .., C). A gate that is a parameter, as all vectors of parameters, is f32 whatever
/// the others are; its gradient is as the gate.
#[derive(Debug, Clone, Copy)]
pub struct GateResidual;

const FWD: Kernel<params::GateFwd, 3, 1> = Kernel {
    name: "gate_fwd",
    reads: ["x", "gate", "y"],
    writes: ["out"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("gate", |p, math| channel_tile::geometry(p.cols, p.tile, [p.slices, p.gates], 1, math))),
};

const BWD: Kernel<params::GateBwd, 3, 3> = Kernel {
    name: "gate_bwd",
    reads: ["dout", "gate", "y"],
    writes: ["dy", "dgate", "sums"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("gate", |p, math| channel_tile::geometry(p.cols, p.tile, [p.parts, p.gates], 1, math))),
};

impl Op<3> for GateResidual {
    const NAME: &'static str = "gate";
    /// gate and y.
    type Saved = [Tensor; 2];

    fn forward(&self, [x, gate, y]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        check::shape(Self::NAME, "y", y, x.shape())?;
        let ChannelTile { tile, slices, .. } = blocks(Self::NAME, x, gate)?;
        let p = params::GateFwd {
            gates: gates(gate),
            rows_per_gate: x.rows_cols().0 as u32 / gates(gate),
            cols: x.rows_cols().1 as u32,
            tile,
            slices,
            parameter: is_parameter(gate),
            ..Default::default()
        };
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
        let [dgate, dy] = gradients(Self::NAME, [gate, y], dout, [needs[1], needs[2]])?;
        Ok([needs[0].then(|| dout.clone()), dgate, dy])
    }
}

/// The blocks for tensors like x (B, .., C), once gate is found to be (B, C) or (1, C) of their dtype, or a parameter.
pub(super) fn blocks(op: &'static str, x: &Tensor, gate: &Tensor) -> Result<ChannelTile> {
    let (_, cols) = check::matrix(op, "x", x)?;
    let (batch, gates) = (x.shape()[0], gate.shape().first().copied().unwrap_or(0));
    let dtype = gate.dtype() == x.dtype() || (gates == 1 && gate.dtype() == DType::F32);
    if (gates != 1 && gates != batch) || gate.shape() != [gates, cols] || !dtype {
        let message = format!(
            "gate has shape {:?} in {}, expected [{batch}, {cols}] in {}, or [1, {cols}] in it or in f32",
            gate.shape(),
            gate.dtype(),
            x.dtype()
        );
        return Err(Error::shape(op, message));
    }
    ChannelTile::new(op, x, gates, cols)
}

fn gates(gate: &Tensor) -> u32 {
    gate.shape()[0] as u32
}

/// Whether a kernel is to read the gate as f32: 1 or 0.
fn is_parameter(gate: &Tensor) -> u32 {
    u32::from(gate.dtype() == DType::F32)
}

/// (dgate, dy) as far as they are needed, in one pass over y and dout. Where gates are few, the sums for dgate are made part by part.
pub(super) fn gradients(
    op: &'static str,
    [gate, y]: [&Tensor; 2],
    dout: &Tensor,
    needs: [bool; 2],
) -> Result<[Option<Tensor>; 2]> {
    let mut gradients = grads::allocate([gate, y], needs)?;
    if needs.contains(&true) {
        let device = y.device();
        let (rows, cols) = y.rows_cols();
        let ChannelTile { tile, parts, .. } = blocks(op, y, gate)?;
        let [dgate, dy] = &mut gradients;
        let in_parts = needs[0] && parts > 1;
        let mut sums = match in_parts {
            true => Tensor::uninit(device, &[gate.shape()[0], parts as usize, 1, cols], DType::F32)?,
            false => Tensor::absent(device)?,
        };
        let p = params::GateBwd {
            gates: gates(gate),
            rows_per_gate: rows as u32 / gates(gate),
            cols: cols as u32,
            tile,
            parts,
            parameter: is_parameter(gate),
            ..Default::default()
        };
        if in_parts {
            device.launch(&BWD, p, [dout, gate, y], [dy, &mut Tensor::absent(device)?, &mut sums])?;
            add_parts(gate, &sums, [dgate, &mut Tensor::absent(device)?])?;
        } else {
            device.launch(&BWD, p, [dout, gate, y], [dy, dgate, &mut sums])?;
        }
    }
    Ok(grads::asked(gradients, needs))
}

/// The gradients of inputs [x, .., branch, gate] of a norm that a branch joins, where only the sum x + gate·branch has one.
pub(super) fn residual_alone<const N: usize>(
    op: &'static str,
    inputs: [&Tensor; N],
    dresidual: Option<&Tensor>,
    needs: [bool; N],
) -> Result<[Option<Tensor>; N]> {
    let [branch, gate] = [inputs[N - 2], inputs[N - 1]];
    let mut of_branch = [None, None];
    let mut others = needs;
    if let (Some(dresidual), false) = (dresidual, branch.is_absent()) {
        let [dgate, dbranch] = gradients(op, [gate, branch], dresidual, [needs[N - 1], needs[N - 2]])?;
        of_branch = [dbranch, dgate];
        others[N - 2] = false;
        others[N - 1] = false;
    }
    let mut all = grads::of_residual_alone(inputs, dresidual, others)?;
    for (gradient, of_branch) in all[N - 2..].iter_mut().zip(of_branch) {
        if of_branch.is_some() {
            *gradient = of_branch;
        }
    }
    Ok(all)
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

fn bwd_cpu(p: &params::GateBwd, [dout, gate, y]: [&[f32]; 3], [dy, dgate, _]: [&mut [f32]; 3]) {
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
    vec![FWD.info(), BWD.info(), part_sums::kernel()]
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

/// With a gate that is a parameter, for the whole batch.
fn layer_scale(label: &'static str, shape: &[usize], bench: bool) -> Case {
    let mut case = case(label, shape, 1, bench);
    case.inputs[1].keeps_f32 = true;
    case
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 7], 2, false),
        case("a gate for the whole batch", &[3, 11, 129], 1, false),
        case("many rows", &[2, 131, 200], 2, false),
        case("a row to a gate", &[5, 1, 96], 5, false),
        layer_scale("layer scale", &[3, 11, 136], false),
        layer_scale("layer scale, odd shapes", &[3, 11, 129], false),
        case("DiT-B/1", &[8, 256, 768], 8, true),
        case("DiT-XL/1, sixteen images", &[16, 256, 1152], 16, true),
        layer_scale("ViT-L/14, layer scale", &[2, 257, 1024], true),
    ]
}
