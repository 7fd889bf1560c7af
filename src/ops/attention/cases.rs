//! Shapes, settings and tolerances.

use super::Attention;
use crate::ops::{Case, Input, Tolerance};

fn case(label: &'static str, [batch, queries, keys]: [usize; 3], heads: usize, head_dim: usize, bench: bool) -> Case {
    let cols = heads * head_dim;
    Case {
        op: "attention",
        label,
        inputs: vec![
            Input::normal("q", &[batch, queries, cols]),
            Input::normal("k", &[batch, keys, cols]),
            Input::normal("v", &[batch, keys, cols]),
        ],
        settings: vec![("heads", heads as f64)],
        run: Box::new(move |tape, x| Ok(tape.apply(Attention { heads }, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: Tolerance::REDUCTION,
        flops: 4 * (batch * queries * keys * cols) as u64,
        bytes: 8 * (batch * (queries + keys) * cols) as u64,
        bench,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("odd shapes", [2, 5, 5], 1, 7, false),
        case("odd heads", [1, 9, 9], 3, 5, false),
        case("fewer keys than queries", [2, 7, 3], 2, 6, false),
        case("several blocks, head size 64", [1, 70, 70], 2, 64, false),
        case("head size 72", [2, 33, 33], 1, 72, false),
        case("head size 40, more keys than queries", [2, 20, 37], 2, 40, false),
        case("head size 128, several parts of keys", [1, 37, 140], 1, 128, false),
        case("head size 72, several parts of keys", [1, 33, 270], 2, 72, false),
        case("head size 200, several blocks", [1, 70, 40], 2, 200, false),
        case("head size 512, one head", [1, 16, 16], 1, 512, false),
        case("VA-VAE f16d32 at 256×256", [1, 256, 256], 1, 512, true),
        case("DiT-B/1", [2, 256, 256], 12, 64, true),
        case("DiT-XL/1", [1, 256, 256], 16, 72, true),
        case("DiT-XL/1, four images", [4, 256, 256], 16, 72, true),
        case("two heads of DiT-B/1 at 512×512", [1, 1024, 1024], 2, 64, true),
        case("four heads of 128 channels", [1, 256, 256], 4, 128, true),
    ]
}
