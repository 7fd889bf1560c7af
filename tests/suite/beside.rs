//! What the table of cases does not reach: what runs outside of the tape, and what is particular about single kernels.

use anyhow::{Result, ensure};
use vf_engine::device::Device;
use vf_engine::dtype::DType;
use vf_engine::op::Op;
use vf_engine::ops::attention::Attention;
use vf_engine::ops::conv2d::{Conv2d, Conv2dBeforeNorm, Padding};
use vf_engine::ops::group_norm::GroupNorm;
use vf_engine::ops::l1::l1_loss;
use vf_engine::ops::qkv_attention::QkvAttention;
use vf_engine::ops::rope::rope_tables;
use vf_engine::ops::{adaptive, fill, image};
use vf_engine::random;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

use super::super::oracle::{Array, l1};

/// What stands for these checks where `VF_OPS` names ops.
pub const NAME: &str = "beside";

/// The checks of what the table of cases does not reach.
pub const OUTSIDE_OF_CASES: [fn(&Device) -> Result<()>; 8] = [
    check_random,
    check_untaped,
    check_fill,
    check_conv2d_strays,
    check_image,
    check_l1,
    check_statistics,
    check_attention_blocks,
];

/// Random numbers are the host's to the last bit, with ragged ends.
fn check_random(device: &Device) -> Result<()> {
    let host = Device::cpu();
    for count in [1, 5, 1023, 4098] {
        let normal = |device: &Device| random::normal(device, &[count], 3, 9)?.to_vec();
        let uniform = |device: &Device| random::uniform(device, &[count], 3, 9, -2.0, 5.0)?.to_vec();
        ensure!(normal(device)? == normal(&host)?, "{count} normal numbers differ from the host's");
        ensure!(uniform(device)? == uniform(&host)?, "{count} uniform numbers differ from the host's");
    }
    Ok(())
}

/// What runs outside of the tape, against sums in f64: casts, squared norms, adaptive weights and scaled sums, with ragged ends.
fn check_untaped(device: &Device) -> Result<()> {
    let close = |got: &[f32], want: &[f64], allowed: f64| {
        let largest = want.iter().fold(0f64, |most, v| most.max(v.abs()));
        got.len() == want.len() && got.iter().zip(want).all(|(&g, w)| (f64::from(g) - w).abs() <= allowed * largest)
    };
    let dtypes = [DType::F32, DType::Bf16];
    for (dtype, count) in [1, 7, 1023, 70_001].into_iter().flat_map(|count| dtypes.map(|dtype| (dtype, count))) {
        let draw = |stream| random::normal(device, &[count], 5, stream)?.to_dtype(dtype);
        let wide = |x: &Tensor| -> Result<Vec<f64>> { Ok(x.to_vec()?.into_iter().map(f64::from).collect()) };
        let (x, y, factor) = (draw(1)?, draw(2)?, Tensor::scalar(device, -0.7)?);
        let (xs, ys) = (wide(&x)?, wide(&y)?);
        // One rounding to the result's dtype, and f32's own.
        let rounding = 1e-6 + if dtype == DType::Bf16 { 2f64.powi(-8) } else { 0.0 };
        let scaled: Vec<f64> = xs.iter().map(|x| f64::from(-0.7f32) * x).collect();
        ensure!(close(&adaptive::scale(&x, &factor)?.to_vec()?, &scaled, rounding), "scale of {count} {dtype}");
        let sum: Vec<f64> = ys.iter().zip(&scaled).map(|(y, x)| y + x).collect();
        let got = adaptive::add_scaled(y.clone(), &x, &factor)?.to_vec()?;
        ensure!(close(&got, &sum, 2.0 * rounding), "add_scaled into a shared sum, {count} {dtype}");
        let got = adaptive::add_scaled(y, &x, &factor)?.to_vec()?;
        ensure!(close(&got, &sum, rounding), "add_scaled of {count} {dtype}");
        let squares: f64 = xs.iter().map(|x| x * x).sum();
        // Sums of n squares in f32.
        ensure!(close(&adaptive::sum_of_squares(&x)?.to_vec()?, &[squares], 5e-6), "sum_of_squares of {count} {dtype}");
        let there_and_back = x.to_dtype(DType::Bf16)?.to_dtype(DType::F32)?.to_vec()?;
        let want = x.to_vec()?.into_iter().map(|v| half::bf16::from_f32(v).to_f32());
        ensure!(there_and_back.into_iter().eq(want), "casts of {count} {dtype}");
    }
    for (nll, other, want) in [(9.0, 4.0, 3.0 / 2.0001 * 0.1), (1e30, 0.0, 1e8 * 0.1), (0.0, 1.0, 0.0)] {
        let scalar = |value| Tensor::scalar(device, value);
        let got = adaptive::weight(&scalar(nll)?, &scalar(other)?, 1e8, 0.1)?.to_scalar()?;
        ensure!((f64::from(got) - want).abs() <= 1e-6 * want, "the weight of {nll} and {other} is {got}, not {want}");
    }
    let nan = adaptive::weight(&Tensor::scalar(device, f32::NAN)?, &Tensor::scalar(device, 1.0)?, 1e8, 0.1)?;
    ensure!(nan.to_scalar()?.is_nan(), "a NaN norm made a weight");
    Ok(())
}

/// Fills are exact up to the dtype's rounding, with ragged ends.
fn check_fill(device: &Device) -> Result<()> {
    for (dtype, want) in [(DType::F32, -1.3f32), (DType::Bf16, half::bf16::from_f32(-1.3).to_f32())] {
        for count in [1, 5, 1023, 4098] {
            let filled = fill::full(device, &[count], dtype, -1.3)?.to_vec()?;
            ensure!(filled == vec![want; count], "{count} of {dtype} are not {want} throughout");
        }
    }
    Ok(())
}

/// Images of bytes are the host's to the last bit in f32, and rounded once in bf16, with ragged ends.
fn check_image(device: &Device) -> Result<()> {
    for count in [1, 3, 4, 5, 9, 2047, 2055, 4100] {
        let bytes: Vec<u8> = (0..count).map(|i| (i * 37 + i / 256) as u8).collect();
        let want = image::from_bytes(&Device::cpu(), &[count], DType::F32, &bytes)?.to_vec()?;
        ensure!(image::from_bytes(device, &[count], DType::F32, &bytes)?.to_vec()? == want, "{count} bytes in f32");
        let want: Vec<f32> = want.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect();
        ensure!(image::from_bytes(device, &[count], DType::Bf16, &bytes)?.to_vec()? == want, "{count} bytes in bf16");
    }
    Ok(())
}

/// A pixel of x that is not a number is in a convolution's weight gradient at the taps that meet it, and at no other. (CUDA only: Winograd's
/// transforms mix what taps meet.)
fn check_conv2d_strays(device: &Device) -> Result<()> {
    let same = Conv2d { stride: 1, padding: Padding::all(1), upsample: false };
    let halve = Conv2d { stride: 2, padding: Padding { top: 0, left: 0, bottom: 1, right: 1 }, upsample: false };
    // Of each tile, with rows and columns that do not fill slabs.
    let cases = [
        (same, [5, 9, 8], 8),
        (same, [2, 40, 8], 128),
        (same, [5, 40, 64], 128),
        (same, [5, 9, 128], 128),
        (halve, [9, 11, 128], 128),
    ];
    for ((op, [height, width, inputs], outputs), dtype) in
        cases.into_iter().flat_map(|case| [DType::F32, DType::Bf16].map(|dtype| (case, dtype)))
    {
        let mut pixels = vec![1.0; height * width * inputs];
        pixels[(height * width - 1) * inputs] = f32::NAN;
        let tape = Tape::new(device);
        let x = tape.constant(Tensor::from_slice(device, &[1, height, width, inputs], &pixels)?.to_dtype(dtype)?);
        let weight = tape.leaf(Tensor::zeros(device, &[outputs, 3, 3, inputs])?.to_dtype(dtype)?);
        let absent = tape.constant(Tensor::absent(device)?);
        let [y] = tape.apply(op, [&x, &weight, &absent, &absent])?;
        let dy = fill::full(device, y.shape(), dtype, 1.0)?;
        let dweight = tape.gradients(&[(&y, dy)], &[&weight])?.take(&weight)?.to_vec()?;
        // The last of `from` along an axis meets the tap if that is one of the `to` steps behind it.
        let meets = |from: usize, to: usize, pad: usize, tap: usize| {
            (from - 1 + pad).checked_sub(tap).is_some_and(|at| at % op.stride == 0 && at / op.stride < to)
        };
        for (index, value) in dweight.into_iter().enumerate() {
            let (channel, tap) = (index % inputs, index / inputs % 9);
            let met = channel == 0
                && meets(height, y.shape()[1], op.padding.top, tap / 3)
                && meets(width, y.shape()[2], op.padding.left, tap % 3);
            ensure!(
                value.is_nan() == met,
                "{op:?} of {height} × {width} × {inputs} {dtype}: {value} at tap {tap} of channel {channel}"
            );
        }
    }
    Ok(())
}

/// The statistics that a convolution leaves are those that group norm makes for itself, of means of fifty deviations, too; in tiles of
/// either width.
fn check_statistics(device: &Device) -> Result<()> {
    let conv = Conv2d { stride: 1, padding: Padding::NONE, upsample: false };
    for (dtype, [height, width], outputs) in [
        (DType::F32, [32, 16], 64),
        (DType::Bf16, [32, 16], 64),
        (DType::F32, [104, 64], 256),
        (DType::Bf16, [104, 64], 256),
    ] {
        let draw = |shape: &[usize]| {
            Ok::<_, anyhow::Error>(random::normal(device, shape, 5, shape.len() as u64)?.to_dtype(dtype)?)
        };
        let tape = Tape::new(device);
        let [x, weight] =
            [draw(&[1, height, width, 8])?, draw(&[outputs, 1, 1, 8])?].map(|tensor| tape.constant(tensor));
        let vector =
            |value: f32| Ok::<_, anyhow::Error>(tape.constant(fill::full(device, &[outputs], DType::F32, value)?));
        let absent = tape.constant(Tensor::absent(device)?);
        let op = Conv2dBeforeNorm { conv, groups: 32 };
        let [y, statistics] = tape.apply(op, [&x, &weight, &vector(150.0)?, &absent])?;
        ensure!(!statistics.value().is_absent(), "no statistics of {height}×{width} pixels and {outputs} channels");
        let normed = |statistics: &Var| {
            let norm = GroupNorm { groups: 32, eps: 1e-6, silu: false };
            let [normed, _] = tape.apply(norm, [&y, &vector(1.0)?, &vector(0.0)?, statistics])?;
            Ok::<_, anyhow::Error>(normed.value().to_vec()?)
        };
        // Both have the same y: f32 sums of at most 6656·8 elements in another order, and a bf16 result that is rounded the other way.
        let allowed = if dtype == DType::F32 { 1e-5 } else { 2f32.powi(-7) };
        for (got, want) in normed(&statistics)?.into_iter().zip(normed(&absent)?) {
            ensure!(
                (got - want).abs() <= allowed * want.abs().max(1.0),
                "{dtype}, {outputs} channels: {got}, not {want}"
            );
        }
    }
    Ok(())
}

/// One image's attention has the bits that it has in a batch, which on a GPU is cut into larger blocks.
fn check_attention_blocks(device: &Device) -> Result<()> {
    let (images, tokens, keys, heads) = (37, 130, 20, 2);
    let first = |x: &Tensor| -> Result<Tensor> {
        let shape = [&[1], &x.shape()[1..]].concat();
        Ok(Tensor::from_slice(x.device(), &shape, &x.to_vec()?[..x.numel() / images])?.to_dtype(x.dtype())?)
    };
    let same = |batch: &Tensor, alone: &Tensor| -> Result<bool> { Ok(first(batch)?.to_vec()? == alone.to_vec()?) };
    for (dtype, size) in [DType::F32, DType::Bf16].into_iter().flat_map(|dtype| [64, 72, 128].map(|size| (dtype, size)))
    {
        let draw = |rows, parts, stream| {
            random::normal(device, &[images, rows, parts * heads * size], 11, stream)?.to_dtype(dtype)
        };
        let [q, k, v] = [draw(tokens, 1, 1)?, draw(keys, 1, 2)?, draw(keys, 1, 3)?];
        let ([batch], [.., rows]) = Attention { heads }.forward([&q, &k, &v])?;
        let ([alone], [.., rows_alone]) = Attention { heads }.forward([&first(&q)?, &first(&k)?, &first(&v)?])?;
        ensure!(same(&batch, &alone)? && same(&rows, &rows_alone)?, "attention, {dtype} heads of {size}");

        let (qkv, absent, op) = (draw(tokens, 3, 4)?, Tensor::absent(device)?, QkvAttention { heads, eps: 1e-6 });
        let (cos, sin) = rope_tables(device, 13, tokens / 13, size)?;
        let ([batch], [.., rows]) = op.forward([&qkv, &absent, &absent, &cos, &sin])?;
        let ([alone], [.., rows_alone]) = op.forward([&first(&qkv)?, &absent, &absent, &cos, &sin])?;
        ensure!(same(&batch, &alone)? && same(&rows, &rows_alone)?, "qkv_attention, {dtype} heads of {size}");
    }
    Ok(())
}

/// The L1 loss and its gradient, with ragged ends, where values agree, and of a NaN.
pub fn check_l1(device: &Device) -> Result<()> {
    let (batch, weight) = (3, 0.7f32);
    let dtypes = if device.is_cpu() { &[DType::F32][..] } else { &[DType::F32, DType::Bf16] };
    for (&dtype, count) in dtypes.iter().flat_map(|dtype| [1, 7, 1023, 70_001].map(|count| (dtype, count))) {
        let draw = |stream| random::normal(device, &[batch, count], 5, stream)?.to_dtype(dtype);
        let (x_hat, mut target) = (draw(1)?, draw(2)?.to_vec()?);
        let ours = x_hat.to_vec()?;
        target.iter_mut().zip(&ours).step_by(4).for_each(|(x, x_hat)| *x = *x_hat);
        let x = Tensor::from_slice(device, &[batch, count], &target)?.to_dtype(dtype)?;
        let (loss, gradient) = l1_loss(&x_hat, &x, weight)?;
        let differences: Vec<f64> =
            ours.iter().zip(&target).map(|(x_hat, x)| f64::from(*x_hat) - f64::from(*x)).collect();
        let [first, second] = [&ours, &target].map(|values| Array::from_f32(&[batch, count], values));
        let (got, want) = (f64::from(loss.to_scalar()?), l1(&first, &second));
        // Sums of n terms in f32.
        ensure!((got - want).abs() <= 5e-6 * want, "the loss of {count} {dtype} is {got}, not {want}");
        let slope = Tensor::scalar(device, weight / batch as f32)?.to_dtype(dtype)?.to_scalar()?;
        let want = differences.iter().map(|&d| if d == 0.0 { 0.0 } else { slope * d.signum() as f32 });
        ensure!(gradient.to_vec()?.into_iter().eq(want), "the gradient of {count} {dtype}");
    }
    let (loss, gradient) = l1_loss(&Tensor::scalar(device, f32::NAN)?, &Tensor::scalar(device, 1.0)?, weight)?;
    ensure!(loss.to_scalar()?.is_nan() && gradient.to_scalar()?.is_nan(), "a NaN was lost");
    Ok(())
}
