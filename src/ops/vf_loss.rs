//! The VF loss of VA-VAE (Yao, Yang and Wang, "Reconstruction vs. Generation", CVPR 2025): latents z are made to look
//! like a foundation model's features f, token by token (mcos) and in how tokens relate to each other (mdms).
//!
//! With z′ = W z, N tokens per image and B images:
//! - mdms = 1/(B·N²) Σ_{b,i,j} relu(|cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)| − distmat_margin), lengths at least 1e-12;
//! - mcos = 1/(B·N) Σ_{b,i} relu(1 − cos_margin − cos(fᵢ, z′ᵢ)), lengths at least 1e-8.
//!
//! **Low rank.** With M = WᵀW: z′ᵢ·z′ⱼ = zᵢᵀMzⱼ, ‖z′ᵢ‖² = zᵢᵀMzᵢ and z′ᵢ·fᵢ = zᵢ·pᵢ with p = Wᵀf. So z′ (Cf wide) is never
//! made, and both Gram matrices exist only as tiles that are compared and dropped. What a tile leaves behind for backward
//! is its pull: per token i and tile J of tokens the vector Σ_{j∈J} sᵢⱼẑⱼ, as short as z.
//!
//! **Backward.** Let n = ‖z′‖, ẑ = z/n, q̂ = Mz/n, and sᵢⱼ = sign(cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)) where the margin is exceeded,
//! 0 elsewhere (symmetric). A unit vector u = z′/n has ∂u/∂z′ = (I − uuᵀ)/n, so with Dᵢ = 2·dmdms/(B·N²) Σⱼ sᵢⱼẑⱼ mdms gives
//! dz′ᵢ = W·(Dᵢ − (q̂ᵢ·Dᵢ)ẑᵢ)/nᵢ. With c the cosine of f and z′ and h = −dmcos/(B·N) where 1 − cos_margin − c > 0, mcos gives
//! dz′ᵢ = h·fᵢ/(‖fᵢ‖nᵢ) − (h·c/nᵢ)·Wẑᵢ. Together, with short vectors, dz′ᵢ = W rᵢ + h/(‖fᵢ‖nᵢ)·fᵢ where
//! rᵢ = (Dᵢ − (q̂ᵢ·Dᵢ)ẑᵢ)/nᵢ − (h·c/nᵢ)ẑᵢ, and therefore dzᵢ = M rᵢ + h/(‖fᵢ‖nᵢ)·pᵢ and
//! dW = Σ dz′ᵢzᵢᵀ = Σ fᵢ(h/(‖fᵢ‖nᵢ)·zᵢ)ᵀ + W·Σ rᵢzᵢᵀ.
//! Where a length lies below its bound, the bound is a constant and the term along z′ falls away.

mod cases;
mod cpu;

pub(super) use cases::cases;

use super::check;
use crate::device::{CudaKernel, Device, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// Latents z (B, N, Cz), projection W (Cf, Cz) or absent, features f (B, N, Cf) → mdms (1), mcos (1).
///
/// Without a projection z is compared with f directly (Cf = Cz): the reference's `reverse_proj: false`, where the
/// features are projected before. Only there do gradients reach f: elsewhere the features are those of a frozen model.
/// The loss is distmat_weight·mdms + cos_weight·mcos: whoever seeds the gradients weighs.
#[derive(Debug, Clone, Copy)]
pub struct VfLoss {
    /// How far below 1 a token's cosine may stay (the paper's last stage: 0.5).
    pub cos_margin: f32,
    /// By how much two tokens' cosines may differ (the paper's last stage: 0.25).
    pub distmat_margin: f32,
}

const TRANSPOSE: Kernel<params::VfLossTranspose, 1, 1> = Kernel {
    name: "vf_loss_transpose",
    reads: ["weight"],
    writes: ["weight_t"],
    cpu: cpu::transpose,
    cuda: cuda(|p, _| geometry([p.width.div_ceil(32), p.channels.div_ceil(32)], 0)),
};

const PROJECT: Kernel<params::VfLossProject, 2, 3> = Kernel {
    name: "vf_loss_project",
    reads: ["features", "weight_t"],
    writes: ["projected", "feature_norm", "gram"],
    cpu: cpu::project,
    cuda: cuda(|p, _| geometry([p.tokens.div_ceil(TILE) + 1, 1], 0)),
};

const NORMALIZE: Kernel<params::VfLossNormalize, 2, 3> = Kernel {
    name: "vf_loss_normalize",
    reads: ["z", "gram"],
    writes: ["norm", "zhat", "qhat"],
    cpu: cpu::normalize,
    cuda: cuda(|p, _| geometry([p.tokens.div_ceil(TILE), 1], 0)),
};

const PAIRS: Kernel<params::VfLossPairs, 4, 2> = Kernel {
    name: "vf_loss_pairs",
    reads: ["features", "feature_norm", "zhat", "qhat"],
    writes: ["pull", "pair_loss"],
    cpu: cpu::pairs,
    cuda: cuda(|p, _| {
        let shared = params::VF_LOSS_PAIRS_BYTES + params::VF_LOSS_PAIRS_BYTES_PER_CHANNEL * (p.channels + 4);
        geometry([pairs_of(p.positions.div_ceil(TILE)), p.batch], shared)
    }),
};

const TOKENS: Kernel<params::VfLossTokens, 9, 4> = Kernel {
    name: "vf_loss_tokens",
    reads: ["z", "projected", "feature_norm", "gram", "norm", "qhat", "pull", "dmdms", "dmcos"],
    writes: ["token_loss", "dz", "toward", "residual"],
    cpu: cpu::tokens,
    cuda: cuda(|p, _| geometry([(p.batch * p.positions).div_ceil(TILE), 1], 0)),
};

const SUM: Kernel<params::VfLossSum, 2, 2> = Kernel {
    name: "vf_loss_sum",
    reads: ["pair_loss", "token_loss"],
    writes: ["mdms", "mcos"],
    cpu: cpu::sum,
    cuda: cuda(|_, _| geometry([1, 1], 0)),
};

const BWD_WEIGHT: Kernel<params::VfLossBwdWeight, 4, 1> = Kernel {
    name: "vf_loss_bwd_weight",
    reads: ["features", "toward", "residual", "zhat"],
    writes: ["partial"],
    cpu: cpu::bwd_weight,
    cuda: cuda(|p, _| geometry([p.width.div_ceil(TILE) + 1, p.splits], 0)),
};

const BWD_WEIGHT_SUM: Kernel<params::VfLossBwdWeightSum, 2, 1> = Kernel {
    name: "vf_loss_bwd_weight_sum",
    reads: ["weight", "partial"],
    writes: ["dweight"],
    cpu: cpu::bwd_weight_sum,
    cuda: cuda(|p, _| geometry([p.width.div_ceil(TILE), 1], 0)),
};

const TILE: u32 = params::VF_LOSS_TILE;

/// Tokens per partial sum of the projection's gradient.
const SPLIT: usize = 512;

const fn cuda<P>(geometry: fn(&P, Math) -> Geometry) -> Option<CudaKernel<P>> {
    Some(CudaKernel::new("vf_loss", geometry))
}

fn geometry([x, y]: [u32; 2], shared_bytes: u32) -> Geometry {
    Geometry { grid: [x, y, 1], block: [params::VF_LOSS_THREADS, 1, 1], shared_bytes }
}

/// Pairs (I, J ≥ I) of tiles.
fn pairs_of(tiles: u32) -> u32 {
    tiles * (tiles + 1) / 2
}

/// The lengths of the axes, and the tensors that one direction of the comparison is made from.
struct Comparison {
    batch: usize,
    positions: usize,
    channels: usize,
    width: usize,
    z: Tensor,
    weight: Tensor,
    features: Tensor,
}

/// What the forward kernels leave for backward.
pub struct Saved {
    of: Comparison,
    projected: Tensor,
    feature_norm: Tensor,
    gram: Tensor,
    norm: Tensor,
    zhat: Tensor,
    qhat: Tensor,
    pull: Tensor,
    /// Whether the projection was absent, and `of.weight` is the identity.
    direct: bool,
}

impl Comparison {
    fn new([z, proj, f]: [&Tensor; 3]) -> Result<Comparison> {
        let [batch, positions, channels] = z.dims::<3>(VfLoss::NAME)?;
        let [_, _, width] = f.dims::<3>(VfLoss::NAME)?;
        check::matrix(VfLoss::NAME, "z", z)?;
        check::matrix(VfLoss::NAME, "f", f)?;
        check::shape(VfLoss::NAME, "f", f, &[batch, positions, width])?;
        if proj.is_absent() && channels != width {
            let message = format!("without a projection z {:?} must be as wide as f {:?}", z.shape(), f.shape());
            return Err(Error::shape(VfLoss::NAME, message));
        }
        check::optional(VfLoss::NAME, "proj", proj, &[width, channels])?;
        let limit = params::VF_LOSS_MAX_CHANNELS as usize;
        if !z.device().is_cpu() && (channels > limit || !channels.is_multiple_of(8) || !width.is_multiple_of(8)) {
            let message = format!(
                "z {:?} and f {:?}: CUDA takes multiples of 8 channels, z at most {limit}",
                z.shape(),
                f.shape()
            );
            return Err(Error::shape(VfLoss::NAME, message));
        }
        let weight = if proj.is_absent() { identity(z.device(), channels)?.to_dtype(z.dtype())? } else { proj.clone() };
        Ok(Comparison { batch, positions, channels, width, z: z.clone(), weight, features: f.clone() })
    }

    fn f32(&self, shape: &[usize]) -> Result<Tensor> {
        Tensor::uninit(self.z.device(), shape, DType::F32)
    }
}

fn identity(device: &Device, n: usize) -> Result<Tensor> {
    let values: Vec<f32> = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    Tensor::from_slice(device, &[n, n], &values)
}

impl VfLoss {
    /// Everything up to the two losses' parts: what backward needs, and Σ relu(·) of every pair of tiles.
    fn compare(&self, of: Comparison, direct: bool) -> Result<(Saved, Tensor)> {
        let device = of.z.device().clone();
        let (count, tiles) = (of.batch * of.positions, (of.positions as u32).div_ceil(TILE));
        let (tokens, width, channels) = (count as u32, of.width as u32, of.channels as u32);
        let (batch, positions, distmat_margin) = (of.batch as u32, of.positions as u32, self.distmat_margin);
        let mut weight_t = Tensor::uninit(&device, &[of.channels, of.width], of.weight.dtype())?;
        let p = params::VfLossTranspose { width, channels, ..Default::default() };
        device.launch(&TRANSPOSE, p, [&of.weight], [&mut weight_t])?;

        let (mut projected, mut feature_norm) = (of.f32(&[count, of.channels])?, of.f32(&[count])?);
        let mut gram = of.f32(&[of.channels, of.channels])?;
        let p = params::VfLossProject { tokens, width, channels, ..Default::default() };
        let writes = [&mut projected, &mut feature_norm, &mut gram];
        device.launch(&PROJECT, p, [&of.features, &weight_t], writes)?;

        let (mut zhat, mut qhat) = (of.f32(&[count, of.channels])?, of.f32(&[count, of.channels])?);
        let mut norm = of.f32(&[count])?;
        let p = params::VfLossNormalize { tokens, channels, ..Default::default() };
        device.launch(&NORMALIZE, p, [&of.z, &gram], [&mut norm, &mut zhat, &mut qhat])?;

        let mut pull = of.f32(&[of.batch, tiles as usize, of.positions, of.channels])?;
        let mut pair_loss = of.f32(&[of.batch, pairs_of(tiles) as usize])?;
        let p = params::VfLossPairs { batch, positions, width, channels, distmat_margin, ..Default::default() };
        let reads = [&of.features, &feature_norm, &zhat, &qhat];
        device.launch(&PAIRS, p, reads, [&mut pull, &mut pair_loss])?;
        Ok((Saved { of, projected, feature_norm, gram, norm, zhat, qhat, pull, direct }, pair_loss))
    }

    /// The token kernel, forward (no gradient written) or backward (no loss written).
    fn tokens(&self, s: &Saved, grads: [&Tensor; 2], writes: [&mut Tensor; 4]) -> Result<()> {
        let p = params::VfLossTokens {
            batch: s.of.batch as u32,
            positions: s.of.positions as u32,
            channels: s.of.channels as u32,
            cos_margin: self.cos_margin,
            ..Default::default()
        };
        let [dmdms, dmcos] = grads;
        let reads = [&s.of.z, &s.projected, &s.feature_norm, &s.gram, &s.norm, &s.qhat, &s.pull, dmdms, dmcos];
        s.of.z.device().launch(&TOKENS, p, reads, writes)
    }

    /// dz, and the vectors `toward` and `residual` that the projection's gradient is made of.
    fn token_gradients(&self, s: &Saved, grads: [Option<&Tensor>; 2]) -> Result<[Tensor; 3]> {
        let absent = Tensor::absent(s.of.z.device())?;
        let mut no_loss = Tensor::absent(s.of.z.device())?;
        let mut dz = s.of.z.uninit_like()?;
        let (mut toward, mut residual) = (s.zhat.uninit_like()?, s.zhat.uninit_like()?);
        let grads = grads.map(|grad| grad.unwrap_or(&absent));
        self.tokens(s, grads, [&mut no_loss, &mut dz, &mut toward, &mut residual])?;
        Ok([dz, toward, residual])
    }
}

impl Op<3, 2> for VfLoss {
    const NAME: &'static str = "vf_loss";
    type Saved = Saved;

    fn forward(&self, inputs: [&Tensor; 3]) -> Result<([Tensor; 2], Saved)> {
        let (s, pair_loss) = self.compare(Comparison::new(inputs)?, inputs[1].is_absent())?;
        let device = s.of.z.device();
        let absent = || Tensor::absent(device);
        let blocks = (s.of.batch * s.of.positions).div_ceil(TILE as usize);
        let mut token_loss = s.of.f32(&[blocks])?;
        let writes = [&mut token_loss, &mut absent()?, &mut absent()?, &mut absent()?];
        self.tokens(&s, [&absent()?, &absent()?], writes)?;

        let (mut mdms, mut mcos) = (s.of.f32(&[1])?, s.of.f32(&[1])?);
        let p = params::VfLossSum {
            pairs: pair_loss.numel() as u32,
            token_blocks: blocks as u32,
            batch: s.of.batch as u32,
            positions: s.of.positions as u32,
            ..Default::default()
        };
        device.launch(&SUM, p, [&pair_loss, &token_loss], [&mut mdms, &mut mcos])?;
        Ok(([mdms, mcos], s))
    }

    fn backward(&self, s: &Saved, grads: [Option<&Tensor>; 2], needs: [bool; 3]) -> Result<[Option<Tensor>; 3]> {
        if needs[1] && s.direct {
            return Err(Error::Gradient("vf_loss: the projection is absent and has no gradient".to_string()));
        }
        if needs[2] && !s.direct {
            let message = "vf_loss: features that latents are projected to are frozen; pass them as constants";
            return Err(Error::Gradient(message.to_string()));
        }
        let mut gradients = [None, None, None];
        if needs[0] || needs[1] {
            let [dz, toward, residual] = self.token_gradients(s, grads)?;
            gradients[0] = needs[0].then_some(dz);
            if needs[1] {
                gradients[1] = Some(weight_gradient(s, &toward, &residual)?);
            }
        }
        if needs[2] {
            // Without a projection the loss is symmetric in z and f.
            let of = &s.of;
            let swapped =
                Comparison { z: of.features.clone(), weight: of.weight.clone(), features: of.z.clone(), ..*of };
            let (swapped, _) = self.compare(swapped, true)?;
            let [df, ..] = self.token_gradients(&swapped, grads)?;
            gradients[2] = Some(df);
        }
        Ok(gradients)
    }
}

/// dW = fᵀ·toward + W·(residualᵀ·ẑ), f32.
fn weight_gradient(s: &Saved, toward: &Tensor, residual: &Tensor) -> Result<Tensor> {
    let Comparison { batch, positions, channels, width, .. } = s.of;
    let device = s.of.z.device();
    let splits = (batch * positions).div_ceil(SPLIT);
    let mut partial = s.of.f32(&[splits, width + channels, channels])?;
    let mut dweight = s.of.f32(&[width, channels])?;
    let (tokens, splits) = ((batch * positions) as u32, splits as u32);
    let (width, channels) = (width as u32, channels as u32);
    let p = params::VfLossBwdWeight { tokens, width, channels, splits, ..Default::default() };
    device.launch(&BWD_WEIGHT, p, [&s.of.features, toward, residual, &s.zhat], [&mut partial])?;
    let p = params::VfLossBwdWeightSum { width, channels, splits, ..Default::default() };
    device.launch(&BWD_WEIGHT_SUM, p, [&s.of.weight, &partial], [&mut dweight])?;
    Ok(dweight)
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![
        TRANSPOSE.info(),
        PROJECT.info(),
        NORMALIZE.info(),
        PAIRS.info(),
        TOKENS.info(),
        SUM.info(),
        BWD_WEIGHT.info(),
        BWD_WEIGHT_SUM.info(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;
    use crate::tape::Tape;

    /// Forward and backward may hold neither z′ nor the N×N matrices of either side, nor a fifth of them.
    #[test]
    fn memory_stays_below_what_the_formula_would_store() -> Result<()> {
        let (batch, n, cz, cf) = (2, 1024, 8, 512);
        let device = Device::cpu();
        let draw = |shape: &[usize], seed| random::normal(&device, shape, seed, random::stream("vf_loss test"));
        let (z, proj, f) = (draw(&[batch, n, cz], 1)?, draw(&[cf, cz], 2)?, draw(&[batch, n, cf], 3)?);
        let before = device.memory().live;
        device.reset_peak_memory();
        let tape = Tape::new(&device);
        let (z, proj, f) = (tape.leaf(z), tape.leaf(proj), tape.constant(f));
        let [mdms, mcos] = tape.apply(VfLoss { cos_margin: 0.5, distmat_margin: 0.25 }, [&z, &proj, &f])?;
        let seeds = [(&mdms, Tensor::scalar(&device, 1.0)?), (&mcos, Tensor::scalar(&device, 1.0)?)];
        let _gradients = tape.backward(&seeds, &[&z, &proj])?;
        let used = device.memory().peak - before;
        let (projected, matrices) = (4 * batch * n * cf, 4 * batch * n * n);
        assert!(used < projected.min(matrices) / 2, "{used} bytes; z′ has {projected}, the matrices {matrices}");
        Ok(())
    }
}
