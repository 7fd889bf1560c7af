//! The VF loss's rows of the case table.

use super::VfLoss;
use crate::ops::{Case, Input, Tolerance, Values};

/// Sums over all pairs of tokens, where f32 cosines err by 1e-7 each.
const TOLERANCE: Tolerance = Tolerance {
    forward: 5e-6,
    backward: 5e-5,
    roundings: 1,
    why: "cosines of f32 dot products err by 1e-7; backward subtracts what lies along z′, which is as large as what stays",
};

pub(in crate::ops) fn cases() -> Vec<Case> {
    vec![
        case("no margins", [2, 6, 5, 17], [0.0, 0.0], true, false),
        case("the paper's margins", [1, 9, 3, 11], [0.5, 0.25], true, false),
        case("more tokens than a tile", [2, 67, 4, 9], [0.1, 0.3], true, false),
        case("features projected before", [2, 7, 5, 5], [0.5, 0.25], false, false),
        case("two tokens", [1, 2, 3, 4], [0.0, 0.0], true, false),
        case("part of a tile, for CUDA", [2, 67, 16, 24], [0.1, 0.3], true, false),
        case("several tiles, for CUDA", [1, 150, 64, 40], [0.0, 0.0], true, false),
        case("an odd number of eights of channels, for CUDA", [1, 70, 24, 16], [0.1, 0.2], true, false),
        case("features projected before, for CUDA", [2, 70, 24, 24], [0.3, 0.2], false, false),
        case("more than a span of positions, for CUDA", [1, 290, 16, 8], [0.0, 0.1], true, false),
        case("f16d32 with DINOv2 ViT-L", [8, 256, 32, 1024], [0.5, 0.25], true, true),
        case("f16d16 with DINOv2 ViT-L", [8, 256, 16, 1024], [0.5, 0.25], true, true),
        case("f16d64 with DINOv2 ViT-L, two images", [2, 256, 64, 1024], [0.5, 0.25], true, true),
        case("small with DINOv2 ViT-S", [2, 64, 32, 384], [0.5, 0.25], true, true),
    ]
}

fn case(
    label: &'static str,
    [b, n, cz, cf]: [usize; 4],
    [cos_margin, distmat_margin]: [f32; 2],
    reverse: bool,
    bench: bool,
) -> Case {
    // Related tokens, so that both losses are active and no pair lies exactly at a kink.
    let (z, f) = (Input::normal("z", &[b, n, cz]), Input::normal("f", &[b, n, cf]).values(Values::Normal(0.2, 1.0)));
    let (proj, f) = match reverse {
        true => (Input::normal("proj", &[cf, cz]).values(Values::Normal(0.1, 0.5)), f.constant()),
        false => (Input::absent("proj"), f),
    };
    let op = VfLoss { cos_margin, distmat_margin };
    // Two products of width Cz per token with the projection, then half of each Gram matrix.
    let flops = 2 * b * n * cz * (cf + cz) + b * n * n * (cf + cz);
    Case {
        op: "vf_loss",
        label,
        inputs: vec![z, proj, f],
        settings: vec![("cos_margin", f64::from(cos_margin)), ("distmat_margin", f64::from(distmat_margin))],
        run: Box::new(move |tape, x| Ok(tape.apply(op, [&x[0], &x[1], &x[2]])?.into())),
        tolerance: TOLERANCE,
        flops: flops as u64,
        bytes: (4 * b * n * (cz + cf) + 4 * cf * cz) as u64,
        bench,
    }
}
