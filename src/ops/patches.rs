//! The two ends of a diffusion transformer (Peebles and Xie, 2023): the position of every patch, added to its token, and
//! the image put together from the patches that the last layer gives.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, rows};
use crate::device::cpu::rows::{column_sums, store};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// One table for all of the batch: x (B, N, C) + table (N, C) → (B, N, C). The table's gradient is f32.
#[derive(Debug, Clone, Copy)]
pub struct AddPositions;

/// Tokens to an image: x (B, grid_h·grid_w, p·p·K) → (B, grid_h·p, grid_w·p, C), of whose K channels the first C are kept.
#[derive(Debug, Clone, Copy)]
pub struct Unpatchify {
    /// p, the side of a patch.
    pub patch: usize,
    /// Rows of the token grid.
    pub grid_h: usize,
    /// Columns of the token grid.
    pub grid_w: usize,
    /// C: where the model also predicts a variance (`learn_sigma`) half of K, else all.
    pub channels: usize,
}

const POSITIONS_FWD: Kernel<params::AddPositionsFwd, 2, 1> = Kernel {
    name: "add_positions_fwd",
    reads: ["x", "table"],
    writes: ["y"],
    cpu: positions_fwd_cpu,
    cuda: Some(CudaKernel::new("patches", |p, math| rows::long(p.batch, p.count, rows::width(p.count, math)))),
};

const POSITIONS_BWD: Kernel<params::AddPositionsBwd, 1, 1> = Kernel {
    name: "add_positions_bwd",
    reads: ["dy"],
    writes: ["dtable"],
    cpu: positions_bwd_cpu,
    cuda: Some(CudaKernel::new("patches", |p, _| rows::long(1, p.count, rows::fours(p.count)))),
};

const UNPATCHIFY_FWD: Kernel<params::UnpatchifyFwd, 1, 1> = Kernel {
    name: "unpatchify_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: unpatchify_fwd_cpu,
    cuda: Some(CudaKernel::new("patches", |p, math| {
        by_patches(p.batch * p.grid_h * p.grid_w * p.patch * p.patch, p.x_channels, math)
    })),
};

const UNPATCHIFY_BWD: Kernel<params::UnpatchifyBwd, 1, 1> = Kernel {
    name: "unpatchify_bwd",
    reads: ["dy"],
    writes: ["dx"],
    cpu: unpatchify_bwd_cpu,
    cuda: Some(CudaKernel::new("patches", |p, math| {
        by_patches(p.batch * p.grid_h * p.grid_w * p.patch * p.patch, p.x_channels, math)
    })),
};

/// The patches' pixels as rows.
fn by_patches(pixels: u32, channels: u32, math: Math) -> Geometry {
    rows::rows(pixels, channels, rows::width_or_fours(channels, math), 1)
}

impl Op<2> for AddPositions {
    const NAME: &'static str = "add_positions";
    type Saved = ();

    fn forward(&self, [x, table]: [&Tensor; 2]) -> Result<([Tensor; 1], ())> {
        check::matrix(Self::NAME, "x", x)?;
        let [batch, tokens, cols] = x.dims(Self::NAME)?;
        check::shape(Self::NAME, "table", table, &[tokens, cols])?;
        check::dtype(Self::NAME, "table", table, x.dtype())?;
        let mut y = x.uninit_like()?;
        let p = params::AddPositionsFwd { batch: batch as u32, count: (tokens * cols) as u32, ..Default::default() };
        x.device().launch(&POSITIONS_FWD, p, [x, table], [&mut y])?;
        Ok(([y], ()))
    }

    fn backward(&self, (): &(), grads: [Option<&Tensor>; 1], needs: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let dy = only(grads);
        let [batch, tokens, cols] = dy.dims(Self::NAME)?;
        let mut dtable = None;
        if needs[1] {
            let p =
                params::AddPositionsBwd { batch: batch as u32, count: (tokens * cols) as u32, ..Default::default() };
            let sum = dtable.insert(Tensor::uninit(dy.device(), &[tokens, cols], DType::F32)?);
            dy.device().launch(&POSITIONS_BWD, p, [dy], [sum])?;
        }
        Ok([needs[0].then(|| dy.clone()), dtable])
    }
}

impl Op<1> for Unpatchify {
    const NAME: &'static str = "unpatchify";
    /// The shape of the tokens.
    type Saved = [usize; 3];

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "x", x)?;
        let [batch, tokens, cols] = x.dims(Self::NAME)?;
        let &Unpatchify { patch, grid_h, grid_w, channels } = self;
        if tokens != grid_h * grid_w {
            let message = format!("{tokens} tokens do not fill a {grid_h}×{grid_w} grid");
            return Err(Error::shape(Self::NAME, message));
        }
        let pixels = patch * patch;
        if pixels == 0 || !cols.is_multiple_of(pixels) || !(1..=cols / pixels).contains(&channels) {
            let message = format!("{cols} columns are not {patch}×{patch} pixels of {channels} channels or more");
            return Err(Error::shape(Self::NAME, message));
        }
        let mut y = Tensor::uninit(x.device(), &[batch, grid_h * patch, grid_w * patch, channels], x.dtype())?;
        let p = params::UnpatchifyFwd {
            batch: batch as u32,
            grid_h: grid_h as u32,
            grid_w: grid_w as u32,
            patch: patch as u32,
            x_channels: (cols / pixels) as u32,
            channels: channels as u32,
            ..Default::default()
        };
        x.device().launch(&UNPATCHIFY_FWD, p, [x], [&mut y])?;
        Ok(([y], [batch, tokens, cols]))
    }

    fn backward(
        &self,
        shape: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        if !needs[0] {
            return Ok([None]);
        }
        let (dy, [batch, _, cols]) = (only(grads), *shape);
        let mut dx = Tensor::uninit(dy.device(), shape, dy.dtype())?;
        let p = params::UnpatchifyBwd {
            batch: batch as u32,
            grid_h: self.grid_h as u32,
            grid_w: self.grid_w as u32,
            patch: self.patch as u32,
            x_channels: (cols / (self.patch * self.patch)) as u32,
            channels: self.channels as u32,
            ..Default::default()
        };
        dy.device().launch(&UNPATCHIFY_BWD, p, [dy], [&mut dx])?;
        Ok([Some(dx)])
    }
}

fn positions_fwd_cpu(p: &params::AddPositionsFwd, [x, table]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let count = p.count as usize;
    y.par_chunks_mut(count).zip(x.par_chunks(count)).for_each(|(y, x)| {
        for ((y, x), position) in y.iter_mut().zip(x).zip(table) {
            *y = x + position;
        }
    });
}

fn positions_bwd_cpu(p: &params::AddPositionsBwd, [dy]: [&[f32]; 1], [dtable]: [&mut [f32]; 1]) {
    store(dtable, &column_sums(dy, p.count as usize));
}

fn unpatchify_fwd_cpu(p: &params::UnpatchifyFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let [grid_h, grid_w, patch, from, to] = [p.grid_h, p.grid_w, p.patch, p.x_channels, p.channels].map(|n| n as usize);
    let pixel = pixel_of_patch(grid_h, grid_w, patch);
    y.par_chunks_mut(to).enumerate().with_min_len(GRAIN).for_each(|(at, y)| {
        y.copy_from_slice(&x[pixel(at) * from..][..to]);
    });
}

fn unpatchify_bwd_cpu(p: &params::UnpatchifyBwd, [dy]: [&[f32]; 1], [dx]: [&mut [f32]; 1]) {
    let [grid_h, grid_w, patch, from, to] = [p.grid_h, p.grid_w, p.patch, p.x_channels, p.channels].map(|n| n as usize);
    let pixel = pixel_of_patch(grid_h, grid_w, patch);
    let per_image = grid_h * grid_w * patch * patch;
    dx.par_chunks_mut(per_image * from).zip(dy.par_chunks(per_image * to)).for_each(|(dx, dy)| {
        for (at, dy) in dy.chunks_exact(to).enumerate() {
            let (kept, dropped) = dx[pixel(at) * from..][..from].split_at_mut(to);
            kept.copy_from_slice(dy);
            dropped.fill(0.0);
        }
    });
}

/// Pixels per parallel task, at least.
const GRAIN: usize = 256;

/// From a pixel's number in the images to its number among the patches' pixels.
fn pixel_of_patch(grid_h: usize, grid_w: usize, patch: usize) -> impl Fn(usize) -> usize + Sync {
    move |at| {
        let (row, column) = (at / (grid_w * patch), at % (grid_w * patch));
        let (image, i, u) = (row / (grid_h * patch), row % (grid_h * patch) / patch, row % patch);
        let (j, v) = (column / patch, column % patch);
        (((image * grid_h + i) * grid_w + j) * patch + u) * patch + v
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![POSITIONS_FWD.info(), POSITIONS_BWD.info(), UNPATCHIFY_FWD.info(), UNPATCHIFY_BWD.info()]
}

fn positions_case(label: &'static str, [batch, tokens, cols]: [usize; 3], bench: bool) -> Case {
    let count = (batch * tokens * cols) as u64;
    Case {
        op: "add_positions",
        label,
        inputs: vec![Input::normal("x", &[batch, tokens, cols]), Input::normal("table", &[tokens, cols])],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(AddPositions, [&x[0], &x[1]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: count,
        bytes: 8 * count + 4 * (tokens * cols) as u64,
        bench,
    }
}

fn unpatchify_case(label: &'static str, batch: usize, op: Unpatchify, x_channels: usize, bench: bool) -> Case {
    let Unpatchify { patch, grid_h, grid_w, channels } = op;
    let pixels = batch * grid_h * grid_w * patch * patch;
    Case {
        op: "unpatchify",
        label,
        inputs: vec![Input::normal("x", &[batch, grid_h * grid_w, patch * patch * x_channels])],
        settings: vec![("patch", patch as f64), ("grid_w", grid_w as f64), ("channels", channels as f64)],
        run: Box::new(move |tape, x| Ok(tape.apply(op, [&x[0]])?.into())),
        tolerance: Tolerance { forward: 0.0, ..Tolerance::ELEMENTWISE },
        flops: 0,
        bytes: 8 * (pixels * channels) as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    let op = |patch, [grid_h, grid_w]: [usize; 2], channels| Unpatchify { patch, grid_h, grid_w, channels };
    vec![
        positions_case("odd shapes", [3, 5, 7], false),
        positions_case("one token", [2, 1, 130], false),
        positions_case("several blocks, a longer batch", [19, 4, 1160], false),
        positions_case("a fixed table", [3, 4, 12], false).constant(1),
        positions_case("DiT-XL/1", [4, 256, 1152], true),
        unpatchify_case("oblong grid, patch 2", 2, op(2, [3, 5], 4), 4, false),
        unpatchify_case("patch 3, odd channels", 1, op(3, [2, 2], 5), 5, false),
        unpatchify_case("the second half of the channels dropped", 3, op(1, [3, 2], 6), 12, false),
        unpatchify_case("patch 2, half dropped", 2, op(2, [2, 3], 3), 6, false),
        unpatchify_case("fours, patch 2", 2, op(2, [3, 4], 4), 12, false),
        unpatchify_case("half of the fours dropped, patch 2", 2, op(2, [4, 3], 4), 8, false),
        unpatchify_case("sixteen bytes, patch 2", 1, op(2, [3, 3], 24), 48, false),
        unpatchify_case("odd channels of whole vectors, patch 2", 1, op(2, [3, 3], 13), 16, false),
        unpatchify_case("LightningDiT-XL/2 on f8d4", 64, op(2, [16, 16], 4), 4, true),
        unpatchify_case("DiT-XL/2 on f8d4, with variances", 64, op(2, [16, 16], 4), 8, true),
    ]
}
