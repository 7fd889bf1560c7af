//! Paths, conversions, the losses of every prediction and weighting, time grids, and the distribution of times.

use crate::support::compare::{Tolerance, compare};
use crate::support::golden::{self, Golden};
use anyhow::{Context, Result, ensure};
use vf_engine::device::Device;
use vf_engine::dit::sampler::time_grid;
use vf_engine::dit::times::TimeDistribution;
use vf_engine::dit::transport::{Blend, LossWeight, Path, Prediction, Transport};
use vf_engine::ops::combine::combine;
use vf_engine::ops::interpolate::Interpolate;
use vf_engine::ops::velocity_loss::VelocityLoss;
use vf_engine::tape::Tape;
use vf_engine::tensor::Tensor;

const PATHS: [(&str, &str, Path); 3] =
    [("linear", "Linear", Path::Linear), ("gvp", "GVP", Path::Gvp), ("vp", "VP", Path::Vp)];

type Report = Vec<(String, f64)>;

struct Bench<'a> {
    set: &'a Golden,
    device: Device,
    report: Report,
}

impl Bench<'_> {
    fn tensor(&self, name: &str) -> Result<Tensor> {
        let golden = self.set.tensor(name)?;
        Ok(Tensor::from_slice(&self.device, &golden.shape, &golden.data)?)
    }

    fn check(&mut self, name: &str, shape: &[usize], actual: &[f32]) -> Result<()> {
        self.report.push((name.to_owned(), self.set.check(name, shape, actual)?));
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.set.stored(name).is_ok()
    }
}

pub fn check(set: &Golden) -> Result<Report> {
    let mut bench = Bench { set, device: golden::device()?, report: vec![] };
    for (name, _, path) in PATHS {
        check_path(&mut bench, name, path).with_context(|| name.to_owned())?;
    }
    check_losses(&mut bench)?;
    check_grids(&mut bench)?;
    check_times(&mut bench)?;
    Ok(bench.report)
}

/// A name, what the model gives, and the blend of it and x.
type Blending<'a> = (&'a str, &'a Tensor, &'a dyn Fn(f64) -> Blend);

fn check_path(bench: &mut Bench, name: &str, path: Path) -> Result<()> {
    let times = bench.set.stored("t")?.data.clone();
    let count = times.len();
    let each = |f: &dyn Fn(f64) -> f64| times.iter().map(|&t| f(f64::from(t)) as f32).collect::<Vec<_>>();
    bench.check(&format!("{name}.alpha"), &[count], &each(&|t| path.at(t).alpha))?;
    bench.check(&format!("{name}.sigma"), &[count], &each(&|t| path.at(t).sigma))?;
    bench.check(&format!("{name}.d_alpha"), &[count], &each(&|t| path.at(t).d_alpha))?;
    bench.check(&format!("{name}.d_sigma"), &[count], &each(&|t| path.at(t).d_sigma))?;
    bench.check(&format!("{name}.diffusion"), &[count], &each(&|t| path.drift(t).1))?;

    for suffix in ["", "_edge"] {
        if bench.has(&format!("{name}.xt{suffix}")) {
            let times = bench.set.stored(&format!("t{suffix}"))?.data.clone();
            check_point(bench, path, &times, [&format!("{name}.xt{suffix}"), &format!("{name}.ut{suffix}")])?;
        }
    }

    let (xt, velocity, score) = (bench.tensor(&format!("{name}.xt"))?, bench.tensor("vel")?, bench.tensor("score")?);
    let blends: [Blending<'_>; 4] = [
        ("drift", &velocity, &|t| Blend { of_x: path.drift(t).0, of_output: 0.0 }),
        ("score_from_vel", &velocity, &|t| path.score_from_velocity(t)),
        ("noise_from_vel", &velocity, &|t| path.noise_from_velocity(t)),
        ("vel_from_score", &score, &|t| path.velocity_from_score(t)),
    ];
    for (what, output, blend) in blends {
        let blended = blended(bench, &times, &xt, output, blend)?;
        bench.check(&format!("{name}.{what}"), xt.shape(), &blended)?;
    }
    Ok(())
}

/// x_t and the velocity there, as training makes them.
fn check_point(bench: &mut Bench, path: Path, times: &[f32], [xt_name, ut_name]: [&str; 2]) -> Result<()> {
    let transport = Transport { path, ..Transport::lightning() };
    let point = transport.point(&bench.device, times)?;
    let tape = Tape::inference(&bench.device);
    let inputs = [bench.tensor("x0")?, bench.tensor("x1")?, point.coefficients].map(|tensor| tape.constant(tensor));
    let [xt, ut] = tape.apply(Interpolate, inputs.each_ref())?;
    bench.check(xt_name, xt.shape(), &xt.value().to_vec()?)?;
    bench.check(ut_name, ut.shape(), &ut.value().to_vec()?)
}

/// Sample by sample, since each has its own time.
fn blended(
    bench: &Bench,
    times: &[f32],
    x: &Tensor,
    output: &Tensor,
    blend: &dyn Fn(f64) -> Blend,
) -> Result<Vec<f32>> {
    let (x, output) = (x.to_vec()?, output.to_vec()?);
    let count = x.len() / times.len();
    let mut all = vec![];
    for (&t, (x, output)) in times.iter().zip(x.chunks_exact(count).zip(output.chunks_exact(count))) {
        let Blend { of_x, of_output } = blend(f64::from(t));
        let [x, output] = [x, output].map(|values| Tensor::from_slice(&bench.device, &[count], values));
        all.extend(combine(&[(of_x as f32, &x?), (of_output as f32, &output?)])?.to_vec()?);
    }
    Ok(all)
}

/// `loss.<path>.<prediction>.<weight>`, with `vel` as the model's output.
fn check_losses(bench: &mut Bench) -> Result<()> {
    let times = bench.set.stored("t")?.data.clone();
    let predictions = [("velocity", Prediction::Velocity), ("noise", Prediction::Noise), ("score", Prediction::Score)];
    let weights =
        [("none", LossWeight::None), ("velocity", LossWeight::Velocity), ("likelihood", LossWeight::Likelihood)];
    let mut checked = 0;
    for (_, path_name, path) in PATHS {
        for (prediction_name, prediction) in predictions {
            for (weight_name, loss_weight) in weights {
                let name = format!("loss.{path_name}.{prediction_name}.{weight_name}");
                if !bench.has(&name) {
                    continue;
                }
                let transport = Transport { path, prediction, loss_weight, ..Transport::lightning() };
                let point = transport.point(&bench.device, &times)?;
                let tape = Tape::inference(&bench.device);
                let constant = |tensor: Tensor| tape.constant(tensor);
                let noise_and_data = [constant(bench.tensor("x0")?), constant(bench.tensor("x1")?)];
                let coefficients = constant(point.coefficients);
                let [_, target] = tape.apply(Interpolate, [&noise_and_data[0], &noise_and_data[1], &coefficients])?;
                let inputs = [constant(bench.tensor("vel")?), target, constant(point.weight)];
                let [mse, cos] = tape.apply(VelocityLoss, inputs.each_ref())?;
                bench.check(&name, mse.shape(), &mse.value().to_vec()?)?;
                let direction = format!("{name}.cos");
                if bench.has(&direction) {
                    ensure!(transport.has_cosine_loss(), "{direction}: no direction in this loss");
                    bench.check(&direction, cos.shape(), &cos.value().to_vec()?)?;
                }
                checked += 1;
            }
        }
    }
    let listed = bench.set.names().filter(|name| name.starts_with("loss.") && !name.ends_with(".cos")).count();
    ensure!(checked == listed, "{checked} losses of {listed} are known");
    let interval = |path, prediction| Transport { path, prediction, ..Transport::lightning() }.train_interval();
    let defaults = &bench.set.metadata["default_eps_behaviour"];
    for (key, path, prediction) in [
        ("VP/velocity", Path::Vp, Prediction::Velocity),
        ("Linear/noise", Path::Linear, Prediction::Noise),
        ("GVP/score", Path::Gvp, Prediction::Score),
    ] {
        let expected = [0, 1].map(|i| defaults[key]["train_interval"][i].as_f64());
        ensure!(interval(path, prediction).map(Some) == expected, "{key}: another interval than {expected:?}");
    }
    Ok(())
}

/// `grid.n<steps>.shift<shift>`.
fn check_grids(bench: &mut Bench) -> Result<()> {
    for name in bench.set.names().filter(|name| name.starts_with("grid.")).map(str::to_owned).collect::<Vec<_>>() {
        let parts = name.strip_prefix("grid.n").and_then(|rest| rest.split_once(".shift"));
        let (steps, shift) = parts.with_context(|| format!("{name}: expected grid.n<steps>.shift<shift>"))?;
        let grid = time_grid([0.0, 1.0], steps.parse()?, shift.parse()?);
        bench.check(&name, &[grid.len()], &grid)?;
    }
    Ok(())
}

/// The logistic itself, and quantiles of many times.
fn check_times(bench: &mut Bench) -> Result<()> {
    let (shares, quantiles) = (bench.set.stored("t_theory_q")?.clone(), bench.set.stored("t_theory_v")?.clone());
    let count = 1_000_000;
    let mut times = TimeDistribution::logit_normal(0.0, 1.0).draw([0.0, 1.0], count, 11, 3);
    times.sort_by(f32::total_cmp);
    let mean = |times: &[f32]| times.iter().map(|&t| f64::from(t)).sum::<f64>() / count as f64;
    for (&share, &expected) in shares.data.iter().zip(&quantiles.data) {
        let (q, t) = (f64::from(share), f64::from(expected));
        // The density at the quantile gives its standard error, √(q(1 − q)/n)/density.
        let z = (t / (1.0 - t)).ln();
        let density = (-0.5 * z * z).exp() / (std::f64::consts::TAU.sqrt() * t * (1.0 - t));
        let error = (q * (1.0 - q) / count as f64).sqrt() / density;
        let actual = times[(q * count as f64) as usize];
        let tolerance = Tolerance { absolute: 5.0 * error };
        let share = compare(&[actual], &[expected], tolerance).with_context(|| format!("quantile {q} of the times"))?;
        bench.report.push((format!("t_theory_v at {q}"), share));
    }
    let shifted = TimeDistribution::logit_normal(0.5, 1.0).draw([0.0, 1.0], count, 11, 4);
    let expected = bench.set.metadata["logit_normal"]["shifted_mu_0.5"]["mean"].as_f64().context("no shifted mean")?;
    // Both means are of random times: 10⁶ and 2·10⁶ of a standard deviation of 0.2.
    ensure!((mean(&shifted) - expected).abs() < 5.0 * 0.2 * (1.5e-6f64).sqrt(), "mean {}", mean(&shifted));
    let (inputs, outputs) = (bench.set.stored("logit_in")?.clone(), bench.set.stored("logit_out")?.clone());
    for (&mu, &t) in inputs.data.iter().zip(&outputs.data) {
        // With no spread every time is the logistic of the mean.
        let drawn = TimeDistribution::logit_normal(f64::from(mu), 0.0).draw([0.0, 1.0], 1, 0, 0);
        compare(&drawn, &[t], Tolerance::new(None, 1.0)).context("logit_out")?;
    }
    Ok(())
}
