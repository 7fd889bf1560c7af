//! The whole model: patches and positions in, blocks conditioned on time and class, the final layer and the image out.

use std::sync::Arc;

use super::block::{AdaLn, Block, Norm, Rope};
use super::shape::DitShape;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Conv2d, Embedding, Fill, Forward, Init, Linear, Mlp, Modulation, ParamId, Parameters, Stream};
use crate::ops::activation::Silu;
use crate::ops::add::Add;
use crate::ops::linear::Activation;
use crate::ops::patches::{AddPositions, Unpatchify};
use crate::ops::position::sincos_table;
use crate::ops::rope::{Rope2d, rope_tables};
use crate::ops::timestep_embedding::TimestepEmbedding;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// Sinusoids that a time is made of.
const FREQUENCIES: usize = 256;

/// The standard deviation of the embeddings' initial weights.
const EMBEDDING_STD: f32 = 0.02;

/// LightningDiT: layers over the parameters that [`LightningDit::new`] makes.
pub struct LightningDit {
    shape: DitShape,
    pos_embed: ParamId,
    x_embedder: Conv2d,
    t_embedder: Mlp,
    y_embedder: Embedding,
    rope: Option<Rope>,
    blocks: Vec<Arc<Block>>,
    norm_final: Norm,
    final_linear: Linear,
    final_modulation: AdaLn,
}

impl LightningDit {
    /// A model with freshly initialised parameters, under the reference's names and drawn from its distributions: it
    /// gives zeros until it is trained.
    ///
    /// # Errors
    /// As [`DitShape::check`].
    pub fn new(device: &Device, shape: DitShape, seed: u64) -> Result<(LightningDit, Parameters)> {
        shape.check()?;
        let mut params = Parameters::new(device);
        let mut init = Init::new(&mut params, seed);
        let (dim, grid) = (shape.hidden_size, shape.grid());
        let positions = sincos_table(device, dim, grid, grid)?.reshape(&[1, shape.tokens(), dim])?;
        let pos_embed = init.fixed("pos_embed", positions);
        let x_embedder =
            Conv2d::patches(&mut init.within("x_embedder.proj"), shape.in_channels, dim, shape.patch_size)?;
        let embedding = Fill::Normal(EMBEDDING_STD);
        let layers = [("0", embedding), ("2", embedding)];
        let t_embedder =
            Mlp::new(&mut init.within("t_embedder.mlp"), layers, [FREQUENCIES, dim, dim], Activation::Silu)?;
        let mut labels = init.within("y_embedder.embedding_table");
        let y_embedder = Embedding::new(&mut labels, shape.label_rows(), dim, embedding)?;
        let rope = match shape.use_rope {
            true => {
                let (cos, sin) = rope_tables(device, grid, grid, shape.head_dim())?;
                Some(Rope { cos, sin, op: Rope2d { heads: shape.num_heads, grid_h: grid, grid_w: grid } })
            }
            false => None,
        };
        let block = |i: usize| Ok(Arc::new(Block::new(&mut init.within(format!("blocks.{i}")), &shape)?));
        let blocks = (0..shape.depth).map(block).collect::<Result<_>>()?;
        let mut last = init.within("final_layer");
        let norm_final = Norm::new(&mut last.within("norm_final"), &shape)?;
        let outputs = shape.patch_size * shape.patch_size * shape.out_channels();
        let final_linear = Linear::new(&mut last.within("linear"), dim, outputs, Fill::Constant(0.0))?;
        let final_modulation = AdaLn::new(&mut last, &shape, 2)?;
        let model = LightningDit {
            shape,
            pos_embed,
            x_embedder,
            t_embedder,
            y_embedder,
            rope,
            blocks,
            norm_final,
            final_linear,
            final_modulation,
        };
        Ok((model, params))
    }

    /// What the model was made from.
    pub fn shape(&self) -> &DitShape {
        &self.shape
    }

    /// Noisy latents x (B, H, W, C), times t (B) in [0, 1] and labels (B) of `U32` → the prediction (B, H, W, C).
    pub fn forward(&self, pass: &Forward, x: &Var, t: &Var, labels: &Var) -> Result<Var> {
        let mut condition = self.condition(pass, t, labels)?;
        let mut tokens = Stream::whole(pass, self.tokens(pass, x)?)?;
        for i in 0..self.blocks.len() {
            (tokens, condition) = self.block(pass, i, &tokens, &condition)?;
        }
        self.head(pass, &tokens, &condition)
    }

    /// As [`LightningDit::forward`], without gradients.
    pub fn predict(&self, params: &Parameters, x: &Tensor, t: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let tape = Tape::inference(x.device());
        let [x, t, labels] = [x, t, labels].map(|tensor| tape.constant(tensor.clone()));
        Ok(self.forward(&Forward::new(&tape, params), &x, &t, &labels)?.value().clone())
    }

    /// x (B, H, W, C) → tokens (B, N, D), positions added.
    pub fn tokens(&self, pass: &Forward, x: &Var) -> Result<Var> {
        let [batch, height, width, channels] = x.value().dims::<4>("lightning_dit")?;
        let DitShape { input_size: side, in_channels, hidden_size, .. } = self.shape;
        if [height, width, channels] != [side, side, in_channels] {
            let message = format!("latents {height}×{width}×{channels} for a model of {side}×{side}×{in_channels}");
            return Err(Error::shape("lightning_dit", message));
        }
        let tokens = self.x_embedder.forward(pass, x)?.reshape(&[batch, self.shape.tokens(), hidden_size])?;
        let positions = pass.param(self.pos_embed).reshape(&[self.shape.tokens(), hidden_size])?;
        let [tokens] = pass.tape().apply(AddPositions, [&tokens, &positions])?;
        Ok(tokens)
    }

    /// Times (B) in [0, 1] → (B, D).
    pub fn time_embedding(&self, pass: &Forward, t: &Var) -> Result<Var> {
        let [features] = pass.tape().apply(TimestepEmbedding { dim: FREQUENCIES }, [t])?;
        // Times are not rounded, what becomes of them may be.
        let features = pass.tape().constant(features.value().to_dtype(pass.dtype())?);
        self.t_embedder.forward(pass, &features)
    }

    /// Labels (B) → (B, D).
    pub fn label_embedding(&self, pass: &Forward, labels: &Var) -> Result<Var> {
        self.y_embedder.forward(pass, labels)
    }

    /// silu(time + label), (B, D): the SiLU that stands before every block's modulation, once for all of them.
    pub fn condition(&self, pass: &Forward, t: &Var, labels: &Var) -> Result<Var> {
        let (time, label) = (self.time_embedding(pass, t)?, self.label_embedding(pass, labels)?);
        let [sum] = pass.tape().apply(Add, [&time, &label])?;
        let [condition] = pass.tape().apply(Silu, [&sum])?;
        Ok(condition)
    }

    /// Block `i` over tokens (B, N, D): what checkpointing keeps nothing of. → tokens, and the condition for the next block.
    pub fn block(&self, pass: &Forward, i: usize, tokens: &Stream, condition: &Var) -> Result<(Stream, Var)> {
        let (block, rope) = (self.blocks[i].clone(), self.rope.clone());
        let values = [&tokens.x, &tokens.branch, &tokens.gate, condition];
        let [x, branch, gate, condition] = pass.checkpoint(values, move |pass, [x, branch, gate, condition]| {
            let [x, branch, gate] = [x, branch, gate].map(Var::clone);
            let (tokens, condition) = block.forward(pass, &Stream { x, branch, gate }, condition, rope.as_ref())?;
            Ok([tokens.x, tokens.branch, tokens.gate, condition])
        })?;
        Ok((Stream { x, branch, gate }, condition))
    }

    /// tokens (B, N, D) → the prediction (B, H, W, C).
    pub fn head(&self, pass: &Forward, tokens: &Stream, condition: &Var) -> Result<Var> {
        let ([shift, scale], _) = self.final_modulation.forward(pass, condition)?;
        let modulation = Modulation { scale: Some(&scale), shift: Some(&shift) };
        let [h, _] = self.norm_final.forward(pass, tokens, modulation)?;
        let out = self.final_linear.forward(pass, &h)?;
        let DitShape { input_size: side, patch_size: patch, in_channels: channels, learn_sigma, .. } = self.shape;
        if patch == 1 && !learn_sigma {
            // Tokens and pixels are the same memory.
            return out.reshape(&[out.shape()[0], side, side, channels]);
        }
        let grid = self.shape.grid();
        let [image] = pass.tape().apply(Unpatchify { patch, grid_h: grid, grid_w: grid, channels }, [&out])?;
        Ok(image)
    }

    /// The rotary tables (cos, sin), each (N, d), where the model has them.
    pub fn rope_tables(&self) -> Option<(&Tensor, &Tensor)> {
        self.rope.as_ref().map(|rope| (&rope.cos, &rope.sin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xl_has_the_papers_size() {
        let shape = DitShape::named("XL/1", 16, 32).unwrap();
        let (_, params) = LightningDit::new(&Device::plan(), shape, 0).unwrap();
        assert_eq!((params.numel() as f64 / 1e4).round() / 100.0, 675.26);
    }

    #[test]
    fn a_new_model_gives_zeros_and_starts_from_the_references_distributions() {
        let shape = DitShape {
            hidden_size: 64,
            depth: 1,
            num_heads: 2,
            patch_size: 2,
            learn_sigma: true,
            ..DitShape::named("B/1", 4, 8).unwrap()
        };
        let device = Device::cpu_poisoned();
        let (model, params) = LightningDit::new(&device, shape, 3).unwrap();
        let values = |name: &str| params.value(params.find(name).unwrap()).to_vec().unwrap();
        let largest = |name: &str| values(name).iter().fold(0f32, |most, v| most.max(v.abs()));
        let near = |name: &str, bound: f32| {
            let largest = largest(name);
            assert!(largest <= bound && largest > 0.98 * bound, "{name}: {largest} for {bound}");
        };
        near("blocks.0.attn.qkv.weight", (6.0f32 / (64.0 + 192.0)).sqrt());
        near("x_embedder.proj.weight", (6.0f32 / (32.0 + 64.0)).sqrt());
        let table = values("y_embedder.embedding_table.weight");
        assert_eq!(table.len(), 1001 * 64);
        let std = (table.iter().map(|v| v * v).sum::<f32>() / table.len() as f32).sqrt();
        assert!((std - EMBEDDING_STD).abs() < 3e-4, "{std}");
        for zero in ["blocks.0.adaLN_modulation.1.weight", "final_layer.linear.weight", "t_embedder.mlp.0.bias"] {
            assert_eq!(largest(zero), 0.0, "{zero}");
        }
        let x = crate::random::normal(&device, &[2, 4, 4, 8], 0, 0).unwrap();
        let t = Tensor::from_slice(&device, &[2], &[0.1, 0.9]).unwrap();
        let out = model.predict(&params, &x, &t, &Tensor::from_u32(&device, &[2], &[3, 1000]).unwrap()).unwrap();
        assert_eq!(out.shape(), [2, 4, 4, 8]);
        assert!(out.to_vec().unwrap().iter().all(|&v| v == 0.0));
    }
}
