//! y = ((x − mean)·(var + eps)^−½·weight + bias)·(1 + scale) + shift, mean and variance over the last dimension (Ba, Kiros
//! and Hinton, 2016), with the modulation of adaptive layer norm (Peebles and Xie, 2023) fused.

use super::{Case, Input, Tolerance, Values, check, grads};
use crate::device::cpu::row_norm::{Gradients, RowNorm, Saved};
use crate::device::{Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Layer norm of x (B, .., C) with weight (C), bias (C), scale (B, C) and shift (B, C), each of them absent or not:
/// → (B, .., C).
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// Added to the variance: 1e-6 in the models here, PyTorch's default is 1e-5.
    pub eps: f32,
}

const FWD: Kernel<params::LayerNormFwd, 5, 3> = Kernel {
    name: "layer_norm_fwd",
    reads: ["x", "weight", "bias", "scale", "shift"],
    writes: ["y", "mean", "rstd"],
    cpu: fwd_cpu,
    cuda: None,
};

const BWD: Kernel<params::LayerNormBwd, 7, 5> = Kernel {
    name: "layer_norm_bwd",
    reads: ["x", "weight", "bias", "scale", "mean", "rstd", "dy"],
    writes: ["dx", "dweight", "dbias", "dscale", "dshift"],
    cpu: bwd_cpu,
    cuda: None,
};

impl Op<5> for LayerNorm {
    const NAME: &'static str = "layer_norm";
    /// The inputs, mean and rstd.
    type Saved = [Tensor; 7];

    fn forward(&self, [x, weight, bias, scale, shift]: [&Tensor; 5]) -> Result<([Tensor; 1], Self::Saved)> {
        let (rows, cols) = check::matrix(Self::NAME, "x", x)?;
        check::optional(Self::NAME, "weight", weight, &[cols])?;
        check::optional(Self::NAME, "bias", bias, &[cols])?;
        let rows_per_batch = check::modulation(Self::NAME, scale, shift, x)?;
        let mut y = x.uninit_like()?;
        let mut mean = Tensor::uninit(x.device(), &[rows], DType::F32)?;
        let mut rstd = Tensor::uninit(x.device(), &[rows], DType::F32)?;
        let p = params::LayerNormFwd {
            rows: rows as u32,
            cols: cols as u32,
            rows_per_batch: rows_per_batch as u32,
            eps: self.eps,
            ..Default::default()
        };
        x.device().launch(&FWD, p, [x, weight, bias, scale, shift], [&mut y, &mut mean, &mut rstd])?;
        let [x, weight, bias, scale, shift] = [x, weight, bias, scale, shift].map(Clone::clone);
        Ok(([y], [x, weight, bias, scale, shift, mean, rstd]))
    }

    fn backward(
        &self,
        [x, weight, bias, scale, shift, mean, rstd]: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 5],
    ) -> Result<[Option<Tensor>; 5]> {
        let (rows, cols) = x.rows_cols();
        let rows_per_batch = check::modulation(Self::NAME, scale, shift, x)?;
        let p = params::LayerNormBwd {
            rows: rows as u32,
            cols: cols as u32,
            rows_per_batch: rows_per_batch as u32,
            ..Default::default()
        };
        let mut gradients = grads::allocate([x, weight, bias, scale, shift], needs)?;
        let reads = [x, weight, bias, scale, mean, rstd, only(grads)];
        x.device().launch(&BWD, p, reads, gradients.each_mut())?;
        Ok(grads::asked(gradients, needs))
    }
}

fn fwd_cpu(p: &params::LayerNormFwd, [x, weight, bias, scale, shift]: [&[f32]; 5], [y, mean, rstd]: [&mut [f32]; 3]) {
    let (cols, rows_per_batch) = (p.cols as usize, p.rows_per_batch as usize);
    RowNorm { cols, rows_per_batch, weight, bias, scale, shift }.forward(x, p.eps, y, mean, rstd);
}

fn bwd_cpu(
    p: &params::LayerNormBwd,
    [x, weight, bias, scale, mean, rstd, dy]: [&[f32]; 7],
    [dx, dweight, dbias, dscale, dshift]: [&mut [f32]; 5],
) {
    let (cols, rows_per_batch) = (p.cols as usize, p.rows_per_batch as usize);
    let norm = RowNorm { cols, rows_per_batch, weight, bias, scale, shift: &[] };
    norm.backward(&Saved { x, mean, rstd }, dy, Gradients { dx, dweight, dbias, dscale, dshift });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], affine: bool, modulated: bool, bench: bool) -> Case {
    let (batch, cols) = (shape[0], shape[shape.len() - 1]);
    let count = shape.iter().product::<usize>() as u64;
    let input = |name, present: bool, shape: &[usize]| {
        if present { Input::normal(name, shape) } else { Input::absent(name) }
    };
    Case {
        op: "layer_norm",
        label,
        inputs: vec![
            Input::normal("x", shape).values(Values::Normal(0.5, 2.0)),
            input("weight", affine, &[cols]),
            input("bias", affine, &[cols]),
            input("scale", modulated, &[batch, cols]),
            input("shift", modulated, &[batch, cols]),
        ],
        settings: vec![("eps", 1e-6)],
        run: Box::new(|tape, x| Ok(tape.apply(LayerNorm { eps: 1e-6 }, [&x[0], &x[1], &x[2], &x[3], &x[4]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 8 * count,
        bytes: 8 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes, affine", &[2, 5, 7], true, false, false),
        case("one column", &[3, 2, 1], false, true, false),
        case("odd shapes, affine and modulated", &[3, 11, 129], true, true, false),
        case("modulated, two dimensions", &[4, 96], false, true, false),
        case("plain", &[2, 16, 384], false, false, false),
        case("DiT-B/1, 256 tokens, modulated", &[8, 256, 768], false, true, true),
        case("ViT-L/14, 257 tokens, affine", &[4, 257, 1024], true, false, true),
    ]
}
