//! y = ((x − mean)·(var + eps)^−½·weight + bias)·(1 + scale) + shift, mean and variance over the last dimension (Ba, Kiros
//! and Hinton, 2016), with the modulation of adaptive layer norm (Peebles and Xie, 2023) fused.

use super::row_team::{self, RowParts};
use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::cpu::row_norm::{Gradients, RowNorm, Saved};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// Layer norm of x (B, .., C) with weight (C), bias (C), scale (B, C) and shift (B, C), each of them absent or not:
/// → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// Added to the variance: 1e-6 in the models here, PyTorch's default is 1e-5.
    pub eps: f32,
}

/// The same at the head of a residual branch: → y and x itself. Where the residual sum takes the second output, the two gradients of x
/// meet in this op's backward, in one pass.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormResidual {
    /// As in [`LayerNorm`].
    pub eps: f32,
}

const FWD: Kernel<params::LayerNormFwd, 5, 3> = Kernel {
    name: "layer_norm_fwd",
    reads: ["x", "weight", "bias", "scale", "shift"],
    writes: ["y", "mean", "rstd"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("layer_norm", |p, math| {
        row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
    })),
};

const BWD: Kernel<params::LayerNormBwd, 7, 2> = Kernel {
    name: "layer_norm_bwd",
    reads: ["x", "weight", "scale", "mean", "rstd", "dy", "dresidual"],
    writes: ["dx", "sums"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("layer_norm", |p, math| {
        row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
    })),
};

const SUMS: Kernel<params::LayerNormSums, 5, 4> = Kernel {
    name: "layer_norm_sums",
    reads: ["scale", "shift", "weight", "bias", "sums"],
    writes: ["dweight", "dbias", "dscale", "dshift"],
    cpu: sums_cpu,
    cuda: Some(CudaKernel::new("layer_norm", |p, _| row_team::sums_geometry(p.dim, p.modulated, p.affine))),
};

/// x, weight, bias, scale, shift, mean and rstd.
type Kept = [Tensor; 7];

impl Op<5> for LayerNorm {
    const NAME: &'static str = "layer_norm";
    type Saved = Kept;

    fn forward(&self, inputs: [&Tensor; 5]) -> Result<([Tensor; 1], Kept)> {
        let (y, kept) = forward(Self::NAME, self.eps, inputs)?;
        Ok(([y], kept))
    }

    fn backward(&self, kept: &Kept, dy: [Option<&Tensor>; 1], needs: [bool; 5]) -> Result<[Option<Tensor>; 5]> {
        backward(Self::NAME, kept, only(dy), None, needs)
    }
}

impl Op<5, 2> for LayerNormResidual {
    const NAME: &'static str = "layer_norm_residual";
    type Saved = Kept;

    fn forward(&self, inputs: [&Tensor; 5]) -> Result<([Tensor; 2], Kept)> {
        let (y, kept) = forward(Self::NAME, self.eps, inputs)?;
        Ok(([y, inputs[0].clone()], kept))
    }

    fn backward(&self, kept: &Kept, grads: [Option<&Tensor>; 2], needs: [bool; 5]) -> Result<[Option<Tensor>; 5]> {
        let [x, weight, bias, scale, shift, _, _] = kept;
        match grads {
            [Some(dy), dresidual] => backward(Self::NAME, kept, dy, dresidual, needs),
            [None, dresidual] => grads::of_residual_alone([x, weight, bias, scale, shift], dresidual, needs),
        }
    }
}

fn forward(
    op: &'static str,
    eps: f32,
    [x, weight, bias, scale, shift]: [&Tensor; 5],
) -> Result<(Tensor, Kept)> {
    let of = RowParts::modulated(op, x, scale, shift)?;
    check::optional_parameters(op, "weight", weight, of.dim as usize)?;
    check::optional_parameters(op, "bias", bias, of.dim as usize)?;
    let mut y = x.uninit_like()?;
    let mut mean = Tensor::uninit(x.device(), &[of.rows as usize], DType::F32)?;
    let mut rstd = mean.uninit_like()?;
    let p = params::LayerNormFwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.forward,
        eps,
        ..Default::default()
    };
    x.device().launch(&FWD, p, [x, weight, bias, scale, shift], [&mut y, &mut mean, &mut rstd])?;
    let [x, weight, bias, scale, shift] = [x, weight, bias, scale, shift].map(Clone::clone);
    Ok((y, [x, weight, bias, scale, shift, mean, rstd]))
}

fn backward(
    op: &'static str,
    [x, weight, bias, scale, shift, mean, rstd]: &Kept,
    dy: &Tensor,
    dresidual: Option<&Tensor>,
    needs: [bool; 5],
) -> Result<[Option<Tensor>; 5]> {
    let device = x.device();
    let of = RowParts::modulated(op, x, scale, shift)?;
    let sums_wanted = needs[1..].contains(&true);
    let absent = Tensor::absent(device)?;
    let mut sums = if sums_wanted { Tensor::uninit(device, &of.sums(), DType::F32)? } else { Tensor::absent(device)? };
    let mut gradients = grads::allocate([x, weight, bias, scale, shift], needs)?;
    let [dx, dweight, dbias, dscale, dshift] = &mut gradients;
    let p = params::LayerNormBwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.backward,
        ..Default::default()
    };
    let reads = [x, weight, scale, mean, rstd, dy, dresidual.unwrap_or(&absent)];
    device.launch(&BWD, p, reads, [dx, &mut sums])?;
    if sums_wanted {
        let p = params::LayerNormSums {
            dim: of.dim,
            groups: of.groups,
            parts: of.backward,
            modulated: if needs[3] || needs[4] { of.groups } else { 0 },
            affine: u32::from(needs[1] || needs[2]),
            ..Default::default()
        };
        device.launch(&SUMS, p, [scale, shift, weight, bias, &sums], [dweight, dbias, dscale, dshift])?;
    }
    Ok(grads::asked(gradients, needs))
}

fn fwd_cpu(p: &params::LayerNormFwd, [x, weight, bias, scale, shift]: [&[f32]; 5], [y, mean, rstd]: [&mut [f32]; 3]) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    RowNorm { cols, rows_per_group, weight, bias, scale, shift }.forward(x, p.eps, y, mean, rstd);
}

fn bwd_cpu(
    p: &params::LayerNormBwd,
    [x, weight, scale, mean, rstd, dy, dresidual]: [&[f32]; 7],
    [dx, sums]: [&mut [f32]; 2],
) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    let norm = RowNorm { cols, rows_per_group, weight, bias: &[], scale, shift: &[] };
    norm.backward(&Saved { x, mean, rstd }, dy, dresidual, p.parts as usize, dx, sums);
}

fn sums_cpu(
    p: &params::LayerNormSums,
    [scale, _, weight, bias, sums]: [&[f32]; 5],
    [dweight, dbias, dscale, dshift]: [&mut [f32]; 4],
) {
    let norm = RowNorm { cols: p.dim as usize, rows_per_group: 0, weight, bias, scale, shift: &[] };
    norm.parameter_gradients(sums, p.groups as usize, Gradients { dweight, dbias, dscale, dshift });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info(), SUMS.info()]
}

fn case(label: &'static str, shape: &[usize], affine: bool, modulated: bool, bench: bool) -> Case {
    let (batch, cols) = (shape[0], shape[shape.len() - 1]);
    let count = shape.iter().product::<usize>() as u64;
    let input = |name, present: bool, shape: &[usize]| {
        if present { Input::normal(name, shape) } else { Input::absent(name) }
    };
    Case {
        op: "layer_norm",
        label,
        inputs: vec![
            Input::normal("x", shape).values(Values::Normal(0.5, 2.0)),
            input("weight", affine, &[cols]).f32(),
            input("bias", affine, &[cols]).f32(),
            input("scale", modulated, &[batch, cols]),
            input("shift", modulated, &[batch, cols]),
        ],
        settings: vec![("eps", 1e-6)],
        run: Box::new(|tape, x| Ok(tape.apply(LayerNorm { eps: 1e-6 }, [&x[0], &x[1], &x[2], &x[3], &x[4]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 8 * count,
        bytes: 8 * count,
        bench,
    }
}

fn residual(case: Case) -> Case {
    let apply = LayerNormResidual { eps: 1e-6 };
    let run = Box::new(move |tape: &Tape, x: &[Var]| {
        Ok(tape.apply(apply, [&x[0], &x[1], &x[2], &x[3], &x[4]])?.into())
    });
    Case { op: "layer_norm_residual", run, ..case }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes, affine", &[2, 5, 7], true, false, false),
        case("one column", &[3, 2, 1], false, true, false),
        case("odd shapes, affine and modulated", &[3, 11, 129], true, true, false),
        case("modulated, two dimensions", &[4, 96], false, true, false),
        case("plain", &[2, 16, 384], false, false, false),
        case("several warps to a row", &[2, 21, 1160], true, true, false),
        residual(case("odd shapes", &[2, 5, 7], true, true, false)),
        residual(case("modulated", &[2, 37, 264], false, true, false)),
        case("DiT-B/1, 256 tokens, modulated", &[8, 256, 768], false, true, true),
        case("ViT-L/14, 257 tokens, affine", &[4, 257, 1024], true, false, true),
    ]
}
