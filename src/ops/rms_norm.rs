//! y = x·rstd·weight·(1 + scale) + shift with rstd = (mean(x²) + eps)^−½ over the last dimension (Zhang and Sennrich, 2019),
//! and the modulation of adaptive layer norm (Peebles and Xie, 2023) fused. The gradients stand in `kernels/rms_norm.h`.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::cpu::row_norm::{RowNorm, Saved};
use crate::device::cpu::rows::{add_up, chunks_mut, store};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// RMS norm of x (B, .., C) with weight (C), scale (B, C) and shift (B, C), each of them absent or not: → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Added to the mean square: 1e-6 in LightningDiT.
    pub eps: f32,
}

const FWD: Kernel<params::RmsNormFwd, 4, 2> = Kernel {
    name: "rms_norm_fwd",
    reads: ["x", "weight", "scale", "shift"],
    writes: ["y", "rstd"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, _| Geometry {
            grid: [p.rows.div_ceil(params::RMS_NORM_FWD_THREADS / WARP), 1, 1],
            block: [params::RMS_NORM_FWD_THREADS, 1, 1],
            shared_bytes: 0,
        })),
};

const BWD: Kernel<params::RmsNormBwd, 5, 3> = Kernel {
    name: "rms_norm_bwd",
    reads: ["x", "weight", "scale", "rstd", "dy"],
    writes: ["dx", "sum_dy_xhat", "sum_dy"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, _| Geometry {
            grid: [p.parts, p.rows.div_ceil(p.rows_per_group), 1],
            block: [params::RMS_NORM_BWD_THREADS, 1, 1],
            shared_bytes: 32 * p.dim.next_multiple_of(256),
        })),
};

const SUMS: Kernel<params::RmsNormSums, 4, 3> = Kernel {
    name: "rms_norm_sums",
    reads: ["weight", "scale", "sum_dy_xhat", "sum_dy"],
    writes: ["dweight", "dscale", "dshift"],
    cpu: sums_cpu,
    cuda: Some(CudaKernel::new("rms_norm", |p, _| Geometry {
            grid: [p.dim.div_ceil(128), 1, 1],
            block: [params::RMS_NORM_SUMS_THREADS, 1, 1],
            shared_bytes: 0,
        })),
};

/// Threads that share a row.
const WARP: u32 = 32;

/// Rows per partial sum: few enough for parallelism, enough that the sums are a small part of the traffic.
const ROWS_PER_PART: usize = 32;

/// Groups that the rows are cut into where no modulation says otherwise: `rms_norm_sums` takes eight at a time.
const FREE_GROUPS: usize = 8;

/// The most parts of a group, which `rms_norm_sums` walks through one after the other.
const MAX_PARTS: usize = 128;

impl Op<4> for RmsNorm {
    const NAME: &'static str = "rms_norm";
    /// The inputs and rstd.
    type Saved = [Tensor; 5];

    fn forward(&self, [x, weight, scale, shift]: [&Tensor; 4]) -> Result<([Tensor; 1], Self::Saved)> {
        let (rows, dim) = check::matrix(Self::NAME, "x", x)?;
        check::optional(Self::NAME, "weight", weight, &[dim])?;
        let rows_per_group = check::modulation(Self::NAME, scale, shift, x)?;
        check::aligned(Self::NAME, "the last dimension", dim, x)?;
        let mut y = x.uninit_like()?;
        let mut rstd = Tensor::uninit(x.device(), &[rows], DType::F32)?;
        let p = params::RmsNormFwd {
            rows: rows as u32,
            dim: dim as u32,
            rows_per_group: rows_per_group as u32,
            eps: self.eps,
            ..Default::default()
        };
        x.device().launch(&FWD, p, [x, weight, scale, shift], [&mut y, &mut rstd])?;
        Ok(([y], [x.clone(), weight.clone(), scale.clone(), shift.clone(), rstd]))
    }

    fn backward(
        &self,
        [x, weight, scale, shift, rstd]: &Self::Saved,
        dy: [Option<&Tensor>; 1],
        needs: [bool; 4],
    ) -> Result<[Option<Tensor>; 4]> {
        let (device, (rows, dim)) = (x.device(), x.rows_cols());
        let modulated = !scale.is_absent() || !shift.is_absent();
        let (rows_per_group, groups) = match modulated {
            true => (rows / x.shape()[0], x.shape()[0]),
            false => (rows.div_ceil(FREE_GROUPS), rows.div_ceil(rows.div_ceil(FREE_GROUPS))),
        };
        let parts = rows_per_group.div_ceil(ROWS_PER_PART).min(MAX_PARTS);
        let sums_wanted = needs[1] || needs[2] || needs[3];
        let sums = || match sums_wanted {
            true => Tensor::uninit(device, &[groups, parts, dim], DType::F32),
            false => Tensor::absent(device),
        };
        let (mut dx, mut sum_dy_xhat, mut sum_dy) = (x.uninit_like()?, sums()?, sums()?);
        let p = params::RmsNormBwd {
            rows: rows as u32,
            dim: dim as u32,
            rows_per_group: rows_per_group as u32,
            parts: parts as u32,
            ..Default::default()
        };
        let writes = [&mut dx, &mut sum_dy_xhat, &mut sum_dy];
        device.launch(&BWD, p, [x, weight, scale, rstd, only(dy)], writes)?;
        let [_, needs_small @ ..] = needs;
        let mut small = grads::allocate([weight, scale, shift], needs_small)?;
        if needs[1] {
            // Of a parameter, which is f32 where it is trained: kept as the sum that it is.
            small[0] = Tensor::uninit(device, weight.shape(), DType::F32)?;
        }
        if sums_wanted {
            let p = params::RmsNormSums {
                dim: dim as u32,
                groups: groups as u32,
                parts: parts as u32,
                ..Default::default()
            };
            device.launch(&SUMS, p, [weight, scale, &sum_dy_xhat, &sum_dy], small.each_mut())?;
        }
        let [dweight, dscale, dshift] = grads::asked(small, needs_small);
        Ok([needs[0].then_some(dx), dweight, dscale, dshift])
    }
}

fn fwd_cpu(p: &params::RmsNormFwd, [x, weight, scale, shift]: [&[f32]; 4], [y, rstd]: [&mut [f32]; 2]) {
    let (cols, rows_per_batch) = (p.dim as usize, p.rows_per_group as usize);
    RowNorm { cols, rows_per_batch, weight, bias: &[], scale, shift }.forward(x, p.eps, y, &mut [], rstd);
}

fn bwd_cpu(
    p: &params::RmsNormBwd,
    [x, weight, scale, rstd, dy]: [&[f32]; 5],
    [dx, sum_dy_xhat, sum_dy]: [&mut [f32]; 3],
) {
    let [rows, cols, rows_per_batch, parts] = [p.rows, p.dim, p.rows_per_group, p.parts].map(|n| n as usize);
    let groups = rows.div_ceil(rows_per_batch);
    let norm = RowNorm { cols, rows_per_batch, weight, bias: &[], scale, shift: &[] };
    let per_part = rows_per_batch.div_ceil(parts);
    let mut dx_left = dx;
    let dx_parts = (0..groups * parts).map(|task| {
        let end = rows.min((task / parts + 1) * rows_per_batch);
        let first = end.min(task / parts * rows_per_batch + task % parts * per_part);
        let range = first..end.min(first + per_part);
        let (dx, rest) = std::mem::take(&mut dx_left).split_at_mut(range.len() * cols);
        dx_left = rest;
        (task / parts, range, dx)
    });
    let sums = chunks_mut(sum_dy, cols, groups * parts).into_iter().zip(chunks_mut(sum_dy_xhat, cols, groups * parts));
    let work: Vec<_> = dx_parts.zip(sums).collect();
    work.into_par_iter().for_each(|((group, range, dx), (sum_dy, sum_dy_xhat))| {
        sum_dy.fill(0.0);
        sum_dy_xhat.fill(0.0);
        norm.backward_rows(&Saved { x, mean: &[], rstd }, dy, group, range, dx, [sum_dy, sum_dy_xhat]);
    });
}

fn sums_cpu(
    p: &params::RmsNormSums,
    [weight, scale, sum_dy_xhat, sum_dy]: [&[f32]; 4],
    [dweight, dscale, dshift]: [&mut [f32]; 3],
) {
    let [cols, groups, parts] = [p.dim, p.groups, p.parts].map(|n| n as usize);
    let per_group = parts * cols;
    let mut dweight_sum = vec![0f64; cols];
    let outputs = chunks_mut(dscale, cols, groups).into_iter().zip(chunks_mut(dshift, cols, groups));
    let sums = sum_dy_xhat.chunks(per_group).zip(sum_dy.chunks(per_group));
    for (group, ((dscale, dshift), (sum_dy_xhat, sum_dy))) in outputs.zip(sums).enumerate() {
        let dy_xhat = add_up(sum_dy_xhat.chunks(cols), cols);
        for (i, (sum, dy_xhat)) in dweight_sum.iter_mut().zip(&dy_xhat).enumerate() {
            *sum += dy_xhat * (1.0 + scale.get(group * cols + i).map_or(0.0, |&scale| f64::from(scale)));
        }
        for (i, (dscale, dy_xhat)) in dscale.iter_mut().zip(&dy_xhat).enumerate() {
            *dscale = (dy_xhat * weight.get(i).map_or(1.0, |&weight| f64::from(weight))) as f32;
        }
        store(dshift, &add_up(sum_dy.chunks(cols), cols));
    }
    store(dweight, &dweight_sum);
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
            input("weight", weight, &[cols]),
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

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes, weight", &[2, 5, 7], [true, false, false], 2.0, false),
        case("one column", &[3, 2, 1], [false, true, true], 1.0, false),
        case("odd shapes, modulated", &[3, 11, 129], [true, true, true], 1.0, false),
        case("scale without shift, several parts", &[2, 67, 40], [true, true, false], 1.0, false),
        case("plain, more groups than rows", &[1, 3, 96], [false, false, false], 1.0, false),
        case("weight, several groups and parts", &[301, 20], [true, false, false], 1.0, false),
        case("QK norm, tiny values", &[2, 6, 2, 64], [true, false, false], 1e-3, false),
        case("more than a warp's chunks", &[2, 37, 264], [true, true, true], 1.0, false),
        case("DiT-B/1, modulated", &[8, 256, 768], [true, true, true], 1.0, true),
        case("DiT-XL/1, modulated", &[4, 256, 1152], [true, true, true], 1.0, true),
    ]
}
