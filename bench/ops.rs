//! Single operations on the CPU device with the shapes of `bench/peers/ops.py`, its peer.
//!
//!     cargo bench --bench ops [-- FILTER]
//!
//! Prints a line of JSON for every operation, shape and part (`fwd`, `fwd+bwd`, `step`): the median seconds over about
//! half a second, allocation of outputs included.

use std::time::Instant;

use serde_json::json;
use vf_engine::Device;
use vf_engine::device::cpu::peak::fma_gflops;
use vf_engine::error::Result;
use vf_engine::nn::{Fill, Init, ParamGradients, Parameters};
use vf_engine::ops::attention::Attention;
use vf_engine::ops::conv2d::{Conv2d, Padding};
use vf_engine::ops::group_norm::GroupNorm;
use vf_engine::ops::layer_norm::LayerNorm;
use vf_engine::ops::linear::Linear;
use vf_engine::ops::rms_norm::RmsNorm;
use vf_engine::ops::swiglu::SwiGlu;
use vf_engine::ops::vf_loss::VfLoss;
use vf_engine::optim::{Adam, AdamSettings};
use vf_engine::random;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

const SECONDS: f64 = 0.5;

struct Bench {
    device: Device,
    filter: String,
}

/// An input of an op: its shape and whether its gradient is wanted.
enum Of<'a> {
    Leaf(&'a [usize]),
    Constant(&'a [usize]),
    Absent,
}
use Of::{Absent, Constant, Leaf};

impl Bench {
    fn run(
        &self,
        op: &str,
        shape: &[usize],
        inputs: &[Of],
        apply: impl Fn(&Tape, &[Var]) -> Result<Vec<Var>>,
    ) -> Result<()> {
        if !op.contains(&self.filter) {
            return Ok(());
        }
        let draw = |(i, of): (usize, &Of)| match of {
            Leaf(shape) | Constant(shape) => random::normal(&self.device, shape, 0, i as u64),
            Absent => Tensor::absent(&self.device),
        };
        let tensors = inputs.iter().enumerate().map(draw).collect::<Result<Vec<_>>>()?;
        let forward = |tape: &Tape| {
            let var = |(tensor, of): (&Tensor, &Of)| match of {
                Leaf(_) => tape.leaf(tensor.clone()),
                _ => tape.constant(tensor.clone()),
            };
            let vars: Vec<Var> = tensors.iter().zip(inputs).map(var).collect();
            let outputs = apply(tape, &vars)?;
            Ok((vars, outputs))
        };
        let seconds = median(|| forward(&Tape::inference(&self.device)).map(drop))?;
        report(op, shape, "fwd", seconds);
        let (_, outputs) = forward(&Tape::inference(&self.device))?;
        let upstream =
            outputs.iter().map(|y| random::normal(&self.device, y.shape(), 1, 0)).collect::<Result<Vec<_>>>()?;
        let seconds = median(|| {
            let tape = Tape::new(&self.device);
            let (vars, outputs) = forward(&tape)?;
            let seeds: Vec<_> = outputs.iter().zip(upstream.iter().cloned()).collect();
            let wanted: Vec<_> = vars.iter().filter(|var| var.requires_grad()).collect();
            tape.backward(&seeds, &wanted).map(drop)
        })?;
        report(op, shape, "fwd+bwd", seconds);
        Ok(())
    }

    fn conv(&self, name: &str, [b, h, w, i, o]: [usize; 5], kernel: usize, op: Conv2d) -> Result<()> {
        let (x, weight) = ([b, h, w, i], [o, kernel, kernel, i]);
        self.run(name, &[b, h, w, i, o], &[Leaf(&x), Leaf(&weight), Leaf(&[o])], move |tape, v| {
            let no_residual = tape.constant(Tensor::absent(tape.device())?);
            Ok(tape.apply(op, [&v[0], &v[1], &v[2], &no_residual])?.into())
        })
    }

    fn adamw_ema(&self, millions: usize) -> Result<()> {
        if !"adamw_ema".contains(&self.filter) {
            return Ok(());
        }
        let mut params = Parameters::new(&self.device);
        let mut gradients = ParamGradients::default();
        for i in 0..millions {
            let id = Init::new(&mut params, 0).tensor(&format!("p{i}"), &[1000, 1000], Fill::Uniform(1.0))?;
            gradients.accumulate(id, random::normal(&self.device, &[1000, 1000], 0, i as u64)?)?;
        }
        let settings = AdamSettings {
            lr: 1e-4,
            betas: (0.9, 0.95),
            eps: 1e-8,
            weight_decay: 0.01,
            decoupled: true,
            ema_decay: Some(0.9999),
            grad_clip: None,
        };
        let mut adam = Adam::new(&params, settings)?;
        let seconds = median(|| adam.update(&mut params, &gradients, 1.0))?;
        report("adamw_ema", &[millions * 1_000_000], "step", seconds);
        Ok(())
    }
}

/// Median seconds of a call, over at least 5 calls and about [`SECONDS`]; the first two do not count.
fn median(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    work()?;
    let (mut times, begin) = (vec![], Instant::now());
    while times.len() < 5 || begin.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn report(op: &str, shape: &[usize], part: &str, seconds: f64) {
    println!("{}", json!({ "op": op, "shape": shape, "part": part, "median_s": seconds }));
}

fn main() -> Result<()> {
    // cargo bench adds flags of its own.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{}", json!({ "op": "fma_peak", "gflops": fma_gflops() }));
    let bench = Bench { device: Device::cpu(), filter };
    let same = Conv2d { stride: 1, padding: Padding::all(1), upsample: false };
    for (b, h, c) in [(4, 96, 32), (2, 128, 64), (2, 64, 64), (1, 64, 128), (1, 32, 256), (1, 16, 512)] {
        bench.conv("conv3x3", [b, h, h, c, c], 3, same)?;
    }
    bench.conv("conv3x3", [1, 32, 32, 128, 256], 3, same)?;
    bench.conv("conv3x3_in3", [2, 128, 128, 3, 64], 3, same)?;
    bench.conv("conv3x3_out3", [2, 128, 128, 64, 3], 3, same)?;
    let halve = Conv2d { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, upsample: false };
    for (b, h, c) in [(2, 128, 64), (1, 64, 128)] {
        bench.conv("conv3x3_s2", [b, h, h, c, c], 3, halve)?;
    }
    let pointwise = Conv2d { stride: 1, padding: Padding::NONE, upsample: false };
    for (b, h, i, o) in [(2, 32, 64, 128), (1, 16, 512, 512)] {
        bench.conv("conv1x1", [b, h, h, i, o], 1, pointwise)?;
    }
    for (b, h, c) in [(2, 64, 64), (1, 32, 128)] {
        bench.conv("conv3x3_upsample", [b, h, h, c, c], 3, Conv2d { upsample: true, ..same })?;
    }
    for (b, h, c) in [(4, 96, 32), (2, 128, 64), (1, 64, 128), (1, 16, 512)] {
        let x = [b, h, h, c];
        bench.run("group_norm_silu", &x, &[Leaf(&x), Leaf(&[c]), Leaf(&[c]), Absent], |tape, v| {
            let op = GroupNorm { groups: 32, eps: 1e-6, silu: true };
            let [y, _] = tape.apply(op, [&v[0], &v[1], &v[2], &v[3]])?;
            Ok(vec![y])
        })?;
    }
    for (b, n, heads, d) in [(2, 256, 12, 64), (2, 256, 16, 72), (2, 256, 1, 512)] {
        let x = [b, n, heads * d];
        bench.run("attention", &[b, n, heads, d], &[Leaf(&x), Leaf(&x), Leaf(&x)], |tape, v| {
            Ok(tape.apply(Attention { heads }, [&v[0], &v[1], &v[2]])?.into())
        })?;
    }
    for (rows, i, o) in [(512, 768, 2304), (512, 768, 768), (512, 1152, 6144), (4096, 64, 64)] {
        bench.run("linear", &[rows, i, o], &[Leaf(&[rows, i]), Leaf(&[o, i]), Leaf(&[o])], |tape, v| {
            Ok(tape.apply(Linear, [&v[0], &v[1], &v[2]])?.into())
        })?;
    }
    for (rows, c) in [(512, 768), (4096, 1152)] {
        bench.run("rms_norm", &[rows, c], &[Leaf(&[1, rows, c]), Leaf(&[c]), Absent, Absent], |tape, v| {
            Ok(tape.apply(RmsNorm { eps: 1e-6 }, [&v[0], &v[1], &v[2], &v[3]])?.into())
        })?;
    }
    for (rows, c) in [(514, 384), (4096, 1152)] {
        let inputs = [Leaf(&[1, rows, c][..]), Leaf(&[c]), Leaf(&[c]), Absent, Absent];
        bench.run("layer_norm", &[rows, c], &inputs, |tape, v| {
            Ok(tape.apply(LayerNorm { eps: 1e-6 }, [&v[0], &v[1], &v[2], &v[3], &v[4]])?.into())
        })?;
    }
    for (rows, hidden) in [(512, 2048), (512, 3072)] {
        bench.run("swiglu", &[rows, 2 * hidden], &[Leaf(&[rows, 2 * hidden])], |tape, v| {
            Ok(tape.apply(SwiGlu, [&v[0]])?.into())
        })?;
    }
    for (b, n, cz, cf) in [(4, 36, 16, 384), (2, 64, 32, 384), (2, 256, 32, 1024)] {
        let inputs = [Leaf(&[b, n, cz][..]), Leaf(&[cf, cz]), Constant(&[b, n, cf])];
        bench.run("vf_loss", &[b, n, cz, cf], &inputs, |tape, v| {
            Ok(tape.apply(VfLoss { cos_margin: 0.5, distmat_margin: 0.25 }, [&v[0], &v[1], &v[2]])?.into())
        })?;
    }
    bench.adamw_ema(40)
}
