//! How close is close: tolerances from the reference's own rounding noise.

use anyhow::{Result, ensure};

/// How many times the reference's own error we may differ from it.
///
/// Golden numbers are f32 and carry an error of their own; another correct f32 evaluation carries another, about as
/// large, and the largest of many entries scatters by a factor of two or three either way: 2 × 3, rounded up to 8.
pub const NOISE_MULTIPLE: f64 = 8.0;

/// The share of a tensor's largest value that is always allowed: 8 ulps of that value (8 · 2⁻²³ ≈ 1e-6). Needed
/// where the reference happened to round in our favour (noise 0), and for scalars, whose noise is one draw and no
/// maximum.
pub const FLOOR: f64 = 8.0 * f32::EPSILON as f64;

/// The reference's rounding noise in one tensor.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Largest |f32 − f64|.
    pub absolute: f64,
    /// The same over the largest |f64|.
    pub relative: f64,
}

/// The largest absolute difference allowed.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub absolute: f64,
}

impl Tolerance {
    /// For a tensor whose largest magnitude (for an analytically zero gradient: that of all gradients) is `largest`.
    pub fn new(noise: Option<Noise>, largest: f64) -> Tolerance {
        let noise = noise.map_or(0.0, |noise| noise.absolute);
        Tolerance { absolute: NOISE_MULTIPLE * noise + FLOOR * largest }
    }

    /// For an algorithm that is known to round `times` as much as a plain sum; the caller states why.
    pub fn times(self, times: f64) -> Tolerance {
        Tolerance { absolute: self.absolute * times }
    }
}

/// The largest |actual − expected| as a share of the tolerance.
///
/// # Errors
/// Where lengths differ, or where an entry is off by more than the tolerance or is not a number: names the worst.
pub fn compare(actual: &[f32], expected: &[f32], tolerance: Tolerance) -> Result<f64> {
    ensure!(actual.len() == expected.len(), "{} entries, golden {}", actual.len(), expected.len());
    let (mut worst, mut at) = (0.0, 0);
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(a) - f64::from(e)).abs();
        // A NaN error must count as the worst there is.
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst {
            (worst, at) = (error, i);
        }
    }
    ensure!(
        worst <= tolerance.absolute,
        "entry {at}: {} but golden {}, off by {worst:.3e}, allowed {:.3e}",
        actual[at],
        expected[at],
        tolerance.absolute
    );
    Ok(if worst == 0.0 { 0.0 } else { worst / tolerance.absolute })
}
