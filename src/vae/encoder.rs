//! The encoder: image → features of the lowest level, and the convolution to moments.

use super::blocks::{Level, Middle};
use super::model::VaeShape;
use crate::error::Result;
use crate::nn::{Conv2d, Forward, GroupNorm, Init};
use crate::ops::conv2d::{Conv2d as Conv2dOp, Padding};
use crate::tape::Var;

pub(super) struct Encoder {
    conv_in: Conv2d,
    down: Vec<(Level, Option<Conv2d>)>,
    mid: Middle,
    norm_out: GroupNorm,
    pub(super) conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn new(init: &mut Init, shape: &VaeShape) -> Result<Encoder> {
        let conv_in = Conv2d::same(&mut init.within("conv_in"), shape.in_channels, shape.ch)?;
        let mut channels = shape.ch;
        let mut down = Vec::new();
        for level in 0..shape.levels() {
            let mut init = init.within(format!("down.{level}"));
            let blocks = Level::new(&mut init, shape, level, channels, shape.num_res_blocks)?;
            channels = shape.channels(level);
            // The reference pads the right and the bottom by one, then convolves without padding.
            let halve =
                Conv2dOp { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, upsample: false };
            let downsample = (level + 1 < shape.levels())
                .then(|| Conv2d::new(&mut init.within("downsample.conv"), channels, channels, 3, halve))
                .transpose()?;
            down.push((blocks, downsample));
        }
        Ok(Encoder {
            conv_in,
            down,
            mid: Middle::new(&mut init.within("mid"), channels)?,
            norm_out: GroupNorm::new(&mut init.within("norm_out"), channels, true)?,
            conv_out: Conv2d::same(&mut init.within("conv_out"), channels, 2 * shape.z_channels)?,
        })
    }

    /// (B, H, W, 3) → (B, H/f, W/f, C): everything before `conv_out`.
    pub(super) fn trunk(&self, pass: &Forward, x: &Var) -> Result<Var> {
        let mut h = self.conv_in.forward_before_norm(pass, x)?;
        for (level, downsample) in &self.down {
            h = level.forward(pass, &h)?;
            if let Some(downsample) = downsample {
                h = downsample.forward_before_norm(pass, &h.x)?;
            }
        }
        let h = self.mid.forward(pass, &h)?;
        let [h, _] = self.norm_out.forward(pass, &h)?;
        Ok(h)
    }
}
