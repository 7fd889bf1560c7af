//! A frozen vision transformer, exactly as the reference implementation runs its teachers.
//!
//! Both styles see the image as it is in [−1, 1]: the reference applies no ImageNet mean or
//! standard deviation. DINOv2 (patch 14) sees it resized bilinearly so that its grid is that of
//! the latents, (H/16, W/16); MAE (patch 16) sees the image itself. The position embedding is
//! resampled to that grid, so that any size works. Features are the final norm's output without
//! the class token.

use std::fmt;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2d, Padding};
use crate::ops::resize::Resize;
use crate::ops::tokens::{DropToken, PrependToken};
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

use super::Weights;
use super::layers::{Block, Loader, Norm};

/// Image pixels per cell of the feature grid, whatever the patch: the tokenizer's downsampling.
pub const CELL: usize = 16;

/// Tensors of a training checkpoint that the forward pass does not use: the token that masked
/// pretraining puts in place of patches, MAE's pretraining decoder, a classifier's head.
const UNUSED: [&str; 3] = ["mask_token", "decoder_", "head."];

/// Which family of teachers a ViT belongs to; decides how it sees the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Patch 14 over an image resized bilinearly to 14 pixels per cell of 16.
    DinoV2,
    /// Patch 16 over the image itself.
    Mae,
}

impl Style {
    /// The style's name on the command line and in feature caches.
    pub fn name(self) -> &'static str {
        match self {
            Style::DinoV2 => "dinov2",
            Style::Mae => "mae",
        }
    }
}

/// What the weights do not tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The style; found by the patch size when `None`.
    pub style: Option<Style>,
    /// Attention heads; when `None`, the file's metadata `num_heads`, or else one head per 64 channels
    /// as in every released ViT of these families.
    pub heads: Option<usize>,
}

/// The sizes of a ViT, read off its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VitShape {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Channels of a token.
    pub dim: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels inside the MLP.
    pub mlp: usize,
    /// Side of the grid that the position embedding was trained on.
    pub position_grid: usize,
}

impl VitShape {
    fn infer(weights: &Weights, heads: Option<usize>) -> Result<VitShape> {
        if let Some(name) = ["reg_token", "register_tokens"].into_iter().find(|name| weights.contains(name)) {
            let advice = "this ViT has register tokens, which the VF loss's teachers do not; take the weights without";
            return Err(weights.error(format!("{name}: {advice}")));
        }
        let [dim, channels, patch, patch_width] = weights.dims("patch_embed.proj.weight")?;
        if channels != 3 || patch != patch_width || dim == 0 || patch == 0 {
            let found = [dim, channels, patch, patch_width];
            return Err(weights.error(format!("patch_embed.proj.weight has shape {found:?}, not (D, 3, p, p)")));
        }
        let [_, positions, _] = weights.dims("pos_embed")?;
        let position_grid = positions.saturating_sub(1).isqrt();
        if position_grid == 0 || 1 + position_grid * position_grid != positions {
            let rule = "one for the class token and a square grid of patches";
            return Err(weights.error(format!("pos_embed has {positions} positions, which are not {rule}")));
        }
        let [mlp, _] = weights.dims("blocks.0.mlp.fc1.weight")?;
        let depth = (0..).take_while(|i| weights.contains(&format!("blocks.{i}.norm1.weight"))).count();
        let heads = match (heads, weights.metadata("num_heads")) {
            (Some(heads), _) => heads,
            (None, Some(text)) => {
                text.parse().map_err(|_| weights.error(format!("metadata num_heads is '{text}', not a number")))?
            }
            (None, None) => dim / 64,
        };
        if heads == 0 || dim % heads != 0 {
            return Err(weights.error(format!("{dim} channels do not make {heads} heads: state the number of heads")));
        }
        Ok(VitShape { patch, dim, depth, heads, mlp, position_grid })
    }
}

/// A frozen ViT on a device.
pub struct Vit {
    style: Style,
    shape: VitShape,
    patch_weight: Var,
    patch_bias: Var,
    /// (D).
    class_token: Var,
    /// (D).
    class_position: Var,
    /// (1, g, g, D).
    patch_positions: Var,
    blocks: Vec<Block>,
    norm: Norm,
}

impl Vit {
    /// A ViT of `weights`, which must hold its tensors under timm's names and nothing else (but for
    /// known leftovers of pretraining).
    ///
    /// # Errors
    /// Names the file and the tensor that is missing, has another shape, or has no place in a ViT.
    pub fn new(device: &Device, mut weights: Weights, options: Options) -> Result<Vit> {
        weights.ignore(&UNUSED);
        let shape = VitShape::infer(&weights, options.heads)?;
        let style = match (options.style, shape.patch) {
            (None | Some(Style::DinoV2), 14) => Style::DinoV2,
            (None | Some(Style::Mae), 16) => Style::Mae,
            (Some(style), patch) => {
                let message = format!("its patches have {patch} pixels, and a {} teacher has others", style.name());
                return Err(weights.error(message));
            }
            (None, patch) => {
                return Err(weights.error(format!("patches of {patch} pixels: DINOv2 has 14 and MAE 16")));
            }
        };
        let VitShape { patch, dim, position_grid: grid, .. } = shape;
        let patches = weights.take("patch_embed.proj.weight", &[dim, 3, patch, patch])?;
        let patch_bias = weights.take("patch_embed.proj.bias", &[dim])?;
        let class_token = weights.take("cls_token", &[1, 1, dim])?;
        let positions = weights.take("pos_embed", &[1, 1 + grid * grid, dim])?;
        let (class_position, patch_positions) = positions.split_at(dim);

        let mut load = Loader::new(device, weights);
        let vit = Vit {
            style,
            shape,
            patch_weight: load.kernel([dim, patch, patch, 3], &patches)?,
            patch_bias: load.constant(&[dim], &patch_bias)?,
            class_token: load.constant(&[dim], &class_token)?,
            class_position: load.constant(&[dim], class_position)?,
            patch_positions: load.constant(&[1, grid, grid, dim], patch_positions)?,
            blocks: (0..shape.depth).map(|i| Block::load(&mut load, i, &shape)).collect::<Result<_>>()?,
            norm: load.norm("norm", dim)?,
        };
        load.finish()?;
        Ok(vit)
    }

    /// How the ViT sees images.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The ViT's sizes.
    pub fn shape(&self) -> &VitShape {
        &self.shape
    }

    /// The feature grid of an image of this height and width: one cell per 16×16 pixels.
    ///
    /// # Errors
    /// When there is not even one cell, or, for MAE, when the sides are not multiples of 16.
    pub fn grid(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        let grid = [height / CELL, width / CELL];
        if grid.contains(&0) {
            let message = format!("an image of {height}×{width} is smaller than one cell of {CELL}×{CELL}");
            return Err(Error::shape("vit", message));
        }
        let whole = height.is_multiple_of(CELL) && width.is_multiple_of(CELL);
        if self.style == Style::Mae && !whole {
            let message = format!("image sides {height}×{width} are not multiples of {CELL}, as MAE's patches need");
            return Err(Error::shape("vit", message));
        }
        Ok(grid)
    }

    /// Features of images (B, H, W, 3) in [−1, 1]: (B, H/16, W/16, D).
    ///
    /// # Errors
    /// As [`Vit::grid`], or the device's.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let [b, height, width, _] = images.dims::<4>("vit")?;
        let [rows, columns] = self.grid(height, width)?;
        let tape = Tape::inference(images.device());
        let pixels = self.pixels(&tape, &tape.constant(images.clone()))?;
        let mut tokens = self.tokens(&tape, &pixels)?;
        for i in 0..self.shape.depth {
            tokens = self.block(&tape, i, &tokens)?;
        }
        self.head(&tape, &tokens)?.value().reshape(&[b, rows, columns, self.shape.dim])
    }

    /// What the patches are cut from: images (B, H, W, 3) at `patch` pixels per cell.
    pub fn pixels(&self, tape: &Tape, images: &Var) -> Result<Var> {
        let [_, height, width, _] = images.value().dims::<4>("vit")?;
        let [rows, columns] = self.grid(height, width)?;
        if self.style == Style::Mae {
            return Ok(images.clone());
        }
        let resize = Resize::bilinear(rows * self.shape.patch, columns * self.shape.patch);
        let [pixels] = tape.apply(resize, [images])?;
        Ok(pixels)
    }

    /// The position embedding of the class token and a grid of patches, (1 + rows·columns, D). The patches' part is
    /// resampled bicubically (a = −½) with antialias, also where the grid grows, as timm's `resample_abs_pos_embed`.
    pub fn positions(&self, tape: &Tape, rows: usize, columns: usize) -> Result<Var> {
        let VitShape { dim, position_grid: grid, .. } = self.shape;
        let patches = match (rows, columns) == (grid, grid) {
            true => self.patch_positions.clone(),
            false => tape.apply(Resize::bicubic_antialias(rows, columns), [&self.patch_positions])?[0].clone(),
        };
        let count = rows * columns;
        let nothing = tape.constant(Tensor::zeros(tape.device(), &[1 + count, dim])?);
        let patches = patches.reshape(&[1, count, dim])?;
        let [positions] = tape.apply(PrependToken, [&patches, &self.class_position, &nothing])?;
        positions.reshape(&[1 + count, dim])
    }

    /// Pixels → tokens (B, 1 + rows·columns, D), the class token first, positions added.
    pub fn tokens(&self, tape: &Tape, pixels: &Var) -> Result<Var> {
        let patches = Conv2d { stride: self.shape.patch, padding: Padding::NONE, upsample: false };
        let no_residual = tape.constant(Tensor::absent(tape.device())?);
        let [patches] = tape.apply(patches, [pixels, &self.patch_weight, &self.patch_bias, &no_residual])?;
        let [b, rows, columns, dim] = patches.value().dims::<4>("vit")?;
        let positions = self.positions(tape, rows, columns)?;
        let patches = patches.reshape(&[b, rows * columns, dim])?;
        let [tokens] = tape.apply(PrependToken, [&patches, &self.class_token, &positions])?;
        Ok(tokens)
    }

    /// Transformer block `i` over tokens (B, N, D).
    pub fn block(&self, tape: &Tape, i: usize, tokens: &Var) -> Result<Var> {
        self.blocks[i].forward(tape, tokens, self.shape.heads)
    }

    /// The final norm's output without the class token: (B, 1 + N, D) → (B, N, D).
    pub fn head(&self, tape: &Tape, tokens: &Var) -> Result<Var> {
        let normed = self.norm.forward(tape, tokens)?;
        let [patches] = tape.apply(DropToken, [&normed])?;
        Ok(patches)
    }
}

/// For a person to read, as in feature caches: `dinov2: patch 14, 384 channels, 12 blocks, 6 heads`.
impl fmt::Display for Vit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VitShape { patch, dim, depth, heads, .. } = self.shape;
        let style = self.style.name();
        write!(f, "{style}: patch {patch}, {dim} channels, {depth} blocks, {heads} heads")
    }
}
