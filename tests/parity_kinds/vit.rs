//! Frozen ViTs, DINOv2 and MAE: every stage of the teacher's forward.

use crate::support::golden::{self, Golden};
use crate::support::kind::Kind;
use anyhow::{Context, Result};
use vf_engine::tape::Tape;
use vf_engine::tensor::Tensor;
use vf_engine::vision::{Options, Style, Vit, Weights};

/// Compares each stage with the set's; returns every tensor's error as a share of its tolerance.
pub fn check(set: &Golden) -> Result<Vec<(String, f64)>> {
    let device = golden::device()?;
    let mut params = Vec::new();
    for name in set.param_names() {
        let shape = set.shape(&format!("param.{name}")).with_context(|| format!("no shape of {name}"))?;
        let values = set.param(&name, &shape)?.data;
        params.push((name, shape, values));
    }
    let style = if set.kind == Kind::VitMae { Style::Mae } else { Style::DinoV2 };
    let heads = set.metadata["config"]["num_heads"].as_u64().context("no config.num_heads")? as usize;
    let options = Options { style: Some(style), heads: Some(heads) };
    let vit = Vit::new(&device, Weights::from_tensors(&set.path, params), options)?;

    let x = set.tensor("x")?;
    let images = Tensor::from_slice(&device, &x.shape, &x.data)?;
    let [_, height, width, _] = images.dims::<4>("vit")?;
    let [rows, columns] = vit.grid(height, width)?;
    let mut report = Vec::new();
    let mut compare = |name: &str, actual: &Tensor| -> Result<()> {
        report.push((name.to_owned(), set.check(name, actual.shape(), &actual.to_vec()?)?));
        Ok(())
    };

    let tape = Tape::inference(&device);
    let pixels = vit.pixels(&tape, &tape.constant(images.clone()))?;
    if style == Style::DinoV2 {
        compare("resized_crop", &top_left(pixels.value(), set.stored("resized_crop")?.shape[3])?)?;
    }
    let mut tokens = vit.tokens(&tape, &pixels)?;
    compare("tokens0", tokens.value())?;
    for i in 0..vit.shape().depth {
        tokens = vit.block(&tape, i, &tokens)?;
        compare(&format!("block{i}_out"), tokens.value())?;
    }
    compare("features", &vit.features(&images)?)?;

    let positions = vit.positions(&tape, rows, columns)?;
    let dim = vit.shape().dim;
    compare("pos_embed_resampled", &positions.value().reshape(&[1, 1 + rows * columns, dim])?)?;
    Ok(report)
}

/// The first `side` rows and columns of images (B, H, W, C).
fn top_left(images: &Tensor, side: usize) -> Result<Tensor> {
    let [b, h, w, c] = images.dims::<4>("top_left")?;
    let values = images.to_vec()?;
    let rows = (0..b).flat_map(|b| (0..side).map(move |y| (b * h + y) * w * c));
    let kept: Vec<f32> = rows.flat_map(|start| values[start..start + side * c].iter().copied()).collect();
    Ok(Tensor::from_slice(images.device(), &[b, side, side, c], &kept)?)
}
