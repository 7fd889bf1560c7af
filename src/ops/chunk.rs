//! Packed columns cut into equal parts, as q, k and v come, and the shifts, scales and gates of adaptive layer norm (Peebles and
//! Xie, 2023); the gradient puts them together again.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, rows};
use crate::device::cpu::rows::rows_per_task;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// `M` equal parts of the last dimension, at most six: (.., M·C) → M of (.., C).
#[derive(Debug, Clone, Copy)]
pub struct Chunk<const M: usize>;

/// The most parts that the kernels know.
const MOST: usize = 6;

const FWD: Kernel<params::ChunkFwd, 1, MOST> = Kernel {
    name: "chunk_fwd",
    reads: ["x"],
    writes: ["a", "b", "c", "d", "e", "f"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("chunk", |p, math| parts(p.rows, p.cols, p.parts, math))),
};

const BWD: Kernel<params::ChunkBwd, MOST, 1> = Kernel {
    name: "chunk_bwd",
    reads: ["da", "db", "dc", "dd", "de", "df"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("chunk", |p, math| parts(p.rows, p.cols, p.parts, math))),
};

/// A layer of blocks for each part.
fn parts(rows: u32, cols: u32, parts: u32, math: Math) -> Geometry {
    rows::rows(rows, cols, rows::width(cols, math), parts)
}

impl<const M: usize> Op<1, M> for Chunk<M> {
    const NAME: &'static str = "chunk";
    /// The shape of the packed tensor.
    type Saved = Vec<usize>;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; M], Self::Saved)> {
        const { assert!(M >= 1 && M <= MOST, "the kernels know one to six parts") };
        let (rows, packed) = check::matrix(Self::NAME, "x", x)?;
        if !packed.is_multiple_of(M) {
            return Err(Error::shape(Self::NAME, format!("{packed} columns are not {M} equal parts")));
        }
        let mut shape = x.shape().to_vec();
        shape[x.shape().len() - 1] = packed / M;
        let mut parts = Vec::with_capacity(MOST);
        for i in 0..MOST {
            parts.push(if i < M { Tensor::uninit(x.device(), &shape, x.dtype()) } else { Tensor::absent(x.device()) }?);
        }
        let mut parts: [Tensor; MOST] = parts.try_into().expect("six were made");
        let p =
            params::ChunkFwd { rows: rows as u32, cols: (packed / M) as u32, parts: M as u32, ..Default::default() };
        x.device().launch(&FWD, p, [x], parts.each_mut())?;
        let mut parts = parts.into_iter();
        Ok((std::array::from_fn(|_| parts.next().expect("M is at most six")), x.shape().to_vec()))
    }

    fn backward(
        &self,
        shape: &Self::Saved,
        grads: [Option<&Tensor>; M],
        needs: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        let Some(any) = grads.into_iter().flatten().next().filter(|_| needs[0]) else {
            return Ok([None]);
        };
        let (rows, cols) = any.rows_cols();
        let absent = Tensor::absent(any.device())?;
        let mut dx = Tensor::uninit(any.device(), shape, any.dtype())?;
        let p = params::ChunkBwd { rows: rows as u32, cols: cols as u32, parts: M as u32, ..Default::default() };
        let parts = std::array::from_fn(|i| grads.get(i).copied().flatten().unwrap_or(&absent));
        any.device().launch(&BWD, p, parts, [&mut dx])?;
        Ok([Some(dx)])
    }
}

fn fwd_cpu(p: &params::ChunkFwd, [x]: [&[f32]; 1], parts: [&mut [f32]; MOST]) {
    let (cols, packed) = (p.cols as usize, (p.cols * p.parts) as usize);
    parts.into_par_iter().enumerate().for_each(|(i, part)| {
        for (to, row) in part.chunks_exact_mut(cols).zip(x.chunks_exact(packed)) {
            to.copy_from_slice(&row[i * cols..][..cols]);
        }
    });
}

fn bwd_cpu(p: &params::ChunkBwd, parts: [&[f32]; MOST], [dx]: [&mut [f32]; 1]) {
    let (cols, packed) = (p.cols as usize, (p.cols * p.parts) as usize);
    let task = rows_per_task(packed);
    dx.par_chunks_mut(task * packed).enumerate().for_each(|(t, dx)| {
        for (r, dx) in dx.chunks_exact_mut(packed).enumerate() {
            let row = (t * task + r) * cols;
            for (dx, part) in dx.chunks_exact_mut(cols).zip(parts) {
                if part.is_empty() {
                    dx.fill(0.0);
                } else {
                    dx.copy_from_slice(&part[row..row + cols]);
                }
            }
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case<const M: usize>(label: &'static str, shape: &[usize], bench: bool) -> Case {
    Case {
        op: "chunk",
        label,
        inputs: vec![Input::normal("x", shape)],
        settings: vec![("parts", M as f64)],
        run: Box::new(|tape, x| Ok(tape.apply(Chunk::<M>, [&x[0]])?.into())),
        tolerance: Tolerance { forward: 0.0, ..Tolerance::ELEMENTWISE },
        flops: 0,
        bytes: 8 * shape.iter().product::<usize>() as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case::<2>("two parts, odd shapes", &[5, 14], false),
        case::<4>("four parts, many rows", &[3, 501, 20], false),
        case::<6>("six parts, one dimension", &[6], false),
        case::<1>("one part", &[3, 24], false),
        case::<3>("three parts, several vectors a row", &[2, 37, 3 * 72], false),
        case::<5>("five parts, more columns than a warp's", &[3, 5 * 264], false),
        case::<6>("six parts, odd shapes", &[2, 3, 42], false),
        case::<3>("DiT-B/1 qkv", &[8, 256, 2304], true),
        case::<6>("DiT-XL, six parts", &[64, 6912], true),
    ]
}
