//! Normalisations. Variances divide by the count (biased), as training uses them, but where stated.

use super::{Array, modulate, silu, sum};

/// y = x · (mean(x², last axis) + eps)^−½ · weight; then, with `modulation` = (scale, shift) of (B, C) for x (B, N,
/// C), y·(1 + scale) + shift.
pub fn rms_norm(x: &Array, weight: Option<&Array>, eps: f64, modulation: Option<(&Array, &Array)>) -> Array {
    let rows = x.matrix();
    let [n, c] = rows.dims();
    let inverse: Vec<f64> =
        (0..n).map(|r| 1.0 / (sum(c, |i| rows.at([r, i]).powi(2)) / c as f64 + eps).sqrt()).collect();
    let y = Array::build([n, c], |[r, i]| rows.at([r, i]) * inverse[r] * weight.map_or(1.0, |w| w.at([i])));
    modulated(y.reshape(&x.shape), modulation)
}

/// y = (x − mean) · (var + eps)^−½ · weight + bias over the last axis; `affine` = (weight, bias); then as
/// [`rms_norm`].
pub fn layer_norm(
    x: &Array,
    affine: Option<(&Array, &Array)>,
    eps: f64,
    modulation: Option<(&Array, &Array)>,
) -> Array {
    let rows = x.matrix();
    let [n, c] = rows.dims();
    let moments: Vec<(f64, f64)> = (0..n)
        .map(|r| {
            let mean = sum(c, |i| rows.at([r, i])) / c as f64;
            let var = sum(c, |i| (rows.at([r, i]) - mean).powi(2)) / c as f64;
            (mean, var)
        })
        .collect();
    let y = Array::build([n, c], |[r, i]| {
        let (mean, var) = moments[r];
        let unit = (rows.at([r, i]) - mean) / (var + eps).sqrt();
        affine.map_or(unit, |(weight, bias)| unit * weight.at([i]) + bias.at([i]))
    });
    modulated(y.reshape(&x.shape), modulation)
}

fn modulated(y: Array, modulation: Option<(&Array, &Array)>) -> Array {
    match modulation {
        Some((scale, shift)) => modulate(&y, scale, Some(shift)),
        None => y,
    }
}

/// Group norm over x (B, H, W, C): mean and variance over H, W and the C/groups neighbouring channels of a group,
/// then weight and bias per channel, then SiLU where asked.
pub fn group_norm(x: &Array, weight: &Array, bias: &Array, groups: usize, eps: f64, with_silu: bool) -> Array {
    let [b, h, w, c] = x.dims();
    let size = c / groups;
    assert_eq!(size * groups, c);
    let count = (h * w * size) as f64;
    let over_group = |b: usize, g: usize, f: &dyn Fn(f64) -> f64| {
        sum(h, |y| sum(w, |x_| sum(size, |k| f(x.at([b, y, x_, g * size + k])))))
    };
    let mean = Array::build([b, groups], |[b, g]| over_group(b, g, &|v| v) / count);
    let var = Array::build([b, groups], |[b, g]| {
        let mean = mean.at([b, g]);
        over_group(b, g, &|v| (v - mean).powi(2)) / count
    });
    let y = Array::build([b, h, w, c], |[b, y, x_, c]| {
        let g = c / size;
        let unit = (x.at([b, y, x_, c]) - mean.at([b, g])) / (var.at([b, g]) + eps).sqrt();
        unit * weight.at([c]) + bias.at([c])
    });
    if with_silu { silu(&y) } else { y }
}

/// What [`batch_norm_train`] returns.
pub struct BatchNorm {
    pub y: Array,
    /// `running·(1 − momentum) + momentum·batch`, the batch variance here the *unbiased* one.
    pub running_mean: Array,
    pub running_var: Array,
}

/// Batch norm over x (B, H, W, C) by the statistics of the batch, per channel; `running` = (mean, var) before.
pub fn batch_norm_train(
    x: &Array,
    weight: &Array,
    bias: &Array,
    eps: f64,
    momentum: f64,
    running: (&Array, &Array),
) -> BatchNorm {
    let rows = x.matrix();
    let [n, c] = rows.dims();
    let mean = Array::build([c], |[i]| sum(n, |r| rows.at([r, i])) / n as f64);
    let var = Array::build([c], |[i]| sum(n, |r| (rows.at([r, i]) - mean.at([i])).powi(2)) / n as f64);
    let blend = |old: f64, new: f64| old * (1.0 - momentum) + momentum * new;
    BatchNorm {
        y: batch_norm_eval(x, weight, bias, eps, (&mean, &var)),
        running_mean: running.0.zip(&mean, blend),
        running_var: running.1.zip(&var, |old, var| blend(old, var * n as f64 / (n - 1) as f64)),
    }
}

/// Batch norm over x (.., C) by the given (mean, var) per channel.
pub fn batch_norm_eval(x: &Array, weight: &Array, bias: &Array, eps: f64, statistics: (&Array, &Array)) -> Array {
    let rows = x.matrix();
    let (mean, var) = statistics;
    Array::build(rows.dims(), |[r, i]| {
        (rows.at([r, i]) - mean.at([i])) / (var.at([i]) + eps).sqrt() * weight.at([i]) + bias.at([i])
    })
    .reshape(&x.shape)
}

/// x / max(‖x‖₂, eps) over the last axis.
pub fn l2_normalize(x: &Array, eps: f64) -> Array {
    let rows = x.matrix();
    let [n, c] = rows.dims();
    let norms: Vec<f64> = (0..n).map(|r| sum(c, |i| rows.at([r, i]).powi(2)).sqrt().max(eps)).collect();
    Array::build([n, c], |[r, i]| rows.at([r, i]) / norms[r]).reshape(&x.shape)
}
