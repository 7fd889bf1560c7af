//! The linear layer's rows of the case table.

use super::{Linear, LinearResidual};
use crate::ops::{Case, Input, Tolerance, Values};
use crate::tape::{Tape, Var};

fn case(label: &'static str, x: &[usize], outputs: usize, bias: bool, bench: bool) -> Case {
    let inputs = x[x.len() - 1];
    let rows = x.iter().product::<usize>() / inputs;
    let weight_std = 1.0 / (inputs as f32).sqrt();
    Case {
        op: "linear",
        label,
        inputs: vec![
            Input::normal("x", x),
            Input::normal("weight", &[outputs, inputs]).values(Values::Normal(0.0, weight_std)),
            if bias { Input::normal("bias", &[outputs]).f32() } else { Input::absent("bias") },
        ],
        settings: vec![],
        run: Box::new(|tape, x| Ok(tape.apply(Linear, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 2 * (rows * inputs * outputs) as u64,
        bytes: 4 * (rows * inputs + inputs * outputs + rows * outputs) as u64,
        bench,
    }
}

fn residual(case: Case) -> Case {
    let run = |tape: &Tape, x: &[Var]| Ok(tape.apply(LinearResidual, [&x[0], &x[1], &x[2]])?.into());
    Case { op: "linear_residual", run: Box::new(run), ..case }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", &[2, 5, 7], 3, true, false),
        case("one row, one output", &[1, 9], 1, true, false),
        case("odd shapes, no bias", &[3, 17, 129], 65, false, false),
        case("tokens of a small transformer", &[2, 16, 96], 288, true, false),
        case("parts of tiles", &[1, 133, 136], 152, true, false),
        case("a weight's gradient from several blocks", &[3300, 24], 136, true, false),
        case("odd shapes, from several blocks", &[4100, 13], 9, true, false),
        case("tiles of two sizes", &[3973, 8], 1024, true, false),
        case("tiles of two sizes, backward", &[3973, 1024], 8, true, false),
        residual(case("odd shapes", &[2, 5, 7], 3, true, false)),
        residual(case("parts of tiles", &[1, 133, 136], 152, true, false)),
        case("DiT-B projection, one image", &[1, 256, 768], 768, true, true),
        case("DiT-XL projection, 128 tokens", &[1, 128, 1152], 1152, true, true),
        case("DiT-XL/1's patches, 16 images", &[16, 256, 32], 1152, true, true),
        case("DiT-S modulation, 32 images", &[32, 384], 2304, true, true),
        case("DiT-XL projection, 128 tokens, its bias alone", &[1, 128, 1152], 1152, true, true)
            .constant(0)
            .constant(1),
    ]
}
