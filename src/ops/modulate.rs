//! y = x·(1 + scale) + shift, one scale and shift per batch entry: the modulation of adaptive layer norm (Peebles and
//! Xie, 2023) where no norm stands before it to fuse with.

use rayon::prelude::*;

use super::channel_tile::{self, ChannelTile};
use super::part_sums::{self, add_parts};
use super::{Case, Input, Tolerance, check, grads};
use crate::device::cpu::rows::{add_up, chunks_mut, rows_per_task, store};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// x (B, .., C), scale (B, C), shift (B, C) or absent → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct Modulate;

const FWD: Kernel<params::ModulateFwd, 3, 1> = Kernel {
    name: "modulate_fwd",
    reads: ["x", "scale", "shift"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("modulate", |p, math| {
        channel_tile::geometry(p.cols, p.tile, [p.slices, p.groups], 0, math)
    })),
};

const BWD: Kernel<params::ModulateBwd, 3, 4> = Kernel {
    name: "modulate_bwd",
    reads: ["x", "scale", "dy"],
    writes: ["dx", "dscale", "dshift", "sums"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("modulate", |p, math| {
        channel_tile::geometry(p.cols, p.tile, [p.parts, p.groups], 0, math)
    })),
};

impl Op<3> for Modulate {
    const NAME: &'static str = "modulate";
    /// The inputs.
    type Saved = [Tensor; 3];

    fn forward(&self, [x, scale, shift]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        let rows_per_group = check::rows_per_batch(Self::NAME, "scale", scale, x)?;
        check::optional(Self::NAME, "shift", shift, scale.shape())?;
        let ChannelTile { tile, slices, .. } = blocks(x)?;
        let p = params::ModulateFwd {
            groups: x.shape()[0] as u32,
            rows_per_group: rows_per_group as u32,
            cols: x.rows_cols().1 as u32,
            tile,
            slices,
            ..Default::default()
        };
        let mut y = x.uninit_like()?;
        x.device().launch(&FWD, p, [x, scale, shift], [&mut y])?;
        Ok(([y], [x, scale, shift].map(Clone::clone)))
    }

    fn backward(
        &self,
        [x, scale, shift]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (device, dy) = (x.device(), only(grads));
        let (groups, (rows, cols)) = (x.shape()[0], x.rows_cols());
        let ChannelTile { tile, parts, .. } = blocks(x)?;
        let mut gradients = grads::allocate([x, scale, shift], needs)?;
        let [dx, dscale, dshift] = &mut gradients;
        let in_parts = (needs[1] || needs[2]) && parts > 1;
        let mut sums = match in_parts {
            true => Tensor::uninit(device, &[groups, parts as usize, 2, cols], DType::F32)?,
            false => Tensor::absent(device)?,
        };
        let p = params::ModulateBwd {
            groups: groups as u32,
            rows_per_group: (rows / groups) as u32,
            cols: cols as u32,
            tile,
            parts,
            ..Default::default()
        };
        if in_parts {
            let [mut later, mut too] = [Tensor::absent(device)?, Tensor::absent(device)?];
            device.launch(&BWD, p, [x, scale, dy], [dx, &mut later, &mut too, &mut sums])?;
            add_parts(scale, &sums, [dshift, dscale])?;
        } else {
            device.launch(&BWD, p, [x, scale, dy], [dx, dscale, dshift, &mut sums])?;
        }
        Ok(grads::asked(gradients, needs))
    }
}

fn blocks(x: &Tensor) -> Result<ChannelTile> {
    ChannelTile::new(Modulate::NAME, x, x.shape()[0], x.rows_cols().1)
}

fn fwd_cpu(p: &params::ModulateFwd, [x, scale, shift]: [&[f32]; 3], [y]: [&mut [f32]; 1]) {
    let (cols, rows_per_group) = (p.cols as usize, p.rows_per_group as usize);
    let task = rows_per_task(cols);
    y.par_chunks_mut(task * cols).zip(x.par_chunks(task * cols)).enumerate().for_each(|(t, (y, x))| {
        for (r, (y, x)) in y.chunks_exact_mut(cols).zip(x.chunks_exact(cols)).enumerate() {
            let batch = (t * task + r) / rows_per_group * cols;
            let scale = &scale[batch..batch + cols];
            for ((y, x), scale) in y.iter_mut().zip(x).zip(scale) {
                *y = x * (1.0 + scale);
            }
            if !shift.is_empty() {
                for (y, shift) in y.iter_mut().zip(&shift[batch..batch + cols]) {
                    *y += shift;
                }
            }
        }
    });
}

fn bwd_cpu(p: &params::ModulateBwd, [x, scale, dy]: [&[f32]; 3], [dx, dscale, dshift, _]: [&mut [f32]; 4]) {
    let (cols, rows_per_group) = (p.cols as usize, p.rows_per_group as usize);
    let batches = p.groups as usize;
    let per_batch = rows_per_group * cols;
    let outputs = chunks_mut(dx, per_batch, batches)
        .into_iter()
        .zip(chunks_mut(dscale, cols, batches))
        .zip(chunks_mut(dshift, cols, batches));
    let work: Vec<_> = outputs.zip(x.chunks(per_batch)).zip(dy.chunks(per_batch)).zip(scale.chunks(cols)).collect();
    work.into_par_iter().for_each(|(((((dx, dscale), dshift), x), dy), scale)| {
        let task = rows_per_task(cols) * cols;
        let sums_wanted = !dscale.is_empty() || !dshift.is_empty();
        let work: Vec<_> = chunks_mut(dx, task, x.len().div_ceil(task)).into_iter().zip(x.chunks(task)).collect();
        let partials: Vec<Vec<f32>> = work
            .into_par_iter()
            .zip(dy.par_chunks(task))
            .map(|((dx, x), dy)| {
                for (dx, dy) in dx.chunks_exact_mut(cols).zip(dy.chunks_exact(cols)) {
                    for ((dx, dy), scale) in dx.iter_mut().zip(dy).zip(scale) {
                        *dx = dy * (1.0 + scale);
                    }
                }
                let mut sums = vec![0f32; if sums_wanted { 2 * cols } else { 0 }];
                if sums_wanted {
                    let (sum_x, sum) = sums.split_at_mut(cols);
                    for (x, dy) in x.chunks_exact(cols).zip(dy.chunks_exact(cols)) {
                        for (((sum_x, sum), x), dy) in sum_x.iter_mut().zip(sum.iter_mut()).zip(x).zip(dy) {
                            *sum_x += dy * x;
                            *sum += dy;
                        }
                    }
                }
                sums
            })
            .collect();
        if sums_wanted {
            let sums = add_up(partials.iter().map(Vec::as_slice), 2 * cols);
            store(dscale, &sums[..cols]);
            store(dshift, &sums[cols..]);
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info(), part_sums::kernel()]
}

fn case(label: &'static str, shape: &[usize], shifted: bool, bench: bool) -> Case {
    let per_batch = [shape[0], shape[shape.len() - 1]];
    let count = shape.iter().product::<usize>() as u64;
    Case {
        op: "modulate",
        label,
        inputs: vec![
            Input::normal("x", shape),
            Input::normal("scale", &per_batch),
            if shifted { Input::normal("shift", &per_batch) } else { Input::absent("shift") },
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Modulate, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 2 * count,
        bytes: 8 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 7], true, false),
        case("odd shapes, no shift", &[3, 11, 129], false, false),
        case("many rows", &[2, 131, 200], true, false),
        case("a row to a group", &[5, 1, 96], true, false),
        case("DiT-B/1", &[8, 256, 768], true, true),
        case("DiT-XL/1, sixteen images", &[16, 256, 1152], true, true),
    ]
}
