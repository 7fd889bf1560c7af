//! The diagonal Gaussian posterior of the latents.
//!
//! With moments = mean | logvar (halves of the last axis) and logvar clamped to [−30, 20]:
//! z = mean + exp(½ logvar)·noise and KL = ½ Σ (mean² + e^logvar − 1 − logvar), averaged over the batch.
//! Backward: dmean = dz + mean·dkl/B; dlogvar = ½ exp(½ logvar)·noise·dz + ½ (e^logvar − 1)·dkl/B, zero outside the
//! clamp; dnoise = exp(½ logvar)·dz. Source: `DiagonalGaussianDistribution` of latent diffusion.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads, sum};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo, Math};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// A sample and its KL divergence: moments (B, .., 2z), noise (B, .., z) → latents (B, .., z), KL (1).
///
/// The reference's `pp_style` KL (the mean of the terms, without the half) is this one times 2 / (h·w·z).
#[derive(Debug, Clone, Copy)]
pub struct GaussianSample;

/// The KL's terms one by one, mean² + e^logvar − 1 − logvar without the half: moments (.., 2z) → (.., z).
#[derive(Debug, Clone, Copy)]
pub struct KlTerms;

const FWD: Kernel<params::GaussianFwd, 2, 2> = Kernel {
    name: "gaussian_fwd",
    reads: ["moments", "noise"],
    writes: ["z", "kl"],
    cpu: fwd_cpu,
    cuda: cuda(|p, math| Geometry::elementwise(p.pixels * p.channels, math)),
};

const BWD: Kernel<params::GaussianBwd, 4, 2> = Kernel {
    name: "gaussian_bwd",
    reads: ["moments", "noise", "dz", "dkl"],
    writes: ["dmoments", "dnoise"],
    cpu: bwd_cpu,
    cuda: cuda(|p, math| Geometry::elementwise(p.pixels * p.channels, math)),
};

const TERMS_FWD: Kernel<params::KlTermsFwd, 1, 1> = Kernel {
    name: "kl_terms_fwd",
    reads: ["moments"],
    writes: ["terms"],
    cpu: terms_fwd_cpu,
    cuda: cuda(|p, math| Geometry::elementwise(p.pixels * p.channels, math)),
};

const TERMS_BWD: Kernel<params::KlTermsBwd, 2, 1> = Kernel {
    name: "kl_terms_bwd",
    reads: ["moments", "dterms"],
    writes: ["dmoments"],
    cpu: terms_bwd_cpu,
    cuda: cuda(|p, math| Geometry::elementwise(p.pixels * p.channels, math)),
};

const fn cuda<P>(geometry: fn(&P, Math) -> Geometry) -> Option<CudaKernel<P>> {
    Some(CudaKernel::new("gaussian", geometry))
}

/// Pixels per parallel task.
const GRAIN: usize = 256;

/// The shape of latents with these moments.
fn latent_shape(op: &'static str, moments: &Tensor) -> Result<Vec<usize>> {
    let (_, double) = check::matrix(op, "moments", moments)?;
    if !double.is_multiple_of(2) {
        return Err(Error::shape(
            op,
            format!("moments have shape {:?}, expected an even last dimension", moments.shape()),
        ));
    }
    let mut shape = moments.shape().to_vec();
    *shape.last_mut().expect("a matrix has a last dimension") = double / 2;
    Ok(shape)
}

impl Op<2, 2> for GaussianSample {
    const NAME: &'static str = "gaussian";
    type Saved = [Tensor; 2];

    fn forward(&self, [moments, noise]: [&Tensor; 2]) -> Result<([Tensor; 2], [Tensor; 2])> {
        let shape = latent_shape(Self::NAME, moments)?;
        if shape.len() < 2 {
            return Err(Error::shape(Self::NAME, format!("moments {:?} have no batch axis", moments.shape())));
        }
        check::shape(Self::NAME, "noise", noise, &shape)?;
        let (pixels, channels) = noise.rows_cols();
        let (pixels, channels, batch) = (pixels as u32, channels as u32, shape[0] as u32);
        let mut z = noise.uninit_like()?;
        let mut kl = Tensor::uninit(noise.device(), &[sum::parts_of_chunks(noise)], DType::F32)?;
        let p = params::GaussianFwd { pixels, channels, batch, ..Default::default() };
        noise.device().launch(&FWD, p, [moments, noise], [&mut z, &mut kl])?;
        Ok(([z, sum::of_parts(kl)?], [moments.clone(), noise.clone()]))
    }

    fn backward(
        &self,
        [moments, noise]: &[Tensor; 2],
        [dz, dkl]: [Option<&Tensor>; 2],
        needs: [bool; 2],
    ) -> Result<[Option<Tensor>; 2]> {
        let absent = Tensor::absent(noise.device())?;
        let [mut dmoments, mut dnoise] = grads::allocate([moments, noise], needs)?;
        let (pixels, channels) = noise.rows_cols();
        let (pixels, channels, batch) = (pixels as u32, channels as u32, noise.shape()[0] as u32);
        let p = params::GaussianBwd { pixels, channels, batch, ..Default::default() };
        let reads = [moments, noise, dz.unwrap_or(&absent), dkl.unwrap_or(&absent)];
        noise.device().launch(&BWD, p, reads, [&mut dmoments, &mut dnoise])?;
        Ok(grads::asked([dmoments, dnoise], needs))
    }
}

impl Op<1> for KlTerms {
    const NAME: &'static str = "kl_terms";
    type Saved = Tensor;

    fn forward(&self, [moments]: [&Tensor; 1]) -> Result<([Tensor; 1], Tensor)> {
        let shape = latent_shape(Self::NAME, moments)?;
        let mut terms = Tensor::uninit(moments.device(), &shape, moments.dtype())?;
        let (pixels, channels) = terms.rows_cols();
        let p = params::KlTermsFwd { pixels: pixels as u32, channels: channels as u32, ..Default::default() };
        moments.device().launch(&TERMS_FWD, p, [moments], [&mut terms])?;
        Ok(([terms], moments.clone()))
    }

    fn backward(
        &self,
        moments: &Tensor,
        grads: [Option<&Tensor>; 1],
        [need]: [bool; 1],
    ) -> Result<[Option<Tensor>; 1]> {
        if !need {
            return Ok([None]);
        }
        let dterms = only(grads);
        let mut dmoments = moments.uninit_like()?;
        let (pixels, channels) = dterms.rows_cols();
        let p = params::KlTermsBwd { pixels: pixels as u32, channels: channels as u32, ..Default::default() };
        moments.device().launch(&TERMS_BWD, p, [moments, dterms], [&mut dmoments])?;
        Ok([Some(dmoments)])
    }
}

const LOGVAR: std::ops::RangeInclusive<f32> = params::GAUSSIAN_LOGVAR_MIN as f32..=params::GAUSSIAN_LOGVAR_MAX as f32;

/// NaN stays NaN.
fn clamped(logvar: f32) -> f32 {
    logvar.clamp(*LOGVAR.start(), *LOGVAR.end())
}

fn kl_term(mean: f32, logvar: f32) -> f32 {
    let logvar = clamped(logvar);
    mean * mean + logvar.exp_m1() - logvar
}

fn fwd_cpu(p: &params::GaussianFwd, [moments, noise]: [&[f32]; 2], [z, kl]: [&mut [f32]; 2]) {
    let c = p.channels as usize;
    let inputs = moments.par_chunks(2 * c * GRAIN).zip(noise.par_chunks(c * GRAIN));
    let partial: Vec<f64> = z
        .par_chunks_mut(c * GRAIN)
        .zip(inputs)
        .map(|(z, (moments, noise))| {
            let mut total = 0.0;
            let rows = moments.chunks_exact(2 * c).zip(noise.chunks_exact(c));
            for (z, (moments, noise)) in z.chunks_exact_mut(c).zip(rows) {
                let (mean, logvar) = moments.split_at(c);
                for i in 0..c {
                    z[i] = mean[i] + (0.5 * clamped(logvar[i])).exp() * noise[i];
                    total += f64::from(kl_term(mean[i], logvar[i]));
                }
            }
            total
        })
        .collect();
    kl[0] = (0.5 * partial.iter().sum::<f64>() / f64::from(p.batch)) as f32;
}

fn bwd_cpu(p: &params::GaussianBwd, [moments, noise, dz, dkl]: [&[f32]; 4], [dmoments, dnoise]: [&mut [f32]; 2]) {
    let c = p.channels as usize;
    let dkl = dkl.first().map_or(0.0, |dkl| dkl / p.batch as f32);
    let dz_at = |at: usize| dz.get(at).copied().unwrap_or(0.0);
    dmoments.par_chunks_mut(2 * c).enumerate().with_min_len(GRAIN).for_each(|(pixel, dmoments)| {
        let (mean, logvar) = moments[2 * c * pixel..][..2 * c].split_at(c);
        let (dmean, dlogvar) = dmoments.split_at_mut(c);
        for i in 0..c {
            let at = pixel * c + i;
            dmean[i] = dz_at(at) + mean[i] * dkl;
            let inside = LOGVAR.contains(&logvar[i]) || logvar[i].is_nan();
            let std = (0.5 * logvar[i]).exp();
            let gradient = 0.5 * (std * noise[at] * dz_at(at) + logvar[i].exp_m1() * dkl);
            dlogvar[i] = if inside { gradient } else { 0.0 };
        }
    });
    dnoise.par_chunks_mut(c).enumerate().with_min_len(GRAIN).for_each(|(pixel, dnoise)| {
        let logvar = &moments[2 * c * pixel + c..][..c];
        for (i, dnoise) in dnoise.iter_mut().enumerate() {
            *dnoise = (0.5 * clamped(logvar[i])).exp() * dz_at(pixel * c + i);
        }
    });
}

fn terms_fwd_cpu(p: &params::KlTermsFwd, [moments]: [&[f32]; 1], [terms]: [&mut [f32]; 1]) {
    let c = p.channels as usize;
    terms.par_chunks_mut(c).zip(moments.par_chunks(2 * c)).with_min_len(GRAIN).for_each(|(terms, moments)| {
        for (i, term) in terms.iter_mut().enumerate() {
            *term = kl_term(moments[i], moments[c + i]);
        }
    });
}

fn terms_bwd_cpu(p: &params::KlTermsBwd, [moments, dterms]: [&[f32]; 2], [dmoments]: [&mut [f32]; 1]) {
    let c = p.channels as usize;
    let inputs = moments.par_chunks(2 * c).zip(dterms.par_chunks(c));
    dmoments.par_chunks_mut(2 * c).zip(inputs).with_min_len(GRAIN).for_each(|(dmoments, (moments, dterms))| {
        for (i, dterm) in dterms.iter().enumerate() {
            let logvar = moments[c + i];
            let inside = LOGVAR.contains(&logvar) || logvar.is_nan();
            dmoments[i] = 2.0 * moments[i] * dterm;
            dmoments[c + i] = if inside { logvar.exp_m1() * dterm } else { 0.0 };
        }
    });
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info(), TERMS_FWD.info(), TERMS_BWD.info()]
}

pub(super) fn cases() -> Vec<Case> {
    let sample = |label, [b, h, w, z]: [usize; 4], std: f32, bench| {
        let count = (b * h * w * z) as u64;
        Case {
            op: "gaussian",
            label,
            inputs: vec![
                Input::normal("moments", &[b, h, w, 2 * z]).values(super::Values::Normal(0.0, std)),
                Input::normal("noise", &[b, h, w, z]),
            ],
            settings: vec![],
            run: Box::new(|tape, x| Ok(tape.apply(GaussianSample, [&x[0], &x[1]])?.into())),
            tolerance: Tolerance::REDUCTION,
            flops: 12 * count,
            bytes: 16 * count,
            bench,
        }
    };
    let terms = |label, shape: [usize; 4], bench| {
        let count = (shape.iter().product::<usize>() / 2) as u64;
        Case {
            op: "kl_terms",
            label,
            inputs: vec![Input::normal("moments", &shape)],
            settings: vec![],
            run: Box::new(|tape, x| Ok(tape.apply(KlTerms, [&x[0]])?.into())),
            tolerance: Tolerance::ELEMENTWISE,
            flops: 6 * count,
            bytes: 12 * count,
            bench,
        }
    };
    vec![
        sample("odd shapes", [2, 3, 5, 7], 1.0, false),
        // So that none lies on a bound itself, also rounded to bf16: no finite difference sees a derivative from one side.
        sample("log-variances beyond the clamp", [3, 3, 5, 7], 20.0, false),
        sample("latents of f16d32", [8, 16, 16, 32], 1.0, true),
        terms("odd shapes", [2, 3, 5, 14], false),
        terms("latents of a small model", [2, 3, 3, 32], false),
        terms("latents of f16d32", [8, 16, 16, 64], true),
    ]
}
