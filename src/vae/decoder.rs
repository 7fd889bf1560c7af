//! The decoder: latents → image.

use super::blocks::{AttnBlock, Middle, ResnetBlock};
use super::model::VaeShape;
use crate::error::Result;
use crate::nn::{Conv2d, Forward, GroupNorm, Init};
use crate::ops::conv2d::{Conv2d as Conv2dOp, Padding};
use crate::tape::Var;

struct Level {
    blocks: Vec<(ResnetBlock, Option<AttnBlock>)>,
    upsample: Option<Conv2d>,
}

pub(super) struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// From the lowest level up: the reverse of the names' order.
    up: Vec<Level>,
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
            let mut blocks = Vec::new();
            for b in 0..=shape.num_res_blocks {
                let width = shape.channels(level);
                let block = ResnetBlock::new(&mut init.within(format!("block.{b}")), channels, width)?;
                let attn = (shape.has_attention(level))
                    .then(|| AttnBlock::new(&mut init.within(format!("attn.{b}")), width))
                    .transpose()?;
                blocks.push((block, attn));
                channels = width;
            }
            let double = Conv2dOp { stride: 1, padding: Padding::all(1), upsample: true };
            let upsample = (level > 0)
                .then(|| Conv2d::new(&mut init.within("upsample.conv"), channels, channels, 3, double))
                .transpose()?;
            up.push(Level { blocks, upsample });
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
        let mut h = self.conv_in.forward(pass, z)?;
        h = self.mid.forward(pass, &h)?;
        for level in &self.up {
            for (block, attn) in &level.blocks {
                h = block.forward(pass, &h)?;
                if let Some(attn) = attn {
                    h = attn.forward(pass, &h)?;
                }
            }
            if let Some(upsample) = &level.upsample {
                h = upsample.forward(pass, &h)?;
            }
        }
        let h = self.norm_out.forward(pass, &h)?;
        self.conv_out.forward(pass, &h)
    }
}
