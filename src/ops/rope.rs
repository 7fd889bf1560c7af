//! Rotary position embedding over a 2-D grid (Su et al., 2021; EVA-02's table): neighbours (x₀, x₁) of a head turn to
//! (x₀·cos₀ − x₁·sin₀, x₁·cos₁ + x₀·sin₁). The gradient is the transposed map.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, rows};
use crate::device::cpu::rows::rows_per_task;
use crate::device::{CudaKernel, Device, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// 2-D rotary embedding of queries or keys: x (B, N, heads·d), cos and sin (N, d) of [`rope_tables`], f32 → (B, N, heads·d).
///
/// The tables are constants: their gradients do not exist, and asking for one is an error.
#[derive(Debug, Clone, Copy)]
pub struct Rope2d {
    /// Attention heads.
    pub heads: usize,
    /// Rows of the token grid.
    pub grid_h: usize,
    /// Columns of the token grid; N = grid_h·grid_w.
    pub grid_w: usize,
}

const ROPE: Kernel<params::Rope, 3, 1> = Kernel {
    name: "rope",
    reads: ["x", "cos", "sin"],
    writes: ["y"],
    cpu: rope_cpu,
    cuda: Some(CudaKernel::new("rope", |p, _| {
        rows::rows(p.tokens, p.heads * p.head_dim, 4, p.batch.div_ceil(params::ROPE_IMAGES))
    })),
};

/// The base of the geometric series of frequencies.
const THETA: f64 = 10_000.0;

/// (cos, sin) of the angles of every token and channel of a head, each (grid_h·grid_w, head_dim).
///
/// The first half of a head turns with the token's row, the second with its column, both by
/// place·10000^(−2i / (head_dim/2)) for the pair of neighbours i.
///
/// # Errors
/// When `head_dim` is not a multiple of 4, or the grid is empty.
pub fn rope_tables(device: &Device, grid_h: usize, grid_w: usize, head_dim: usize) -> Result<(Tensor, Tensor)> {
    if head_dim == 0 || !head_dim.is_multiple_of(4) || grid_h * grid_w == 0 {
        let message = format!("head size {head_dim} must be a multiple of 4, and the grid {grid_h}×{grid_w} not empty");
        return Err(Error::shape(Rope2d::NAME, message));
    }
    let half = head_dim / 2;
    let angle = |at: usize| {
        let (token, channel) = (at / head_dim, at % head_dim);
        let (place, within) = if channel < half { (token / grid_w, channel) } else { (token % grid_w, channel - half) };
        place as f64 * THETA.powf(-((within / 2 * 2) as f64) / half as f64)
    };
    let shape = [grid_h * grid_w, head_dim];
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|at| f(angle(at)) as f32).collect();
        Tensor::from_slice(device, &shape, &values)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

impl Rope2d {
    fn launch(&self, [x, cos, sin]: [&Tensor; 3], transpose: bool) -> Result<Tensor> {
        let [batch, tokens, cols] = x.dims(Self::NAME)?;
        let p = params::Rope {
            batch: batch as u32,
            tokens: tokens as u32,
            heads: self.heads as u32,
            head_dim: (cols / self.heads) as u32,
            transpose: u32::from(transpose),
            ..Default::default()
        };
        let mut y = x.uninit_like()?;
        x.device().launch(&ROPE, p, [x, cos, sin], [&mut y])?;
        Ok(y)
    }
}

impl Op<3> for Rope2d {
    const NAME: &'static str = "rope";
    /// cos and sin.
    type Saved = [Tensor; 2];

    fn forward(&self, [x, cos, sin]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        check::matrix(Self::NAME, "x", x)?;
        let [_, tokens, cols] = x.dims(Self::NAME)?;
        if self.heads == 0 || !cols.is_multiple_of(2 * self.heads) {
            let message = format!("{cols} channels do not split into {} heads of even size", self.heads);
            return Err(Error::shape(Self::NAME, message));
        }
        if tokens != self.grid_h * self.grid_w {
            let message = format!("{tokens} tokens do not fill a {}×{} grid", self.grid_h, self.grid_w);
            return Err(Error::shape(Self::NAME, message));
        }
        let table = [tokens, cols / self.heads];
        check::shape(Self::NAME, "cos", cos, &table)?;
        check::shape(Self::NAME, "sin", sin, &table)?;
        check::dtype(Self::NAME, "cos", cos, DType::F32)?;
        check::dtype(Self::NAME, "sin", sin, DType::F32)?;
        if !x.device().is_cpu() && !table[1].is_multiple_of(4) {
            let message = format!("the head size is {}; on CUDA it must be a multiple of 4", table[1]);
            return Err(Error::shape(Self::NAME, message));
        }
        Ok(([self.launch([x, cos, sin], false)?], [cos.clone(), sin.clone()]))
    }

    fn backward(
        &self,
        [cos, sin]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        let dx = if needs[0] { Some(self.launch([only(grads), cos, sin], true)?) } else { None };
        Ok([dx, None, None])
    }
}

fn rope_cpu(p: &params::Rope, [x, cos, sin]: [&[f32]; 3], [y]: [&mut [f32]; 1]) {
    let head_dim = p.head_dim as usize;
    let (cols, tokens) = (p.heads as usize * head_dim, p.tokens as usize);
    let task = rows_per_task(cols);
    y.par_chunks_mut(task * cols).zip(x.par_chunks(task * cols)).enumerate().for_each(|(t, (y, x))| {
        y.copy_from_slice(x);
        for (r, y) in y.chunks_exact_mut(cols).enumerate() {
            let token = (t * task + r) % tokens;
            let (cos, sin) = (&cos[token * head_dim..][..head_dim], &sin[token * head_dim..][..head_dim]);
            y.chunks_exact_mut(head_dim).for_each(|y| turn(p.transpose != 0, y, cos, sin));
        }
    });
}

/// A head of one token, in place.
pub(super) fn turn(transpose: bool, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (cos, sin) = (cos.as_chunks::<2>().0, sin.as_chunks::<2>().0);
    for ((x, cos), sin) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        *x = if transpose {
            [x[0] * cos[0] + x[1] * sin[1], x[1] * cos[1] - x[0] * sin[0]]
        } else {
            [x[0] * cos[0] - x[1] * sin[0], x[1] * cos[1] + x[0] * sin[1]]
        };
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![ROPE.info()]
}

fn case(label: &'static str, batch: usize, grid: [usize; 2], heads: usize, head_dim: usize, bench: bool) -> Case {
    let [grid_h, grid_w] = grid;
    let x = [batch, grid_h * grid_w, heads * head_dim];
    let count = x.iter().product::<usize>() as u64;
    let rope = Rope2d { heads, grid_h, grid_w };
    Case {
        op: "rope",
        label,
        inputs: vec![Input::normal("x", &x)],
        settings: vec![("heads", heads as f64), ("grid_w", grid_w as f64)],
        run: Box::new(move |tape, x| {
            let (cos, sin) = rope_tables(tape.device(), grid_h, grid_w, head_dim)?;
            Ok(tape.apply(rope, [&x[0], &tape.constant(cos), &tape.constant(sin)])?.into())
        }),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 3 * count,
        bytes: 8 * count + 8 * (x[1] * head_dim) as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("oblong grid, one head", 2, [3, 5], 1, 4, false),
        case("odd heads", 1, [5, 3], 3, 12, false),
        case("head size 72", 2, [4, 4], 2, 72, false),
        case("images that do not fill a launch", 5, [2, 3], 3, 40, false),
        case("DiT-B/1", 8, [16, 16], 12, 64, true),
        case("DiT-XL/1", 4, [16, 16], 16, 72, true),
    ]
}
