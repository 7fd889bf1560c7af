//! From noise to data: the path x_t = α(t)·x1 + σ(t)·x0 from noise x0 at t = 0 to data x1 at t = 1, what a model predicts on
//! it (velocity, noise or score), how the loss weighs it, and at which times it is trained. Everything depends on the time
//! alone and is computed in f64 on the host: a handful of numbers a sample.
//!
//! Notation of SiT (Ma et al., 2024). With r = α′/α and D = r·σ² − σ·σ′ the velocity of the flow is r·x + D·score, and
//! score = −noise/σ.

use std::f64::consts::{FRAC_PI_2, PI};

use super::times::TimeDistribution;
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Tensor;

/// The path between noise and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// α = t, σ = 1 − t.
    Linear,
    /// Generalised variance preserving: α = sin(πt/2), σ = cos(πt/2).
    Gvp,
    /// Variance preserving, of score-based diffusion (Song et al., 2021): β falls linearly from 20 to 0.1.
    Vp,
}

/// What the model's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// x_t′ = α′·x1 + σ′·x0.
    Velocity,
    /// x0.
    Noise,
    /// ∇ log p_t(x_t) = −x0/σ.
    Score,
}

/// How the squared error of a predicted noise or score is weighed over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossWeight {
    /// Not at all.
    None,
    /// (D/σ)², as if the velocity were predicted.
    Velocity,
    /// D/σ², for the likelihood's bound.
    Likelihood,
}

/// The diffusion coefficient w(t) of a sampling SDE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffusionForm {
    /// norm.
    Constant,
    /// norm·D(t): that of the path's own forward process.
    Sbdm,
    /// norm·σ(t).
    Sigma,
    /// norm·(1 − t).
    Linear,
    /// ¼·(norm·cos(πt) + 1)².
    Decreasing,
    /// norm·sin²(πt).
    IncreasingDecreasing,
}

/// α, σ and their derivatives at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// α.
    pub alpha: f64,
    /// σ.
    pub sigma: f64,
    /// α′.
    pub d_alpha: f64,
    /// σ′.
    pub d_sigma: f64,
}

/// A quantity that is `of_x`·x_t + `of_output`·(the model's output there).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// Factor of x_t.
    pub of_x: f64,
    /// Factor of the model's output.
    pub of_output: f64,
}

/// β of the variance preserving path at the ends of the way from data to noise.
const BETA: [f64; 2] = [0.1, 20.0];

impl Path {
    /// α, σ and their derivatives at `t`.
    pub fn at(self, t: f64) -> Coefficients {
        match self {
            Path::Linear => Coefficients { alpha: t, sigma: 1.0 - t, d_alpha: 1.0, d_sigma: -1.0 },
            Path::Gvp => {
                let (sin, cos) = (t * FRAC_PI_2).sin_cos();
                Coefficients { alpha: sin, sigma: cos, d_alpha: FRAC_PI_2 * cos, d_sigma: -FRAC_PI_2 * sin }
            }
            Path::Vp => {
                // log α = −¼s²·(β₁ − β₀) − ½s·β₀ with s = 1 − t; σ² = 1 − α².
                let (s, [low, high]) = (1.0 - t, BETA);
                let log_alpha = -0.25 * s * s * (high - low) - 0.5 * s * low;
                let slope = 0.5 * (low + s * (high - low));
                let (alpha, square) = (log_alpha.exp(), (2.0 * log_alpha).exp());
                let sigma = (-(2.0 * log_alpha).exp_m1()).sqrt();
                Coefficients { alpha, sigma, d_alpha: alpha * slope, d_sigma: -square * slope / sigma }
            }
        }
    }

    /// r = α′/α.
    fn ratio(self, t: f64) -> f64 {
        match self {
            Path::Linear => 1.0 / t,
            Path::Gvp => FRAC_PI_2 / (t * FRAC_PI_2).tan(),
            Path::Vp => 0.5 * (BETA[0] + (1.0 - t) * (BETA[1] - BETA[0])),
        }
    }

    /// (−r, D) at `t`: the path's forward process has the drift −r·x and the diffusion D.
    pub fn drift(self, t: f64) -> (f64, f64) {
        let (r, Coefficients { sigma, d_sigma, .. }) = (self.ratio(t), self.at(t));
        // On the variance preserving path r·σ² − σ·σ′ = r·(σ² + α²) = r.
        let diffusion = if self == Path::Vp { r } else { r * sigma * sigma - sigma * d_sigma };
        (-r, diffusion)
    }

    /// w(t) of an SDE with the same marginals as the flow: dx = (velocity + w·score)·dt + √(2w)·dW.
    pub fn diffusion(self, t: f64, form: DiffusionForm, norm: f64) -> f64 {
        match form {
            DiffusionForm::Constant => norm,
            DiffusionForm::Sbdm => norm * self.drift(t).1,
            DiffusionForm::Sigma => norm * self.at(t).sigma,
            DiffusionForm::Linear => norm * (1.0 - t),
            DiffusionForm::Decreasing => 0.25 * (norm * (PI * t).cos() + 1.0).powi(2),
            DiffusionForm::IncreasingDecreasing => norm * (PI * t).sin().powi(2),
        }
    }

    /// The score from the flow's velocity.
    pub fn score_from_velocity(self, t: f64) -> Blend {
        let Coefficients { alpha, sigma, d_alpha, d_sigma } = self.at(t);
        let inverse_ratio = alpha / d_alpha;
        let variance = sigma * sigma - inverse_ratio * d_sigma * sigma;
        Blend { of_x: -1.0 / variance, of_output: inverse_ratio / variance }
    }

    /// The noise from the flow's velocity.
    pub fn noise_from_velocity(self, t: f64) -> Blend {
        let Coefficients { alpha, sigma, d_alpha, d_sigma } = self.at(t);
        let inverse_ratio = alpha / d_alpha;
        let factor = inverse_ratio * d_sigma - sigma;
        Blend { of_x: -1.0 / factor, of_output: inverse_ratio / factor }
    }

    /// The flow's velocity from the score.
    pub fn velocity_from_score(self, t: f64) -> Blend {
        let (minus_r, diffusion) = self.drift(t);
        Blend { of_x: -minus_r, of_output: diffusion }
    }
}

/// A path and what a model learns on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transport {
    /// The path.
    pub path: Path,
    /// What the model predicts.
    pub prediction: Prediction,
    /// How a predicted noise or score is weighed; a velocity is not.
    pub loss_weight: LossWeight,
    /// Adds the direction of the velocity to the loss.
    pub cosine_loss: bool,
    /// How far training stays away from ends of the path where its numbers are not finite; by the path and the
    /// prediction when `None`.
    pub train_eps: Option<f64>,
    /// The same for sampling.
    pub sample_eps: Option<f64>,
    /// The times that are trained on.
    pub times: TimeDistribution,
}

/// What is computed at the times of a batch.
pub struct Point {
    /// (B).
    pub t: Tensor,
    /// (B, 4): x_t = c0·x1 + c1·x0 and the target c2·x1 + c3·x0, as `ops::interpolate` takes them.
    pub coefficients: Tensor,
    /// (B), or absent: the weights of the squared errors.
    pub weight: Tensor,
}

impl Transport {
    /// A linear path, a predicted velocity, its direction in the loss, logit-normal times: the paper's.
    pub fn lightning() -> Transport {
        Transport {
            path: Path::Linear,
            prediction: Prediction::Velocity,
            loss_weight: LossWeight::None,
            cosine_loss: true,
            train_eps: None,
            sample_eps: None,
            times: TimeDistribution::logit_normal(0.0, 1.0),
        }
    }

    /// Whether the loss has a direction: only a velocity does.
    pub fn has_cosine_loss(&self) -> bool {
        self.cosine_loss && self.prediction == Prediction::Velocity
    }

    /// The times trained on, from t0 to t1.
    pub fn train_interval(&self) -> [f64; 2] {
        let eps = match (self.path, self.prediction) {
            (Path::Vp, _) => self.train_eps.unwrap_or(1e-5),
            (_, Prediction::Velocity) => 0.0,
            _ => self.train_eps.unwrap_or(1e-3),
        };
        self.interval(eps)
    }

    /// The times that the flow's equation is solved over.
    pub fn sample_interval(&self) -> [f64; 2] {
        self.interval(self.sample_eps())
    }

    /// How far sampling stays away from the ends.
    ///
    /// The reference leaves it undefined, and so fails, for every path and prediction where it is not 0.
    pub fn sample_eps(&self) -> f64 {
        match (self.path, self.prediction) {
            (Path::Linear | Path::Gvp, Prediction::Velocity) => 0.0,
            _ => self.sample_eps.unwrap_or(1e-3),
        }
    }

    fn interval(&self, eps: f64) -> [f64; 2] {
        match (self.path, self.prediction) {
            (Path::Vp, _) => [0.0, 1.0 - eps],
            (_, Prediction::Velocity) => [0.0, 1.0],
            _ => [eps, 1.0 - eps],
        }
    }

    /// The velocity of the flow, from x_t and the model's output at `t`.
    pub fn velocity(&self, t: f64) -> Blend {
        match self.prediction {
            Prediction::Velocity => Blend { of_x: 0.0, of_output: 1.0 },
            Prediction::Score => self.path.velocity_from_score(t),
            Prediction::Noise => {
                let Blend { of_x, of_output } = self.path.velocity_from_score(t);
                Blend { of_x, of_output: -of_output / self.path.at(t).sigma }
            }
        }
    }

    /// The score, from x_t and the model's output at `t`.
    pub fn score(&self, t: f64) -> Blend {
        match self.prediction {
            Prediction::Velocity => self.path.score_from_velocity(t),
            Prediction::Score => Blend { of_x: 0.0, of_output: 1.0 },
            Prediction::Noise => Blend { of_x: 0.0, of_output: -1.0 / self.path.at(t).sigma },
        }
    }

    /// What a training step needs at these times: the loss is weight·mean (output − target)².
    pub fn point(&self, device: &Device, times: &[f32]) -> Result<Point> {
        let mut coefficients = Vec::with_capacity(4 * times.len());
        let mut weights = Vec::with_capacity(times.len());
        for &t in times {
            let t = f64::from(t);
            let Coefficients { alpha, sigma, d_alpha, d_sigma } = self.path.at(t);
            // (of x1, of x0) in the target, and what its error is multiplied by before it is squared and weighed.
            let ([of_x1, of_x0], scale) = match self.prediction {
                Prediction::Velocity => ([d_alpha, d_sigma], 1.0),
                Prediction::Noise => ([0.0, 1.0], 1.0),
                // The reference's (σ·output + x0)² is σ²·(output + x0/σ)².
                Prediction::Score => ([0.0, -1.0 / sigma], sigma),
            };
            let weight = match self.loss_weight {
                LossWeight::None => 1.0,
                LossWeight::Velocity => (self.path.drift(t).1 / sigma).powi(2),
                LossWeight::Likelihood => self.path.drift(t).1 / (sigma * sigma),
            };
            coefficients.extend([alpha, sigma, of_x1, of_x0].map(|c| c as f32));
            weights.push((weight * scale * scale) as f32);
        }
        let batch = times.len();
        let weight = match self.prediction {
            Prediction::Velocity => Tensor::absent(device)?,
            _ => Tensor::from_slice(device, &[batch], &weights)?,
        };
        Ok(Point {
            t: Tensor::from_slice(device, &[batch], times)?,
            coefficients: Tensor::from_slice(device, &[batch, 4], &coefficients)?,
            weight,
        })
    }
}
