//! From noise to latents: the flow's equation by one of the solvers, or a stochastic equation with the same marginals.

use super::guidance::{Evaluations, Guidance, Guided};
use super::model::LightningDit;
use super::solver::{Dopri5, FixedMethod, State};
use super::transport::{Blend, DiffusionForm, Path, Prediction, Transport};
use crate::device::philox;
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::ops::combine::combine;
use crate::random;
use crate::tensor::Tensor;

/// How the equation is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The flow, on a grid of times.
    Fixed(FixedMethod),
    /// The flow, in steps of the solver's choice. They depend on the whole batch, and so do the images, in the last
    /// digits.
    Dopri5(Dopri5),
    /// dx = (velocity + w·score)·dt + √(2w)·dW.
    Sde(Sde),
}

/// A stochastic equation's solver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sde {
    /// Two evaluations a step instead of one.
    pub heun: bool,
    /// w(t).
    pub form: DiffusionForm,
    /// Multiplies w.
    pub norm: f64,
    /// What ends the path, without noise.
    pub last_step: LastStep,
    /// How long the last step is.
    pub last_step_size: f64,
}

/// The last step of a stochastic equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastStep {
    /// None.
    None,
    /// A step of the stochastic equation's drift.
    Mean,
    /// The expected data, x/α + σ²/α·score.
    Tweedie,
    /// A step of the flow.
    Euler,
}

/// Everything that decides how noise becomes latents.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    /// The path, and what the model predicts on it.
    pub transport: Transport,
    /// The solver.
    pub method: Method,
    /// Points of the time grid: one more than there are steps.
    pub points: usize,
    /// The shift of [`time_grid`], for the flow; 0 leaves times as they are.
    pub shift: f64,
    /// Guidance, if any.
    pub guidance: Option<Guidance>,
}

/// What sampling came to.
pub struct Sampled {
    /// (B, H, W, C), normalised as in training.
    pub latents: Tensor,
    /// How often the model ran.
    pub evaluations: Evaluations,
}

/// The times of a solver: `points` of them evenly over `interval`, then t ← s·t / (1 + (s − 1)·t) for a shift s above 0
/// (Esser et al., 2024): a shift below 1 takes smaller steps at first.
pub fn time_grid([t0, t1]: [f64; 2], points: usize, shift: f64) -> Vec<f32> {
    let last = points.saturating_sub(1).max(1) as f64;
    let place = |i: usize| t0 + (t1 - t0) * i as f64 / last;
    let shifted = |t: f64| if shift > 0.0 { shift * t / (1.0 + (shift - 1.0) * t) } else { t };
    (0..points).map(|i| shifted(place(i)) as f32).collect()
}

/// The noise that image `seed` starts from, one after the other: (B, H, W, C).
///
/// It depends on the seed alone, so that an image is the same in whatever batch it is made.
pub fn initial_noise(params: &Parameters, shape: [usize; 3], seeds: &[u64]) -> Result<Tensor> {
    noise(params, shape, seeds, random::stream("initial noise"))
}

fn noise(params: &Parameters, [h, w, c]: [usize; 3], seeds: &[u64], stream: u64) -> Result<Tensor> {
    let mut values = vec![0.0; seeds.len() * h * w * c];
    for (&seed, image) in seeds.iter().zip(values.chunks_exact_mut(h * w * c)) {
        philox::normal(seed, stream, image);
    }
    Tensor::from_slice(params.device(), &[seeds.len(), h, w, c], &values)
}

impl Sampler {
    /// The reference's settings but for guidance: Euler over 250 points, shifted by 0.3.
    pub fn lightning() -> Sampler {
        Sampler {
            transport: Transport::lightning(),
            method: Method::Fixed(FixedMethod::Euler),
            points: 250,
            shift: 0.3,
            guidance: None,
        }
    }

    /// How many steps [`Sampler::sample`] reports.
    pub fn steps(&self) -> usize {
        self.points.saturating_sub(1)
    }

    /// Makes one latent image per label and seed. `observe` sees each step's number and the latents after it, the
    /// initial noise as step 0.
    ///
    /// # Errors
    /// As [`Guided::new`], or the device's.
    pub fn sample(
        &self,
        model: &LightningDit,
        params: &Parameters,
        labels: &[u32],
        seeds: &[u64],
        observe: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Sampled> {
        let side = model.shape().input_size;
        let start = initial_noise(params, [side, side, model.shape().in_channels], seeds)?;
        self.sample_from(model, params, start, labels, seeds, observe)
    }

    /// As [`Sampler::sample`], from given noise (B, H, W, C); the seeds serve stochastic equations alone.
    pub fn sample_from(
        &self,
        model: &LightningDit,
        params: &Parameters,
        start: Tensor,
        labels: &[u32],
        seeds: &[u64],
        observe: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Sampled> {
        if self.points < 2 {
            return Err(Error::Config(format!("{} points make no step: give at least 2", self.points)));
        }
        let mut guided = Guided::new(model, params, labels, self.guidance)?;
        let latents = match self.method {
            Method::Sde(sde) => self.stochastic(sde, &mut guided, params, start, seeds, observe)?,
            Method::Fixed(method) => {
                let grid = time_grid(self.transport.sample_interval(), self.points, self.shift);
                let mut field = |t: f32, y: &State| Ok(vec![self.velocity(t, &y[0], guided.output(t, &y[0])?)?]);
                method.solve(&mut field, &grid, vec![start], &mut |i, y| observe(i, &y[0]))?.swap_remove(0)
            }
            Method::Dopri5(dopri5) => {
                let grid = time_grid(self.transport.sample_interval(), self.points, self.shift);
                let halves = if guided.is_guided() { vec![start.clone(), start] } else { vec![start] };
                let mut field = |t: f32, y: &State| {
                    if !guided.is_guided() {
                        return Ok(vec![self.velocity(t, &y[0], guided.output(t, &y[0])?)?]);
                    }
                    let [first, second] = guided.both_outputs(t, &y[0])?;
                    Ok(vec![self.velocity(t, &y[0], first)?, self.velocity(t, &y[1], second)?])
                };
                dopri5.solve(&mut field, &grid, halves, &mut |i, y| observe(i, &y[0]))?.swap_remove(0)
            }
        };
        Ok(Sampled { latents, evaluations: guided.evaluations() })
    }

    fn velocity(&self, t: f32, x: &Tensor, output: Tensor) -> Result<Tensor> {
        match self.transport.prediction {
            Prediction::Velocity => Ok(output),
            _ => blend(self.transport.velocity(f64::from(t)), x, &output),
        }
    }

    /// Euler-Maruyama or Heun's method over an even grid, and the last step.
    fn stochastic(
        &self,
        sde: Sde,
        guided: &mut Guided,
        params: &Parameters,
        start: Tensor,
        seeds: &[u64],
        observe: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let [_, h, w, c] = start.dims::<4>("sampler")?;
        if seeds.len() != start.shape()[0] {
            let message = format!("{} seeds for {} images", seeds.len(), start.shape()[0]);
            return Err(Error::shape("sampler", message));
        }
        let interval = sde.interval(&self.transport);
        let grid = time_grid(interval, self.points, 0.0);
        let dt = f64::from(grid[1]) - f64::from(grid[0]);
        observe(0, &start)?;
        let mut x = start;
        for (i, &t) in grid[..grid.len() - 1].iter().enumerate() {
            let stream = random::stream("sde noise").wrapping_add(i as u64);
            let noise = noise(params, [h, w, c], seeds, stream)?;
            let diffusion = self.transport.path.diffusion(f64::from(t), sde.form, sde.norm);
            let spread = (2.0 * diffusion * dt).sqrt() as f32;
            let dt = dt as f32;
            x = if sde.heun {
                let moved = combine(&[(1.0, &x), (spread, &noise)])?;
                let k1 = self.sde_drift(sde, guided, t, &moved)?;
                let k2 = self.sde_drift(sde, guided, t + dt, &combine(&[(1.0, &moved), (dt, &k1)])?)?;
                combine(&[(1.0, &moved), (0.5 * dt, &k1), (0.5 * dt, &k2)])?
            } else {
                let drift = self.sde_drift(sde, guided, t, &x)?;
                combine(&[(1.0, &x), (dt, &drift), (spread, &noise)])?
            };
            observe(i + 1, &x)?;
        }
        let (t, size) = (interval[1] as f32, sde.last_step_size as f32);
        match sde.last_step {
            LastStep::None => Ok(x),
            LastStep::Mean => combine(&[(1.0, &x), (size, &self.sde_drift(sde, guided, t, &x)?)]),
            LastStep::Euler => {
                let output = guided.output(t, &x)?;
                combine(&[(1.0, &x), (size, &self.velocity(t, &x, output)?)])
            }
            LastStep::Tweedie => {
                let (at, score) = (self.transport.path.at(f64::from(t)), self.transport.score(f64::from(t)));
                let of_score = at.sigma * at.sigma / at.alpha;
                let expected =
                    Blend { of_x: 1.0 / at.alpha + of_score * score.of_x, of_output: of_score * score.of_output };
                let output = guided.output(t, &x)?;
                blend(expected, &x, &output)
            }
        }
    }

    /// velocity + w·score, both of one evaluation: the reference makes two.
    fn sde_drift(&self, sde: Sde, guided: &mut Guided, t: f32, x: &Tensor) -> Result<Tensor> {
        let output = guided.output(t, x)?;
        let time = f64::from(t);
        let (velocity, score) = (self.transport.velocity(time), self.transport.score(time));
        let diffusion = self.transport.path.diffusion(time, sde.form, sde.norm);
        let drift = Blend {
            of_x: velocity.of_x + diffusion * score.of_x,
            of_output: velocity.of_output + diffusion * score.of_output,
        };
        blend(drift, x, &output)
    }
}

impl Sde {
    /// The times that a stochastic equation is solved over: up to the last step, and from a little above 0 where its
    /// numbers are not finite there. (The reference starts at 0 with the diffusion D(t), which is infinite there.)
    fn interval(&self, transport: &Transport) -> [f64; 2] {
        let size = if self.last_step == LastStep::None { 0.0 } else { self.last_step_size };
        let eps = match transport.sample_eps() {
            0.0 => transport.sample_eps.unwrap_or(1e-3),
            eps => eps,
        };
        let infinite = self.form == DiffusionForm::Sbdm || transport.prediction != Prediction::Velocity;
        let t0 = if transport.path != Path::Vp && infinite { eps } else { 0.0 };
        [t0, 1.0 - if size == 0.0 { eps } else { size }]
    }
}

fn blend(Blend { of_x, of_output }: Blend, x: &Tensor, output: &Tensor) -> Result<Tensor> {
    combine(&[(of_x as f32, x), (of_output as f32, output)])
}
