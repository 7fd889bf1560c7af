//! Solvers of dy/dt = f(t, y), step by step as torchdiffeq takes them: the reference samples with it.

use crate::error::{Error, Result};
use crate::ops::combine::combine;
use crate::tensor::Tensor;

/// The state: one tensor, or several that evolve together and whose errors count together.
pub type State = Vec<Tensor>;

/// The right-hand side, by time and state.
pub type Field<'a> = dyn FnMut(f32, &State) -> Result<State> + 'a;

/// Explicit methods on a grid of times, with as many evaluations a step as their name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixedMethod {
    /// One evaluation.
    Euler,
    /// Two: the trapezoidal rule, Euler's method for its end (torchdiffeq's `heun2`).
    Heun,
    /// Two: Euler's method to the middle.
    Midpoint,
    /// Four: Kutta's 3/8 rule (torchdiffeq's `rk4`).
    Rk4,
}

impl FixedMethod {
    /// The state at t1 = t0 + dt.
    fn step(self, f: &mut Field, [t0, t1]: [f32; 2], y: &State) -> Result<State> {
        let dt = t1 - t0;
        let k1 = f(t0, y)?;
        match self {
            FixedMethod::Euler => sum(&[(1.0, y), (dt, &k1)]),
            FixedMethod::Heun => {
                let k2 = f(t0 + dt, &sum(&[(1.0, y), (dt, &k1)])?)?;
                sum(&[(1.0, y), (0.5 * dt, &k1), (0.5 * dt, &k2)])
            }
            FixedMethod::Midpoint => {
                let k2 = f(t0 + 0.5 * dt, &sum(&[(1.0, y), (0.5 * dt, &k1)])?)?;
                sum(&[(1.0, y), (dt, &k2)])
            }
            FixedMethod::Rk4 => {
                let third = dt / 3.0;
                let k2 = f(t0 + third, &sum(&[(1.0, y), (third, &k1)])?)?;
                let k3 = f(t0 + 2.0 * third, &sum(&[(1.0, y), (-third, &k1), (dt, &k2)])?)?;
                let k4 = f(t1, &sum(&[(1.0, y), (dt, &k1), (-dt, &k2), (dt, &k3)])?)?;
                let (outer, inner) = (0.125 * dt, 0.375 * dt);
                sum(&[(1.0, y), (outer, &k1), (inner, &k2), (inner, &k3), (outer, &k4)])
            }
        }
    }

    /// Runs along `grid`; `observe` sees the state at each of its times, the first included.
    pub fn solve(
        self,
        f: &mut Field,
        grid: &[f32],
        mut y: State,
        observe: &mut dyn FnMut(usize, &State) -> Result<()>,
    ) -> Result<State> {
        observe(0, &y)?;
        for (i, times) in grid.windows(2).enumerate() {
            y = self.step(f, [times[0], times[1]], &y)?;
            observe(i + 1, &y)?;
        }
        Ok(y)
    }
}

/// Σ factor·state, part by part.
pub(super) fn sum(terms: &[(f32, &State)]) -> Result<State> {
    let part = |i: usize| combine(&terms.iter().map(|(factor, state)| (*factor, &state[i])).collect::<Vec<_>>());
    (0..terms[0].1.len()).map(part).collect()
}

/// The method of Dormand and Prince of order 5, which chooses its steps (Hairer, Nørsett and Wanner, II.4): the error of a
/// step, over `atol` + `rtol`·max(|y0|, |y1|) and as the root of the mean square over the whole state, must not exceed 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dopri5 {
    /// Absolute tolerance.
    pub atol: f64,
    /// Relative tolerance.
    pub rtol: f64,
}

/// Shampine's version of the tableau.
const ALPHA: [f64; 6] = [1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0];
const BETA: [&[f64]; 6] = [
    &[1.0 / 5.0],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
    &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];
/// The fifth-order solution minus the fourth-order one.
const ERROR: [f64; 7] = [
    35.0 / 384.0 - 1951.0 / 21600.0,
    0.0,
    500.0 / 1113.0 - 22642.0 / 50085.0,
    125.0 / 192.0 - 451.0 / 720.0,
    -2187.0 / 6784.0 + 12231.0 / 42400.0,
    11.0 / 84.0 - 649.0 / 6300.0,
    -1.0 / 60.0,
];
/// The solution in the middle of a step, for interpolation.
const MIDDLE: [f64; 7] = [
    6025192743.0 / 30085553152.0 / 2.0,
    0.0,
    51252292925.0 / 65400821598.0 / 2.0,
    -2691868925.0 / 45128329728.0 / 2.0,
    187940372067.0 / 1594534317056.0 / 2.0,
    -1776094331.0 / 19743644256.0 / 2.0,
    11237099.0 / 235043384.0 / 2.0,
];

/// The controller: a step's length is multiplied by 0.9·error^−⅕, between these (and not shortened after a step that
/// was good enough).
const SAFETY: f64 = 0.9;
const SHORTEN: f64 = 0.2;
const LENGTHEN: f64 = 10.0;

/// A step that was taken: enough to interpolate within it.
struct Taken {
    t0: f64,
    t1: f64,
    y0: State,
    y1: State,
    /// The derivatives at the seven stages; the last is the next step's first.
    k: Vec<State>,
}

impl Dopri5 {
    /// Runs from the first to the last time of `grid`; `observe` sees the state at each of its times, interpolated. The
    /// steps do not depend on the times in between.
    pub fn solve(
        self,
        f: &mut Field,
        grid: &[f32],
        y: State,
        observe: &mut dyn FnMut(usize, &State) -> Result<()>,
    ) -> Result<State> {
        observe(0, &y)?;
        let start = f64::from(grid[0]);
        let f0 = f(grid[0], &y)?;
        let mut dt = self.first_step(f, start, &y, &f0)?;
        let mut at = Taken { t0: start, t1: start, y0: y.clone(), y1: y.clone(), k: vec![f0] };
        let mut state = y;
        for (i, &time) in grid.iter().enumerate().skip(1) {
            while f64::from(time) > at.t1 {
                let (taken, next) = self.step(f, &at, dt)?;
                (at, dt) = (taken.unwrap_or(at), next);
            }
            state = at.interpolate(f64::from(time))?;
            observe(i, &state)?;
        }
        Ok(state)
    }

    /// One attempt from the end of `at`: the step, where its error was small enough, and the length of the next.
    fn step(self, f: &mut Field, at: &Taken, dt: f64) -> Result<(Option<Taken>, f64)> {
        let (t0, y0) = (at.t1, &at.y1);
        if t0 + dt <= t0 || !dt.is_finite() {
            return Err(Error::NonFinite(format!("dopri5 cannot go on from t = {t0}: its step became {dt}")));
        }
        // States and stages are f32, and so are the times that the model sees; the clock is f64.
        let (start, step, end) = (t0 as f32, dt as f32, (t0 + dt) as f32);
        let mut k = vec![at.k.last().expect("seven stages, or the first").clone()];
        let mut y1 = y0.clone();
        for (alpha, beta) in ALPHA.iter().zip(BETA) {
            let time = if *alpha == 1.0 { end } else { start + *alpha as f32 * step };
            y1 = stage(Some(y0), &k, beta, step)?;
            k.push(f(time, &y1)?);
        }
        // The last stage is the solution itself, and its derivative the next step's first.
        let error = self.norm(&stage(None, &k, &ERROR, step)?, y0, Some(&y1))?;
        let shorten = if error < 1.0 { 1.0 } else { SHORTEN };
        let factor = if error == 0.0 { LENGTHEN } else { (SAFETY / error.powf(0.2)).max(shorten).min(LENGTHEN) };
        let taken = (error <= 1.0).then(|| Taken { t0, t1: t0 + dt, y0: y0.clone(), y1, k });
        Ok((taken, dt * factor))
    }

    /// The length of the first step (Hairer, Nørsett and Wanner, II.4): one evaluation more.
    fn first_step(self, f: &mut Field, t0: f64, y0: &State, f0: &State) -> Result<f64> {
        let (d0, d1) = (self.norm(y0, y0, None)?, self.norm(f0, y0, None)?);
        let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
        let f1 = f((t0 + h0) as f32, &sum(&[(1.0, y0), (h0 as f32, f0)])?)?;
        let d2 = self.norm(&sum(&[(1.0, &f1), (-1.0, f0)])?, y0, None)? / h0;
        let h1 = match d1 <= 1e-15 && d2 <= 1e-15 {
            true => (1e-3 * h0).max(1e-6),
            false => (0.01 / d1.max(d2)).powf(0.2),
        };
        Ok(h1.min(100.0 * h0))
    }

    /// The root mean square of x / (atol + rtol·max(|a|, |b|)), over the whole state and in f64.
    fn norm(self, x: &State, a: &State, b: Option<&State>) -> Result<f64> {
        let (mut squares, mut count) = (0.0, 0);
        for (i, x) in x.iter().enumerate() {
            let (x, a) = (x.to_vec()?, a[i].to_vec()?);
            let b = b.map(|b| b[i].to_vec()).transpose()?;
            count += x.len();
            for (j, (&x, &a)) in x.iter().zip(&a).enumerate() {
                let largest = b.as_ref().map_or(a.abs(), |b| a.abs().max(b[j].abs()));
                squares += (f64::from(x) / (self.atol + self.rtol * f64::from(largest))).powi(2);
            }
        }
        Ok((squares / count as f64).sqrt())
    }
}

/// y0 (where there is one) + Σ dt·factor·k over the factors that are not 0.
fn stage(y0: Option<&State>, k: &[State], factors: &[f64], dt: f32) -> Result<State> {
    let stages = k.iter().zip(factors).filter(|(_, factor)| **factor != 0.0);
    let terms: Vec<_> =
        y0.map(|y0| (1.0, y0)).into_iter().chain(stages.map(|(k, &factor)| (factor as f32 * dt, k))).collect();
    sum(&terms)
}

impl Taken {
    /// The quartic through both ends, their derivatives and the middle.
    fn interpolate(&self, t: f64) -> Result<State> {
        if t >= self.t1 {
            return Ok(self.y1.clone());
        }
        let dt = self.t1 - self.t0;
        let middle = stage(Some(&self.y0), &self.k, &MIDDLE, dt as f32)?;
        let x = (t - self.t0) / dt;
        let [x2, x3, x4] = [2, 3, 4].map(|power| x.powi(power));
        let of_y0 = 1.0 - 11.0 * x2 + 18.0 * x3 - 8.0 * x4;
        let of_y1 = -5.0 * x2 + 14.0 * x3 - 8.0 * x4;
        let of_middle = 16.0 * x2 - 32.0 * x3 + 16.0 * x4;
        let of_f0 = dt * (x - 4.0 * x2 + 5.0 * x3 - 2.0 * x4);
        let of_f1 = dt * (x2 - 3.0 * x3 + 2.0 * x4);
        let (f0, f1) = (&self.k[0], self.k.last().expect("seven stages"));
        sum(&[
            (of_y0 as f32, &self.y0),
            (of_y1 as f32, &self.y1),
            (of_middle as f32, &middle),
            (of_f0 as f32, f0),
            (of_f1 as f32, f1),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    type Method<'a> = dyn Fn(&mut Field, &[f32], State) -> Result<State> + 'a;

    /// y′ = −y + t from y(0) = 1, of which the solution is 2e^−t + t − 1.
    fn solve(points: usize, method: &Method<'_>) -> (f64, usize) {
        let device = Device::cpu_poisoned();
        let mut evaluations = 0;
        let ones = Tensor::from_slice(&device, &[1], &[1.0]).unwrap();
        let mut field = |t: f32, y: &State| {
            evaluations += 1;
            sum(&[(-1.0, y), (t, &vec![ones.clone()])])
        };
        let grid: Vec<f32> = (0..points).map(|i| i as f32 / (points - 1) as f32).collect();
        let y = method(&mut field, &grid, vec![ones.clone()]).unwrap();
        let exact = 2.0 * (-1f64).exp();
        ((f64::from(y[0].to_scalar().unwrap()) - exact).abs(), evaluations)
    }

    #[test]
    fn fixed_methods_have_their_order_and_evaluations() {
        let methods =
            [(FixedMethod::Euler, 1), (FixedMethod::Heun, 2), (FixedMethod::Midpoint, 2), (FixedMethod::Rk4, 4)];
        for (method, order) in methods {
            let error = |points| solve(points, &|f, grid, y| method.solve(f, grid, y, &mut |_, _| Ok(())));
            let ((coarse, count), (fine, _)) = (error(5), error(9));
            assert_eq!(count, 4 * order, "{method:?}");
            // Half the step, an error 2^order times smaller.
            let ratio = coarse / fine;
            let expected = 2f64.powi(order as i32);
            assert!(ratio > 0.75 * expected && ratio < 1.4 * expected, "{method:?}: {coarse:e} to {fine:e}");
        }
    }

    #[test]
    fn dopri5_keeps_its_tolerance_wherever_it_is_looked_at() {
        let mut seen = vec![];
        let dopri5 = Dopri5 { atol: 1e-6, rtol: 1e-6 };
        let (error, evaluations) = solve(11, &|f, grid, y| dopri5.solve(f, grid, y, &mut |_, _| Ok(())));
        assert!(error < 1e-5 && evaluations < 60, "{error:e}, {evaluations} evaluations");
        let device = Device::cpu_poisoned();
        let mut field = |t: f32, y: &State| {
            let ones = vec![Tensor::from_slice(&device, &[1], &[1.0])?];
            sum(&[(-1.0, y), (t, &ones)])
        };
        let grid: Vec<f32> = (0..8).map(|i| i as f32 / 7.0).collect();
        let start = vec![Tensor::from_slice(&device, &[1], &[1.0]).unwrap()];
        let mut observe = |i: usize, y: &State| {
            seen.push((i, y[0].to_scalar()?));
            Ok(())
        };
        dopri5.solve(&mut field, &grid, start, &mut observe).unwrap();
        assert_eq!(seen.len(), 8);
        for (i, y) in seen {
            let t = f64::from(grid[i]);
            assert!((f64::from(y) - (2.0 * (-t).exp() + t - 1.0)).abs() < 1e-5, "at {t}");
        }
    }

    #[test]
    fn dopri5_says_where_it_gives_up() {
        let device = Device::cpu_poisoned();
        let mut field = |_: f32, _: &State| Ok(vec![Tensor::from_slice(&device, &[1], &[f32::NAN])?]);
        let start = vec![Tensor::from_slice(&device, &[1], &[1.0]).unwrap()];
        let solved = Dopri5 { atol: 1e-6, rtol: 1e-3 }.solve(&mut field, &[0.0, 1.0], start, &mut |_, _| Ok(()));
        assert!(solved.unwrap_err().to_string().contains("t = 0"));
    }
}
