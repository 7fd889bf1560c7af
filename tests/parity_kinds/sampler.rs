//! Solvers with and without guidance, over the small model of `dit_base`: final samples, trajectories, time grids and
//! numbers of evaluations.

use super::dit::{Bench, shape};
use crate::support::golden::Golden;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use vf_engine::dit::guidance::{Guidance, Guided};
use vf_engine::dit::sampler::{Method, Sampler, time_grid};
use vf_engine::dit::solver::{Dopri5, FixedMethod};
use vf_engine::tensor::Tensor;

type Report = Vec<(String, f64)>;

pub fn check(set: &Golden) -> Result<Report> {
    let model_file = set.metadata["model_file"].as_str().context("no model_file")?;
    let weights = Golden::open(&set.path.with_file_name(model_file))?;
    let bench = Bench::new(&weights, shape(&set.metadata["config"])?)?;
    let runner = Runner { set, bench: &bench };
    let mut report = Vec::new();
    let runs = set.metadata["runs"].as_object().context("`runs` is no table")?;
    for (name, run) in runs {
        runner.check_run(name, run, &mut report).with_context(|| name.clone())?;
    }
    runner.check_evaluations(&mut report)?;
    Ok(report)
}

struct Runner<'a> {
    set: &'a Golden,
    /// The model, of the other set.
    bench: &'a Bench<'a>,
}

impl Runner<'_> {
    fn number(&self, key: &str) -> Result<f64> {
        self.set.metadata[key].as_f64().with_context(|| format!("no {key}"))
    }

    fn guidance(&self) -> Result<Guidance> {
        Ok(Guidance {
            scale: self.number("cfg_scale")? as f32,
            channels: Some(3),
            interval_start: self.number("cfg_interval_start")? as f32,
        })
    }

    fn labels(&self) -> Result<Vec<u32>> {
        Ok(self.set.integers("y")?.1.iter().map(|&label| label as u32).collect())
    }

    fn noise(&self) -> Result<Tensor> {
        let noise = self.set.tensor("z")?;
        Ok(Tensor::from_slice(&self.bench.device, &noise.shape, &noise.data)?)
    }

    fn check_run(&self, name: &str, run: &Value, report: &mut Report) -> Result<()> {
        let number = |key: &str| run[key].as_f64().with_context(|| format!("no {key}"));
        let method = match run["method"].as_str().context("no method")? {
            "euler" => Method::Fixed(FixedMethod::Euler),
            "heun2" => Method::Fixed(FixedMethod::Heun),
            "midpoint" => Method::Fixed(FixedMethod::Midpoint),
            "rk4" => Method::Fixed(FixedMethod::Rk4),
            "dopri5" => Method::Dopri5(Dopri5 { atol: number("atol")?, rtol: number("rtol")? }),
            other => bail!("no method {other} is known"),
        };
        let guided = run["cfg"].as_bool().context("no cfg")?;
        let sampler = Sampler {
            method,
            points: number("num_steps")? as usize,
            shift: number("timestep_shift")?,
            guidance: guided.then(|| self.guidance()).transpose()?,
            ..Sampler::lightning()
        };
        let grid = time_grid([0.0, 1.0], sampler.points, sampler.shift);
        let mut check = |name: String, shape: &[usize], values: &[f32]| -> Result<()> {
            report.push((name.clone(), self.set.check(&name, shape, values)?));
            Ok(())
        };
        check(format!("{name}.t"), &[grid.len()], &grid)?;

        let mut states = vec![];
        let mut observe = |_: usize, x: &Tensor| {
            states.push(x.to_vec()?);
            Ok(())
        };
        let (labels, noise) = (self.labels()?, self.noise()?);
        let (model, params) = (&self.bench.model, &self.bench.params);
        let sampled = sampler.sample_from(model, params, noise, &labels, &[], &mut observe)?;
        check(name.to_owned(), sampled.latents.shape(), &sampled.latents.to_vec()?)?;
        ensure!(states.len() == grid.len(), "{} states of {} times", states.len(), grid.len());
        if let Ok(trajectory) = self.set.stored(&format!("{name}.traj")) {
            let share = self.check_trajectory(name, trajectory, &states)?;
            report.push((format!("{name}.traj"), share));
        }

        let evaluations = sampled.evaluations;
        let expected = run["nfe"].as_u64().context("no nfe")?;
        // The tolerance of the tight run is that of its rounding: f32 and f64 take other steps in the reference itself.
        let settled = self.set.metadata["nfe_f64"][name].as_u64() == Some(expected);
        ensure!(!settled || evaluations.times == expected, "{} evaluations, golden {expected}", evaluations.times);
        ensure!(evaluations.conditional == evaluations.times, "{evaluations:?}");
        if let (true, Method::Fixed(FixedMethod::Euler)) = (guided, method) {
            let needed = grid[..grid.len() - 1].iter().filter(|&&t| t >= self.guidance().unwrap().interval_start);
            ensure!(evaluations.unconditional == needed.count() as u64, "{evaluations:?}");
            ensure!(evaluations.unconditional < evaluations.times, "the skipped half was not skipped: {evaluations:?}");
        }
        Ok(())
    }

    /// The reference's states are of a doubled batch, of which the second half reaches no image.
    fn check_trajectory(
        &self,
        name: &str,
        trajectory: &crate::support::tensor::Tensor,
        states: &[Vec<f32>],
    ) -> Result<f64> {
        let [points, doubled, channels, height, width] = trajectory.shape[..] else { bail!("a trajectory of 5 axes") };
        ensure!(points == states.len(), "{} states, golden {points}", states.len());
        let tolerance = self.set.tolerance(&format!("{name}.traj"))?;
        let per_state = trajectory.data.len() / points;
        let mut worst: f64 = 0.0;
        for (state, golden) in states.iter().zip(trajectory.data.chunks_exact(per_state)) {
            let shape = vec![doubled, channels, height, width];
            let golden = crate::support::tensor::Tensor { shape, data: golden.to_vec() }.channels_last();
            worst = worst.max(crate::support::compare::compare(state, &golden.data[..state.len()], tolerance)?);
        }
        Ok(worst)
    }

    /// One evaluation on either side of the interval's start, both halves; and without an interval.
    fn check_evaluations(&self, report: &mut Report) -> Result<()> {
        let guidance = self.guidance()?;
        let (below, above) = (guidance.interval_start - 0.01, guidance.interval_start + 0.01);
        let everywhere = Guidance { interval_start: 0.0, ..guidance };
        let cases = [
            ("cfg_eval_lo", below, guidance),
            ("cfg_eval_hi", above, guidance),
            ("cfg_eval_nointerval", below, everywhere),
        ];
        for (name, t, guidance) in cases {
            let (model, params) = (&self.bench.model, &self.bench.params);
            let mut guided = Guided::new(model, params, &self.labels()?, Some(guidance))?;
            let noise = self.noise()?;
            let halves = guided.both_outputs(t, &noise)?;
            let mut values = vec![];
            for half in &halves {
                values.extend(half.to_vec()?);
            }
            let mut doubled = noise.shape().to_vec();
            doubled[0] *= 2;
            report.push((name.to_owned(), self.set.check(name, &doubled, &values)?));
            let first = Guided::new(model, params, &self.labels()?, Some(guidance))?.output(t, &noise)?;
            ensure!(first.to_vec()? == halves[0].to_vec()?, "{name}: the first half alone is another");
        }
        Ok(())
    }
}
