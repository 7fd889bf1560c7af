//! y = a·bᵀ of each entry of a batch; da = dy·b, db = dyᵀ·a: three forms of one kernel.

use rayon::prelude::*;

use super::matrix_tile::{self, Cut, aligned};
use super::{Case, Input, Tolerance, check};
use crate::device::cpu::gemm::{gemm, gemm_serial};
use crate::device::{CudaKernel, Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// A matrix product of its own for each entry of a batch: a (B, M, K), b (B, N, K) → a·bᵀ (B, M, N).
#[derive(Debug, Clone, Copy)]
pub struct Matmul;

const MATMUL: Kernel<params::Matmul, 2, 1> = Kernel {
    name: "matmul",
    reads: ["a", "b"],
    writes: ["y"],
    cpu: matmul_cpu,
    cuda: Some(
        CudaKernel::new("matmul", |p: &params::Matmul, _| {
            matrix_tile::geometry(Cut { tile: p.tile, bulk: p.bulk }.tiles(p.rows, p.columns), p.batch)
        })
        .with_tf32()
        .with_variants(|p| {
            Some(match p.form {
                params::MATMUL_NT => "nt",
                params::MATMUL_NN => "nn",
                _ => "tn",
            })
        }),
    ),
};

/// Entries that a grid has room for along its second axis.
const MOST_ENTRIES: usize = 65_535;

impl Matmul {
    /// The product of a and b, in the form `MATMUL_…`, whose shapes fit.
    fn product(form: u32, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        let ([batch, lines, length], [_, b_lines, b_length]) = (a.dims(Self::NAME)?, b.dims::<3>(Self::NAME)?);
        let (rows, depth) = if form == params::MATMUL_TN { (length, lines) } else { (lines, length) };
        let columns = if form == params::MATMUL_NT { b_lines } else { b_length };
        let mut y = Tensor::uninit(a.device(), &[batch, rows, columns], a.dtype())?;
        let [batch, rows, columns, depth, length] = [batch, rows, columns, depth, length].map(|length| length as u32);
        // (b's rows are as long as a's or y's.)
        let aligned = aligned(a.dtype(), [length, columns]);
        let Cut { tile, bulk } =
            Cut::of_batch([batch, rows, columns], aligned, a.dtype(), a.device().multiprocessors());
        let p = params::Matmul { batch, rows, columns, depth, form, tile, bulk, ..Default::default() };
        a.device().launch(&MATMUL, p, [a, b], [&mut y])?;
        Ok(y)
    }
}

impl Op<2> for Matmul {
    const NAME: &'static str = "matmul";
    /// a and b.
    type Saved = [Tensor; 2];

    fn forward(&self, [a, b]: [&Tensor; 2]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "a", a)?;
        check::matrix(Self::NAME, "b", b)?;
        let ([batch, rows, depth], [_, columns, _]) = (a.dims(Self::NAME)?, b.dims::<3>(Self::NAME)?);
        check::shape(Self::NAME, "b", b, &[batch, columns, depth])?;
        check::dtype(Self::NAME, "b", b, a.dtype())?;
        if batch > MOST_ENTRIES || u32::try_from(batch * rows * columns).is_err() {
            let message =
                format!("{batch} products of {rows} × {columns}: at most {MOST_ENTRIES}, of 2³² − 1 elements");
            return Err(Error::shape(Self::NAME, message));
        }
        Ok(([Self::product(params::MATMUL_NT, [a, b])?], [a.clone(), b.clone()]))
    }

    fn backward(
        &self,
        [a, b]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let dy = only(grads);
        let da = needs[0].then(|| Self::product(params::MATMUL_NN, [dy, b])).transpose()?;
        let db = needs[1].then(|| Self::product(params::MATMUL_TN, [dy, a])).transpose()?;
        Ok([da, db])
    }
}

/// Threads take entries where these are enough, and else share each. (Both sum in the same order.)
fn matmul_cpu(p: &params::Matmul, [a, b]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let (rows, columns, depth) = (p.rows as usize, p.columns as usize, p.depth as usize);
    let of_a = if p.form == params::MATMUL_TN { (1, rows) } else { (depth, 1) };
    let of_b = if p.form == params::MATMUL_NT { (1, depth) } else { (columns, 1) };
    let entries = a.par_chunks_exact(rows * depth).zip(b.par_chunks_exact(columns * depth));
    let entries = y.par_chunks_exact_mut(rows * columns).zip(entries);
    let serial = p.batch as usize >= rayon::current_num_threads();
    let gemm = if serial { gemm_serial } else { gemm };
    entries.for_each(|(y, (a, b))| gemm(rows, columns, depth, a, of_a, b, of_b, y, columns, false));
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![MATMUL.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label, [batch, rows, columns, depth]: [usize; 4], bench| Case {
        op: "matmul",
        label,
        inputs: vec![Input::normal("a", &[batch, rows, depth]), Input::normal("b", &[batch, columns, depth])],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Matmul, [&x[0], &x[1]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 2 * (batch * rows * columns * depth) as u64,
        bytes: 4 * (batch * (rows * depth + columns * depth + rows * columns)) as u64,
        bench,
    };
    vec![
        case("odd shapes", [3, 5, 3, 7], false),
        case("odd shapes, parts of tiles", [2, 67, 37, 129], false),
        case("one row", [4, 1, 24, 40], false),
        case("one row, one column, many entries", [11, 1, 1, 9], false),
        case("one entry", [1, 48, 16, 96], false),
        case("parts of tiles", [3, 133, 152, 136], false),
        case("one entry, tiles of two sizes", [1, 3973, 1024, 8], false),
        case("DiT-B's scores, two images", [24, 256, 256, 64], true),
        case("512³", [8, 512, 512, 512], true),
    ]
}
