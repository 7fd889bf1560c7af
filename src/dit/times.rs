//! The times that a flow is trained on.

use crate::device::philox;
use crate::random;

/// How times are distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Density {
    /// Evenly over the interval.
    Uniform,
    /// sigmoid(mu + sigma·z) of a normal z (Esser et al., 2024): most in the middle; a larger mu, later ones.
    LogitNormal {
        /// Mean before the sigmoid: the shift.
        mu: f64,
        /// Standard deviation before the sigmoid.
        sigma: f64,
    },
}

/// Times of some batches come from a part of the interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partial {
    /// From and to, in [0, 1].
    pub range: [f64; 2],
    /// The share of batches that this holds for; a batch is drawn from the one or from the other as a whole.
    pub ratio: f64,
}

/// The distribution of training times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeDistribution {
    /// The density over the whole interval.
    pub density: Density,
    /// The same density, cut to a range, for a share of the batches.
    pub partial: Option<Partial>,
}

impl TimeDistribution {
    /// The logistic of a normal variable.
    pub fn logit_normal(mu: f64, sigma: f64) -> TimeDistribution {
        TimeDistribution { density: Density::LogitNormal { mu, sigma }, partial: None }
    }

    /// Evenly distributed.
    pub fn uniform() -> TimeDistribution {
        TimeDistribution { density: Density::Uniform, partial: None }
    }

    /// The times of batch `number`, within `interval`: a pure function of seed and number.
    pub fn draw(&self, interval: [f64; 2], count: usize, seed: u64, number: u64) -> Vec<f32> {
        let stream = |name: &str| random::stream(name).wrapping_add(number);
        let mut uniform = vec![0.0; count];
        if let Some(Partial { range, ratio }) = self.partial {
            let mut coin = [0.0];
            philox::uniform(seed, stream("partial times"), &mut coin);
            if f64::from(coin[0]) < ratio {
                philox::uniform(seed, stream("times"), &mut uniform);
                return uniform.iter().map(|&u| self.quantile_within(range, f64::from(u)) as f32).collect();
            }
        }
        let [t0, t1] = interval;
        let place = |unit: f64| (t0 + unit * (t1 - t0)) as f32;
        match self.density {
            Density::Uniform => {
                philox::uniform(seed, stream("times"), &mut uniform);
                uniform.iter().map(|&u| place(f64::from(u))).collect()
            }
            Density::LogitNormal { mu, sigma } => {
                let mut normal = uniform;
                philox::normal(seed, stream("times"), &mut normal);
                normal.iter().map(|&z| place(sigmoid(mu + sigma * f64::from(z)))).collect()
            }
        }
    }

    /// The time below which a share `u` of the density within `range` lies.
    fn quantile_within(&self, [from, to]: [f64; 2], u: f64) -> f64 {
        let Density::LogitNormal { mu, sigma } = self.density else {
            return from + u * (to - from);
        };
        let share_below = |t: f64| normal_cdf(((t / (1.0 - t)).ln() - mu) / sigma);
        let (below, above) = (share_below(from), share_below(to));
        let wanted = below + u * (above - below);
        // Bisection to the resolution of f32 and beyond: the share grows with the time.
        let (mut low, mut high) = (from, to);
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if share_below(middle) < wanted { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The share of a standard normal variable below `z`.
fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(times: TimeDistribution, batches: u64) -> Vec<f32> {
        let mut all: Vec<f32> = (0..batches).flat_map(|number| times.draw([0.0, 1.0], 1000, 5, number)).collect();
        all.sort_by(f32::total_cmp);
        all
    }

    #[test]
    fn partial_times_are_the_density_cut_to_a_range() {
        let range = [0.2, 0.5];
        for density in [Density::Uniform, Density::LogitNormal { mu: 0.3, sigma: 0.7 }] {
            let whole = TimeDistribution { density, partial: None };
            let partial = TimeDistribution { density, partial: Some(Partial { range, ratio: 1.0 }) };
            let kept: Vec<f32> = sorted(whole, 300).into_iter().filter(|t| (0.2..=0.5).contains(t)).collect();
            let cut = sorted(partial, 100);
            assert!(cut.iter().all(|t| (0.2..=0.5).contains(t)));
            // Quantiles of 100 000 and of some 10⁵ times: 5 standard errors of √(q(1 − q)/n)/density are below 0.005.
            for q in [0.1, 0.25, 0.5, 0.75, 0.9] {
                let at = |times: &[f32]| times[(q * times.len() as f64) as usize];
                assert!((at(&cut) - at(&kept)).abs() < 0.005, "{density:?}, quantile {q}: {} {}", at(&cut), at(&kept));
            }
        }
    }

    #[test]
    fn a_share_of_the_batches_is_partial() {
        let partial = Some(Partial { range: [0.0, 0.1], ratio: 0.25 });
        let times = TimeDistribution { density: Density::Uniform, partial };
        let inside = (0..1000).filter(|&n| times.draw([0.0, 1.0], 50, 3, n).iter().all(|&t| t <= 0.1)).count() as i32;
        // 250 ± 5·√(1000·¼·¾).
        assert!((inside - 250).abs() < 69, "{inside}");
    }

    #[test]
    fn times_stay_within_the_interval_and_depend_on_seed_and_number() {
        let times = TimeDistribution::logit_normal(0.0, 1.0);
        let drawn = times.draw([0.001, 0.999], 10_000, 1, 7);
        assert!(drawn.iter().all(|t| (0.001..=0.999).contains(t)));
        assert_eq!(drawn, times.draw([0.001, 0.999], 10_000, 1, 7));
        assert_ne!(drawn, times.draw([0.001, 0.999], 10_000, 1, 8));
        assert_ne!(drawn, times.draw([0.001, 0.999], 10_000, 2, 7));
    }

    #[test]
    fn the_share_below_is_the_normal_one() {
        for (z, share) in [(0.0, 0.5), (1.0, 0.841_344_746_068_542_9), (-2.0, 0.022_750_131_948_179_21)] {
            assert!((normal_cdf(z) - share).abs() < 1e-15);
        }
    }
}
