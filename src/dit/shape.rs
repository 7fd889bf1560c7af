//! What decides a LightningDiT's parameters.

use crate::error::{Error, Result};

/// The reference's sizes: name, depth, channels, heads, side of a patch.
pub const SIZES: [(&str, [usize; 4]); 8] = [
    ("XL/1", [28, 1152, 16, 1]),
    ("XL/2", [28, 1152, 16, 2]),
    ("L/2", [24, 1024, 16, 2]),
    ("B/1", [12, 768, 12, 1]),
    ("B/2", [12, 768, 12, 2]),
    ("1p0B/1", [24, 1536, 24, 1]),
    ("1p0B/2", [24, 1536, 24, 2]),
    ("1p6B/1", [28, 1792, 28, 1]),
];

/// A LightningDiT's shape and switches; names as in the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct DitShape {
    /// Side of the latent image.
    pub input_size: usize,
    /// Side of a patch, one token.
    pub patch_size: usize,
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of a token, D.
    pub hidden_size: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Channels inside a plain MLP, as a multiple of D; SwiGLU has two thirds of them.
    pub mlp_ratio: f64,
    /// Classes; where labels are dropped one more embedding stands for "none".
    pub num_classes: usize,
    /// The probability with which training drops a label.
    pub class_dropout_prob: f64,
    /// The model also gives a variance, which is not used: twice the outputs, the second half dropped.
    pub learn_sigma: bool,
    /// Queries and keys are normalised per head.
    pub use_qknorm: bool,
    /// SwiGLU instead of GELU in the MLPs.
    pub use_swiglu: bool,
    /// Rotary position embedding of queries and keys.
    pub use_rope: bool,
    /// RMS norm with a scale instead of layer norm without one.
    pub use_rmsnorm: bool,
    /// Blocks modulate by a scale alone, without a shift.
    pub wo_shift: bool,
}

impl DitShape {
    /// One of the reference's [`SIZES`] with its paper's switches: SwiGLU, RoPE, RMS norm, 1000 classes, labels dropped
    /// one time in ten.
    pub fn named(name: &str, input_size: usize, in_channels: usize) -> Option<DitShape> {
        let (_, [depth, hidden_size, num_heads, patch_size]) = *SIZES.iter().find(|(known, _)| *known == name)?;
        Some(DitShape {
            input_size,
            patch_size,
            in_channels,
            hidden_size,
            depth,
            num_heads,
            mlp_ratio: 4.0,
            num_classes: 1000,
            class_dropout_prob: 0.1,
            learn_sigma: false,
            use_qknorm: false,
            use_swiglu: true,
            use_rope: true,
            use_rmsnorm: true,
            wo_shift: false,
        })
    }

    /// Tokens along a side.
    pub fn grid(&self) -> usize {
        self.input_size / self.patch_size
    }

    /// Tokens, N.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Channels that the last layer gives per pixel.
    pub fn out_channels(&self) -> usize {
        self.in_channels * if self.learn_sigma { 2 } else { 1 }
    }

    /// Channels inside an MLP.
    pub fn mlp_hidden(&self) -> usize {
        let plain = (self.hidden_size as f64 * self.mlp_ratio) as usize;
        // In f64 and rounded down, as the reference has it: the odd widths that come of it are in its checkpoints.
        if self.use_swiglu { (2.0 / 3.0 * plain as f64) as usize } else { plain }
    }

    /// The label that stands for "none", where labels are dropped.
    pub fn null_label(&self) -> Option<u32> {
        (self.class_dropout_prob > 0.0).then_some(self.num_classes as u32)
    }

    /// Rows of the label embedding.
    pub fn label_rows(&self) -> usize {
        self.num_classes + usize::from(self.null_label().is_some())
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// Names the sizes that do not.
    pub fn check(&self) -> Result<()> {
        let DitShape { input_size, patch_size, hidden_size, num_heads, .. } = *self;
        let sizes = [input_size, patch_size, hidden_size, num_heads, self.in_channels, self.depth, self.num_classes];
        let problem = if sizes.contains(&0) || self.mlp_hidden() == 0 {
            "every size must be 1 or more".to_owned()
        } else if !input_size.is_multiple_of(patch_size) {
            format!("latents of side {input_size} are not cut into patches of side {patch_size}")
        } else if !hidden_size.is_multiple_of(4) {
            format!("{hidden_size} channels: the position embedding takes a multiple of 4")
        } else if !hidden_size.is_multiple_of(num_heads) {
            format!("{hidden_size} channels do not split into {num_heads} heads")
        } else if self.use_rope && !self.head_dim().is_multiple_of(4) {
            format!("heads of {} channels: rotary embedding takes a multiple of 4", self.head_dim())
        } else {
            return Ok(());
        };
        Err(Error::shape("lightning_dit", problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_widths_are_the_references() {
        let swiglu: Vec<usize> =
            SIZES.iter().map(|(name, _)| DitShape::named(name, 16, 32).unwrap().mlp_hidden()).collect();
        assert_eq!(swiglu, [3072, 3072, 2730, 2048, 2048, 4096, 4096, 4778]);
        let plain = DitShape { use_swiglu: false, ..DitShape::named("B/1", 16, 32).unwrap() };
        assert_eq!(plain.mlp_hidden(), 3072);
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let b1 = DitShape::named("B/1", 16, 32).unwrap();
        let problem = |shape: DitShape| shape.check().unwrap_err().to_string();
        b1.check().unwrap();
        assert!(problem(DitShape { patch_size: 3, ..b1.clone() }).contains("patches of side 3"));
        assert!(problem(DitShape { num_heads: 7, ..b1.clone() }).contains("7 heads"));
        assert!(problem(DitShape { num_heads: 128, ..b1.clone() }).contains("multiple of 4"));
        assert!(problem(DitShape { depth: 0, ..b1 }).contains("1 or more"));
    }
}
