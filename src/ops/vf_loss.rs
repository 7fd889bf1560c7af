//! The VF loss of VA-VAE (Yao, Yang and Wang, "Reconstruction vs. Generation", CVPR 2025): latents z are made to look
//! like a foundation model's features f, token by token (mcos) and in how tokens relate to each other (mdms).
//!
//! With z′ = W z, N tokens per image and B images:
//! - mdms = 1/(B·N²) Σ_{b,i,j} relu(|cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)| − distmat_margin), lengths at least 1e-12;
//! - mcos = 1/(B·N) Σ_{b,i} relu(1 − cos_margin − cos(fᵢ, z′ᵢ)), lengths at least 1e-8.
//!
//! **Low rank.** With M = WᵀW: z′ᵢ·z′ⱼ = zᵢᵀMzⱼ, ‖z′ᵢ‖² = zᵢᵀMzᵢ and z′ᵢ·fᵢ = zᵢ·pᵢ with p = Wᵀf. So z′ (Cf wide) is never
//! made, and both Gram matrices exist only as tiles that are compared and dropped, f's by symmetry only those on and right of
//! the diagonal. What a tile leaves behind for backward is the sign of each difference, in two bits.
//!
//! **Backward.** Let n = ‖z′‖, ẑ = z/n, q̂ = Mz/n, and sᵢⱼ = sign(cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)) where the margin is exceeded,
//! 0 elsewhere (symmetric). A unit vector u = z′/n has ∂u/∂z′ = (I − uuᵀ)/n, so with Dᵢ = 2·dmdms/(B·N²) Σⱼ sᵢⱼẑⱼ mdms gives
//! dz′ᵢ = W·(Dᵢ − (q̂ᵢ·Dᵢ)ẑᵢ)/nᵢ. With c the cosine of f and z′ and h = −dmcos/(B·N) where 1 − cos_margin − c > 0, mcos gives
//! dz′ᵢ = h·fᵢ/(‖fᵢ‖nᵢ) − (h·c/nᵢ)·Wẑᵢ. Together, with short vectors, dz′ᵢ = W rᵢ + h/(‖fᵢ‖nᵢ)·fᵢ where
//! rᵢ = (Dᵢ − (q̂ᵢ·Dᵢ)ẑᵢ)/nᵢ − (h·c/nᵢ)ẑᵢ, and therefore dzᵢ = M rᵢ + h/(‖fᵢ‖nᵢ)·pᵢ and
//! dW = Σ dz′ᵢzᵢᵀ = Σ h/(‖fᵢ‖nᵢ)·fᵢzᵢᵀ + W·Σ rᵢzᵢᵀ. The last sum is one of sᵢⱼẑⱼẑᵢᵀ and of multiples of ẑᵢẑᵢᵀ: it is symmetric,
//! and half of it is enough.
//! Where a length lies below its bound, the bound is a constant and the term along z′ falls away.

mod cases;
mod cpu;

pub(super) use cases::cases;

use super::check;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
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

const FWD: Kernel<params::VfLossFwd, 3, 9> = Kernel {
    name: "vf_loss_fwd",
    reads: ["z", "weight", "features"],
    writes: ["mdms", "mcos", "partial", "projected", "gram", "norm", "feature_norm", "slope", "signs"],
    cpu: cpu::fwd,
    cuda: cuda(|p, _| {
        let tiles = p.positions.div_ceil(TILE);
        let shared_bytes = match p.channels <= params::VF_LOSS_NARROW_CHANNELS {
            true => params::VF_LOSS_FWD_SHARED,
            false => params::VF_LOSS_FWD_SHARED_WIDE,
        };
        let grid = [pairs_of(tiles) + tiles, p.batch, 1];
        Geometry { grid, block: [params::VF_LOSS_FWD_THREADS, 1, 1], shared_bytes }
    }),
};

const BWD: Kernel<params::VfLossBwd, 8, 2> = Kernel {
    name: "vf_loss_bwd",
    reads: ["z", "projected", "gram", "norm", "slope", "signs", "dmdms", "dmcos"],
    writes: ["dz", "outer"],
    cpu: cpu::bwd,
    cuda: cuda(|p, math| {
        let shared_bytes = match (p.channels <= params::VF_LOSS_NARROW_CHANNELS, math) {
            (true, Math::Bf16) => params::VF_LOSS_BWD_SHARED_BF16,
            (true, _) => params::VF_LOSS_BWD_SHARED_F32,
            (false, Math::Bf16) => params::VF_LOSS_BWD_SHARED_WIDE_BF16,
            (false, _) => params::VF_LOSS_BWD_SHARED_WIDE_F32,
        };
        Geometry { grid: [p.parts, 1, 1], block: [params::VF_LOSS_BWD_THREADS, 1, 1], shared_bytes }
    }),
};

const BWD_WEIGHT: Kernel<params::VfLossBwdWeight, 6, 1> = Kernel {
    name: "vf_loss_bwd_weight",
    reads: ["features", "z", "slope", "weight", "outer", "dmcos"],
    writes: ["dweight"],
    cpu: cpu::bwd_weight,
    cuda: cuda(|p, _| {
        let [columns, rows] = [p.width, p.channels].map(|size| size.div_ceil(params::VF_LOSS_WEIGHT_TILE));
        let shared_bytes = params::VF_LOSS_WEIGHT_SHARED;
        Geometry { grid: [columns, rows, 1], block: [params::VF_LOSS_WEIGHT_THREADS, 1, 1], shared_bytes }
    }),
};

const TILE: u32 = params::VF_LOSS_TILE;

const fn cuda<P>(geometry: fn(&P, Math) -> Geometry) -> Option<CudaKernel<P>> {
    Some(CudaKernel::new("vf_loss", geometry))
}

/// Pairs (I, J ≥ I) of so many tiles.
const fn pairs_of(tiles: u32) -> u32 {
    tiles * (tiles + 1) / 2
}

/// The inputs, and what forward leaves for backward.
pub struct Saved {
    shape: Shape,
    z: Tensor,
    weight: Tensor,
    features: Tensor,
    /// Wᵀf; absent without a projection, where it is f.
    projected: Tensor,
    gram: Tensor,
    norm: Tensor,
    /// Absent with a projection: only the features' gradient needs it.
    feature_norm: Tensor,
    slope: Tensor,
    signs: Tensor,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    batch: usize,
    positions: usize,
    channels: usize,
    width: usize,
}

impl Shape {
    fn of([z, proj, f]: [&Tensor; 3]) -> Result<Shape> {
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
        Ok(Shape { batch, positions, channels, width })
    }

    fn tokens(self) -> usize {
        self.batch * self.positions
    }

    fn tiles(self) -> u32 {
        (self.positions as u32).div_ceil(TILE)
    }
}

impl Op<3, 2> for VfLoss {
    const NAME: &'static str = "vf_loss";
    type Saved = Saved;

    fn forward(&self, inputs: [&Tensor; 3]) -> Result<([Tensor; 2], Saved)> {
        let shape = Shape::of(inputs)?;
        let [z, weight, features] = inputs;
        let device = z.device();
        let Shape { batch, positions, channels, width } = shape;
        let f32 = |shape: &[usize]| Tensor::uninit(device, shape, DType::F32);
        let only = |wanted: bool, shape: &[usize]| if wanted { f32(shape) } else { Tensor::absent(device) };
        let direct = weight.is_absent();
        let pairs = pairs_of(shape.tiles()) as usize;
        let (mut mdms, mut mcos) = (f32(&[1])?, f32(&[1])?);
        let mut partial = f32(&[batch, pairs + shape.tiles() as usize])?;
        let mut s = Saved {
            shape,
            z: z.clone(),
            weight: weight.clone(),
            features: features.clone(),
            projected: if direct { Tensor::absent(device)? } else { z.uninit_like()? },
            gram: only(!direct, &[channels, channels])?,
            norm: f32(&[batch, positions])?,
            feature_norm: only(direct, &[batch, positions])?,
            slope: f32(&[batch, positions])?,
            signs: Tensor::uninit(device, &[batch, pairs, TILE as usize, 4], DType::U32)?,
        };
        let p = params::VfLossFwd {
            batch: batch as u32,
            positions: positions as u32,
            width: width as u32,
            channels: channels as u32,
            distmat_margin: self.distmat_margin,
            cos_margin: self.cos_margin,
            ..Default::default()
        };
        let writes = [
            &mut mdms,
            &mut mcos,
            &mut partial,
            &mut s.projected,
            &mut s.gram,
            &mut s.norm,
            &mut s.feature_norm,
            &mut s.slope,
            &mut s.signs,
        ];
        device.launch(&FWD, p, inputs, writes)?;
        Ok(([mdms, mcos], s))
    }

    fn backward(&self, s: &Saved, grads: [Option<&Tensor>; 2], needs: [bool; 3]) -> Result<[Option<Tensor>; 3]> {
        let direct = s.weight.is_absent();
        if needs[1] && direct {
            return Err(Error::Gradient("vf_loss: the projection is absent and has no gradient".to_string()));
        }
        if needs[2] && !direct {
            let message = "vf_loss: features that latents are projected to are frozen; pass them as constants";
            return Err(Error::Gradient(message.to_string()));
        }
        let absent = Tensor::absent(s.z.device())?;
        let grads = grads.map(|grad| grad.unwrap_or(&absent));
        let mut gradients = [None, None, None];
        if needs[0] || needs[1] {
            let projected = if direct { &s.features } else { &s.projected };
            let [dz, outer] = latents_gradient(s, [&s.z, projected, &s.norm], 1.0, grads, [needs[0], needs[1]])?;
            gradients[0] = needs[0].then_some(dz);
            if needs[1] {
                gradients[1] = Some(weight_gradient(s, &outer, grads[1])?);
            }
        }
        if needs[2] {
            // Without a projection z and f may change places: d changes its sign, and all else stays.
            let [df, _] = latents_gradient(s, [&s.features, &s.z, &s.feature_norm], -1.0, grads, [true, false])?;
            gradients[2] = Some(df);
        }
        Ok(gradients)
    }
}

/// dz and the parts of Σ r zᵀ, those that are wanted.
fn latents_gradient(
    s: &Saved,
    [z, projected, norm]: [&Tensor; 3],
    mdms_sign: f32,
    [dmdms, dmcos]: [&Tensor; 2],
    wanted: [bool; 2],
) -> Result<[Tensor; 2]> {
    let (device, channels) = (z.device(), s.shape.channels);
    let tiles = s.shape.tiles() * s.shape.batch as u32;
    let parts = if device.is_cpu() { 1 } else { tiles.min(params::VF_LOSS_BWD_PARTS) };
    let mut dz = if wanted[0] { z.uninit_like()? } else { Tensor::absent(device)? };
    let mut outer = match wanted[1] {
        true => {
            let blocks = pairs_of(channels.div_ceil(8) as u32) as usize;
            Tensor::uninit(device, &[parts as usize, blocks, 8, 8], z.dtype())?
        }
        false => Tensor::absent(device)?,
    };
    let p = params::VfLossBwd {
        batch: s.shape.batch as u32,
        positions: s.shape.positions as u32,
        channels: channels as u32,
        parts,
        mdms_sign,
        ..Default::default()
    };
    let reads = [z, projected, &s.gram, norm, &s.slope, &s.signs, dmdms, dmcos];
    device.launch(&BWD, p, reads, [&mut dz, &mut outer])?;
    Ok([dz, outer])
}

/// dW, f32.
fn weight_gradient(s: &Saved, outer: &Tensor, dmcos: &Tensor) -> Result<Tensor> {
    let Shape { channels, width, .. } = s.shape;
    let mut dweight = Tensor::uninit(s.z.device(), &[width, channels], DType::F32)?;
    let p = params::VfLossBwdWeight {
        tokens: s.shape.tokens() as u32,
        width: width as u32,
        channels: channels as u32,
        parts: outer.shape()[0] as u32,
        ..Default::default()
    };
    let reads = [&s.features, &s.z, &s.slope, &s.weight, outer, dmcos];
    s.z.device().launch(&BWD_WEIGHT, p, reads, [&mut dweight])?;
    Ok(dweight)
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info(), BWD_WEIGHT.info()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::random;
    use crate::tape::Tape;

    /// Three launches, and at most 1.2 MB an image of them: 16 of 256 tokens (f16d32 at 256 × 256, the preset's batch) with features 1024
    /// wide, in bf16. Features, which are read twice, are 1.05 MB of them.
    #[test]
    fn traffic_is_little_more_than_features_twice() -> Result<()> {
        const IMAGES: usize = 16;
        let device = Device::plan();
        let tensor = |shape: &[usize]| Tensor::uninit(&device, shape, DType::Bf16);
        let (z, proj, f) = (tensor(&[IMAGES, 256, 32])?, tensor(&[1024, 32])?, tensor(&[IMAGES, 256, 1024])?);
        let launches = device.record_launches(|| {
            let tape = Tape::new(&device);
            let (z, proj, f) = (tape.leaf(z), tape.leaf(proj), tape.constant(f));
            let [mdms, mcos] = tape.apply(VfLoss { cos_margin: 0.5, distmat_margin: 0.25 }, [&z, &proj, &f])?;
            let seeds = [(&mdms, Tensor::scalar(&device, 1.0)?), (&mcos, Tensor::scalar(&device, 1.0)?)];
            tape.backward(&seeds, &[&z, &proj]).map(drop)
        })?;
        let of_loss = launches.iter().filter(|launch| launch.entry.starts_with("vf_loss"));
        assert_eq!(of_loss.clone().count(), 3, "{launches:?}");
        let bytes = of_loss.map(|launch| launch.bytes).sum::<u64>() / IMAGES as u64;
        assert!(bytes <= 1_200_000, "{bytes} bytes an image: {launches:?}");
        Ok(())
    }

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
