//! The whole model: encoder, quantisation convolutions, decoder, and the projection to the foundation model's space.

use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Conv2d, Fill, Forward, Init, ParamId, Parameters};
use crate::ops::gaussian::GaussianSample;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// What decides the model's parameters; field names are the reference configuration's.
#[derive(Debug, Clone, PartialEq)]
pub struct VaeShape {
    /// Channels of the first level.
    pub ch: usize,
    /// Channels of each level, as a multiple of `ch`.
    pub ch_mult: Vec<usize>,
    /// Residual blocks per encoder level; the decoder has one more.
    pub num_res_blocks: usize,
    /// Levels with attention, by their resolution at the configured one.
    pub attn_resolutions: Vec<usize>,
    /// The configured image side; only decides which levels have attention.
    pub resolution: usize,
    /// Channels of the image.
    pub in_channels: usize,
    /// Channels of the reconstruction.
    pub out_ch: usize,
    /// Channels that the encoder gives and the decoder takes.
    pub z_channels: usize,
    /// Channels of the latents, between the quantisation convolutions.
    pub embed_dim: usize,
    /// The projection that compares latents with foundation features, where the VF loss is on.
    pub projection: Option<Projection>,
}

/// The 1×1 convolution between latents and foundation features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projection {
    /// Channels of the foundation features.
    pub foundation_channels: usize,
    /// Latents → features without a bias (the reference's default); otherwise features → latents with one.
    pub reverse: bool,
    /// Leaves the projection as initialised.
    pub frozen: bool,
}

impl VaeShape {
    /// The number of resolution levels.
    pub fn levels(&self) -> usize {
        self.ch_mult.len()
    }

    /// Image side over latent side.
    pub fn downsampling(&self) -> usize {
        1 << (self.levels() - 1)
    }

    pub(super) fn channels(&self, level: usize) -> usize {
        self.ch * self.ch_mult[level]
    }

    pub(super) fn has_attention(&self, level: usize) -> bool {
        self.attn_resolutions.contains(&(self.resolution >> level))
    }
}

pub(super) enum LinearProj {
    /// z → Cf, weight (Cf, 1, 1, Cz).
    Reverse { weight: ParamId },
    /// f → Cz, weight (Cz, 1, 1, Cf) and bias.
    Forward { conv: Conv2d },
}

/// The VA-VAE: layers over the parameters that [`VaVae::new`] makes.
pub struct VaVae {
    shape: VaeShape,
    pub(super) encoder: Encoder,
    decoder: Decoder,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    pub(super) linear_proj: Option<LinearProj>,
}

impl VaVae {
    /// A model with freshly initialised parameters, the reference's names and PyTorch's default initialisation.
    pub fn new(device: &Device, shape: VaeShape, seed: u64) -> Result<(VaVae, Parameters)> {
        let mut params = Parameters::new(device);
        let mut init = Init::new(&mut params, seed);
        let encoder = Encoder::new(&mut init.within("encoder"), &shape)?;
        let decoder = Decoder::new(&mut init.within("decoder"), &shape)?;
        let (z, e) = (shape.z_channels, shape.embed_dim);
        let quant_conv = Conv2d::pointwise(&mut init.within("quant_conv"), 2 * z, 2 * e)?;
        let post_quant_conv = Conv2d::pointwise(&mut init.within("post_quant_conv"), e, z)?;
        let linear_proj = shape.projection.map(|p| LinearProj::new(&mut init, e, p)).transpose()?;
        if shape.projection.is_some_and(|p| p.frozen) {
            let frozen: Vec<_> = params.ids().filter(|&id| params.name(id).starts_with("linear_proj.")).collect();
            frozen.into_iter().for_each(|id| params.freeze(id));
        }
        Ok((VaVae { shape, encoder, decoder, quant_conv, post_quant_conv, linear_proj }, params))
    }

    /// What the model was made from.
    pub fn shape(&self) -> &VaeShape {
        &self.shape
    }

    /// The latents' shape for images of `shape` (B, H, W, C).
    ///
    /// # Errors
    /// When the sides are not multiples of the model's downsampling.
    pub fn latent_shape(&self, image_shape: [usize; 4]) -> Result<[usize; 4]> {
        let f = self.shape.downsampling();
        let [b, h, w, _] = image_shape;
        if h % f != 0 || w % f != 0 || h == 0 || w == 0 {
            return Err(Error::shape("va_vae", format!("image sides {h}×{w} are not multiples of {f}")));
        }
        Ok([b, h / f, w / f, self.shape.embed_dim])
    }

    /// Images (B, H, W, 3) in [−1, 1] → the encoder's features before `conv_out`.
    pub fn trunk(&self, pass: &Forward, images: &Var) -> Result<Var> {
        self.encoder.trunk(pass, images)
    }

    /// The trunk's features → moments (B, h, w, 2·embed_dim): mean and log-variance.
    pub fn moments(&self, pass: &Forward, trunk: &Var) -> Result<Var> {
        let h = self.encoder.conv_out.forward(pass, trunk)?;
        self.quant_conv.forward(pass, &h)
    }

    /// Latents (B, h, w, embed_dim) → images (B, H, W, 3).
    pub fn decode(&self, pass: &Forward, latents: &Var) -> Result<Var> {
        let h = self.post_quant_conv.forward(pass, latents)?;
        self.decoder.forward(pass, &h)
    }

    /// The posterior's mean latents and their reconstruction, without gradients, in the dtype that the parameters compute in.
    pub fn reconstruct(&self, params: &Parameters, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let tape = Tape::inference(images.device());
        let pass = Forward::new(&tape, params);
        let trunk = self.trunk(&pass, &tape.constant(images.to_dtype(params.dtype())?))?;
        let moments = self.moments(&pass, &trunk)?;
        let latent_shape = self.latent_shape(images.dims("va_vae")?)?;
        let no_noise = tape.constant(Tensor::zeros(images.device(), &latent_shape)?.to_dtype(params.dtype())?);
        let [mean, _] = tape.apply(GaussianSample, [&moments, &no_noise])?;
        let reconstruction = self.decode(&pass, &mean)?;
        Ok((mean.value().clone(), reconstruction.value().clone()))
    }
}

impl LinearProj {
    fn new(init: &mut Init, embed_dim: usize, p: Projection) -> Result<LinearProj> {
        let cf = p.foundation_channels;
        let mut init = init.within("linear_proj");
        if p.reverse {
            let fill = Fill::Uniform(1.0 / (embed_dim as f32).sqrt());
            return Ok(LinearProj::Reverse { weight: init.tensor("weight", &[cf, 1, 1, embed_dim], fill)? });
        }
        Ok(LinearProj::Forward { conv: Conv2d::pointwise(&mut init, cf, embed_dim)? })
    }
}
