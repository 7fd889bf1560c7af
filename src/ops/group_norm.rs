//! Group norm with SiLU fused: y = act((x − mean)·rstd·weight + bias), mean and rstd = (var + eps)^−½ over the positions
//! and the C/groups neighbouring channels of a group (Wu and He, 2018).
//!
//! Backward keeps x, mean and rstd, never the normalised tensor. With x̂ = (x − mean)·rstd, z = x̂·weight + bias,
//! dz = dy·act′(z) and, per sample and channel, S = Σ dz and T = Σ dz·x̂ over the positions:
//!
//! dbias = Σ_batch S, dweight = Σ_batch T, dx = rstd·(weight·dz − m − x̂·n), where m and n are the sums of weight·S and of
//! weight·T over the group's channels, divided by the number of its elements.
//!
//! Both directions pass over a sample twice: once for sums, once for the result. A GPU makes the sums part by part of the positions, and
//! the second pass begins by adding them up; the CPU makes them in one part. Forward needs the second pass alone where the convolution that
//! made x has left the sums: [`Conv2dBeforeNorm`](super::conv2d::Conv2dBeforeNorm).

mod cpu;

use super::channel_tile::{self, ChannelTile, MOST_PARTS};
use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// x (B, H, W, C) or (B, N, C), weight (C), bias (C), statistics (B, parts, groups, 2) f32 of x or absent → y as x, and x itself for others
/// who need it: their gradient of it is added in this op's backward, in the same pass. Statistics are constants: the gradient of y through
/// them is in that of x.
#[derive(Debug, Clone, Copy)]
pub struct GroupNorm {
    /// The number of groups, which divides C: 32 in the VA-VAE.
    pub groups: usize,
    /// Added to the variance: 1e-6 in the VA-VAE.
    pub eps: f32,
    /// Whether SiLU follows.
    pub silu: bool,
}

const STATS: Kernel<params::GroupNormStats, 1, 1> = Kernel {
    name: "group_norm_stats",
    reads: ["x"],
    writes: ["partial"],
    cpu: cpu::stats,
    cuda: Some(CudaKernel::new("group_norm", |p, math| {
        channel_tile::geometry(p.channels, p.tile, [p.parts, p.batch], 2, math)
    })),
};

const MERGE: Kernel<params::GroupNormMerge, 1, 1> = Kernel {
    name: "group_norm_merge",
    reads: ["partial"],
    writes: ["merged"],
    cpu: cpu::merge,
    cuda: Some(CudaKernel::new("group_norm", |p, _| Geometry {
        grid: [(p.batch * p.parts.div_ceil(p.fold) * p.groups).div_ceil(params::CHANNEL_TILE_THREADS), 1, 1],
        block: [params::CHANNEL_TILE_THREADS, 1, 1],
        shared_bytes: 0,
    })),
};

const FWD: Kernel<params::GroupNormFwd, 4, 4> = Kernel {
    name: "group_norm_fwd",
    reads: ["x", "weight", "bias", "partial"],
    writes: ["y", "mean", "rstd", "unbiased"],
    cpu: cpu::fwd,
    cuda: Some(CudaKernel::new("group_norm", |p, math| {
        channel_tile::geometry(p.channels, p.tile, [p.slices, p.batch], 4, math)
    })),
};

const BWD_SUMS: Kernel<params::GroupNormBwdSums, 6, 2> = Kernel {
    name: "group_norm_bwd_sums",
    reads: ["x", "weight", "bias", "mean", "rstd", "dy"],
    writes: ["by_channel", "by_group"],
    cpu: cpu::bwd_sums,
    cuda: Some(CudaKernel::new("group_norm", |p, math| {
        channel_tile::geometry(p.channels, p.tile, [p.parts, p.batch], 5, math)
    })),
};

const BWD: Kernel<params::GroupNormBwd, 9, 3> = Kernel {
    name: "group_norm_bwd",
    reads: ["x", "weight", "bias", "mean", "rstd", "dy", "by_channel", "by_group", "dresidual"],
    writes: ["dx", "dweight", "dbias"],
    cpu: cpu::bwd,
    cuda: Some(CudaKernel::new("group_norm", |p, math| {
        let batch = if p.slices == 0 { 1 } else { p.batch };
        channel_tile::geometry(p.channels, p.tile, [p.slices + 1, batch], 6, math)
    })),
};

/// So many parts or less are merged into, where there are more than [`MOST_PARTS`].
const MERGED_PARTS: u32 = 32;

impl Op<4, 2> for GroupNorm {
    const NAME: &'static str = "group_norm";
    type Saved = Normalised;

    fn forward(&self, [x, weight, bias, statistics]: [&Tensor; 4]) -> Result<([Tensor; 2], Normalised)> {
        let (_, channels) = check::matrix(Self::NAME, "x", x)?;
        if x.shape().len() < 2 || self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let message = format!("x of shape {:?} does not split into {} groups of channels", x.shape(), self.groups);
            return Err(Error::shape(Self::NAME, message));
        }
        let batch = x.shape()[0];
        let parts = match statistics.is_absent() {
            true => self.statistics(Self::NAME, x, batch)?,
            false => Parts::given(statistics, x, self.groups)?,
        };
        let (y, normalised) = self.normalise(Self::NAME, [x, weight, bias], batch, &parts, None)?;
        Ok(([y, x.clone()], normalised))
    }

    fn backward(
        &self,
        normalised: &Normalised,
        grads: [Option<&Tensor>; 2],
        needs: [bool; 4],
    ) -> Result<[Option<Tensor>; 4]> {
        let [x, weight, bias, statistics] = needs;
        if statistics {
            let message = "group_norm: statistics carry no gradient; pass them as a constant";
            return Err(Error::Gradient(message.to_string()));
        }
        let Normalised { x: of, weight: scale, bias: offset, .. } = normalised;
        let [dx, dweight, dbias] = match grads {
            [Some(dy), dresidual] => self.gradients(Self::NAME, normalised, dy, dresidual, [x, weight, bias])?,
            [None, dresidual] => grads::of_residual_alone([of, scale, offset], dresidual, [x, weight, bias])?,
        };
        Ok([dx, dweight, dbias, None])
    }
}

/// The statistics of each of several parts of the positions, (batch, parts, groups, 2) f32; `length` positions in each, the last may have less.
pub(super) struct Parts {
    partial: Tensor,
    length: usize,
}

impl Parts {
    /// From the op's input.
    fn given(statistics: &Tensor, x: &Tensor, groups: usize) -> Result<Parts> {
        let [batch, parts, of_groups, two] = statistics.dims(GroupNorm::NAME)?;
        let positions = x.rows_cols().0 / x.shape()[0];
        check::dtype(GroupNorm::NAME, "statistics", statistics, DType::F32)?;
        if [batch, of_groups, two] != [x.shape()[0], groups, 2] || parts == 0 || !positions.is_multiple_of(parts) {
            let message = format!(
                "statistics of shape {:?} are none of x {:?} in {groups} groups",
                statistics.shape(),
                x.shape()
            );
            return Err(Error::shape(GroupNorm::NAME, message));
        }
        let given = Parts { partial: statistics.clone(), length: positions / parts };
        if parts <= MOST_PARTS {
            return Ok(given);
        }
        let fold = (parts as u32).div_ceil(MERGED_PARTS);
        let (merged, length) = (parts.div_ceil(fold as usize), given.length * fold as usize);
        let mut partial = Tensor::uninit(x.device(), &[batch, merged, groups, 2], DType::F32)?;
        let p = params::GroupNormMerge {
            batch: batch as u32,
            groups: groups as u32,
            parts: parts as u32,
            fold,
            elements: (given.length * x.rows_cols().1 / groups) as u32,
            ..Default::default()
        };
        x.device().launch(&MERGE, p, [statistics], [&mut partial])?;
        Ok(Parts { partial, length })
    }
}

/// What backward needs.
pub struct Normalised {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// (batch, groups)
    pub(super) mean: Tensor,
    /// (batch, groups)
    rstd: Tensor,
    batch: usize,
}

impl GroupNorm {
    /// The first pass of `op`'s forward, over x as (batch, .., channels).
    pub(super) fn statistics(&self, op: &'static str, x: &Tensor, batch: usize) -> Result<Parts> {
        let (device, (rows, channels)) = (x.device(), x.rows_cols());
        let ChannelTile { tile, parts, .. } = ChannelTile::new(op, x, batch, self.groups)?;
        let mut partial = Tensor::uninit(device, &[batch, parts as usize, self.groups, 2], DType::F32)?;
        let [samples, positions, channels, groups] = [batch, rows / batch, channels, self.groups].map(|n| n as u32);
        let p =
            params::GroupNormStats { batch: samples, positions, channels, groups, tile, parts, ..Default::default() };
        device.launch(&STATS, p, [x], [&mut partial])?;
        Ok(Parts { partial, length: positions.div_ceil(parts) as usize })
    }

    /// The second pass; `unbiased` takes the variances by one element less, (batch, groups).
    pub(super) fn normalise(
        &self,
        op: &'static str,
        [x, weight, bias]: [&Tensor; 3],
        batch: usize,
        Parts { partial, length }: &Parts,
        unbiased: Option<&mut Tensor>,
    ) -> Result<(Tensor, Normalised)> {
        let (device, (rows, channels)) = (x.device(), x.rows_cols());
        check::parameters(op, "weight", weight, channels)?;
        check::parameters(op, "bias", bias, channels)?;
        let ChannelTile { tile, slices, .. } = ChannelTile::new(op, x, batch, self.groups)?;
        let mut mean = Tensor::uninit(device, &[batch, self.groups], DType::F32)?;
        let (mut y, mut rstd, mut absent) = (x.uninit_like()?, mean.uninit_like()?, Tensor::absent(device)?);
        let [samples, positions, channels, groups] = [batch, rows / batch, channels, self.groups].map(|n| n as u32);
        let p = params::GroupNormFwd {
            batch: samples,
            positions,
            channels,
            groups,
            tile,
            parts: partial.shape()[1] as u32,
            length: *length as u32,
            slices,
            eps: self.eps,
            silu: u32::from(self.silu),
            ..Default::default()
        };
        let writes = [&mut y, &mut mean, &mut rstd, unbiased.unwrap_or(&mut absent)];
        device.launch(&FWD, p, [x, weight, bias, partial], writes)?;
        let [x, weight, bias] = [x, weight, bias].map(Tensor::clone);
        Ok((y, Normalised { x, weight, bias, mean, rstd, batch }))
    }

    /// Backward of `op`; `dresidual` is added to dx.
    pub(super) fn gradients(
        &self,
        op: &'static str,
        Normalised { x, weight, bias, mean, rstd, batch }: &Normalised,
        dy: &Tensor,
        dresidual: Option<&Tensor>,
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let (device, (rows, channels)) = (x.device(), x.rows_cols());
        let ChannelTile { tile, parts, slices } = ChannelTile::new(op, x, *batch, self.groups)?;
        let sums = |wanted: bool, shape: [usize; 4]| match wanted {
            true => Tensor::uninit(device, &shape, DType::F32),
            false => Tensor::absent(device),
        };
        let mut by_channel = sums(needs[1] || needs[2], [*batch, parts as usize, 2, channels])?;
        let mut by_group = sums(needs[0], [*batch, parts as usize, self.groups, 2])?;
        let [batch, positions, channels, groups] = [*batch, rows / batch, channels, self.groups].map(|n| n as u32);
        let silu = u32::from(self.silu);
        let p =
            params::GroupNormBwdSums { batch, positions, channels, groups, tile, parts, silu, ..Default::default() };
        let reads = [x, weight, bias, mean, rstd, dy];
        device.launch(&BWD_SUMS, p, reads, [&mut by_channel, &mut by_group])?;

        let mut gradients = grads::allocate([x, weight, bias], needs)?;
        let slices = if needs[0] { slices } else { 0 };
        let p = params::GroupNormBwd {
            batch,
            positions,
            channels,
            groups,
            tile,
            parts,
            slices,
            silu,
            ..Default::default()
        };
        let absent = Tensor::absent(device)?;
        let reads = [x, weight, bias, mean, rstd, dy, &by_channel, &by_group, dresidual.unwrap_or(&absent)];
        device.launch(&BWD, p, reads, gradients.each_mut())?;
        Ok(grads::asked(gradients, needs))
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![STATS.info(), MERGE.info(), FWD.info(), BWD_SUMS.info(), BWD.info()]
}

fn case(label: &'static str, x: &[usize], groups: usize, silu: bool, values: Values, bench: bool) -> Case {
    let channels = x[x.len() - 1];
    let count = x.iter().product::<usize>() as u64;
    let norm = GroupNorm { groups, eps: 1e-6, silu };
    Case {
        op: "group_norm",
        label,
        inputs: vec![
            Input::normal("x", x).values(values),
            Input::normal("weight", &[channels]).f32(),
            Input::normal("bias", &[channels]).f32(),
            Input::absent("statistics"),
        ],
        settings: vec![("groups", groups as f64), ("eps", 1e-6), ("silu", f64::from(u8::from(silu)))],
        run: Box::new(move |tape, x| Ok(tape.apply(norm, [&x[0], &x[1], &x[2], &x[3]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 10 * count,
        // Once over the input, once over the output: the statistics' pass comes on top of the least.
        bytes: 8 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let unit = Values::Normal(0.3, 1.5);
    vec![
        case("odd shapes", &[2, 5, 3, 6], 3, true, unit, false),
        case("odd shapes, no SiLU", &[3, 7, 21], 7, false, unit, false),
        case("one channel per group", &[1, 4, 4, 32], 32, true, unit, false),
        case("several tasks", &[1, 33, 17, 64], 32, true, unit, false),
        case("all channels in one group", &[2, 25, 512], 1, true, unit, false),
        case("groups of 24 channels", &[1, 100, 72], 3, true, unit, false),
        case("a mean of fifty deviations", &[2, 6, 6, 64], 32, true, Values::Normal(50.0, 1.0), false),
        case("VA-VAE f16d32, 256×256×128", &[1, 256, 256, 128], 32, true, unit, true),
        case("VA-VAE f16d32, 64×64×256", &[2, 64, 64, 256], 32, true, unit, true),
        case("VA-VAE f16d32, 16×16×512", &[2, 16, 16, 512], 32, true, unit, true),
        case("small, 128×128×64", &[2, 128, 128, 64], 32, true, unit, true),
    ]
}
