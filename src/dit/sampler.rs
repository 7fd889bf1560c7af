//! Solving the flow.

/// The times of a solver: `points` of them evenly over `interval`, then t ← s·t / (1 + (s − 1)·t) for a shift s above 0
/// (Esser et al., 2024): a shift below 1 takes smaller steps at first.
pub fn time_grid([t0, t1]: [f64; 2], points: usize, shift: f64) -> Vec<f32> {
    let last = points.saturating_sub(1).max(1) as f64;
    let place = |i: usize| t0 + (t1 - t0) * i as f64 / last;
    let shifted = |t: f64| if shift > 0.0 { shift * t / (1.0 + (shift - 1.0) * t) } else { t };
    (0..points).map(|i| shifted(place(i)) as f32).collect()
}
