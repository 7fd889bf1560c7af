//! `y[i] = table[indices[i]]`: class labels as vectors. The gradient adds up over equal labels.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, Values, check, rows};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Rows of a table: table (K, C), indices (B) of `U32` → (B, C). The table's gradient is f32.
///
/// Indices are not looked at on the host: one that is K or more gives a row of NaN, and no gradient.
#[derive(Debug, Clone, Copy)]
pub struct Embedding;

const FWD: Kernel<params::EmbeddingFwd, 2, 1> = Kernel {
    name: "embedding_fwd",
    reads: ["table", "indices"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("embedding", |p, math| rows::rows(p.count, p.cols, rows::width(p.cols, math), 1))),
};

const BWD: Kernel<params::EmbeddingBwd, 2, 1> = Kernel {
    name: "embedding_bwd",
    reads: ["dy", "indices"],
    writes: ["dtable"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("embedding", |p, _| {
        // Blocks of whole warps that share an entry's columns evenly.
        let vectors = p.cols / rows::fours(p.cols);
        let blocks = vectors.div_ceil(params::EMBEDDING_BWD_THREADS);
        let threads = vectors.div_ceil(blocks).next_multiple_of(32);
        Geometry { grid: [p.entries, blocks, 1], block: [threads, 1, 1], shared_bytes: 0 }
    })),
};

impl Op<2> for Embedding {
    const NAME: &'static str = "embedding";
    /// The inputs.
    type Saved = [Tensor; 2];

    fn forward(&self, [table, indices]: [&Tensor; 2]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "table", table)?;
        check::matrix(Self::NAME, "indices", indices)?;
        let [entries, cols] = table.dims(Self::NAME)?;
        let [count] = indices.dims(Self::NAME)?;
        if indices.dtype() != DType::U32 {
            return Err(Error::shape(Self::NAME, format!("indices are {}, expected u32", indices.dtype())));
        }
        let mut y = Tensor::uninit(table.device(), &[count, cols], table.dtype())?;
        let (entries, cols, count) = (entries as u32, cols as u32, count as u32);
        let p = params::EmbeddingFwd { entries, cols, count, ..Default::default() };
        table.device().launch(&FWD, p, [table, indices], [&mut y])?;
        Ok(([y], [table.clone(), indices.clone()]))
    }

    fn backward(
        &self,
        [table, indices]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        if !needs[0] {
            return Ok([None, None]);
        }
        let [entries, cols] = table.dims(Self::NAME)?.map(|n: usize| n as u32);
        let p = params::EmbeddingBwd { entries, cols, count: indices.numel() as u32, ..Default::default() };
        let mut dtable = Tensor::uninit(table.device(), table.shape(), DType::F32)?;
        table.device().launch(&BWD, p, [only(grads), indices], [&mut dtable])?;
        Ok([Some(dtable), None])
    }
}

fn fwd_cpu(p: &params::EmbeddingFwd, [table, indices]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let cols = p.cols as usize;
    let indices: &[u32] = bytemuck::cast_slice(indices);
    y.par_chunks_mut(cols).zip(indices).for_each(|(y, &index)| match table.chunks_exact(cols).nth(index as usize) {
        Some(row) => y.copy_from_slice(row),
        None => y.fill(f32::NAN),
    });
}

fn bwd_cpu(p: &params::EmbeddingBwd, [dy, indices]: [&[f32]; 2], [dtable]: [&mut [f32]; 1]) {
    let cols = p.cols as usize;
    let indices: &[u32] = bytemuck::cast_slice(indices);
    dtable.par_chunks_mut(cols).enumerate().for_each(|(entry, dtable)| {
        dtable.fill(0.0);
        let rows = indices.iter().zip(dy.chunks_exact(cols)).filter(|(index, _)| **index as usize == entry);
        for (_, dy) in rows {
            for (sum, dy) in dtable.iter_mut().zip(dy) {
                *sum += dy;
            }
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, entries: usize, cols: usize, count: usize, bench: bool) -> Case {
    let indices = Input::normal("indices", &[count]).values(Values::Below(entries as u32)).constant();
    Case {
        op: "embedding",
        label,
        inputs: vec![Input::normal("table", &[entries, cols]), indices],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Embedding, [&x[0], &x[1]])?.into())),
        tolerance: Tolerance { forward: 0.0, ..Tolerance::ELEMENTWISE },
        flops: 0,
        bytes: 8 * (count * cols) as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes, labels that repeat", 3, 7, 11, false),
        case("most labels unused", 101, 33, 5, false),
        case("more labels than a block looks through, many columns", 5, 1040, 1030, false),
        case("ImageNet labels of DiT-XL", 1001, 1152, 1024, true),
    ]
}
