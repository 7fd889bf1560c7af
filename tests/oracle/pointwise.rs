//! Activations, gates and modulation.

use super::Array;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// 1 / (1 + e^−x).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x · sigmoid(x).
pub fn silu(x: &Array) -> Array {
    x.map(|v| v * sigmoid(v))
}

/// Exact GELU: x · Φ(x) = x/2 · (1 + erf(x/√2)).
pub fn gelu_erf(x: &Array) -> Array {
    x.map(|v| 0.5 * v * (1.0 + libm::erf(v * FRAC_1_SQRT_2)))
}

/// GELU's tanh form: x/2 · (1 + tanh(√(2/π)·(x + 0.044715 x³))).
pub fn gelu_tanh(x: &Array) -> Array {
    x.map(|v| 0.5 * v * (1.0 + ((2.0 / PI).sqrt() * (v + 0.044715 * v.powi(3))).tanh()))
}

/// x where positive, slope·x elsewhere.
pub fn leaky_relu(x: &Array, slope: f64) -> Array {
    x.map(|v| if v > 0.0 { v } else { slope * v })
}

/// silu(first half) · second half of the last axis: (.., 2H) → (.., H).
pub fn swiglu(x: &Array) -> Array {
    let double = *x.shape.last().expect("at least one axis");
    let (gate, value) = (x.last_axis(0, double / 2), x.last_axis(double / 2, double));
    silu(&gate).zip(&value, |g, v| g * v)
}

/// x·(1 + scale) + shift for x (B, N, C), scale and shift (B, C).
pub fn modulate(x: &Array, scale: &Array, shift: Option<&Array>) -> Array {
    Array::build(x.dims(), |[b, n, c]| {
        x.at([b, n, c]) * (1.0 + scale.at([b, c])) + shift.map_or(0.0, |shift| shift.at([b, c]))
    })
}

/// x + gate·y for x and y (B, N, C), gate (B, C).
pub fn gate_residual(x: &Array, gate: &Array, y: &Array) -> Array {
    Array::build(x.dims(), |[b, n, c]| x.at([b, n, c]) + gate.at([b, c]) * y.at([b, n, c]))
}
