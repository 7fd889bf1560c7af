//! Attention, and the sine tables around it.

use super::{Array, sum};

/// softmax(q kᵀ · d^−½) v per head, for q, k and v of (B, N, heads, d); keys may be more or fewer than queries.
pub fn attention(q: &Array, k: &Array, v: &Array) -> Array {
    let ([b, n, heads, d], [_, keys, _, _]) = (q.dims(), k.dims());
    let scale = 1.0 / (d as f64).sqrt();
    let score =
        Array::build([b, heads, n, keys], |[b, h, i, j]| scale * sum(d, |c| q.at([b, i, h, c]) * k.at([b, j, h, c])));
    let weight = softmax(&score);
    Array::build([b, n, heads, d], |[b, i, h, c]| sum(keys, |j| weight.at([b, h, i, j]) * v.at([b, j, h, c])))
}

/// e^xᵢ / Σ e^xⱼ over the last axis, the largest subtracted first.
pub fn softmax(x: &Array) -> Array {
    let rows = x.matrix();
    let [n, c] = rows.dims();
    let largest: Vec<f64> = (0..n).map(|r| (0..c).map(|i| rows.at([r, i])).fold(f64::NEG_INFINITY, f64::max)).collect();
    let totals: Vec<f64> = (0..n).map(|r| sum(c, |i| (rows.at([r, i]) - largest[r]).exp())).collect();
    Array::build([n, c], |[r, i]| (rows.at([r, i]) - largest[r]).exp() / totals[r]).reshape(&x.shape)
}

/// The angle by which [`rope_2d`] turns channel `c` of `d` at grid place (row, column).
///
/// Rows turn the first half of the head, columns the second. Within a half of d/2 channels, neighbours (2i, 2i+1)
/// share the frequency 10000^(−2i / (d/2)).
pub fn rope_angle(row: usize, column: usize, c: usize, d: usize) -> f64 {
    let half = d / 2;
    let (place, within) = if c < half { (row, c) } else { (column, c - half) };
    let pair = within / 2;
    place as f64 * 10000f64.powf(-((2 * pair) as f64) / half as f64)
}

/// Rotary embedding over a grid: token n of x (B, N, heads, d) lies at row n / width, column n % width; neighbours
/// (x₀, x₁) → (x₀ cos − x₁ sin, x₁ cos + x₀ sin).
pub fn rope_2d(x: &Array, width: usize) -> Array {
    let [_, _, _, d] = x.dims();
    Array::build(x.dims(), |[b, n, h, c]| {
        let angle = rope_angle(n / width, n % width, c, d);
        let turned = if c % 2 == 0 { -x.at([b, n, h, c + 1]) } else { x.at([b, n, h, c - 1]) };
        x.at([b, n, h, c]) * angle.cos() + turned * angle.sin()
    })
}

/// cat(cos, sin) of t·10000^(−i / (dim/2)), i < dim/2, for t (B): (B, dim).
pub fn timestep_embedding(t: &Array, dim: usize) -> Array {
    let half = dim / 2;
    let [b] = t.dims();
    Array::build([b, dim], |[b, c]| {
        let angle = t.at([b]) * 10000f64.powf(-((c % half) as f64) / half as f64);
        if c < half { angle.cos() } else { angle.sin() }
    })
}

/// The fixed 2-D table (height·width, dim): columns' sines and cosines in the first half, rows' in the second; each
/// half is sin then cos of place·10000^(−i / (dim/4)).
pub fn sincos_pos_embed(dim: usize, height: usize, width: usize) -> Array {
    let (half, quarter) = (dim / 2, dim / 4);
    Array::build([height * width, dim], |[n, c]| {
        let place = if c < half { n % width } else { n / width };
        let angle = place as f64 * 10000f64.powf(-((c % quarter) as f64) / quarter as f64);
        if c % half < quarter { angle.sin() } else { angle.cos() }
    })
}
