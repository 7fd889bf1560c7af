//! y = x·rstd·weight·(1 + scale) + shift with rstd = (mean(x²) + eps)^−½ over the last dimension (Zhang and Sennrich, 2019),
//! and the modulation of adaptive layer norm (Peebles and Xie, 2023) fused. The gradients stand in `kernels/rms_norm.h`.

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

/// RMS norm of x (B, .., C) with weight (C), scale (B, C) and shift (B, C), each of them absent or not: → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Added to the mean square: 1e-6 in LightningDiT.
    pub eps: f32,
}

/// The same between residual branches: of x, after a branch (B, .., C) with its gate (B, C) has joined it, both of them absent or not: → y and
/// x + gate·branch. Where the next residual sum takes the second output, the two gradients of it meet in this op's backward and go on through
/// the gate, in one pass.
#[derive(Debug, Clone, Copy)]
pub struct RmsNormResidual {
    /// As in [`RmsNorm`].
    pub eps: f32,
}

const FWD: Kernel<params::RmsNormFwd, 6, 3> = Kernel {
    name: "rms_norm_fwd",
    reads: ["x", "weight", "scale", "shift", "branch", "gate"],
    writes: ["y", "rstd", "joined"],
    cpu: fwd_cpu,
    cuda: Some(
        CudaKernel::new("rms_norm", |p: &params::RmsNormFwd, math| {
            row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
        })
        .with_variants(|p| row_team::variant(p.joins)),
    ),
};

const BWD: Kernel<params::RmsNormBwd, 8, 3> = Kernel {
    name: "rms_norm_bwd",
    reads: ["x", "weight", "scale", "rstd", "dy", "dresidual", "branch", "gate"],
    writes: ["dx", "sums", "dbranch"],
    cpu: bwd_cpu,
    cuda: Some(
        CudaKernel::new("rms_norm", |p: &params::RmsNormBwd, math| {
            row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
        })
        .with_variants(|p| row_team::variant(p.joins)),
    ),
};

const SUMS: Kernel<params::RmsNormSums, 5, 4> = Kernel {
    name: "rms_norm_sums",
    reads: ["scale", "shift", "gate", "weight", "sums"],
    writes: ["dweight", "dscale", "dshift", "dgate"],
    cpu: sums_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, _| row_team::sums_geometry(p.dim, p.modulated, p.affine))),
};

/// x (joined, where a branch joins it), weight, scale, shift, branch, gate and rstd.
type Kept = [Tensor; 7];

impl Op<4> for RmsNorm {
    const NAME: &'static str = "rms_norm";
    type Saved = Kept;

    fn forward(&self, [x, weight, scale, shift]: [&Tensor; 4]) -> Result<([Tensor; 1], Kept)> {
        let absent = Tensor::absent(x.device())?;
        let (y, kept) = forward(Self::NAME, self.eps, [x, weight, scale, shift, &absent, &absent])?;
        Ok(([y], kept))
    }

    fn backward(&self, kept: &Kept, dy: [Option<&Tensor>; 1], needs: [bool; 4]) -> Result<[Option<Tensor>; 4]> {
        let [x, weight, scale, shift] = needs;
        let [dx, dweight, dscale, dshift, ..] =
            backward(Self::NAME, kept, only(dy), None, [x, weight, scale, shift, false, false])?;
        Ok([dx, dweight, dscale, dshift])
    }
}

impl Op<6, 2> for RmsNormResidual {
    const NAME: &'static str = "rms_norm_residual";
    type Saved = Kept;

    /// x, weight, scale, shift, branch, gate.
    fn forward(&self, inputs: [&Tensor; 6]) -> Result<([Tensor; 2], Kept)> {
        let (y, kept) = forward(Self::NAME, self.eps, inputs)?;
        Ok(([y, kept[0].clone()], kept))
    }

    fn backward(&self, kept: &Kept, grads: [Option<&Tensor>; 2], needs: [bool; 6]) -> Result<[Option<Tensor>; 6]> {
        let [x, weight, scale, shift, branch, gate, _] = kept;
        match grads {
            [Some(dy), dresidual] => backward(Self::NAME, kept, dy, dresidual, needs),
            [None, dresidual] => residual_alone(Self::NAME, [x, weight, scale, shift, branch, gate], dresidual, needs),
        }
    }
}

fn forward(
    op: &'static str,
    eps: f32,
    [x, weight, scale, shift, branch, gate]: [&Tensor; 6],
) -> Result<(Tensor, Kept)> {
    let of = RowParts::joined(op, x, [scale, shift], [branch, gate])?;
    check::optional_parameters(op, "weight", weight, of.dim as usize)?;
    let mut y = x.uninit_like()?;
    let mut rstd = Tensor::uninit(x.device(), &[of.rows as usize], DType::F32)?;
    let mut joined = if branch.is_absent() { Tensor::absent(x.device())? } else { x.uninit_like()? };
    let p = params::RmsNormFwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.forward,
        eps,
        joins: u32::from(!branch.is_absent()),
        ..Default::default()
    };
    x.device().launch(&FWD, p, [x, weight, scale, shift, branch, gate], [&mut y, &mut rstd, &mut joined])?;
    let x = if branch.is_absent() { x.clone() } else { joined };
    let [weight, scale, shift, branch, gate] = [weight, scale, shift, branch, gate].map(Clone::clone);
    Ok((y, [x, weight, scale, shift, branch, gate, rstd]))
}

fn backward(
    op: &'static str,
    [x, weight, scale, shift, branch, gate, rstd]: &Kept,
    dy: &Tensor,
    dresidual: Option<&Tensor>,
    mut needs: [bool; 6],
) -> Result<[Option<Tensor>; 6]> {
    let device = x.device();
    let of = RowParts::joined(op, x, [scale, shift], [branch, gate])?;
    let joins = !branch.is_absent();
    let asked = needs;
    // The branch's gradient is made from dx.
    needs[0] |= joins;
    needs[4] |= joins;
    let sums_wanted = needs[1..4].contains(&true) || needs[5];
    let absent = Tensor::absent(device)?;
    let mut sums =
        if sums_wanted { Tensor::uninit(device, &of.sums(joins), DType::F32)? } else { Tensor::absent(device)? };
    let mut gradients = grads::allocate([x, weight, scale, shift, branch, gate], needs)?;
    let [dx, dweight, dscale, dshift, dbranch, dgate] = &mut gradients;
    let p = params::RmsNormBwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.backward,
        joins: u32::from(joins),
        ..Default::default()
    };
    let reads = [x, weight, scale, rstd, dy, dresidual.unwrap_or(&absent), branch, gate];
    device.launch(&BWD, p, reads, [dx, &mut sums, dbranch])?;
    if sums_wanted {
        let p = params::RmsNormSums {
            dim: of.dim,
            groups: of.groups,
            parts: of.backward,
            modulated: if needs[2] || needs[3] || needs[5] { of.groups } else { 0 },
            affine: u32::from(needs[1]),
            values: RowParts::values(joins),
            ..Default::default()
        };
        let writes = [dweight, dscale, dshift, dgate];
        device.launch(&SUMS, p, [scale, shift, gate, weight, &sums], writes)?;
    }
    Ok(grads::asked(gradients, asked))
}

fn fwd_cpu(
    p: &params::RmsNormFwd,
    [x, weight, scale, shift, branch, gate]: [&[f32]; 6],
    [y, rstd, joined]: [&mut [f32]; 3],
) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    let norm = RowNorm { cols, rows_per_group, weight, bias: &[], scale, shift };
    norm.forward((x, Join { branch, gate }), p.eps, y, [&mut [], rstd], joined);
}

fn bwd_cpu(
    p: &params::RmsNormBwd,
    [x, weight, scale, rstd, dy, dresidual, branch, gate]: [&[f32]; 8],
    [dx, sums, dbranch]: [&mut [f32]; 3],
) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    let norm = RowNorm { cols, rows_per_group, weight, bias: &[], scale, shift: &[] };
    let saved = (&Saved { x, mean: &[], rstd }, Join { branch, gate });
    norm.backward(saved, [dy, dresidual], p.parts as usize, dx, sums, dbranch);
}

fn sums_cpu(
    p: &params::RmsNormSums,
    [scale, _, _, weight, sums]: [&[f32]; 5],
    [dweight, dscale, dshift, dgate]: [&mut [f32]; 4],
) {
    let norm = RowNorm { cols: p.dim as usize, rows_per_group: 0, weight, bias: &[], scale, shift: &[] };
    let to = Gradients { dweight, dbias: &mut [], dscale, dshift, dgate };
    norm.parameter_gradients(sums, p.values as usize, p.groups as usize, to);
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info(), SUMS.info()]
}

fn case(label: &'static str, shape: &[usize], present: [bool; 3], std: f32, bench: bool) -> Case {
    let (batch, cols) = (shape[0], shape[shape.len() - 1]);
    let count = shape.iter().product::<usize>() as u64;
    let input = |name, present: bool, shape: &[usize]| {
        if present { Input::normal(name, shape) } else { Input::absent(name) }
    };
    let [weight, scale, shift] = present;
    Case {
        op: "rms_norm",
        label,
        inputs: vec![
            Input::normal("x", shape).values(Values::Normal(0.1, std)),
            input("weight", weight, &[cols]).f32(),
            input("scale", scale, &[batch, cols]),
            input("shift", shift, &[batch, cols]),
        ],
        settings: vec![("eps", 1e-6)],
        run: Box::new(|tape, x| Ok(tape.apply(RmsNorm { eps: 1e-6 }, [&x[0], &x[1], &x[2], &x[3]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 5 * count,
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
    let apply = RmsNormResidual { eps: 1e-6 };
    let run = Box::new(move |tape: &Tape, x: &[Var]| {
        Ok(tape.apply(apply, [&x[0], &x[1], &x[2], &x[3], &x[4], &x[5]])?.into())
    });
    Case { op: "rms_norm_residual", run, ..case }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes, weight", &[2, 5, 7], [true, false, false], 2.0, false),
        case("one column", &[3, 2, 1], [false, true, true], 1.0, false),
        case("odd shapes, modulated", &[3, 11, 129], [true, true, true], 1.0, false),
        case("scale without shift, several parts", &[2, 67, 40], [true, true, false], 1.0, false),
        case("shift without scale", &[2, 9, 40], [true, false, true], 1.0, false),
        case("plain, more parts than rows", &[1, 3, 96], [false, false, false], 1.0, false),
        case("weight, several parts", &[301, 20], [true, false, false], 1.0, false),
        case("QK norm, tiny values", &[2, 6, 2, 64], [true, false, false], 1e-3, false),
        case("more than a warp's chunks", &[2, 37, 264], [true, true, true], 1.0, false),
        case("several warps to a row", &[2, 21, 1160], [true, true, true], 1.0, false),
        residual(case("odd shapes", &[2, 5, 7], [true, true, true], 1.0, false)),
        residual(case("no weight", &[2, 37, 264], [false, true, true], 1.0, false)),
        joining(case("a branch, odd shapes", &[2, 5, 7], [true, true, true], 1.0, false), true),
        joining(case("a branch, several parts, scale alone", &[2, 67, 40], [true, true, false], 1.0, false), true),
        joining(case("a branch, no modulation", &[3, 37, 264], [true, false, false], 1.0, false), true),
        joining(case("a branch, several warps to a row", &[2, 21, 1160], [true, true, true], 1.0, false), true),
        case("DiT-B/1, modulated", &[8, 256, 768], [true, true, true], 1.0, true),
        case("DiT-XL/1, modulated", &[4, 256, 1152], [true, true, true], 1.0, true),
        case("DiT-XL/1, QK norm", &[1, 256, 16, 72], [true, false, false], 1.0, true),
        residual(case("DiT-XL/1, modulated", &[2, 256, 1152], [true, true, true], 1.0, true)),
        joining(case("DiT-XL/1, a branch, modulated", &[4, 256, 1152], [true, true, true], 1.0, true), true),
    ]
}
