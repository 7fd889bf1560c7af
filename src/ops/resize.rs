//! Separable resizing: bilinear without antialias, and bicubic with it.
//!
//! Every output row (column) is a weighted sum of a few input rows (columns); the weights depend on the sizes alone, so
//! both kinds are one pair of per-axis tables, and backward applies their transposes.
//! - Bilinear as PyTorch's `interpolate(align_corners=False)`: output i reads at (i + ½)·in/out − ½, clamped to the border.
//! - Bicubic with antialias as PyTorch's (and so PIL's): Keys' kernel with a = −½, widened by in/out where the image
//!   shrinks, cut at the border and normalised. Growing, the kernel keeps a = −½, where PyTorch without antialias has −¾.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, rows};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Resizes images: (B, H, W, C) → (B, height, width, C).
#[derive(Debug, Clone, Copy)]
pub struct Resize {
    height: usize,
    width: usize,
    kind: u32,
}

impl Resize {
    /// To height × width bilinearly (align_corners false, no antialias).
    pub fn bilinear(height: usize, width: usize) -> Resize {
        Resize { height, width, kind: params::RESIZE_BILINEAR }
    }

    /// To height × width by the bicubic kernel (a = −½) with antialias.
    pub fn bicubic_antialias(height: usize, width: usize) -> Resize {
        Resize { height, width, kind: params::RESIZE_BICUBIC_ANTIALIAS }
    }
}

const FWD: Kernel<params::ResizeFwd, 1, 1> = Kernel {
    name: "resize_fwd",
    reads: ["x"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("resize", |p, math| geometry(p.batch * p.out_height, p.out_width, p.channels, math))),
};

const BWD: Kernel<params::ResizeBwd, 1, 1> = Kernel {
    name: "resize_bwd",
    reads: ["dy"],
    writes: ["dx"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("resize", |p, math| geometry(p.batch * p.height, p.width, p.channels, math))),
};

/// Threads for the channels of every pixel of the result, or for single values of its lines.
fn geometry(lines: u32, width: u32, channels: u32, math: Math) -> Geometry {
    match channels.is_multiple_of(math.lanes()) {
        true => rows::pixels(lines, width, channels, math),
        false => {
            let blocks = (width * channels).div_ceil(params::ROWS_THREADS);
            Geometry { grid: [lines, blocks, 1], block: [params::ROWS_THREADS, 1, 1], shared_bytes: 0 }
        }
    }
}

/// The longest side on CUDA, where places along an axis are counted in 32 bits.
const LONGEST_SIDE: usize = 1 << 14;

impl Op<1> for Resize {
    const NAME: &'static str = "resize";
    type Saved = [usize; 4];

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<([Tensor; 1], [usize; 4])> {
        let shape @ [b, h, w, c] = x.dims::<4>(Self::NAME)?;
        if [h, w, self.height, self.width].contains(&0) {
            let message = format!("{h}×{w} does not become {}×{}: sizes must be positive", self.height, self.width);
            return Err(Error::shape(Self::NAME, message));
        }
        let longest = [h, w, self.height, self.width].into_iter().max().unwrap_or_default();
        if !x.device().is_cpu() && longest > LONGEST_SIDE {
            let message = format!("a side is {longest}; on CUDA it may be {LONGEST_SIDE} at most");
            return Err(Error::shape(Self::NAME, message));
        }
        let mut y = Tensor::uninit(x.device(), &[b, self.height, self.width, c], x.dtype())?;
        let p = params::ResizeFwd {
            batch: b as u32,
            height: h as u32,
            width: w as u32,
            out_height: self.height as u32,
            out_width: self.width as u32,
            channels: c as u32,
            kind: self.kind,
            ..Default::default()
        };
        x.device().launch(&FWD, p, [x], [&mut y])?;
        Ok(([y], shape))
    }

    fn backward(
        &self,
        shape: &[usize; 4],
        grads: [Option<&Tensor>; 1],
        [need]: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        if !need {
            return Ok([None]);
        }
        let dy = only(grads);
        let [b, h, w, c] = *shape;
        let mut dx = Tensor::uninit(dy.device(), shape, dy.dtype())?;
        let p = params::ResizeBwd {
            batch: b as u32,
            height: h as u32,
            width: w as u32,
            out_height: self.height as u32,
            out_width: self.width as u32,
            channels: c as u32,
            kind: self.kind,
            ..Default::default()
        };
        dy.device().launch(&BWD, p, [dy], [&mut dx])?;
        Ok([Some(dx)])
    }
}

/// For each output place of an axis, the input places it reads and their weights.
type Table = Vec<Vec<(usize, f32)>>;

fn table(kind: u32, size: usize, out: usize) -> Table {
    let ratio = size as f64 / out as f64;
    let bilinear = |i: usize| {
        let at = ((i as f64 + 0.5) * ratio - 0.5).max(0.0);
        let (low, part) = (at.floor(), at.fract());
        let (low, high) = ((low as usize).min(size - 1), (low as usize + 1).min(size - 1));
        vec![(low, (1.0 - part) as f32), (high, part as f32)]
    };
    let bicubic = |i: usize| {
        let widen = ratio.max(1.0);
        let (centre, support) = (ratio * (i as f64 + 0.5), 2.0 * widen);
        // Rounded to whole samples as the reference does it.
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(size);
        let weights: Vec<f64> = (first..last).map(|j| keys((j as f64 + 0.5 - centre) / widen)).collect();
        let total: f64 = weights.iter().sum();
        (first..last).zip(weights).map(|(j, weight)| (j, (weight / total) as f32)).collect()
    };
    match kind {
        params::RESIZE_BILINEAR => (0..out).map(bilinear).collect(),
        _ => (0..out).map(bicubic).collect(),
    }
}

/// Keys' cubic convolution kernel with a = −½ ("Cubic convolution interpolation", 1981).
fn keys(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

fn transposed(table: &Table, size: usize) -> Table {
    let mut transpose = vec![Vec::new(); size];
    for (i, taps) in table.iter().enumerate() {
        for &(j, weight) in taps {
            transpose[j].push((i, weight));
        }
    }
    transpose
}

fn fwd_cpu(p: &params::ResizeFwd, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let rows = table(p.kind, p.height as usize, p.out_height as usize);
    let columns = table(p.kind, p.width as usize, p.out_width as usize);
    separable(x, y, [p.height, p.width, p.channels].map(|n| n as usize), &rows, &columns);
}

fn bwd_cpu(p: &params::ResizeBwd, [dy]: [&[f32]; 1], [dx]: [&mut [f32]; 1]) {
    let rows = transposed(&table(p.kind, p.height as usize, p.out_height as usize), p.height as usize);
    let columns = transposed(&table(p.kind, p.width as usize, p.out_width as usize), p.width as usize);
    separable(dy, dx, [p.out_height, p.out_width, p.channels].map(|n| n as usize), &rows, &columns);
}

/// Rows first, one output row per task: its mixture of input rows, then that row's columns.
fn separable(x: &[f32], y: &mut [f32], [h, w, c]: [usize; 3], rows: &Table, columns: &Table) {
    if c == 0 {
        return;
    }
    y.par_chunks_mut(columns.len() * c).enumerate().for_each(|(line, y)| {
        let (image, i) = (line / rows.len(), line % rows.len());
        let mut mixed = vec![0.0; w * c];
        for &(u, weight) in &rows[i] {
            add_scaled(&mut mixed, &x[(image * h + u) * w * c..][..w * c], weight);
        }
        for (y, taps) in y.chunks_exact_mut(c).zip(columns) {
            y.fill(0.0);
            for &(v, weight) in taps {
                add_scaled(y, &mixed[v * c..][..c], weight);
            }
        }
    });
}

fn add_scaled(sum: &mut [f32], x: &[f32], scale: f32) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += scale * x;
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let case = |op: &'static str, label, shape: [usize; 4], [height, width]: [usize; 2], bench| {
        let [b, h, w, c] = shape;
        let resize = match op {
            "resize_bilinear" => Resize::bilinear(height, width),
            _ => Resize::bicubic_antialias(height, width),
        };
        let taps = |size: usize, out: usize| table(resize.kind, size, out)[0].len();
        let flops = 2 * b * height * c * (taps(h, height) * w + taps(w, width) * width);
        Case {
            op,
            label,
            inputs: vec![Input::normal("x", &shape)],
            settings: vec![("height", height as f64), ("width", width as f64)],
            run: Box::new(move |tape, x| Ok(tape.apply(resize, [&x[0]])?.into())),
            tolerance: Tolerance::REDUCTION,
            flops: flops as u64,
            bytes: (4 * b * c * (h * w + height * width)) as u64,
            bench,
        }
    };
    vec![
        case("resize_bilinear", "shrinking, odd", [2, 7, 9, 3], [5, 4], false),
        case("resize_bilinear", "growing, odd", [1, 3, 4, 5], [7, 9], false),
        case("resize_bilinear", "several blocks a line", [1, 9, 120, 3], [7, 105], false),
        case("resize_bilinear", "DINOv2's input", [2, 256, 256, 3], [224, 224], true),
        case("resize_bicubic_antialias", "shrinking, odd", [1, 13, 11, 3], [5, 4], false),
        case("resize_bicubic_antialias", "growing, odd", [2, 3, 5, 7], [8, 6], false),
        case("resize_bicubic_antialias", "one way and the other", [1, 3, 21, 16], [8, 6], false),
        case("resize_bicubic_antialias", "DINOv2's positions", [1, 37, 37, 384], [16, 16], true),
    ]
}
