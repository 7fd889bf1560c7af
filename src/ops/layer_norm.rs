//! y = ((x − mean)·(var + eps)^−½·weight + bias)·(1 + scale) + shift, mean and variance over the last dimension (Ba, Kiros
//! and Hinton, 2016), with the modulation of adaptive layer norm (Peebles and Xie, 2023) fused.

use super::gate::residual_alone;
use super::row_team::{self, RowParts};
use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::cpu::row_norm::{Gradients, Join, RowNorm, Saved};
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

/// The same between residual branches: of x, after a branch (B, .., C) with its gate (B, C) has joined it, both of them absent or not: → y and
/// x + gate·branch. Where the next residual sum takes the second output, the two gradients of it meet in this op's backward and go on through
/// the gate, in one pass.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormResidual {
    /// As in [`LayerNorm`].
    pub eps: f32,
}

const FWD: Kernel<params::LayerNormFwd, 7, 4> = Kernel {
    name: "layer_norm_fwd",
    reads: ["x", "weight", "bias", "scale", "shift", "branch", "gate"],
    writes: ["y", "mean", "rstd", "joined"],
    cpu: fwd_cpu,
    cuda: Some(
        CudaKernel::new("layer_norm", |p: &params::LayerNormFwd, math| {
            row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
        })
        .with_variants(|p| row_team::variant(p.joins)),
    ),
};

const BWD: Kernel<params::LayerNormBwd, 9, 3> = Kernel {
    name: "layer_norm_bwd",
    reads: ["x", "weight", "scale", "mean", "rstd", "dy", "dresidual", "branch", "gate"],
    writes: ["dx", "sums", "dbranch"],
    cpu: bwd_cpu,
    cuda: Some(
        CudaKernel::new("layer_norm", |p: &params::LayerNormBwd, math| {
            row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
        })
        .with_variants(|p| row_team::variant(p.joins)),
    ),
};

const SUMS: Kernel<params::LayerNormSums, 6, 5> = Kernel {
    name: "layer_norm_sums",
    reads: ["scale", "shift", "gate", "weight", "bias", "sums"],
    writes: ["dweight", "dbias", "dscale", "dshift", "dgate"],
    cpu: sums_cpu,
    cuda: Some(CudaKernel::new("layer_norm", |p, _| row_team::sums_geometry(p.dim, p.modulated, p.affine))),
};

/// x (joined, where a branch joins it), weight, bias, scale, shift, branch, gate, mean and rstd.
type Kept = [Tensor; 9];

impl Op<5> for LayerNorm {
    const NAME: &'static str = "layer_norm";
    type Saved = Kept;

    fn forward(&self, [x, weight, bias, scale, shift]: [&Tensor; 5]) -> Result<([Tensor; 1], Kept)> {
        let absent = Tensor::absent(x.device())?;
        let (y, kept) = forward(Self::NAME, self.eps, [x, weight, bias, scale, shift, &absent, &absent])?;
        Ok(([y], kept))
    }

    fn backward(&self, kept: &Kept, dy: [Option<&Tensor>; 1], needs: [bool; 5]) -> Result<[Option<Tensor>; 5]> {
        let [x, weight, bias, scale, shift] = needs;
        let [dx, dweight, dbias, dscale, dshift, ..] =
            backward(Self::NAME, kept, only(dy), None, [x, weight, bias, scale, shift, false, false])?;
        Ok([dx, dweight, dbias, dscale, dshift])
    }
}

impl Op<7, 2> for LayerNormResidual {
    const NAME: &'static str = "layer_norm_residual";
    type Saved = Kept;

    /// x, weight, bias, scale, shift, branch, gate.
    fn forward(&self, inputs: [&Tensor; 7]) -> Result<([Tensor; 2], Kept)> {
        let (y, kept) = forward(Self::NAME, self.eps, inputs)?;
        Ok(([y, kept[0].clone()], kept))
    }

    fn backward(&self, kept: &Kept, grads: [Option<&Tensor>; 2], needs: [bool; 7]) -> Result<[Option<Tensor>; 7]> {
        let [x, weight, bias, scale, shift, branch, gate, _, _] = kept;
        match grads {
            [Some(dy), dresidual] => backward(Self::NAME, kept, dy, dresidual, needs),
            [None, dresidual] => {
                residual_alone(Self::NAME, [x, weight, bias, scale, shift, branch, gate], dresidual, needs)
            }
        }
    }
}

fn forward(
    op: &'static str,
    eps: f32,
    [x, weight, bias, scale, shift, branch, gate]: [&Tensor; 7],
) -> Result<(Tensor, Kept)> {
    let of = RowParts::joined(op, x, [scale, shift], [branch, gate])?;
    check::optional_parameters(op, "weight", weight, of.dim as usize)?;
    check::optional_parameters(op, "bias", bias, of.dim as usize)?;
    let mut y = x.uninit_like()?;
    let mut mean = Tensor::uninit(x.device(), &[of.rows as usize], DType::F32)?;
    let mut rstd = mean.uninit_like()?;
    let mut joined = if branch.is_absent() { Tensor::absent(x.device())? } else { x.uninit_like()? };
    let p = params::LayerNormFwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.forward,
        eps,
        joins: u32::from(!branch.is_absent()),
        ..Default::default()
    };
    let reads = [x, weight, bias, scale, shift, branch, gate];
    x.device().launch(&FWD, p, reads, [&mut y, &mut mean, &mut rstd, &mut joined])?;
    let x = if branch.is_absent() { x.clone() } else { joined };
    let [weight, bias, scale, shift, branch, gate] = [weight, bias, scale, shift, branch, gate].map(Clone::clone);
    Ok((y, [x, weight, bias, scale, shift, branch, gate, mean, rstd]))
}

fn backward(
    op: &'static str,
    [x, weight, bias, scale, shift, branch, gate, mean, rstd]: &Kept,
    dy: &Tensor,
    dresidual: Option<&Tensor>,
    mut needs: [bool; 7],
) -> Result<[Option<Tensor>; 7]> {
    let device = x.device();
    let of = RowParts::joined(op, x, [scale, shift], [branch, gate])?;
    let joins = !branch.is_absent();
    let asked = needs;
    // The branch's gradient is made from dx.
    needs[0] |= joins;
    needs[5] |= joins;
    let sums_wanted = needs[1..5].contains(&true) || needs[6];
    let absent = Tensor::absent(device)?;
    let mut sums =
        if sums_wanted { Tensor::uninit(device, &of.sums(joins), DType::F32)? } else { Tensor::absent(device)? };
    let mut gradients = grads::allocate([x, weight, bias, scale, shift, branch, gate], needs)?;
    let [dx, dweight, dbias, dscale, dshift, dbranch, dgate] = &mut gradients;
    let p = params::LayerNormBwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.backward,
        joins: u32::from(joins),
        ..Default::default()
    };
    let reads = [x, weight, scale, mean, rstd, dy, dresidual.unwrap_or(&absent), branch, gate];
    device.launch(&BWD, p, reads, [dx, &mut sums, dbranch])?;
    if sums_wanted {
        let p = params::LayerNormSums {
            dim: of.dim,
            groups: of.groups,
            parts: of.backward,
            modulated: if needs[3] || needs[4] || needs[6] { of.groups } else { 0 },
            affine: u32::from(needs[1] || needs[2]),
            values: RowParts::values(joins),
            ..Default::default()
        };
        let writes = [dweight, dbias, dscale, dshift, dgate];
        device.launch(&SUMS, p, [scale, shift, gate, weight, bias, &sums], writes)?;
    }
    Ok(grads::asked(gradients, asked))
}

fn fwd_cpu(
    p: &params::LayerNormFwd,
    [x, weight, bias, scale, shift, branch, gate]: [&[f32]; 7],
    [y, mean, rstd, joined]: [&mut [f32]; 4],
) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    let norm = RowNorm { cols, rows_per_group, weight, bias, scale, shift };
    norm.forward((x, Join { branch, gate }), p.eps, y, [mean, rstd], joined);
}

fn bwd_cpu(
    p: &params::LayerNormBwd,
    [x, weight, scale, mean, rstd, dy, dresidual, branch, gate]: [&[f32]; 9],
    [dx, sums, dbranch]: [&mut [f32]; 3],
) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    let norm = RowNorm { cols, rows_per_group, weight, bias: &[], scale, shift: &[] };
    let saved = (&Saved { x, mean, rstd }, Join { branch, gate });
    norm.backward(saved, [dy, dresidual], p.parts as usize, dx, sums, dbranch);
}

fn sums_cpu(
    p: &params::LayerNormSums,
    [scale, _, _, weight, bias, sums]: [&[f32]; 6],
    [dweight, dbias, dscale, dshift, dgate]: [&mut [f32]; 5],
) {
    let norm = RowNorm { cols: p.dim as usize, rows_per_group: 0, weight, bias, scale, shift: &[] };
    let to = Gradients { dweight, dbias, dscale, dshift, dgate };
    norm.parameter_gradients(sums, p.values as usize, p.groups as usize, to);
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
    joining(case, false)
}

/// With a branch before the norm, or without one.
fn joining(mut case: Case, joins: bool) -> Case {
    let shape = case.inputs[0].shape.clone();
    case.inputs.extend(row_team::branch_inputs(&shape, joins));
    let apply = LayerNormResidual { eps: 1e-6 };
    let run = Box::new(move |tape: &Tape, x: &[Var]| {
        Ok(tape.apply(apply, [&x[0], &x[1], &x[2], &x[3], &x[4], &x[5], &x[6]])?.into())
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
        joining(case("a branch, odd shapes", &[2, 5, 7], true, true, false), true),
        joining(case("a branch, several parts, no modulation", &[2, 67, 40], true, false, false), true),
        joining(case("a branch, several warps to a row", &[2, 21, 1160], false, true, false), true),
        case("DiT-B/1, 256 tokens, modulated", &[8, 256, 768], false, true, true),
        case("ViT-L/14, 257 tokens, affine", &[4, 257, 1024], true, false, true),
        joining(case("DiT-XL/1, a branch, modulated", &[2, 256, 1152], false, true, true), true),
    ]
}
