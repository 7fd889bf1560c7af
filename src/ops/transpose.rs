//! Matrices turned over, between the files' convolution weights (O, I, kh·kw) and this engine's (O, kh·kw, I).

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::error::Result;
use crate::params;
use crate::tensor::Tensor;

const TRANSPOSE: Kernel<params::Transpose, 1, 1> = Kernel {
    name: "transpose",
    reads: ["x"],
    writes: ["y"],
    cpu: transpose_cpu,
    cuda: Some(CudaKernel::new("transpose", |p, _| {
        let tiles = |size: u32| size.div_ceil(params::TRANSPOSE_TILE);
        Geometry {
            grid: [tiles(p.rows), tiles(p.cols), p.outer],
            block: [params::TRANSPOSE_THREADS, 1, 1],
            shared_bytes: 0,
        }
    })),
};

/// (outer, rows, cols) → (outer, cols, rows). Weights are no part of a tape when they are turned, so there is no gradient.
///
/// # Errors
/// When `x` has another number of dimensions, or no elements.
pub fn transpose(x: &Tensor) -> Result<Tensor> {
    check::matrix("transpose", "x", x)?;
    let shape @ [outer, rows, cols] = x.dims("transpose")?;
    let mut y = Tensor::uninit(x.device(), &[outer, cols, rows], x.dtype())?;
    let [outer, rows, cols] = shape.map(|size: usize| size as u32);
    let p = params::Transpose { outer, rows, cols, ..Default::default() };
    x.device().launch(&TRANSPOSE, p, [x], [&mut y])?;
    Ok(y)
}

fn transpose_cpu(p: &params::Transpose, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    y.par_chunks_mut(rows * cols).zip(x.par_chunks(rows * cols)).for_each(|(y, x)| {
        for (c, y) in y.chunks_exact_mut(rows).enumerate() {
            for (y, x) in y.iter_mut().zip(x[c..].iter().step_by(cols)) {
                *y = *x;
            }
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![TRANSPOSE.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |label, shape: [usize; 3], bench| Case {
        op: "transpose",
        label,
        inputs: vec![Input::normal("x", &shape).constant()],
        settings: vec![],
        run: Box::new(|tape, x| Ok(vec![tape.constant(transpose(x[0].value())?)])),
        tolerance: Tolerance { forward: 0.0, ..Tolerance::ELEMENTWISE },
        flops: 0,
        bytes: 8 * shape.iter().product::<usize>() as u64,
        bench,
    };
    vec![
        case("odd shapes", [3, 37, 70], false),
        case("a 4×4 kernel", [2, 5, 16], false),
        case("a 3×3 convolution of f16d32, from a file", [128, 512, 9], true),
        case("a 3×3 convolution of f16d32, to a file", [128, 9, 512], true),
    ]
}
