//! The blocks that encoder and decoder share.

use std::sync::Arc;

use super::model::VaeShape;
use crate::error::Result;
use crate::nn::{Conv2d, Features, Forward, GroupNorm, Init};
use crate::ops::attention::Attention;

/// norm1 → SiLU → conv1 → norm2 → SiLU → conv2, plus the input (through a 1×1 convolution where
/// the number of channels changes): (B, H, W, I) → (B, H, W, O).
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    pub(super) fn new(init: &mut Init, inputs: usize, outputs: usize) -> Result<ResnetBlock> {
        Ok(ResnetBlock {
            norm1: GroupNorm::new(&mut init.within("norm1"), inputs, true)?,
            conv1: Conv2d::same(&mut init.within("conv1"), inputs, outputs)?,
            norm2: GroupNorm::new(&mut init.within("norm2"), outputs, true)?,
            conv2: Conv2d::same(&mut init.within("conv2"), outputs, outputs)?,
            nin_shortcut: (inputs != outputs)
                .then(|| Conv2d::pointwise(&mut init.within("nin_shortcut"), inputs, outputs))
                .transpose()?,
        })
    }

    pub(super) fn forward(&self, pass: &Forward, x: &Features) -> Result<Features> {
        let [h, x] = self.norm1.forward(pass, x)?;
        let [h, _] = self.norm2.forward(pass, &self.conv1.forward_before_norm(pass, &h)?)?;
        let shortcut = match &self.nin_shortcut {
            Some(conv) => conv.forward(pass, &x)?,
            None => x,
        };
        self.conv2.forward_plus(pass, &h, &shortcut)
    }
}

/// Self-attention over all pixels with one head, added to its input: (B, H, W, C) → the same.
pub(super) struct AttnBlock {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttnBlock {
    pub(super) fn new(init: &mut Init, channels: usize) -> Result<AttnBlock> {
        let norm = GroupNorm::new(&mut init.within("norm"), channels, false)?;
        let mut pointwise = |name| Conv2d::pointwise(&mut init.within(name), channels, channels);
        let (q, k, v) = (pointwise("q")?, pointwise("k")?, pointwise("v")?);
        Ok(AttnBlock { norm, q, k, v, proj_out: pointwise("proj_out")? })
    }

    pub(super) fn forward(&self, pass: &Forward, x: &Features) -> Result<Features> {
        let [h, x] = self.norm.forward(pass, x)?;
        let shape = x.shape().to_vec();
        let tokens = [shape[0], shape[1] * shape[2], shape[3]];
        let as_tokens = |conv: &Conv2d| conv.forward(pass, &h)?.reshape(&tokens);
        let (q, k, v) = (as_tokens(&self.q)?, as_tokens(&self.k)?, as_tokens(&self.v)?);
        let [h] = pass.tape().apply(Attention { heads: 1 }, [&q, &k, &v])?;
        self.proj_out.forward_plus(pass, &h.reshape(&shape)?, &x)
    }
}

/// The residual blocks of one resolution level, each followed by attention where the level has it:
/// (B, H, W, I) → (B, H, W, O).
pub(super) struct Level {
    blocks: Vec<Arc<(ResnetBlock, Option<AttnBlock>)>>,
}

impl Level {
    /// `count` blocks of `level`, named `block.N` and `attn.N`; the first takes `inputs` channels.
    pub(super) fn new(init: &mut Init, shape: &VaeShape, level: usize, inputs: usize, count: usize) -> Result<Level> {
        let width = shape.channels(level);
        let block = |n: usize| {
            let inputs = if n == 0 { inputs } else { width };
            let block = ResnetBlock::new(&mut init.within(format!("block.{n}")), inputs, width)?;
            let attn = (shape.has_attention(level))
                .then(|| AttnBlock::new(&mut init.within(format!("attn.{n}")), width))
                .transpose()?;
            Ok(Arc::new((block, attn)))
        };
        Ok(Level { blocks: (0..count).map(block).collect::<Result<_>>()? })
    }

    pub(super) fn forward(&self, pass: &Forward, x: &Features) -> Result<Features> {
        let mut h = x.clone();
        for block in &self.blocks {
            let block = block.clone();
            let [x, statistics] = pass.checkpoint([&h.x, &h.statistics], move |pass, [x, statistics]| {
                let (block, attn) = &*block;
                let mut h = block.forward(pass, &Features::new(pass, x.clone(), statistics))?;
                if let Some(attn) = attn {
                    h = attn.forward(pass, &h)?;
                }
                Ok([h.x, h.statistics])
            })?;
            h = Features::new(pass, x, &statistics);
        }
        Ok(h)
    }
}

/// The bottom of encoder and decoder: block, attention, block.
pub(super) struct Middle {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Middle {
    pub(super) fn new(init: &mut Init, channels: usize) -> Result<Middle> {
        Ok(Middle {
            block_1: ResnetBlock::new(&mut init.within("block_1"), channels, channels)?,
            attn_1: AttnBlock::new(&mut init.within("attn_1"), channels)?,
            block_2: ResnetBlock::new(&mut init.within("block_2"), channels, channels)?,
        })
    }

    pub(super) fn forward(&self, pass: &Forward, x: &Features) -> Result<Features> {
        let h = self.block_1.forward(pass, x)?;
        let h = self.attn_1.forward(pass, &h)?;
        self.block_2.forward(pass, &h)
    }
}
