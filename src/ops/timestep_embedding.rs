//! y = cos(t·ω) | sin(t·ω) with ωᵢ = 10000^(−i / (dim/2)), i < dim/2 (Vaswani et al., 2017; cosines first, as in the
//! reference implementation, whose t runs over [0, 1]).

use super::{Case, Input, Tolerance, Values, check};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// Sinusoidal features of times: t (B) → (B, dim), both f32 on every device: bf16 would tell few times apart.
#[derive(Debug, Clone, Copy)]
pub struct TimestepEmbedding {
    /// The number of features, even; 256 in LightningDiT.
    pub dim: usize,
}

const FWD: Kernel<params::TimestepEmbeddingFwd, 1, 1> = Kernel {
    name: "timestep_embedding_fwd",
    reads: ["t"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("timestep_embedding", |p, _| Geometry {
        grid: [p.batch, (p.dim / 2).div_ceil(params::TIMESTEP_EMBEDDING_THREADS), 1],
        block: [params::TIMESTEP_EMBEDDING_THREADS, 1, 1],
        shared_bytes: 0,
    })),
};

const BWD: Kernel<params::TimestepEmbeddingBwd, 2, 1> = Kernel {
    name: "timestep_embedding_bwd",
    reads: ["t", "dy"],
    writes: ["dt"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("timestep_embedding", |p, _| Geometry {
        grid: [p.batch.div_ceil(params::TIMESTEP_EMBEDDING_THREADS / 32), 1, 1],
        block: [params::TIMESTEP_EMBEDDING_THREADS, 1, 1],
        shared_bytes: 0,
    })),
};

/// The longest period over 2π.
const MAX_PERIOD: f64 = 10_000.0;

impl Op<1> for TimestepEmbedding {
    const NAME: &'static str = "timestep_embedding";
    /// t.
    type Saved = Tensor;

    fn forward(&self, [t]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        check::matrix(Self::NAME, "t", t)?;
        let [batch] = t.dims(Self::NAME)?;
        check::dtype(Self::NAME, "t", t, DType::F32)?;
        if self.dim == 0 || !self.dim.is_multiple_of(2) {
            return Err(Error::shape(Self::NAME, format!("{} features are not an even number", self.dim)));
        }
        let mut y = Tensor::uninit(t.device(), &[batch, self.dim], t.dtype())?;
        let p = params::TimestepEmbeddingFwd { batch: batch as u32, dim: self.dim as u32, ..Default::default() };
        t.device().launch(&FWD, p, [t], [&mut y])?;
        Ok(([y], t.clone()))
    }

    fn backward(&self, t: &Tensor, grads: [Option<&Tensor>; 1], needs: [bool; 1]) -> Result<[Option<Tensor>; 1]> {
        if !needs[0] {
            return Ok([None]);
        }
        let mut dt = t.uninit_like()?;
        let p = params::TimestepEmbeddingBwd { batch: t.numel() as u32, dim: self.dim as u32, ..Default::default() };
        t.device().launch(&BWD, p, [t, only(grads)], [&mut dt])?;
        Ok([Some(dt)])
    }
}

fn frequencies(half: usize) -> Vec<f32> {
    (0..half).map(|i| MAX_PERIOD.powf(-(i as f64) / half as f64) as f32).collect()
}

fn fwd_cpu(p: &params::TimestepEmbeddingFwd, [t]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let half = p.dim as usize / 2;
    let frequencies = frequencies(half);
    for (y, t) in y.chunks_exact_mut(2 * half).zip(t) {
        let (cos, sin) = y.split_at_mut(half);
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&frequencies) {
            (*sin, *cos) = (t * frequency).sin_cos();
        }
    }
}

fn bwd_cpu(p: &params::TimestepEmbeddingBwd, [t, dy]: [&[f32]; 2], [dt]: [&mut [f32]; 1]) {
    let half = p.dim as usize / 2;
    let frequencies = frequencies(half);
    for ((dt, t), dy) in dt.iter_mut().zip(t).zip(dy.chunks_exact(2 * half)) {
        let (dcos, dsin) = dy.split_at(half);
        let terms = frequencies.iter().zip(dcos).zip(dsin).map(|((frequency, dcos), dsin)| {
            let (sin, cos) = (t * frequency).sin_cos();
            frequency * (dsin * cos - dcos * sin)
        });
        *dt = terms.map(f64::from).sum::<f64>() as f32;
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, batch: usize, dim: usize, bench: bool) -> Case {
    Case {
        op: "timestep_embedding",
        label,
        inputs: vec![Input::normal("t", &[batch]).values(Values::Uniform(0.0, 1.0)).f32()],
        settings: vec![("dim", dim as f64)],
        run: Box::new(move |tape, x| Ok(tape.apply(TimestepEmbedding { dim }, [&x[0]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: (2 * batch * dim) as u64,
        bytes: 4 * (batch + batch * dim) as u64,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![case("odd batch", 5, 256, false), case("odd half", 3, 14, false), case("a training batch", 1024, 256, true)]
}
