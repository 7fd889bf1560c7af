//! y = x·weightᵀ + bias; dx = dy·weight, dweight = dyᵀ·x, dbias = Σ_rows dy. And, for ops that are made of linear layers, the same products with
//! what may follow them while their sums are at hand: [`forward`], [`input_gradient`] and [`weight_gradient`].

mod cases;
mod cpu;
mod tiles;

pub(super) use cases::cases;

use self::tiles::Cut;
use super::{check, grads};
use crate::device::{CudaKernel, Geometry, Kernel, KernelInfo};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Op, only};
use crate::params;
use crate::tensor::Tensor;

/// A linear layer: x (.., I), weight (O, I), bias (O) or absent → (.., O). The bias is f32.
#[derive(Debug, Clone, Copy)]
pub struct Linear;

/// The same, beside another user of x: → y and x itself. Where that takes the second output, the two gradients of x meet in this op's
/// backward, in one pass.
#[derive(Debug, Clone, Copy)]
pub struct LinearResidual;

/// What comes between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by the error function.
    GeluErf,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// silu(a)·b of the two halves a | b of the first layer's outputs.
    SwiGlu,
}

impl Activation {
    const fn kind(self) -> u32 {
        match self {
            Activation::Silu => params::ACTIVATION_SILU,
            Activation::GeluErf => params::ACTIVATION_GELU_ERF,
            Activation::GeluTanh => params::ACTIVATION_GELU_TANH,
            Activation::SwiGlu => params::LINEAR_SWIGLU,
        }
    }

    /// Outputs of the layer before it for each of its own.
    pub(crate) const fn width(self) -> usize {
        match self {
            Activation::SwiGlu => 2,
            _ => 1,
        }
    }
}

const FWD: Kernel<params::LinearFwd, 5, 3> = Kernel {
    name: "linear_fwd",
    reads: ["x", "weight", "bias", "residual", "gate"],
    writes: ["y", "sums", "branch"],
    cpu: cpu::fwd,
    cuda: Some(
        CudaKernel::new("linear", |p: &params::LinearFwd, _| {
            let columns = if p.activation == params::LINEAR_SWIGLU { 2 * p.outputs } else { p.outputs };
            product(Cut { tile: p.tile, bulk: p.bulk }.tiles(p.rows, columns))
        })
        .with_tf32(),
    ),
};

const BWD_INPUT: Kernel<params::LinearBwdInput, 4, 1> = Kernel {
    name: "linear_bwd_input",
    reads: ["dy", "weight", "sums", "dresidual"],
    writes: ["dx"],
    cpu: cpu::bwd_input,
    cuda: Some(
        CudaKernel::new("linear", |p: &params::LinearBwdInput, _| {
            product(Cut { tile: p.tile, bulk: p.bulk }.tiles(p.rows, p.inputs))
        })
        .with_tf32(),
    ),
};

const BWD_WEIGHT: Kernel<params::LinearBwdWeight, 2, 4> = Kernel {
    name: "linear_bwd_weight",
    reads: ["x", "dy"],
    writes: ["dweight", "dbias", "partial", "partial_bias"],
    cpu: cpu::bwd_weight,
    cuda: Some(CudaKernel::new("linear", |p: &params::LinearBwdWeight, _| product(p.blocks)).with_tf32()),
};

const BWD_WEIGHT_SUM: Kernel<params::LinearBwdWeightSum, 2, 2> = Kernel {
    name: "linear_bwd_weight_sum",
    reads: ["partial", "partial_bias"],
    writes: ["dweight", "dbias"],
    cpu: cpu::bwd_weight_sum,
    cuda: Some(CudaKernel::new("linear", |p, _| {
        let rest = p.outputs.div_ceil(p.tile_rows) * p.inputs.div_ceil(p.tile_columns) % p.blocks;
        sums([rest, (p.tile_rows * p.tile_columns).div_ceil(4 * params::LINEAR_SUM_THREADS)])
    })),
};

const BWD_BIAS: Kernel<params::LinearBwdBias, 1, 1> = Kernel {
    name: "linear_bwd_bias",
    reads: ["dy"],
    writes: ["dbias"],
    cpu: cpu::bwd_bias,
    cuda: Some(CudaKernel::new("linear", |p, _| sums([p.outputs.div_ceil(params::LINEAR_BIAS_COLUMNS), 1]))),
};

fn product(blocks: u32) -> Geometry {
    Geometry { grid: [blocks, 1, 1], block: [params::MATRIX_THREADS, 1, 1], shared_bytes: params::MATRIX_SHARED }
}

fn sums([x, y]: [u32; 2]) -> Geometry {
    Geometry { grid: [x, y, 1], block: [params::LINEAR_SUM_THREADS, 1, 1], shared_bytes: 0 }
}

/// What [`forward`] makes of the sums s = x·weightᵀ + bias.
pub(super) struct Then<'a> {
    /// y = f(s); without one y = s.
    pub(super) activation: Option<Activation>,
    /// y = residual + gate·f(s), of the shape of y, or absent.
    pub(super) residual: &'a Tensor,
    /// (B, O) or (1, O), the latter also f32, or absent, which is 1.
    pub(super) gate: &'a Tensor,
}

/// What [`forward`] leaves; tensors that nobody needs are absent.
pub(super) struct Outputs {
    pub(super) y: Tensor,
    /// s, where there is an activation.
    pub(super) sums: Tensor,
    /// f(s), where there is a gate.
    pub(super) branch: Tensor,
}

/// A linear layer and what follows it, in one kernel: x (.., I), weight (O, I) or (2·O, I) for SwiGLU, bias as many or absent.
pub(super) fn forward(op: &'static str, [x, weight, bias]: [&Tensor; 3], then: Then) -> Result<Outputs> {
    let (rows, inputs) = check::matrix(op, "x", x)?;
    let (columns, _) = check::matrix(op, "weight", weight)?;
    check::shape(op, "weight", weight, &[columns, inputs])?;
    check::optional(op, "bias", bias, &[columns])?;
    let outputs = columns / then.activation.map_or(1, Activation::width);
    let (device, dtype, batch) = (x.device(), x.dtype(), x.shape()[0]);
    let like_x = |columns: usize| -> Result<Tensor> {
        let mut shape = x.shape().to_vec();
        shape[x.shape().len() - 1] = columns;
        Tensor::uninit(device, &shape, dtype)
    };
    let absent = || Tensor::absent(device);
    let mut y = like_x(outputs)?;
    check::optional(op, "residual", then.residual, y.shape())?;
    let (mut rows_per_gate, mut parameter) = (1, 0);
    if !then.gate.is_absent() {
        let gates = if then.gate.shape().first() == Some(&1) { 1 } else { batch };
        check::shape(op, "gate", then.gate, &[gates, outputs])?;
        rows_per_gate = rows / gates;
        parameter = u32::from(gates == 1 && then.gate.dtype() == DType::F32);
    }
    let mut sums = if then.activation.is_some() { like_x(columns)? } else { absent()? };
    let mut branch = if then.gate.is_absent() { absent()? } else { y.uninit_like()? };
    let [rows, inputs, columns] = [rows, inputs, columns].map(|length| length as u32);
    let aligned = aligned(dtype, [inputs, outputs as u32]);
    let Cut { tile, bulk } = Cut::new(rows, columns, aligned, dtype, device.multiprocessors());
    let p = params::LinearFwd {
        rows,
        inputs,
        outputs: outputs as u32,
        rows_per_gate: rows_per_gate as u32,
        parameter,
        activation: then.activation.map_or(params::LINEAR_IDENTITY, Activation::kind),
        tile,
        bulk,
        ..Default::default()
    };
    let reads = [x, weight, bias, then.residual, then.gate];
    device.launch(&FWD, p, reads, [&mut y, &mut sums, &mut branch])?;
    Ok(Outputs { y, sums, branch })
}

/// dx of a linear layer, from dy (.., O) and weight (O, I), plus `dresidual` where something else reaches x.
pub(super) fn input_gradient([dy, weight]: [&Tensor; 2], dresidual: Option<&Tensor>) -> Result<Tensor> {
    input_gradient_through([dy, weight], None, dresidual)
}

/// ds, where the layer's input was f(s) of another layer's sums s.
pub(super) fn sums_gradient(dy_weight: [&Tensor; 2], sums: &Tensor, f: Activation) -> Result<Tensor> {
    input_gradient_through(dy_weight, Some((sums, f)), None)
}

fn input_gradient_through(
    [dy, weight]: [&Tensor; 2],
    through: Option<(&Tensor, Activation)>,
    dresidual: Option<&Tensor>,
) -> Result<Tensor> {
    let (device, dtype) = (dy.device(), dy.dtype());
    let ((rows, outputs), inputs) = (dy.rows_cols(), weight.shape()[1]);
    let absent = Tensor::absent(device)?;
    let (sums, activation) = through.map_or((&absent, params::LINEAR_IDENTITY), |(sums, f)| (sums, f.kind()));
    let mut shape = dy.shape().to_vec();
    shape[dy.shape().len() - 1] = inputs * through.map_or(1, |(_, f)| f.width());
    let mut dx = Tensor::uninit(device, &shape, dtype)?;
    let [rows, inputs, outputs] = [rows, inputs, outputs].map(|length| length as u32);
    let aligned = aligned(dtype, [inputs, outputs]);
    let Cut { tile, bulk } = Cut::new(rows, inputs, aligned, dtype, device.multiprocessors());
    let p = params::LinearBwdInput { rows, inputs, outputs, activation, tile, bulk, ..Default::default() };
    device.launch(&BWD_INPUT, p, [dy, weight, sums, dresidual.unwrap_or(&absent)], [&mut dx])?;
    Ok(dx)
}

/// (dweight, dbias), in f32, as far as they are needed, of a linear layer with the input x (.., I) and the gradient dy (.., O) of its output.
pub(super) fn weight_gradient([x, dy]: [&Tensor; 2], needs: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
    let (device, dtype) = (x.device(), x.dtype());
    let ((rows, inputs), (_, outputs)) = (x.rows_cols(), dy.rows_cols());
    let f32 = |shape: &[usize], there: bool| match there {
        true => Tensor::uninit(device, shape, DType::F32),
        false => Tensor::absent(device),
    };
    let [mut dweight, mut dbias] = [f32(&[outputs, inputs], needs[0])?, f32(&[outputs], needs[1])?];
    let [rows, inputs, outputs] = [rows, inputs, outputs].map(|length| length as u32);
    if needs[0] {
        let aligned = aligned(dtype, [inputs, outputs]);
        let sharing = tiles::Sharing::new([rows, inputs, outputs], aligned, dtype, device.multiprocessors());
        let tiles::Sharing { tile, slabs, .. } = sharing;
        // A CPU shares work in its own way.
        let (blocks, parts) = if device.is_cpu() { (1, 0) } else { (sharing.blocks, sharing.parts()) };
        let [tile_rows, tile_columns, _] = tiles::shape(tile);
        let mut partial = f32(&[parts, tile_rows as usize, tile_columns as usize], parts > 0)?;
        let mut partial_bias = f32(&[parts, tile_rows as usize], parts > 0 && needs[1])?;
        let p = params::LinearBwdWeight { rows, inputs, outputs, blocks, tile, ..Default::default() };
        let writes = [&mut dweight, &mut dbias, &mut partial, &mut partial_bias];
        device.launch(&BWD_WEIGHT, p, [x, dy], writes)?;
        if parts > 0 {
            let p = params::LinearBwdWeightSum {
                inputs,
                outputs,
                blocks,
                slabs,
                tile_rows,
                tile_columns,
                ..Default::default()
            };
            device.launch(&BWD_WEIGHT_SUM, p, [&partial, &partial_bias], [&mut dweight, &mut dbias])?;
        }
    } else if needs[1] {
        let p = params::LinearBwdBias { rows, outputs, ..Default::default() };
        device.launch(&BWD_BIAS, p, [dy], [&mut dbias])?;
    }
    Ok([needs[0].then_some(dweight), needs[1].then_some(dbias)])
}

/// Whether rows of these lengths all start at multiples of 16 bytes.
fn aligned(dtype: DType, lengths: [u32; 2]) -> bool {
    lengths.iter().all(|length| (*length as usize * dtype.size()).is_multiple_of(16))
}

impl Op<3> for Linear {
    const NAME: &'static str = "linear";
    /// x and weight.
    type Saved = [Tensor; 2];

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<([Tensor; 1], Self::Saved)> {
        Ok(([alone(Self::NAME, [x, weight, bias])?], [x.clone(), weight.clone()]))
    }

    fn backward(
        &self,
        saved: &Self::Saved,
        grads: [Option<&Tensor>; 1],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        gradients(saved, only(grads), None, needs)
    }
}

impl Op<3, 2> for LinearResidual {
    const NAME: &'static str = "linear_residual";
    /// x, weight and bias.
    type Saved = [Tensor; 3];

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<([Tensor; 2], Self::Saved)> {
        Ok(([alone(Self::NAME, [x, weight, bias])?, x.clone()], [x.clone(), weight.clone(), bias.clone()]))
    }

    fn backward(
        &self,
        [x, weight, bias]: &Self::Saved,
        grads: [Option<&Tensor>; 2],
        needs: [bool; 3],
    ) -> Result<[Option<Tensor>; 3]> {
        match grads {
            [Some(dy), dresidual] => gradients(&[x.clone(), weight.clone()], dy, dresidual, needs),
            [None, dresidual] => grads::of_residual_alone([x, weight, bias], dresidual, needs),
        }
    }
}

/// A layer that nothing follows.
fn alone(op: &'static str, inputs: [&Tensor; 3]) -> Result<Tensor> {
    let absent = Tensor::absent(inputs[0].device())?;
    Ok(forward(op, inputs, Then { activation: None, residual: &absent, gate: &absent })?.y)
}

fn gradients(
    [x, weight]: &[Tensor; 2],
    dy: &Tensor,
    dresidual: Option<&Tensor>,
    needs: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let [dweight, dbias] = weight_gradient([x, dy], [needs[1], needs[2]])?;
    let dx = if needs[0] { Some(input_gradient([dy, weight], dresidual)?) } else { None };
    Ok([dx, dweight, dbias])
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    vec![FWD.info(), BWD_INPUT.info(), BWD_WEIGHT.info(), BWD_WEIGHT_SUM.info(), BWD_BIAS.info()]
}
