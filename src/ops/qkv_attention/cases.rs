//! Shapes, settings and tolerances.

use super::QkvAttention;
use crate::ops::rope::rope_tables;
use crate::ops::{Case, Input, Tolerance, Values};
use crate::tensor::Tensor;

const EPS: f32 = 1e-6;

/// As attention's, but for what the tensor cores take in bf16.
const TOLERANCE: Tolerance = Tolerance {
    roundings: 3,
    why: "as REDUCTION; in bf16 the embedded queries and keys are rounded as well as the result, which alone moves some of the \
          outputs by 2⁻⁷ of the largest",
    ..Tolerance::REDUCTION
};

/// What happens to queries and keys.
#[derive(Clone, Copy, PartialEq)]
enum Embed {
    Nothing,
    Rope,
    Norm,
    Both,
}

fn case(
    label: &'static str,
    [batch, grid_h, grid_w]: [usize; 3],
    heads: usize,
    head_dim: usize,
    embed: Embed,
    bench: bool,
) -> Case {
    let (tokens, cols) = (grid_h * grid_w, heads * head_dim);
    let (norm, rope) = (matches!(embed, Embed::Norm | Embed::Both), matches!(embed, Embed::Rope | Embed::Both));
    let weight = |name| match norm {
        true => Input::normal(name, &[head_dim]).values(Values::Normal(1.0, 0.3)).f32(),
        false => Input::absent(name),
    };
    Case {
        op: "qkv_attention",
        label,
        inputs: vec![Input::normal("qkv", &[batch, tokens, 3 * cols]), weight("q_norm"), weight("k_norm")],
        settings: vec![
            ("heads", heads as f64),
            ("grid_w", grid_w as f64),
            ("rope", f64::from(u8::from(rope))),
            ("eps", f64::from(EPS)),
        ],
        run: Box::new(move |tape, x| {
            let absent = || Tensor::absent(tape.device());
            let (cos, sin) = match rope {
                true => rope_tables(tape.device(), grid_h, grid_w, head_dim)?,
                false => (absent()?, absent()?),
            };
            let op = QkvAttention { heads, eps: EPS };
            Ok(tape.apply(op, [&x[0], &x[1], &x[2], &tape.constant(cos), &tape.constant(sin)])?.into())
        }),
        tolerance: if embed == Embed::Nothing { Tolerance::REDUCTION } else { TOLERANCE },
        flops: 4 * (batch * tokens * tokens * cols) as u64,
        bytes: 16 * (batch * tokens * cols) as u64,
        bench,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", [2, 1, 5], 1, 7, Embed::Norm, false),
        case("oblong grid, head size 12", [2, 3, 5], 3, 12, Embed::Both, false),
        case("head size 64, as it is", [1, 5, 6], 2, 64, Embed::Nothing, false),
        case("head size 64, several blocks", [1, 7, 10], 2, 64, Embed::Rope, false),
        case("head size 72", [2, 3, 11], 1, 72, Embed::Rope, false),
        case("head size 72, normed", [1, 5, 7], 2, 72, Embed::Both, false),
        case("head size 40, normed, several blocks", [1, 7, 10], 1, 40, Embed::Both, false),
        case("head size 128, several parts of keys", [1, 10, 14], 1, 128, Embed::Rope, false),
        case("head size 64, several parts of keys, normed", [1, 15, 18], 1, 64, Embed::Both, false),
        case("DiT-B/1", [1, 16, 16], 12, 64, Embed::Rope, true),
        case("DiT-XL/1", [1, 16, 16], 16, 72, Embed::Rope, true),
        case("DiT-XL/1, four images", [4, 16, 16], 16, 72, Embed::Rope, true),
        case("DiT-XL/1 with QK norm", [1, 16, 16], 16, 72, Embed::Both, true),
        case("two heads of DiT-B/1 at 512×512", [1, 32, 32], 2, 64, Embed::Rope, true),
        case("four heads of 128 channels", [1, 16, 16], 4, 128, Embed::Rope, true),
    ]
}
