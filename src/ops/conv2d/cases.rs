//! The convolution's rows of the case table.

use super::{Conv2d, Conv2dBeforeNorm, Padding};
use crate::ops::group_norm::GroupNorm;
use crate::ops::{Case, Input, Tolerance, Values};

/// Winograd's transforms of 3×3 kernels lose one to two digits against a plain sum.
const TOLERANCE: Tolerance = Tolerance {
    forward: 1e-5,
    backward: 2e-5,
    roundings: 1,
    why: "Winograd F(4,3) in f32 errs by up to 5e-6 of the largest result; the other algorithms by a tenth of that",
};

pub(in crate::ops) fn cases() -> Vec<Case> {
    let same = Conv2d { stride: 1, padding: Padding::all(1), upsample: false };
    let halve = Conv2d { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, upsample: false };
    let double = Conv2d { upsample: true, ..same };
    let plain = Conv2d { stride: 1, padding: Padding::NONE, upsample: false };
    let patch = |stride, pixels| Conv2d { stride, padding: Padding::all(pixels), upsample: false };
    let test = |label, op, x, outputs, kernel| case(label, op, x, outputs, [kernel; 2], false);
    let bench = |label, op, x, outputs, kernel| case(label, op, x, outputs, [kernel; 2], true);
    vec![
        test("3×3, odd shapes", same, [2, 7, 9, 5], 6, 3),
        test("3×3, one pixel", same, [1, 1, 1, 3], 2, 3),
        test("3×3, as wide as the tiny preset", same, [1, 16, 18, 32], 48, 3),
        test("3×3, beyond one block of channels", same, [1, 9, 11, 70], 67, 3),
        test("3×3, tiles of one tap", same, [1, 3, 9, 128], 128, 3),
        test("3×3, tiles of two taps", same, [2, 2, 33, 64], 128, 3),
        test("3×3, tiles of many taps", same, [2, 3, 9, 8], 128, 3),
        test("RGB in", same, [1, 12, 10, 3], 32, 3),
        test("RGB out", same, [1, 12, 10, 32], 3, 3),
        test("halving, even", halve, [2, 8, 10, 5], 7, 3),
        test("halving, odd", halve, [1, 7, 9, 33], 34, 3),
        test("doubling", double, [2, 4, 5, 6], 7, 3),
        test("doubling, beyond one block of channels", double, [1, 5, 3, 35], 66, 3),
        case("doubling, phases without pixels", Conv2d { upsample: true, ..plain }, [1, 1, 1, 6], 7, [2; 2], false),
        test("1×1", plain, [2, 5, 7, 9], 11, 1),
        test("4×4, stride 2", patch(2, 1), [2, 12, 10, 3], 6, 4),
        test("4×4, stride 1", patch(1, 1), [2, 8, 7, 6], 5, 4),
        test("patches", patch(5, 0), [2, 15, 20, 3], 13, 5),
        case("unequal sides", patch(2, 1), [1, 9, 8, 4], 5, [5, 2], false),
        bare_case("no bias", patch(1, 1), [2, 6, 5, 4], 3, [4; 2], false),
        with_residual(test("residual, odd shapes", same, [2, 5, 7, 6], 9, 3), [2, 5, 7, 9]),
        with_residual(test("residual, RGB out", same, [1, 6, 10, 16], 3, 3), [1, 6, 10, 3]),
        with_residual(bare_case("residual, no bias, 1×1", plain, [2, 6, 5, 16], 24, [1; 2], false), [2, 6, 5, 24]),
        before_norm(test("halves of images, residual", same, [2, 16, 16, 8], 64, 3), [2, 16, 16, 64], 32),
        before_norm(test("doubling to 32 pixels", double, [1, 16, 16, 16], 32, 3), [1, 32, 32, 32], 8),
        before_norm(
            test("more parts than the norm adds up, 1×1", plain, [1, 132, 128, 8], 32, 1),
            [1, 132, 128, 32],
            8,
        ),
        before_norm(test("halving", halve, [1, 16, 32, 8], 96, 3), [1, 8, 16, 96], 32),
        before_norm(test("no whole tiles", same, [2, 6, 7, 8], 32, 3), [2, 6, 7, 32], 8),
        before_norm(
            bench("f16d32, 16 rows of 256 pixels, before a norm", same, [1, 16, 256, 128], 128, 3),
            [1, 16, 256, 128],
            32,
        ),
        before_norm(
            bench("f16d32, 66 rows of images in, before a norm", same, [1, 66, 256, 3], 128, 3),
            [1, 66, 256, 128],
            32,
        ),
        before_norm(bench("f16d32, 16 pixels, before a norm", same, [1, 16, 16, 512], 512, 3), [1, 16, 16, 512], 32),
        bench("f16d32, 16 rows of 256 pixels", same, [1, 16, 256, 128], 128, 3),
        bench("f16d32, 16 rows of 64 pixels", same, [1, 16, 64, 256], 256, 3),
        bench("f16d32, 16 pixels", same, [1, 16, 16, 512], 512, 3),
        bench("small, 32 rows of 128 pixels", same, [1, 32, 128, 64], 64, 3),
        bench("small, 32 pixels", same, [2, 32, 32, 128], 128, 3),
        bench("small, 8 pixels", same, [2, 8, 8, 256], 256, 3),
        bench("f16d32, 32 rows of images in", same, [1, 32, 256, 3], 128, 3),
        bench("f16d32, 32 rows of images out", same, [1, 32, 256, 128], 3, 3),
        bench("f16d32, halving 32 rows", halve, [1, 32, 256, 128], 128, 3),
        bench("f16d32, doubling 8 rows", double, [1, 8, 64, 256], 256, 3),
        bench("f16d32, 32 rows of a shortcut", plain, [1, 32, 64, 128], 256, 1),
        bench("a discriminator's 64 pixels", patch(2, 1), [1, 64, 64, 64], 128, 4),
        bench("a discriminator's 32 pixels", patch(1, 1), [1, 32, 32, 128], 256, 4),
        bench("DINOv2's patches", patch(14, 0), [1, 56, 224, 3], 384, 14),
    ]
}

fn case(label: &'static str, op: Conv2d, x: [usize; 4], outputs: usize, kernel: [usize; 2], bench: bool) -> Case {
    let mut case = bare_case(label, op, x, outputs, kernel, bench);
    case.inputs[2] = Input::normal("bias", &[outputs]).f32();
    case
}

fn with_residual(mut case: Case, y: [usize; 4]) -> Case {
    case.inputs[3] = Input::normal("residual", &y);
    case.bytes += 4 * y.iter().product::<usize>() as u64;
    case
}

/// With the group norm behind it and SiLU: the statistics are right if its result is.
fn before_norm(case: Case, y: [usize; 4], groups: usize) -> Case {
    let setting = |name| case.settings.iter().find(|&&(of, _)| of == name).map_or(0, |&(_, value)| value as usize);
    let [top, left, bottom, right] = ["top", "left", "bottom", "right"].map(setting);
    let padding = Padding { top, left, bottom, right };
    let conv = Conv2d { stride: setting("stride"), padding, upsample: setting("upsample") == 1 };
    let norm = GroupNorm { groups, eps: 1e-6, silu: true };
    let (mut case, count) = (with_residual(case, y), y.iter().product::<usize>() as u64);
    case.op = "conv2d_before_norm";
    case.inputs.extend([Input::normal("norm_weight", &y[3..]).f32(), Input::normal("norm_bias", &y[3..]).f32()]);
    case.settings.extend([("groups", groups as f64), ("eps", 1e-6), ("silu", 1.0)]);
    case.run = Box::new(move |tape, x| {
        let [h, statistics] = tape.apply(Conv2dBeforeNorm { conv, groups }, [&x[0], &x[1], &x[2], &x[3]])?;
        let statistics = tape.constant(statistics.value().clone());
        let [y, _] = tape.apply(norm, [&h, &x[4], &x[5], &statistics])?;
        Ok(vec![y])
    });
    case.tolerance.roundings = 2;
    case.flops += 10 * count;
    case.bytes += 8 * count;
    case
}

/// Without bias and residual.
fn bare_case(
    label: &'static str,
    op: Conv2d,
    x: [usize; 4],
    outputs: usize,
    [kh, kw]: [usize; 2],
    bench: bool,
) -> Case {
    let [b, h, w, inputs] = x;
    let Padding { top, left, bottom, right } = op.padding;
    let zoom = if op.upsample { 2 } else { 1 };
    let out_h = (zoom * h + top + bottom - kh) / op.stride + 1;
    let out_w = (zoom * w + left + right - kw) / op.stride + 1;
    let (taps, pixels) = (kh * kw * inputs, b * out_h * out_w);
    let scale = 1.0 / (taps as f32).sqrt();
    Case {
        op: "conv2d",
        label,
        inputs: vec![
            Input::normal("x", &x),
            Input::normal("weight", &[outputs, kh, kw, inputs]).values(Values::Normal(0.0, scale)),
            Input::absent("bias"),
            Input::absent("residual"),
        ],
        settings: vec![
            ("stride", op.stride as f64),
            ("top", top as f64),
            ("left", left as f64),
            ("bottom", bottom as f64),
            ("right", right as f64),
            ("upsample", f64::from(u8::from(op.upsample))),
        ],
        run: Box::new(move |tape, x| Ok(tape.apply(op, [&x[0], &x[1], &x[2], &x[3]])?.into())),
        tolerance: TOLERANCE,
        flops: (2 * pixels * taps * outputs) as u64,
        bytes: (4 * (b * h * w * inputs + taps * outputs + pixels * outputs)) as u64,
        bench,
    }
}
