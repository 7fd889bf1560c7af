//! The VF loss of VA-VAE (Yao, Yang and Wang, "Reconstruction vs. Generation", CVPR 2025): latents z are made to look
//! like a foundation model's features f, token by token (mcos) and in how tokens relate to each other (mdms).
//!
//! With z′ = W z, N tokens per image and B images:
//! - mdms = 1/(B·N²) Σ_{b,i,j} relu(|cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)| − distmat_margin), lengths at least 1e-12;
//! - mcos = 1/(B·N) Σ_{b,i} relu(1 − cos_margin − cos(fᵢ, z′ᵢ)), lengths at least 1e-8.
//!
//! **Low rank.** With M = WᵀW: z′ᵢ·z′ⱼ = zᵢᵀMzⱼ, ‖z′ᵢ‖² = zᵢᵀMzᵢ and z′ᵢ·fᵢ = zᵢ·qᵢ with q = Wᵀf. So z′ (Cf wide) is never
//! made, and both Gram matrices exist only as tiles that are compared and dropped; backward makes the tiles again.
//!
//! **Backward.** Let sᵢⱼ = sign(cos(z′ᵢ, z′ⱼ) − cos(fᵢ, fⱼ)) where the margin is exceeded and 0 elsewhere (symmetric),
//! n = ‖z′‖, κ = 2·dmdms/(B·N²). A unit vector u = z′/n has ∂/∂z′ = (I − uuᵀ)/n, so with hᵢ = Σⱼ sᵢⱼ zⱼ/nⱼ
//! mdms gives dz′ᵢ = W·(κ/nᵢ)(hᵢ − zᵢ·(zᵢᵀMhᵢ)/nᵢ²).
//! With c the cosine of f and z′, and λ = −dmcos/(B·N) where 1 − cos_margin − c > 0, mcos gives
//! dz′ᵢ = λ(fᵢ/(‖fᵢ‖nᵢ) − c·W zᵢ/nᵢ²). Together dz′ᵢ = W aᵢ + bᵢ fᵢ with the short vectors
//! aᵢ = (κ/nᵢ)(hᵢ − zᵢ·(zᵢᵀMhᵢ)/nᵢ²) − (λc/nᵢ²)zᵢ and the numbers bᵢ = λ/(‖fᵢ‖nᵢ), and therefore
//! dzᵢ = M aᵢ + bᵢ qᵢ and dW = Σ dz′ᵢ zᵢᵀ = W·(Σ aᵢzᵢᵀ) + Σ fᵢ(bᵢzᵢ)ᵀ.
//! By symmetry, with kᵢ = Σⱼ sᵢⱼ fⱼ/‖fⱼ‖, dfᵢ = −(κ/‖fᵢ‖)(kᵢ − fᵢ·(fᵢ·kᵢ)/‖fᵢ‖²) + λ(z′ᵢ/(‖fᵢ‖nᵢ) − c·fᵢ/‖fᵢ‖²).
//! Where a length lies below its bound the bound is a constant, and the projection −uuᵀ falls away.

mod cases;
mod cpu;

pub(super) use cases::cases;

use crate::device::{Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::params;
use crate::tensor::Tensor;

/// Latents z (B, N, Cz), projection W (Cf, Cz) or absent, features f (B, N, Cf) → mdms [1], mcos [1].
///
/// Without a projection z is compared with f directly (Cf = Cz): the reference's `reverse_proj: false`, where the
/// features are projected before. The loss is distmat_weight·mdms + cos_weight·mcos: whoever seeds the gradients weighs.
#[derive(Debug, Clone, Copy)]
pub struct VfLoss {
    /// How far below 1 a token's cosine may stay (the paper's last stage: 0.5).
    pub cos_margin: f32,
    /// By how much two tokens' cosines may differ (the paper's last stage: 0.25).
    pub distmat_margin: f32,
}

const GRAM: Kernel<params::VfLossGram, 1, 1> =
    Kernel { name: "vf_loss_gram", reads: ["proj"], writes: ["gram"], cpu: cpu::gram, cuda: None };

const TOKENS: Kernel<params::VfLossTokens, 4, 3> = Kernel {
    name: "vf_loss_tokens",
    reads: ["z", "proj", "f", "gram"],
    writes: ["zm", "q", "norms"],
    cpu: cpu::tokens,
    cuda: None,
};

const FWD: Kernel<params::VfLossFwd, 5, 2> = Kernel {
    name: "vf_loss_fwd",
    reads: ["z", "zm", "q", "f", "norms"],
    writes: ["mdms", "mcos"],
    cpu: cpu::fwd,
    cuda: None,
};

const BWD: Kernel<params::VfLossBwd, 8, 3> = Kernel {
    name: "vf_loss_bwd",
    reads: ["z", "zm", "q", "f", "norms", "gram", "dmdms", "dmcos"],
    writes: ["a", "b", "dz"],
    cpu: cpu::bwd,
    cuda: None,
};

const BWD_PROJ: Kernel<params::VfLossBwdProj, 5, 1> = Kernel {
    name: "vf_loss_bwd_proj",
    reads: ["z", "proj", "f", "a", "b"],
    writes: ["dproj"],
    cpu: cpu::bwd_proj,
    cuda: None,
};

const BWD_FEATURES: Kernel<params::VfLossBwdFeatures, 8, 1> = Kernel {
    name: "vf_loss_bwd_features",
    reads: ["z", "zm", "q", "f", "norms", "proj", "dmdms", "dmcos"],
    writes: ["df"],
    cpu: cpu::bwd_features,
    cuda: None,
};

/// The lengths of the axes.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    n: usize,
    cz: usize,
    cf: usize,
}

/// What backward of [`VfLoss`] needs: the inputs, and per token a few numbers and two vectors as short as z.
pub struct Saved {
    sizes: Sizes,
    z: Tensor,
    proj: Tensor,
    f: Tensor,
    gram: Tensor,
    zm: Tensor,
    q: Tensor,
    norms: Tensor,
}

fn sizes(z: &Tensor, proj: &Tensor, f: &Tensor) -> Result<Sizes> {
    let fail = |message: String| Err(Error::shape(VfLoss::NAME, message));
    let ([batch, n, cz], [f_batch, f_n, cf]) = (z.dims::<3>(VfLoss::NAME)?, f.dims::<3>(VfLoss::NAME)?);
    if (batch, n) != (f_batch, f_n) || z.numel() == 0 || f.numel() == 0 {
        return fail(format!("z {:?} and f {:?} need the same images and tokens, and at least one", z.shape(), f.shape()));
    }
    if proj.is_absent() && cz != cf {
        return fail(format!("without a projection z {:?} must be as wide as f {:?}", z.shape(), f.shape()));
    }
    if !proj.is_absent() && proj.shape() != [cf, cz] {
        return fail(format!("the projection of z {:?} to f {:?} is {:?}, not [{cf}, {cz}]", z.shape(), f.shape(), proj.shape()));
    }
    Ok(Sizes { batch, n, cz, cf })
}

/// The launch parameters that [`FWD`], [`BWD`] and [`BWD_FEATURES`] share.
macro_rules! launch_params {
    ($params:ident, $op:expr, $sizes:expr) => {
        params::$params {
            batch: $sizes.batch as u32,
            n: $sizes.n as u32,
            cz: $sizes.cz as u32,
            cf: $sizes.cf as u32,
            distmat_margin: $op.distmat_margin,
            cos_margin: $op.cos_margin,
            ..Default::default()
        }
    };
}

impl VfLoss {
    /// M, then zm, q and the lengths of every token.
    fn prepare(z: &Tensor, proj: &Tensor, f: &Tensor) -> Result<Saved> {
        let sizes @ Sizes { batch, n, cz, cf } = sizes(z, proj, f)?;
        let device = z.device();
        let projected = !proj.is_absent();
        let scratch = |shape: &[usize]| match projected {
            true => Tensor::uninit(device, shape, z.dtype()),
            false => Tensor::absent(device),
        };
        let (mut gram, mut zm, mut q) = (scratch(&[cz, cz])?, scratch(z.shape())?, scratch(z.shape())?);
        let mut norms = Tensor::uninit(device, &[batch, n, 2], z.dtype())?;
        let (cz, cf, tokens) = (cz as u32, cf as u32, (batch * n) as u32);
        if projected {
            device.launch(&GRAM, params::VfLossGram { cf, cz, ..Default::default() }, [proj], [&mut gram])?;
        }
        let p = params::VfLossTokens { tokens, cz, cf, ..Default::default() };
        device.launch(&TOKENS, p, [z, proj, f, &gram], [&mut zm, &mut q, &mut norms])?;
        if !projected {
            (zm, q) = (z.clone(), f.clone());
        }
        Ok(Saved { sizes, z: z.clone(), proj: proj.clone(), f: f.clone(), gram, zm, q, norms })
    }
}

impl Op<3, 2> for VfLoss {
    const NAME: &'static str = "vf_loss";
    type Saved = Saved;

    fn forward(&self, [z, proj, f]: [&Tensor; 3]) -> Result<([Tensor; 2], Saved)> {
        let s = VfLoss::prepare(z, proj, f)?;
        let scalar = || Tensor::uninit(z.device(), &[1], z.dtype());
        let (mut mdms, mut mcos) = (scalar()?, scalar()?);
        let p = launch_params!(VfLossFwd, self, s.sizes);
        z.device().launch(&FWD, p, [z, &s.zm, &s.q, f, &s.norms], [&mut mdms, &mut mcos])?;
        Ok(([mdms, mcos], s))
    }

    fn backward(&self, s: &Saved, grads: [Option<&Tensor>; 2], needs: [bool; 3]) -> Result<[Option<Tensor>; 3]> {
        let Sizes { batch, n, cz, cf } = s.sizes;
        let device = s.z.device();
        let absent = Tensor::absent(device)?;
        let [dmdms, dmcos] = grads.map(|grad| grad.unwrap_or(&absent));
        let mut gradients = [None, None, None];
        if needs[0] || needs[1] {
            let mut a = s.z.uninit_like()?;
            let mut b = Tensor::uninit(device, &[batch, n], s.z.dtype())?;
            let mut dz = if needs[0] { s.z.uninit_like()? } else { Tensor::absent(device)? };
            let p = launch_params!(VfLossBwd, self, s.sizes);
            let reads = [&s.z, &s.zm, &s.q, &s.f, &s.norms, &s.gram, dmdms, dmcos];
            device.launch(&BWD, p, reads, [&mut a, &mut b, &mut dz])?;
            gradients[0] = needs[0].then_some(dz);
            if needs[1] {
                let mut dproj = s.proj.uninit_like()?;
                let (tokens, cz, cf) = ((batch * n) as u32, cz as u32, cf as u32);
                let p = params::VfLossBwdProj { tokens, cz, cf, ..Default::default() };
                device.launch(&BWD_PROJ, p, [&s.z, &s.proj, &s.f, &a, &b], [&mut dproj])?;
                gradients[1] = Some(dproj);
            }
        }
        if needs[2] {
            let mut df = s.f.uninit_like()?;
            let p = launch_params!(VfLossBwdFeatures, self, s.sizes);
            let reads = [&s.z, &s.zm, &s.q, &s.f, &s.norms, &s.proj, dmdms, dmcos];
            device.launch(&BWD_FEATURES, p, reads, [&mut df])?;
            gradients[2] = Some(df);
        }
        Ok(gradients)
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![GRAM.info(), TOKENS.info(), FWD.info(), BWD.info(), BWD_PROJ.info(), BWD_FEATURES.info()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::random;
    use crate::tape::Tape;

    /// Forward and backward may hold neither z′ nor one image's N×N matrix, not even half of one.
    #[test]
    fn memory_stays_below_what_the_formula_would_store() -> Result<()> {
        let (batch, n, cz, cf) = (2, 256, 8, 512);
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
        let (projected, square) = (4 * batch * n * cf, 4 * n * n);
        assert!(used < projected.min(square) / 2, "{used} bytes; z′ has {projected}, an N×N matrix {square}");
        Ok(())
    }
}
