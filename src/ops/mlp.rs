//! out = residual + gate·(w2·f(w1·x + b1) + b2), where f may be SwiGLU: the MLP of a transformer's block and, without a residual, of its embeddings.
//!
//! The activation is applied while the first layer's sums s are at hand. Both s and f(s) are kept: forward has written them anyway, and backward
//! would write f(s) again.

use super::gated_linear::{BranchEnd, check_end};
use super::linear::{Activation, Outputs, Then, forward, input_gradient, sums_gradient, weight_gradient};
use super::{Case, Input, Tolerance, Values, gate, linear};
use crate::device::KernelInfo;
use crate::error::{Error, Result};
use crate::op::{Op, only};
use crate::tensor::Tensor;

/// x (B, .., I), w1 (H, I) or (2·H, I) for SwiGLU, b1 as many or absent, w2 (O, H), b2 (O) or absent, residual (B, .., O) or absent,
/// gate (B, O), (1, O) or absent → (B, .., O).
#[derive(Debug, Clone, Copy)]
pub struct Mlp {
    /// What stands between the layers.
    pub activation: Activation,
}

/// What backward needs.
pub struct Saved {
    x: Tensor,
    w1: Tensor,
    w2: Tensor,
    /// w1·x + b1.
    sums: Tensor,
    /// f of them.
    hidden: Tensor,
    end: BranchEnd,
}

impl Op<7> for Mlp {
    const NAME: &'static str = "mlp";
    type Saved = Saved;

    fn forward(&self, [x, w1, b1, w2, b2, residual, gate]: [&Tensor; 7]) -> Result<([Tensor; 1], Saved)> {
        if !gate.is_absent() {
            check_end(Self::NAME, residual, gate)?;
        }
        if w1.shape().first().is_some_and(|outputs| !outputs.is_multiple_of(self.activation.width())) {
            return Err(Error::shape(
                Self::NAME,
                format!("w1 has shape {:?}, whose rows are not two halves", w1.shape()),
            ));
        }
        let absent = Tensor::absent(x.device())?;
        let then = Then { activation: Some(self.activation), residual: &absent, gate: &absent };
        let Outputs { y: hidden, sums, .. } = forward(Self::NAME, [x, w1, b1], then)?;
        let Outputs { y, branch, .. } =
            forward(Self::NAME, [&hidden, w2, b2], Then { activation: None, residual, gate })?;
        let end = BranchEnd { gate: gate.clone(), branch };
        Ok(([y], Saved { x: x.clone(), w1: w1.clone(), w2: w2.clone(), sums, hidden, end }))
    }

    fn backward(&self, s: &Saved, grads: [Option<&Tensor>; 1], needs: [bool; 7]) -> Result<[Option<Tensor>; 7]> {
        let dout = only(grads);
        let [needs_x, needs_w1, needs_b1, needs_w2, needs_b2, needs_residual, needs_gate] = needs;
        let needs_first = needs_x || needs_w1 || needs_b1;
        let (dgate, dy) = s.end.gradients(Self::NAME, dout, needs_gate, needs_first || needs_w2 || needs_b2)?;
        let [mut dx, mut dw1, mut db1, mut dw2, mut db2] = [const { None }; 5];
        if let Some(dy) = dy {
            [dw2, db2] = weight_gradient([&s.hidden, &dy], [needs_w2, needs_b2])?;
            if needs_first {
                let ds = sums_gradient([&dy, &s.w2], &s.sums, self.activation)?;
                [dw1, db1] = weight_gradient([&s.x, &ds], [needs_w1, needs_b1])?;
                dx = if needs_x { Some(input_gradient([&ds, &s.w1], None)?) } else { None };
            }
        }
        Ok([dx, dw1, db1, dw2, db2, needs_residual.then(|| dout.clone()), dgate])
    }
}

pub(super) fn kernels() -> Vec<KernelInfo> {
    linear::kernels().into_iter().chain(gate::kernels()).collect()
}

/// Activations by the number that the oracle knows them by.
const ACTIVATIONS: [Activation; 4] = [Activation::Silu, Activation::GeluErf, Activation::GeluTanh, Activation::SwiGlu];

fn case(
    label: &'static str,
    activation: usize,
    x: &[usize],
    [hidden, outputs]: [usize; 2],
    end: End,
    bench: bool,
) -> Case {
    let op = Mlp { activation: ACTIVATIONS[activation] };
    let (inputs, wide) = (x[x.len() - 1], hidden * op.activation.width());
    let rows = x.iter().product::<usize>() / inputs;
    let mut shape = x.to_vec();
    shape[x.len() - 1] = outputs;
    let weight = |name, [outputs, inputs]: [usize; 2]| {
        Input::normal(name, &[outputs, inputs]).values(Values::Normal(0.0, 1.0 / (inputs as f32).sqrt()))
    };
    let residual = || Input::normal("residual", &shape);
    let (residual, gate) = match end {
        End::Bare => (Input::absent("residual"), Input::absent("gate")),
        End::Residual => (residual(), Input::absent("gate")),
        End::Gated => (residual(), Input::normal("gate", &[x[0], outputs])),
    };
    Case {
        op: "mlp",
        label,
        inputs: vec![
            Input::normal("x", x),
            weight("w1", [wide, inputs]),
            Input::normal("b1", &[wide]).f32(),
            weight("w2", [outputs, hidden]),
            Input::normal("b2", &[outputs]).f32(),
            residual,
            gate,
        ],
        settings: vec![("activation", activation as f64)],
        run: Box::new(move |tape, x| Ok(tape.apply(op, [&x[0], &x[1], &x[2], &x[3], &x[4], &x[5], &x[6]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 2 * (rows * (inputs * wide + hidden * outputs)) as u64,
        bytes: 4 * (rows * inputs + inputs * wide + hidden * outputs + rows * (wide + outputs)) as u64,
        bench,
    }
}

/// How a case's MLP ends.
#[derive(Clone, Copy)]
enum End {
    Bare,
    Residual,
    Gated,
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("SiLU, odd shapes", 0, &[5, 7], [9, 3], End::Bare, false),
        case("SiLU, of a timestep's embedding", 0, &[3, 64], [48, 48], End::Bare, false),
        case("GELU, of a vision transformer", 1, &[2, 9, 32], [128, 32], End::Residual, false),
        case("GELU by tanh", 2, &[2, 9, 24], [40, 24], End::Gated, false),
        case("SwiGLU, odd shapes", 3, &[2, 5, 7], [11, 7], End::Gated, false),
        case("SwiGLU, parts of tiles", 3, &[2, 70, 72], [104, 72], End::Gated, false),
        case("DiT-S, 128 tokens", 3, &[1, 128, 384], [1024, 384], End::Gated, true),
        case("DiT-L/2, 128 tokens", 3, &[1, 128, 1024], [2736, 1024], End::Gated, true),
        case("DINOv2 ViT-S, 120 tokens", 1, &[1, 120, 384], [1536, 384], End::Residual, true),
    ]
}
