//! The posterior and the losses.

use super::{Array, dot, l2_normalize, linear, sum};

/// A diagonal Gaussian posterior, sampled.
pub struct Gaussian {
    /// mean + e^(logvar/2)·noise, (.., z).
    pub z: Array,
    /// ½ Σ (mean² + var − 1 − logvar) of each of the batch, (B).
    pub kl: Array,
    /// mean² + var − 1 − logvar entry by entry, without the half.
    pub kl_terms: Array,
}

/// From moments (B, .., 2z) = mean | logvar, the log-variance clamped to −30..20, and noise (B, .., z).
pub fn diagonal_gaussian(moments: &Array, noise: &Array) -> Gaussian {
    let double = *moments.shape.last().expect("at least one axis");
    let mean = moments.last_axis(0, double / 2);
    let logvar = moments.last_axis(double / 2, double).map(|v| v.clamp(-30.0, 20.0));
    let deviation = logvar.map(|v| (0.5 * v).exp()).zip(noise, |std, eps| std * eps);
    let kl_terms = mean.zip(&logvar, |mean, logvar| mean * mean + logvar.exp() - 1.0 - logvar);
    let (batch, per_sample) = (mean.shape[0], mean.data.len() / mean.shape[0]);
    let by_sample = kl_terms.reshape(&[batch, per_sample]);
    Gaussian {
        z: mean.zip(&deviation, |mean, deviation| mean + deviation),
        kl: Array::build([batch], |[b]| 0.5 * sum(per_sample, |i| by_sample.at([b, i]))),
        kl_terms,
    }
}

/// Σ |x − x̂| / B: summed over every entry, divided by the batch alone.
pub fn l1(x: &Array, reconstruction: &Array) -> f64 {
    x.zip(reconstruction, |a, b| (a - b).abs()).sum() / x.shape[0] as f64
}

/// x·y / (max(‖x‖, eps)·max(‖y‖, eps)) over the last axis, which goes.
pub fn cosine_similarity(x: &Array, y: &Array, eps: f64) -> Array {
    let (x, y, shape) = (l2_normalize(x, eps), l2_normalize(y, eps), x.shape.clone());
    let (x, y) = (x.matrix(), y.matrix());
    let [n, _] = x.dims();
    Array::build([n], |[r]| dot(x.row(r), y.row(r))).reshape(&shape[..shape.len() - 1])
}

/// The discriminator's hinge loss ½·(mean relu(1 − real) + mean relu(1 + fake)).
pub fn hinge_d(real: &Array, fake: &Array) -> f64 {
    let mean = |logits: &Array, sign: f64| logits.map(|v| (1.0 + sign * v).max(0.0)).sum() / logits.data.len() as f64;
    0.5 * (mean(real, -1.0) + mean(fake, 1.0))
}

/// Which side of the VF loss is projected to the other's width.
pub enum Projection<'a> {
    /// z′ = W z with W (Cf, Cz), compared with f: the default.
    Reverse { weight: &'a Array },
    /// f′ = W f + b with W (Cz, Cf), b (Cz), compared with z.
    Forward { weight: &'a Array, bias: &'a Array },
}

/// Margins and weights of the VF loss.
#[derive(Clone, Copy)]
pub struct VfSettings {
    pub distmat_margin: f64,
    pub cos_margin: f64,
    pub distmat_weight: f64,
    pub cos_weight: f64,
}

/// The VF loss and its two parts.
pub struct VfLoss {
    /// mean over b, i, j, the diagonal included, of relu(|cos(zᵢ, zⱼ) − cos(fᵢ, fⱼ)| − distmat_margin).
    pub mdms: f64,
    /// mean over b, i of relu(1 − cos_margin − cos(fᵢ, zᵢ)).
    pub mcos: f64,
    /// distmat_weight·mdms + cos_weight·mcos.
    pub total: f64,
}

/// Of latents z (B, N, Cz) and features f (B, N, Cf), naively: the projection and both N×N matrices are made.
pub fn vf_loss(z: &Array, f: &Array, projection: Projection, settings: VfSettings) -> VfLoss {
    let (z, f) = match projection {
        Projection::Reverse { weight } => (linear(z, weight, None), f.clone()),
        Projection::Forward { weight, bias } => (z.clone(), linear(f, weight, Some(bias))),
    };
    let [b, n, _] = z.dims();
    // The reference normalises with eps 1e-12 for the matrices and with 1e-8 for the cosines.
    let (z_grams, f_grams) = (cosine_matrix(&z), cosine_matrix(&f));
    let apart = z_grams.zip(&f_grams, |z, f| ((z - f).abs() - settings.distmat_margin).max(0.0));
    let askew = cosine_similarity(&f, &z, 1e-8).map(|cos| (1.0 - settings.cos_margin - cos).max(0.0));
    let mdms = apart.sum() / (b * n * n) as f64;
    let mcos = askew.sum() / (b * n) as f64;
    VfLoss { mdms, mcos, total: settings.distmat_weight * mdms + settings.cos_weight * mcos }
}

/// cos(xᵢ, xⱼ) for every pair of tokens of x (B, N, C): (B, N, N).
fn cosine_matrix(x: &Array) -> Array {
    let [b, n, _] = x.dims();
    let unit = l2_normalize(x, 1e-12).matrix();
    Array::build([b, n, n], |[b, i, j]| dot(unit.row(b * n + i), unit.row(b * n + j)))
}

/// Of each sample: weight·mean (pred − target)², and the mean over pixels of 1 − cos(pred, target) with eps 1e-8.
pub fn velocity_loss(pred: &Array, target: &Array, weight: Option<&Array>) -> [Array; 2] {
    let batch = pred.shape[0];
    let mean = |x: &Array, b: usize| {
        let count = x.data.len() / batch;
        x.data[b * count..(b + 1) * count].iter().sum::<f64>() / count as f64
    };
    let (squares, cosines) = (pred.zip(target, |p, t| (p - t).powi(2)), cosine_similarity(pred, target, 1e-8));
    let mse = Array::build([batch], |[b]| weight.map_or(1.0, |weight| weight.at([b])) * mean(&squares, b));
    [mse, Array::build([batch], |[b]| 1.0 - mean(&cosines, b))]
}
