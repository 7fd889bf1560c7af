//! y = x·rstd·weight·(1 + scale) + shift with rstd = (mean(x²) + eps)^−½ over the last dimension (Zhang and Sennrich, 2019),
//! and the modulation of adaptive layer norm (Peebles and Xie, 2023) fused. The gradients stand in `kernels/rms_norm.h`.

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

/// RMS norm of x (B, .., C) with weight (C), scale (B, C) and shift (B, C), each of them absent or not: → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Added to the mean square: 1e-6 in LightningDiT.
    pub eps: f32,
}

/// The same at the head of a residual branch: → y and x itself. Where the residual sum takes the second output, the two gradients of x
/// meet in this op's backward, in one pass.
#[derive(Debug, Clone, Copy)]
pub struct RmsNormResidual {
    /// As in [`RmsNorm`].
    pub eps: f32,
}

const FWD: Kernel<params::RmsNormFwd, 4, 2> = Kernel {
    name: "rms_norm_fwd",
    reads: ["x", "weight", "scale", "shift"],
    writes: ["y", "rstd"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, math| {
        row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
    })),
};

const BWD: Kernel<params::RmsNormBwd, 6, 2> = Kernel {
    name: "rms_norm_bwd",
    reads: ["x", "weight", "scale", "rstd", "dy", "dresidual"],
    writes: ["dx", "sums"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, math| {
        row_team::geometry(p.rows, p.dim, p.rows_per_group, p.parts, math)
    })),
};

const SUMS: Kernel<params::RmsNormSums, 4, 3> = Kernel {
    name: "rms_norm_sums",
    reads: ["scale", "shift", "weight", "sums"],
    writes: ["dweight", "dscale", "dshift"],
    cpu: sums_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, _| row_team::sums_geometry(p.dim, p.modulated, p.affine))),
};

/// x, weight, scale, shift and rstd.
type Kept = [Tensor; 5];

impl Op<4> for RmsNorm {
    const NAME: &'static str = "rms_norm";
    type Saved = Kept;

    fn forward(&self, inputs: [&Tensor; 4]) -> Result<([Tensor; 1], Kept)> {
        let (y, kept) = forward(Self::NAME, self.eps, inputs)?;
        Ok(([y], kept))
    }

    fn backward(&self, kept: &Kept, dy: [Option<&Tensor>; 1], needs: [bool; 4]) -> Result<[Option<Tensor>; 4]> {
        backward(Self::NAME, kept, only(dy), None, needs)
    }
}

impl Op<4, 2> for RmsNormResidual {
    const NAME: &'static str = "rms_norm_residual";
    type Saved = Kept;

    fn forward(&self, inputs: [&Tensor; 4]) -> Result<([Tensor; 2], Kept)> {
        let (y, kept) = forward(Self::NAME, self.eps, inputs)?;
        Ok(([y, inputs[0].clone()], kept))
    }

    fn backward(&self, kept: &Kept, grads: [Option<&Tensor>; 2], needs: [bool; 4]) -> Result<[Option<Tensor>; 4]> {
        let [x, weight, scale, shift, _] = kept;
        match grads {
            [Some(dy), dresidual] => backward(Self::NAME, kept, dy, dresidual, needs),
            [None, dresidual] => grads::of_residual_alone([x, weight, scale, shift], dresidual, needs),
        }
    }
}

fn forward(
    op: &'static str,
    eps: f32,
    [x, weight, scale, shift]: [&Tensor; 4],
) -> Result<(Tensor, Kept)> {
    let of = RowParts::modulated(op, x, scale, shift)?;
    check::optional_parameters(op, "weight", weight, of.dim as usize)?;
    let mut y = x.uninit_like()?;
    let mut rstd = Tensor::uninit(x.device(), &[of.rows as usize], DType::F32)?;
    let p = params::RmsNormFwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.forward,
        eps,
        ..Default::default()
    };
    x.device().launch(&FWD, p, [x, weight, scale, shift], [&mut y, &mut rstd])?;
    Ok((y, [x.clone(), weight.clone(), scale.clone(), shift.clone(), rstd]))
}

fn backward(
    op: &'static str,
    [x, weight, scale, shift, rstd]: &Kept,
    dy: &Tensor,
    dresidual: Option<&Tensor>,
    needs: [bool; 4],
) -> Result<[Option<Tensor>; 4]> {
    let device = x.device();
    let of = RowParts::modulated(op, x, scale, shift)?;
    let sums_wanted = needs[1] || needs[2] || needs[3];
    let absent = Tensor::absent(device)?;
    let mut sums = if sums_wanted { Tensor::uninit(device, &of.sums(), DType::F32)? } else { Tensor::absent(device)? };
    let [mut dx, mut dweight, mut dscale, mut dshift] = grads::allocate([x, weight, scale, shift], needs)?;
    let p = params::RmsNormBwd {
        rows: of.rows,
        dim: of.dim,
        rows_per_group: of.rows_per_group,
        parts: of.backward,
        ..Default::default()
    };
    let reads = [x, weight, scale, rstd, dy, dresidual.unwrap_or(&absent)];
    device.launch(&BWD, p, reads, [&mut dx, &mut sums])?;
    if sums_wanted {
        let p = params::RmsNormSums {
            dim: of.dim,
            groups: of.groups,
            parts: of.backward,
            modulated: if needs[2] || needs[3] { of.groups } else { 0 },
            affine: u32::from(needs[1]),
            ..Default::default()
        };
        let writes = [&mut dweight, &mut dscale, &mut dshift];
        device.launch(&SUMS, p, [scale, shift, weight, &sums], writes)?;
    }
    Ok(grads::asked([dx, dweight, dscale, dshift], needs))
}

fn fwd_cpu(p: &params::RmsNormFwd, [x, weight, scale, shift]: [&[f32]; 4], [y, rstd]: [&mut [f32]; 2]) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    RowNorm { cols, rows_per_group, weight, bias: &[], scale, shift }.forward(x, p.eps, y, &mut [], rstd);
}

fn bwd_cpu(
    p: &params::RmsNormBwd,
    [x, weight, scale, rstd, dy, dresidual]: [&[f32]; 6],
    [dx, sums]: [&mut [f32]; 2],
) {
    let (cols, rows_per_group) = (p.dim as usize, p.rows_per_group as usize);
    let norm = RowNorm { cols, rows_per_group, weight, bias: &[], scale, shift: &[] };
    norm.backward(&Saved { x, mean: &[], rstd }, dy, dresidual, p.parts as usize, dx, sums);
}

fn sums_cpu(
    p: &params::RmsNormSums,
    [scale, _, weight, sums]: [&[f32]; 4],
    [dweight, dscale, dshift]: [&mut [f32]; 3],
) {
    let norm = RowNorm { cols: p.dim as usize, rows_per_group: 0, weight, bias: &[], scale, shift: &[] };
    norm.parameter_gradients(sums, p.groups as usize, Gradients { dweight, dbias: &mut [], dscale, dshift });
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
    let apply = RmsNormResidual { eps: 1e-6 };
    let run = Box::new(move |tape: &Tape, x: &[Var]| Ok(tape.apply(apply, [&x[0], &x[1], &x[2], &x[3]])?.into()));
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
        case("DiT-B/1, modulated", &[8, 256, 768], [true, true, true], 1.0, true),
        case("DiT-XL/1, modulated", &[4, 256, 1152], [true, true, true], 1.0, true),
        case("DiT-XL/1, QK norm", &[1, 256, 16, 72], [true, false, false], 1.0, true),
        residual(case("DiT-XL/1, modulated", &[2, 256, 1152], [true, true, true], 1.0, true)),
    ]
}
