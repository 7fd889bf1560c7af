//! A small LightningDiT with something to do.

use vf_engine::Result;
use vf_engine::device::Device;
use vf_engine::dit::{Batch, DitShape, LightningDit, Transport};
use vf_engine::nn::Parameters;
use vf_engine::random;
use vf_engine::tensor::Tensor;

/// Four by four latents of eight channels, ten classes.
pub fn shape() -> DitShape {
    DitShape {
        hidden_size: 48,
        depth: 3,
        num_heads: 3,
        num_classes: 10,
        use_qknorm: true,
        ..DitShape::named("B/1", 4, 8).expect("a size of the reference")
    }
}

/// A model whose weights are all random, those that start as zeros included.
pub fn random_model(device: &Device, shape: DitShape) -> Result<(LightningDit, Parameters)> {
    let (model, mut params) = LightningDit::new(device, shape, 0)?;
    for id in params.ids().filter(|&id| params.is_trainable(id)).collect::<Vec<_>>() {
        let (shape, stream) = (params.export_shape(id), random::stream(params.name(id)));
        let bound = 1.0 / (*params.value(id).shape().last().expect("no scalars") as f32).sqrt();
        let values = random::uniform(device, &shape, 5, stream, -bound, bound)?.to_vec()?;
        params.set(id, params.import(id, &shape, &values)?)?;
    }
    Ok((model, params))
}

/// Three images for a model of this shape, one of them without a class.
pub fn batch(device: &Device, transport: &Transport, shape: &DitShape) -> Result<Batch> {
    let side = shape.input_size;
    let draw = |name| random::normal(device, &[3, side, side, shape.in_channels], 2, random::stream(name));
    Ok(Batch {
        latents: draw("latents")?,
        noise: draw("noise")?,
        point: transport.point(device, &[0.1, 0.5, 0.95])?,
        labels: Tensor::from_u32(device, &[3], &[0, 9, shape.num_classes as u32])?,
    })
}
