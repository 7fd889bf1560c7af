//! One row of an op's case table: drives the oracle test, the gradient check and the benchmark.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::random;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// Applies an op on a tape to a case's inputs and gives its outputs.
pub type Run = Box<dyn Fn(&Tape, &[Var]) -> Result<Vec<Var>> + Send + Sync>;

/// An op with settings and shapes.
pub struct Case {
    /// The name of the oracle function that defines the op in f64.
    pub op: &'static str,
    /// What is particular about this case.
    pub label: &'static str,
    /// The inputs, in the op's order.
    pub inputs: Vec<Input>,
    /// The op's settings by name, for the oracle.
    pub settings: Vec<(&'static str, f64)>,
    /// Applies the op on a tape.
    pub run: Run,
    /// How far from the oracle the results may be.
    pub tolerance: Tolerance,
    /// Floating-point operations of the forward.
    pub flops: u64,
    /// The least bytes the forward must move (f32).
    pub bytes: u64,
    /// Large shapes for benchmarks only; the others are for tests.
    pub bench: bool,
}

impl Case {
    /// The same case, with the gradient of input `i` not asked for.
    pub(super) fn constant(mut self, i: usize) -> Case {
        self.inputs[i].differentiable = false;
        self
    }

    /// The inputs' values, the same for the same seed on every device.
    pub fn draw(&self, device: &Device, seed: u64) -> Result<Vec<Tensor>> {
        self.inputs.iter().map(|input| input.draw(device, seed)).collect()
    }

    /// An upstream gradient for an output of this shape.
    pub fn upstream(&self, device: &Device, shape: &[usize]) -> Result<Tensor> {
        random::normal(device, shape, 1, random::stream("upstream"))
    }
}

/// One input of a case.
pub struct Input {
    /// The name of the tensor.
    pub name: &'static str,
    /// Its shape; `[0]` is an optional input that is absent.
    pub shape: Vec<usize>,
    /// Where its values come from.
    pub values: Values,
    /// Whether its gradient is checked.
    pub differentiable: bool,
    /// Whether it stays f32 where the op runs in bf16: vectors of parameters.
    pub keeps_f32: bool,
}

/// How the values of an input are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values {
    /// Normal with this mean and standard deviation.
    Normal(f32, f32),
    /// Uniform between the two.
    Uniform(f32, f32),
    /// Integers below the bound (a `U32` tensor).
    Below(u32),
}

/// The largest allowed difference from the f64 oracle, relative to the largest reference value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Of outputs.
    pub forward: f64,
    /// Of directional derivatives.
    pub backward: f64,
    /// How many tensors on the way from inputs to results bf16 rounds, the results among them: each may err by half a unit more.
    pub roundings: u32,
    /// Why these numbers.
    pub why: &'static str,
}

impl Tolerance {
    /// Element-wise f32 arithmetic: a few roundings of 2⁻²⁴ each.
    pub const ELEMENTWISE: Tolerance = Tolerance {
        forward: 1e-6,
        backward: 1e-5,
        roundings: 1,
        why: "a few f32 roundings (6e-8 each) per element; a directional derivative sums thousands of them",
    };
    /// Sums of up to some thousand products in f32.
    pub const REDUCTION: Tolerance = Tolerance {
        forward: 5e-6,
        backward: 2e-5,
        roundings: 1,
        why: "f32 sums of n terms err like sqrt(n) · 6e-8 relative to the largest result",
    };
}

impl Input {
    /// A differentiable input of standard normal values.
    pub fn normal(name: &'static str, shape: &[usize]) -> Input {
        Input { name, shape: shape.to_vec(), values: Values::Normal(0.0, 1.0), differentiable: true, keeps_f32: false }
    }

    fn draw(&self, device: &Device, seed: u64) -> Result<Tensor> {
        let stream = random::stream(self.name);
        match self.values {
            Values::Uniform(low, high) => random::uniform(device, &self.shape, seed, stream, low, high),
            Values::Normal(mean, deviation) => {
                let values = random::normal(device, &self.shape, seed, stream)?.to_vec()?;
                let values: Vec<f32> = values.iter().map(|v| mean + deviation * v).collect();
                Tensor::from_slice(device, &self.shape, &values)
            }
            Values::Below(bound) => {
                let values = random::uniform(device, &self.shape, seed, stream, 0.0, bound as f32)?.to_vec()?;
                let values: Vec<u32> = values.iter().map(|&v| (v as u32).min(bound - 1)).collect();
                Tensor::from_u32(device, &self.shape, &values)
            }
        }
    }

    /// An optional input that is left out.
    pub fn absent(name: &'static str) -> Input {
        Input { name, shape: vec![0], values: Values::Normal(0.0, 1.0), differentiable: false, keeps_f32: true }
    }

    /// The same input with other values.
    pub fn values(self, values: Values) -> Input {
        Input { values, ..self }
    }

    /// The same input, f32 also where the op runs in bf16.
    pub fn f32(self) -> Input {
        Input { keeps_f32: true, ..self }
    }

    /// The same input's tensor as an op that runs in `dtype` takes it.
    pub fn as_taken(&self, tensor: Tensor, dtype: DType) -> Result<Tensor> {
        match self.values {
            Values::Below(_) => Ok(tensor),
            _ if self.keeps_f32 => Ok(tensor),
            _ => tensor.to_dtype(dtype),
        }
    }

    /// The same input, without a gradient.
    pub fn constant(self) -> Input {
        Input { differentiable: false, ..self }
    }
}
