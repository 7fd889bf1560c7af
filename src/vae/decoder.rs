//! The decoder: latents → image.

use super::blocks::{Level, Middle};
use super::model::VaeShape;
use crate::error::Result;
use crate::nn::{Conv2d, Forward, GroupNorm, Init};
use crate::ops::conv2d::{Conv2d as Conv2dOp, Padding};
use crate::tape::Var;

pub(super) struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// From the lowest level up: the reverse of the names' order.
    up: Vec<(Level, Option<Conv2d>)>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn new(init: &mut Init, shape: &VaeShape) -> Result<Decoder> {
        let lowest = shape.levels() - 1;
        let mut channels = shape.channels(lowest);
        let conv_in = Conv2d::same(&mut init.within("conv_in"), shape.z_channels, channels)?;
        let mid = Middle::new(&mut init.within("mid"), channels)?;
        let mut up = Vec::new();
        for level in (0..=lowest).rev() {
            let mut init = init.within(format!("up.{level}"));
            let blocks = Level::new(&mut init, shape, level, channels, shape.num_res_blocks + 1)?;
            channels = shape.channels(level);
            let double = Conv2dOp { stride: 1, padding: Padding::all(1), upsample: true };
            let upsample = (level > 0)
                .then(|| Conv2d::new(&mut init.within("upsample.conv"), channels, channels, 3, double))
                .transpose()?;
            up.push((blocks, upsample));
        }
        Ok(Decoder {
            conv_in,
            mid,
            up,
            norm_out: GroupNorm::new(&mut init.within("norm_out"), channels, true)?,
            conv_out: Conv2d::same(&mut init.within("conv_out"), channels, shape.out_ch)?,
        })
    }

    /// (B, h, w, z) → (B, h·f, w·f, 3).
    pub(super) fn forward(&self, pass: &Forward, z: &Var) -> Result<Var> {
        let mut h = self.conv_in.forward_before_norm(pass, z)?;
        h = self.mid.forward(pass, &h)?;
        for (level, upsample) in &self.up {
            h = level.forward(pass, &h)?;
            if let Some(upsample) = upsample {
                h = upsample.forward_before_norm(pass, &h.x)?;
            }
        }
        let [h, _] = self.norm_out.forward(pass, &h)?;
        self.conv_out.forward(pass, &h)
    }
}
