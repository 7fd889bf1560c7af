//! Optimizer steps.

use super::Array;

/// Adam's settings; `weight_decay` is decoupled (AdamW), 0 for plain Adam.
#[derive(Clone, Copy)]
pub struct Adam {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
}

/// One parameter and its two moments.
#[derive(Clone)]
pub struct AdamState {
    pub parameter: Array,
    pub m: Array,
    pub v: Array,
}

/// Step number `step` (the first is 1): p ← p·(1 − lr·decay) − lr·m̂ / (√v̂ + eps) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1
/// − β₂ᵗ).
pub fn adam_step(state: &AdamState, gradient: &Array, step: i32, s: Adam) -> AdamState {
    let m = state.m.zip(gradient, |m, g| s.beta1 * m + (1.0 - s.beta1) * g);
    let v = state.v.zip(gradient, |v, g| s.beta2 * v + (1.0 - s.beta2) * g * g);
    let m_hat = m.map(|m| m / (1.0 - s.beta1.powi(step)));
    let v_hat = v.map(|v| v / (1.0 - s.beta2.powi(step)));
    let update = m_hat.zip(&v_hat, |m, v| s.lr * m / (v.sqrt() + s.eps));
    let parameter = state.parameter.zip(&update, |p, u| p * (1.0 - s.lr * s.weight_decay) - u);
    AdamState { parameter, m, v }
}

/// average ← decay·average + (1 − decay)·parameter.
pub fn ema(average: &Array, parameter: &Array, decay: f64) -> Array {
    average.zip(parameter, |average, p| decay * average + (1.0 - decay) * p)
}

/// ℓ₂ norm over every entry of every array.
pub fn global_norm(arrays: &[Array]) -> f64 {
    arrays.iter().map(|a| a.dot(a)).sum::<f64>().sqrt()
}
