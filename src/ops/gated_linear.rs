//! out = residual + gate·(x·weightᵀ + bias): the layer that ends a branch of an adaLN block (Peebles and Xie, 2023), with the branch's gate and
//! residual applied while its sums are at hand. Only what the gradient of the gate needs is written besides.

use super::linear::{Outputs, Then, forward, input_gradient, weight_gradient};
use super::{Case, Input, Tolerance, Values, gate, linear};
use crate::device::KernelInfo;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::tensor::Tensor;

/// x (B, .., I), weight (O, I), bias (O) or absent, residual (B, .., O), gate (B, O), (1, O) or absent → (B, .., O).
/// A gate that is a parameter is f32: see [`GateResidual`](super::gate::GateResidual).
#[derive(Debug, Clone, Copy)]
pub struct GatedLinear;

/// What backward needs.
pub struct Saved {
    x: Tensor,
    weight: Tensor,
    end: BranchEnd,
}

impl Op<5> for GatedLinear {
    const NAME: &'static str = "gated_linear";
    type Saved = Saved;

    fn forward(&self, [x, weight, bias, residual, gate]: [&Tensor; 5]) -> Result<([Tensor; 1], Saved)> {
        check_end(Self::NAME, residual, gate)?;
        let Outputs { y, branch, .. } =
            forward(Self::NAME, [x, weight, bias], Then { activation: None, residual, gate })?;
        let end = BranchEnd { gate: gate.clone(), branch };
        Ok(([y], Saved { x: x.clone(), weight: weight.clone(), end }))
    }

    fn backward(&self, s: &Saved, grads: [Option<&Tensor>; 1], needs: [bool; 5]) -> Result<[Option<Tensor>; 5]> {
        let dout = only(grads);
        let [needs_x, needs_weight, needs_bias, needs_residual, needs_gate] = needs;
        let (dgate, dy) = s.end.gradients(Self::NAME, dout, needs_gate, needs_x || needs_weight || needs_bias)?;
        let [mut dx, mut dweight, mut dbias] = [None, None, None];
        if let Some(dy) = dy {
            [dweight, dbias] = weight_gradient([&s.x, &dy], [needs_weight, needs_bias])?;
            dx = if needs_x { Some(input_gradient([&dy, &s.weight], None)?) } else { None };
        }
        Ok([dx, dweight, dbias, needs_residual.then(|| dout.clone()), dgate])
    }
}

/// Where a branch joins its residual.
pub(super) struct BranchEnd {
    /// Absent where the branch is added as it is.
    pub(super) gate: Tensor,
    /// The branch before the gate, where there is one.
    pub(super) branch: Tensor,
}

impl BranchEnd {
    /// The gradients of the gate and of the branch.
    pub(super) fn gradients(
        &self,
        op: &'static str,
        dout: &Tensor,
        needs_gate: bool,
        needs_branch: bool,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if self.gate.is_absent() {
            return Ok((None, needs_branch.then(|| dout.clone())));
        }
        let [dgate, dy] = gate::gradients(op, [&self.gate, &self.branch], dout, [needs_gate, needs_branch])?;
        Ok((dgate, dy))
    }
}

/// That a residual is there, and that the gate, if there is one, is what backward takes.
pub(super) fn check_end(op: &'static str, residual: &Tensor, gate: &Tensor) -> Result<()> {
    if residual.is_absent() {
        return Err(Error::shape(op, "the residual is absent".to_string()));
    }
    if !gate.is_absent() {
        gate::blocks(op, residual, gate)?;
    }
    Ok(())
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    linear::kernels().into_iter().chain(gate::kernels()).collect()
}

fn case(label: &'static str, x: &[usize], outputs: usize, gates: Option<usize>, bench: bool) -> Case {
    let inputs = x[x.len() - 1];
    let rows = x.iter().product::<usize>() / inputs;
    let mut shape = x.to_vec();
    shape[x.len() - 1] = outputs;
    Case {
        op: "gated_linear",
        label,
        inputs: vec![
            Input::normal("x", x),
            Input::normal("weight", &[outputs, inputs]).values(Values::Normal(0.0, 1.0 / (inputs as f32).sqrt())),
            Input::normal("bias", &[outputs]).f32(),
            Input::normal("residual", &shape),
            gates.map_or(Input::absent("gate"), |gates| Input::normal("gate", &[gates, outputs])),
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(GatedLinear, [&x[0], &x[1], &x[2], &x[3], &x[4]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 2 * (rows * inputs * outputs) as u64,
        bytes: 4 * (rows * inputs + inputs * outputs + 2 * rows * outputs) as u64,
        bench,
    }
}

/// With a gate that is a parameter, for the whole batch.
fn layer_scale(label: &'static str, x: &[usize], outputs: usize, bench: bool) -> Case {
    let mut case = case(label, x, outputs, Some(1), bench);
    case.inputs[4].keeps_f32 = true;
    case
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 7], 3, Some(2), false),
        case("a gate for the whole batch", &[3, 17, 24], 40, Some(1), false),
        layer_scale("layer scale", &[3, 17, 24], 136, false),
        layer_scale("layer scale, odd shapes", &[2, 5, 7], 3, false),
        case("no gate", &[2, 3, 16], 8, None, false),
        case("parts of tiles", &[2, 70, 72], 136, Some(2), false),
        case("DiT-B attention's projection, 128 tokens", &[1, 128, 768], 768, Some(1), true),
        layer_scale("ViT-S/14's projection, one image", &[1, 257, 384], 384, true),
    ]
}
