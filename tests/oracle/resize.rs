//! Resizing images (B, H, W, C).

use super::{Array, sum};

/// Bilinear without antialias, half-pixel centres (align_corners false): output i reads at (i + ½)·in/out − ½, not
/// below the first sample, the last sample repeated.
pub fn resize_bilinear(x: &Array, out_h: usize, out_w: usize) -> Array {
    separable(x, out_h, out_w, |size, out, i| {
        let at = ((i as f64 + 0.5) * size as f64 / out as f64 - 0.5).max(0.0);
        let low = at.floor() as usize;
        let part = at - low as f64;
        let mut weights = vec![0.0; size];
        weights[low.min(size - 1)] += 1.0 - part;
        weights[(low + 1).min(size - 1)] += part;
        weights
    })
}

/// Bicubic with antialias as PIL has it: the kernel (a = −½) is widened by in/out where that shrinks, cut at the
/// border and normalised to 1. Growing, it is the plain kernel, still with a = −½.
pub fn resize_bicubic_antialias(x: &Array, out_h: usize, out_w: usize) -> Array {
    separable(x, out_h, out_w, |size, out, i| {
        let ratio = size as f64 / out as f64;
        let widen = ratio.max(1.0);
        let (centre, support) = (ratio * (i as f64 + 0.5), 2.0 * widen);
        // Truncated after adding ½, like the reference: a sample whose centre lies just outside is left out.
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(size);
        let mut weights = vec![0.0; size];
        for (j, weight) in weights.iter_mut().enumerate().take(last).skip(first) {
            *weight = cubic((j as f64 + 0.5 - centre) / widen);
        }
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    })
}

/// Keys' cubic convolution kernel with a = −½.
fn cubic(x: f64) -> f64 {
    let (a, x) = (-0.5, x.abs());
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

/// Rows then columns by the weights that `weights(input size, output size, output index)` gives every input sample.
fn separable(x: &Array, out_h: usize, out_w: usize, weights: impl Fn(usize, usize, usize) -> Vec<f64>) -> Array {
    let [b, h, w, c] = x.dims();
    let rows: Vec<Vec<f64>> = (0..out_h).map(|i| weights(h, out_h, i)).collect();
    let columns: Vec<Vec<f64>> = (0..out_w).map(|i| weights(w, out_w, i)).collect();
    let tall = Array::build([b, out_h, w, c], |[b, i, x_, c]| sum(h, |y| rows[i][y] * x.at([b, y, x_, c])));
    Array::build([b, out_h, out_w, c], |[b, i, j, c]| sum(w, |x_| columns[j][x_] * tall.at([b, i, x_, c])))
}
