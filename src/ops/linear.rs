//! y = x·weightᵀ + bias; dx = dy·weight, dweight = dyᵀ·x, dbias = Σ_rows dy.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values, check};
use crate::device::cpu::gemm::gemm;
use crate::device::cpu::rows::{column_sums, rows_per_task, store};
use crate::device::{Kernel, KernelInfo};
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// A linear layer: x (.., I), weight (O, I), bias (O) or absent → (.., O).
#[derive(Debug, Clone, Copy)]
pub struct Linear;

const FWD: Kernel<params::LinearFwd, 3, 1> =
    Kernel { name: "linear_fwd", reads: ["x", "weight", "bias"], writes: ["y"], cpu: fwd_cpu, cuda: None };

const BWD_INPUT: Kernel<params::LinearBwdInput, 2, 1> =
    Kernel { name: "linear_bwd_input", reads: ["dy", "weight"], writes: ["dx"], cpu: bwd_input_cpu, cuda: None };

const BWD_WEIGHT: Kernel<params::LinearBwdWeight, 2, 1> =
    Kernel { name: "linear_bwd_weight", reads: ["x", "dy"], writes: ["dweight"], cpu: bwd_weight_cpu, cuda: None };

const BWD_BIAS: Kernel<params::LinearBwdBias, 1, 1> =
    Kernel { name: "linear_bwd_bias", reads: ["dy"], writes: ["dbias"], cpu: bwd_bias_cpu, cuda: None };

impl Op<3> for Linear {
    const NAME: &'static str = "linear";
    /// The inputs.
    type Saved = [Tensor; 3];

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        let (rows, inputs) = check::matrix(Self::NAME, "x", x)?;
        let (outputs, _) = check::matrix(Self::NAME, "weight", weight)?;
        check::shape(Self::NAME, "weight", weight, &[outputs, inputs])?;
        check::optional(Self::NAME, "bias", bias, &[outputs])?;
        let mut shape = x.shape().to_vec();
        shape[x.shape().len() - 1] = outputs;
        let mut y = Tensor::uninit(x.device(), &shape, x.dtype())?;
        let (rows, inputs, outputs) = (rows as u32, inputs as u32, outputs as u32);
        let p = params::LinearFwd { rows, inputs, outputs, ..Default::default() };
        x.device().launch(&FWD, p, [x, weight, bias], [&mut y])?;
        Ok(([y], [x, weight, bias].map(Clone::clone)))
    }

    fn backward(
        &self,
        [x, weight, bias]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (device, dy) = (x.device(), only(grads));
        let (rows, inputs) = x.rows_cols();
        let (rows, inputs, outputs) = (rows as u32, inputs as u32, weight.shape()[0] as u32);
        let [mut dx, mut dweight, mut dbias] = [None, None, None];
        if needs[0] {
            let p = params::LinearBwdInput { rows, inputs, outputs, ..Default::default() };
            device.launch(&BWD_INPUT, p, [dy, weight], [dx.insert(x.uninit_like()?)])?;
        }
        if needs[1] {
            let p = params::LinearBwdWeight { rows, inputs, outputs, ..Default::default() };
            device.launch(&BWD_WEIGHT, p, [x, dy], [dweight.insert(weight.uninit_like()?)])?;
        }
        if needs[2] {
            let p = params::LinearBwdBias { rows, outputs, ..Default::default() };
            device.launch(&BWD_BIAS, p, [dy], [dbias.insert(bias.uninit_like()?)])?;
        }
        Ok([dx, dweight, dbias])
    }
}

fn fwd_cpu(p: &params::LinearFwd, [x, weight, bias]: [&[f32]; 3], [y]: [&mut [f32]; 1]) {
    let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
    if !bias.is_empty() {
        y.par_chunks_mut(rows_per_task(outputs) * outputs).for_each(|y| {
            y.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
        });
    }
    gemm(rows, outputs, inputs, x, (inputs, 1), weight, (1, inputs), y, outputs, !bias.is_empty());
}

fn bwd_input_cpu(p: &params::LinearBwdInput, [dy, weight]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
    gemm(rows, inputs, outputs, dy, (outputs, 1), weight, (inputs, 1), dx, inputs, false);
}

fn bwd_weight_cpu(p: &params::LinearBwdWeight, [x, dy]: [&[f32]; 2], [dweight]: [&mut [f32]; 1]) {
    let (rows, inputs, outputs) = (p.rows as usize, p.inputs as usize, p.outputs as usize);
    gemm(outputs, inputs, rows, dy, (1, outputs), x, (inputs, 1), dweight, inputs, false);
}

fn bwd_bias_cpu(p: &params::LinearBwdBias, [dy]: [&[f32]; 1], [dbias]: [&mut [f32]; 1]) {
    store(dbias, &column_sums(dy, p.outputs as usize));
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD_INPUT.info(), BWD_WEIGHT.info(), BWD_BIAS.info()]
}

fn case(label: &'static str, x: &[usize], outputs: usize, bias: bool, bench: bool) -> Case {
    let inputs = x[x.len() - 1];
    let rows = x.iter().product::<usize>() / inputs;
    let weight_std = 1.0 / (inputs as f32).sqrt();
    Case {
        op: "linear",
        label,
        inputs: vec![
            Input::normal("x", x),
            Input::normal("weight", &[outputs, inputs]).values(Values::Normal(0.0, weight_std)),
            if bias { Input::normal("bias", &[outputs]) } else { Input::absent("bias") },
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Linear, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 2 * (rows * inputs * outputs) as u64,
        bytes: 4 * (rows * inputs + inputs * outputs + rows * outputs) as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 7], 3, true, false),
        case("one row, one output", &[1, 9], 1, true, false),
        case("odd shapes, no bias", &[3, 17, 129], 65, false, false),
        case("tokens of a small transformer", &[2, 16, 96], 288, true, false),
        case("DiT-B qkv", &[8, 256, 768], 2304, true, true),
        case("DiT-XL qkv", &[4, 256, 1152], 3456, true, true),
        case("DiT-XL w12", &[4, 256, 1152], 6144, true, true),
    ]
}
