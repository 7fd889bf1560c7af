//! The class token of vision transformers (Dosovitskiy et al., 2021): put before the patches together with the position
//! embedding, and dropped again.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads, rows};
use crate::device::cpu::rows::{add_up, chunks_mut, store};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// (cls | x) + pos: x (B, N, C), cls (C) f32, pos (N + 1, C) f32 → (B, N + 1, C).
#[derive(Debug, Clone, Copy)]
pub struct PrependToken;

/// The tokens behind the first: x (B, N + 1, C) → (B, N, C).
#[derive(Debug, Clone, Copy)]
pub struct DropToken;

const PREPEND_FWD: Kernel<params::PrependTokenFwd, 3, 1> = Kernel {
    name: "prepend_token_fwd",
    reads: ["x", "cls", "pos"],
    writes: ["y"],
    cpu: prepend_fwd_cpu,
    cuda: Some(CudaKernel::new("tokens", |p, _| rows::rows(p.tokens + 1, p.cols, rows::fours(p.cols), p.batch))),
};

const PREPEND_BWD: Kernel<params::PrependTokenBwd, 1, 3> = Kernel {
    name: "prepend_token_bwd",
    reads: ["dy"],
    writes: ["dx", "dcls", "dpos"],
    cpu: prepend_bwd_cpu,
    cuda: Some(CudaKernel::new("tokens", |p, _| rows::rows(p.tokens + 1, p.cols, rows::fours(p.cols), 1))),
};

const DROP_FWD: Kernel<params::DropTokenFwd, 1, 1> = Kernel {
    name: "drop_token_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: drop_fwd_cpu,
    cuda: Some(CudaKernel::new("tokens", |p, math| rows::rows(p.tokens, p.cols, rows::width(p.cols, math), p.batch))),
};

const DROP_BWD: Kernel<params::DropTokenBwd, 1, 1> = Kernel {
    name: "drop_token_bwd",
    reads: ["dy"],
    writes: ["dx"],
    cpu: drop_bwd_cpu,
    cuda: Some(CudaKernel::new("tokens", |p, math| {
        rows::rows(p.tokens + 1, p.cols, rows::width(p.cols, math), p.batch)
    })),
};

impl Op<3> for PrependToken {
    const NAME: &'static str = "prepend_token";
    /// The inputs.
    type Saved = [Tensor; 3];

    fn forward(&self, [x, cls, pos]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "x", x)?;
        let [batch, tokens, cols] = x.dims(Self::NAME)?;
        check::parameters(Self::NAME, "cls", cls, cols)?;
        check::shape(Self::NAME, "pos", pos, &[tokens + 1, cols])?;
        check::dtype(Self::NAME, "pos", pos, DType::F32)?;
        let mut y = Tensor::uninit(x.device(), &[batch, tokens + 1, cols], x.dtype())?;
        let (batch, tokens, cols) = (batch as u32, tokens as u32, cols as u32);
        let p = params::PrependTokenFwd { batch, tokens, cols, ..Default::default() };
        x.device().launch(&PREPEND_FWD, p, [x, cls, pos], [&mut y])?;
        Ok(([y], [x, cls, pos].map(Clone::clone)))
    }

    fn backward(
        &self,
        [x, cls, pos]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let [batch, tokens, cols] = x.dims(Self::NAME)?.map(|n: usize| n as u32);
        let p = params::PrependTokenBwd { batch, tokens, cols, ..Default::default() };
        let mut gradients = grads::allocate([x, cls, pos], needs)?;
        x.device().launch(&PREPEND_BWD, p, [only(grads)], gradients.each_mut())?;
        Ok(grads::asked(gradients, needs))
    }
}

impl Op<1> for DropToken {
    const NAME: &'static str = "drop_token";
    /// The input's shape.
    type Saved = [usize; 3];

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "x", x)?;
        let [batch, all, cols] = x.dims(Self::NAME)?;
        if all < 2 {
            return Err(Error::shape(Self::NAME, "x has a single token, and no other would be left"));
        }
        let mut y = Tensor::uninit(x.device(), &[batch, all - 1, cols], x.dtype())?;
        let (batch, tokens) = (batch as u32, (all - 1) as u32);
        let p = params::DropTokenFwd { batch, tokens, cols: cols as u32, ..Default::default() };
        x.device().launch(&DROP_FWD, p, [x], [&mut y])?;
        Ok(([y], x.dims(Self::NAME)?))
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
        let dy = only(grads);
        let [batch, all, cols] = shape.map(|n| n as u32);
        let p = params::DropTokenBwd { batch, tokens: all - 1, cols, ..Default::default() };
        let mut dx = Tensor::uninit(dy.device(), shape, dy.dtype())?;
        dy.device().launch(&DROP_BWD, p, [dy], [&mut dx])?;
        Ok([Some(dx)])
    }
}

fn prepend_fwd_cpu(p: &params::PrependTokenFwd, [x, cls, pos]: [&[f32]; 3], [y]: [&mut [f32]; 1]) {
    let (tokens, cols) = (p.tokens as usize, p.cols as usize);
    y.par_chunks_mut((tokens + 1) * cols).zip(x.par_chunks(tokens * cols)).for_each(|(y, x)| {
        let (first, rest) = y.split_at_mut(cols);
        let (first_pos, rest_pos) = pos.split_at(cols);
        for ((y, cls), pos) in first.iter_mut().zip(cls).zip(first_pos) {
            *y = cls + pos;
        }
        for ((y, x), pos) in rest.iter_mut().zip(x).zip(rest_pos) {
            *y = x + pos;
        }
    });
}

fn prepend_bwd_cpu(p: &params::PrependTokenBwd, [dy]: [&[f32]; 1], [dx, dcls, dpos]: [&mut [f32]; 3]) {
    let (tokens, cols) = (p.tokens as usize, p.cols as usize);
    let (dx_len, dy_len) = (tokens * cols, (tokens + 1) * cols);
    dx.par_chunks_mut(dx_len).zip(dy.par_chunks(dy_len)).for_each(|(dx, dy)| dx.copy_from_slice(&dy[cols..]));
    store(dcls, &add_up(dy.chunks(dy_len).map(|dy| &dy[..cols]), cols));
    let rows = chunks_mut(dpos, cols, tokens + 1);
    rows.into_par_iter().enumerate().filter(|(_, dpos)| !dpos.is_empty()).for_each(|(token, dpos)| {
        store(dpos, &add_up(dy.chunks(dy_len).map(|dy| &dy[token * cols..][..cols]), cols));
    });
}

fn drop_fwd_cpu(p: &params::DropTokenFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let (tokens, cols) = (p.tokens as usize, p.cols as usize);
    let chunks = x.par_chunks((tokens + 1) * cols);
    y.par_chunks_mut(tokens * cols).zip(chunks).for_each(|(y, x)| y.copy_from_slice(&x[cols..]));
}

fn drop_bwd_cpu(p: &params::DropTokenBwd, [dy]: [&[f32]; 1], [dx]: [&mut [f32]; 1]) {
    let (tokens, cols) = (p.tokens as usize, p.cols as usize);
    dx.par_chunks_mut((tokens + 1) * cols).zip(dy.par_chunks(tokens * cols)).for_each(|(dx, dy)| {
        let (first, rest) = dx.split_at_mut(cols);
        first.fill(0.0);
        rest.copy_from_slice(dy);
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![PREPEND_FWD.info(), PREPEND_BWD.info(), DROP_FWD.info(), DROP_BWD.info()]
}

fn prepend_case(label: &'static str, shape: [usize; 3], bench: bool) -> Case {
    let [batch, tokens, cols] = shape;
    let count = (batch * tokens * cols) as u64;
    Case {
        op: "prepend_token",
        label,
        inputs: vec![
            Input::normal("x", &shape),
            Input::normal("cls", &[cols]).f32(),
            Input::normal("pos", &[tokens + 1, cols]).f32(),
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(PrependToken, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: count,
        bytes: 8 * count,
        bench,
    }
}

fn drop_case(label: &'static str, shape: [usize; 3], bench: bool) -> Case {
    let count = shape.iter().product::<usize>() as u64;
    Case {
        op: "drop_token",
        label,
        inputs: vec![Input::normal("x", &shape)],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(DropToken, [&x[0]])?.into())),
        tolerance: Tolerance { forward: 0.0, ..Tolerance::ELEMENTWISE },
        flops: 0,
        bytes: 8 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        prepend_case("odd shapes", [2, 5, 7], false),
        prepend_case("a 3×3 grid", [3, 9, 130], false),
        prepend_case("several vectors a row", [3, 9, 264], false),
        drop_case("odd shapes", [2, 5, 7], false),
        drop_case("one token left", [3, 2, 19], false),
        drop_case("several vectors a row", [3, 4, 264], false),
        prepend_case("ViT-L/14", [8, 256, 1024], true),
        drop_case("ViT-L/14", [8, 257, 1024], true),
    ]
}
