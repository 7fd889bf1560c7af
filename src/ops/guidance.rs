//! Classifier-free guidance (Ho and Salimans, 2022): y = uncond + scale·(cond − uncond) in the first channels, and the
//! conditional prediction in the others. The reference guides three channels of thirty-two.

use rayon::prelude::*;

use super::{Case, Input, Tolerance, check, grads};
use crate::device::cpu::rows::rows_per_task;
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// cond and uncond (.., C) → (.., C).
#[derive(Debug, Clone, Copy)]
pub struct Guidance {
    /// 1 gives the conditional prediction.
    pub scale: f32,
    /// How many channels are guided, at most C.
    pub guided: usize,
}

const FWD: Kernel<params::GuidanceFwd, 2, 1> = Kernel {
    name: "guidance_fwd",
    reads: ["cond", "uncond"],
    writes: ["y"],
    cpu: fwd_cpu,
    cuda: Some(CudaKernel::new("guidance", |p, math| Geometry::elementwise(p.pixels * p.channels, math))),
};

const BWD: Kernel<params::GuidanceBwd, 1, 2> = Kernel {
    name: "guidance_bwd",
    reads: ["dy"],
    writes: ["dcond", "duncond"],
    cpu: bwd_cpu,
    cuda: Some(CudaKernel::new("guidance", |p, math| Geometry::elementwise(p.pixels * p.channels, math))),
};

impl Op<2> for Guidance {
    const NAME: &'static str = "guidance";
    type Saved = ();

    fn forward(&self, [cond, uncond]: [&Tensor; 2]) -> Result<([Tensor; 1], ())> {
        let (pixels, channels) = check::matrix(Self::NAME, "cond", cond)?;
        check::shape(Self::NAME, "uncond", uncond, cond.shape())?;
        if self.guided > channels {
            let message = format!("{} guided channels of {channels}", self.guided);
            return Err(Error::shape(Self::NAME, message));
        }
        let mut y = cond.uninit_like()?;
        let p = params::GuidanceFwd {
            pixels: pixels as u32,
            channels: channels as u32,
            guided: self.guided as u32,
            scale: self.scale,
            ..Default::default()
        };
        cond.device().launch(&FWD, p, [cond, uncond], [&mut y])?;
        Ok(([y], ()))
    }

    fn backward(&self, (): &(), grads: [Option<&Tensor>; 1], needs: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let dy = only(grads);
        let (pixels, channels) = dy.rows_cols();
        let p = params::GuidanceBwd {
            pixels: pixels as u32,
            channels: channels as u32,
            guided: self.guided as u32,
            scale: self.scale,
            ..Default::default()
        };
        let mut gradients = grads::allocate([dy, dy], needs)?;
        dy.device().launch(&BWD, p, [dy], gradients.each_mut())?;
        Ok(grads::asked(gradients, needs))
    }
}

fn fwd_cpu(p: &params::GuidanceFwd, [cond, uncond]: [&[f32]; 2], [y]: [&mut [f32]; 1]) {
    let (channels, guided) = (p.channels as usize, p.guided as usize);
    let task = rows_per_task(channels) * channels;
    let inputs = cond.par_chunks(task).zip(uncond.par_chunks(task));
    y.par_chunks_mut(task).zip(inputs).for_each(|(y, (cond, uncond))| {
        y.copy_from_slice(cond);
        for (y, uncond) in y.chunks_exact_mut(channels).zip(uncond.chunks_exact(channels)) {
            for (y, uncond) in y[..guided].iter_mut().zip(uncond) {
                *y = uncond + p.scale * (*y - uncond);
            }
        }
    });
}

fn bwd_cpu(p: &params::GuidanceBwd, [dy]: [&[f32]; 1], [dcond, duncond]: [&mut [f32]; 2]) {
    let (channels, guided) = (p.channels as usize, p.guided as usize);
    let fill = |dx: &mut [f32], inside: f32, outside: f32| {
        dx.par_chunks_mut(channels).zip(dy.par_chunks(channels)).for_each(|(dx, dy)| {
            for (c, (dx, dy)) in dx.iter_mut().zip(dy).enumerate() {
                *dx = dy * if c < guided { inside } else { outside };
            }
        });
    };
    fill(dcond, p.scale, 1.0);
    fill(duncond, 1.0 - p.scale, 0.0);
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD.info()]
}

fn case(label: &'static str, shape: &[usize], guided: usize, bench: bool) -> Case {
    let (count, scale) = (shape.iter().product::<usize>() as u64, 6.7);
    Case {
        op: "guidance",
        label,
        inputs: vec![Input::normal("cond", shape), Input::normal("uncond", shape)],
        settings: vec![("scale", f64::from(scale)), ("guided", guided as f64)],
        run: Box::new(move |tape, x| Ok(tape.apply(Guidance { scale, guided }, [&x[0], &x[1]])?.into())),
        tolerance: Tolerance::ELEMENTWISE,
        flops: 3 * count,
        bytes: 12 * count,
        bench,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("three channels of seven", &[2, 5, 7], 3, false),
        case("no channel", &[3, 4], 0, false),
        case("every channel", &[3, 11, 32], 32, false),
        case("three channels of thirty-two, one gradient", &[2, 37, 32], 3, false).constant(1),
        case("guided beyond a sector, the other gradient", &[7, 48], 19, false).constant(0),
        case("several pixels a chunk", &[67, 3], 2, false),
        case("latents of f16d32, three channels", &[64, 16, 16, 32], 3, true),
    ]
}
