//! One case of the registry on a device: its inputs, its results, and what the f64 oracle says of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vf_engine::device::{Device, Math};
use vf_engine::dtype::DType;
use vf_engine::error::Error;
use vf_engine::op::Op;
use vf_engine::ops::attention::Attention;
use vf_engine::ops::conv2d::{Conv2d, Conv2dBeforeNorm, Padding};
use vf_engine::ops::group_norm::GroupNorm;
use vf_engine::ops::l1::l1_loss;
use vf_engine::ops::qkv_attention::QkvAttention;
use vf_engine::ops::rope::rope_tables;
use vf_engine::ops::{Case, OpEntry, REGISTRY, Values, adaptive, fill, image};
use vf_engine::random;
use vf_engine::tape::{Tape, Var};
use vf_engine::tensor::Tensor;

use super::dispatch::{self, Call};
use super::oracle::{Array, directional, l1};

const SEED: u64 = 7;

/// Directions per input along which gradients are compared.
const DIRECTIONS: u64 = 3;

/// The step of the finite differences. The oracle's rounding, 1e-16 of a sum's terms, over the step is 1e-10; the error
/// from curvature, of the order of its square, is less; and a direction is unlikely to cross a kink so nearby.
const STEP: f64 = 1e-6;

/// A case with its inputs, for the engine and for the oracle.
pub struct Drawn<'a> {
    pub case: &'a Case,
    pub device: Device,
    pub math: Math,
    pub tensors: Vec<Tensor>,
    pub arrays: Vec<Array>,
}

impl<'a> Drawn<'a> {
    /// Draws the inputs and lets the device compute in `math`; the oracle gets the inputs as they are rounded to it.
    pub fn new(case: &'a Case, device: &Device, math: Math) -> Result<Drawn<'a>> {
        let device = device.clone();
        device.set_tf32(math == Math::Tf32);
        let mut tensors = case.draw(&device, SEED)?;
        let mut arrays = Vec::new();
        for (tensor, input) in tensors.iter_mut().zip(&case.inputs) {
            arrays.push(match input.values {
                // Integers do not come back from a tensor, so they are made here.
                Values::Below(bound) => {
                    let values: Vec<u32> = (0..tensor.numel() as u32).map(|i| (i * i + 3 * i) % bound).collect();
                    *tensor = Tensor::from_u32(&device, tensor.shape(), &values)?;
                    Array::new(tensor.shape(), values.iter().map(|&v| f64::from(v)).collect())
                }
                _ => {
                    let rounded = if input.keeps_f32 { tensor.clone() } else { round(tensor, math)? };
                    *tensor = input.as_taken(rounded, math.dtype())?;
                    Array::from_f32(tensor.shape(), &tensor.to_vec()?)
                }
            });
        }
        Ok(Drawn { case, device, math, tensors, arrays })
    }

    pub fn differentiable(&self) -> Vec<usize> {
        (0..self.tensors.len()).filter(|&i| self.case.inputs[i].differentiable).collect()
    }

    /// Applies the op with the inputs `leaves` as leaves: (tape, inputs, outputs).
    pub fn apply(&self, leaves: &[usize]) -> Result<(Tape, Vec<Var>, Vec<Var>)> {
        let tape = Tape::new(&self.device);
        let value = |(i, tensor): (usize, &Tensor)| match leaves.contains(&i) {
            true => tape.leaf(tensor.clone()),
            false => tape.constant(tensor.clone()),
        };
        let inputs: Vec<Var> = self.tensors.iter().enumerate().map(value).collect();
        let outputs = (self.case.run)(&tape, &inputs)?;
        Ok((tape, inputs, outputs))
    }

    /// The upstream gradient of output `i`, which has this shape and dtype.
    pub fn upstream(&self, i: usize, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let upstream = random::normal(&self.device, shape, SEED, random::stream(&format!("upstream {i}")))?;
        Ok(round(&upstream, self.math)?.to_dtype(dtype)?)
    }

    /// The gradients of the inputs `wanted`, from upstream gradients of the outputs `seeded`.
    pub fn gradients(&self, wanted: &[usize], seeded: &[usize]) -> Result<Vec<Vec<f32>>> {
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let (tape, inputs, outputs) = self.apply(wanted)?;
        let seeds = seeded.iter().map(|&i| {
            let output = outputs[i].value();
            Ok((&outputs[i], self.upstream(i, output.shape(), output.dtype())?))
        });
        let seeds: Vec<(&Var, Tensor)> = seeds.collect::<Result<_>>()?;
        let vars: Vec<&Var> = wanted.iter().map(|&i| &inputs[i]).collect();
        let mut gradients = tape.backward(&seeds, &vars)?;
        vars.iter().map(|var| Ok(gradients.take(var)?.to_vec()?)).collect()
    }

    /// What rounding adds to a tolerance, relative to the largest result: each time half a unit in the last bit, which of bf16's 8 bits
    /// is 2⁻⁸ of a value just above a power of two, and of TF32's 11 bits 2⁻¹¹. (A backward rounds twice, because it reads what the
    /// forward rounded.)
    fn rounding(&self) -> f64 {
        let roundings = f64::from(self.case.tolerance.roundings);
        match self.math {
            Math::F32 => 0.0,
            Math::Tf32 if self.factors_are_inputs() => 0.0,
            Math::Tf32 => roundings * 2f64.powi(-11),
            Math::Bf16 => roundings * 2f64.powi(-8),
        }
    }

    /// Whether all that is multiplied are inputs and upstream gradients. These have no more bits than TF32 here, so that their products are
    /// as exact as in f32. Other ops multiply what they made on the way, a convolution through an upsample sums of weights.
    fn factors_are_inputs(&self) -> bool {
        match self.case.op {
            "linear" | "matmul" => true,
            "conv2d" => self.case.settings.iter().all(|&(name, value)| name != "upsample" || value == 0.0),
            _ => false,
        }
    }

    fn oracle(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let call = Call { settings: &self.case.settings, inputs };
        dispatch::outputs(self.case.op, &call).with_context(|| format!("the oracle has no `{}`", self.case.op))
    }

    pub fn check_outputs(&self) -> Result<()> {
        let (_, _, outputs) = self.apply(&[])?;
        let expected = self.oracle(&self.arrays)?;
        ensure!(outputs.len() == expected.len(), "{} outputs, the oracle has {}", outputs.len(), expected.len());
        for (i, (output, expected)) in outputs.iter().zip(&expected).enumerate() {
            ensure!(output.shape() == expected.shape, "output {i}: {:?}, not {:?}", output.shape(), expected.shape);
            let largest = expected.data.iter().fold(0f64, |most, v| most.max(v.abs()));
            let allowed = (self.case.tolerance.forward + self.rounding()) * largest;
            for (at, (&got, &want)) in output.value().to_vec()?.iter().zip(&expected.data).enumerate() {
                let error = (f64::from(got) - want).abs();
                // Not `error > allowed`, which a NaN would pass.
                ensure!(
                    error <= allowed,
                    "output {i}, entry {at}: {got}, not {want}: off by {error:.2e} of {largest:.2e}"
                );
            }
        }
        Ok(())
    }

    /// Gradients against finite differences: from all of the outputs, and where there are several from each alone, as if the others'
    /// never arrived.
    pub fn check_all_gradients(&self, outputs: usize) -> Result<()> {
        self.check_gradients(&(0..outputs).collect::<Vec<_>>())?;
        if outputs > 1 { (0..outputs).try_for_each(|i| self.check_gradients(&[i])) } else { Ok(()) }
    }

    /// Gradients from the outputs `seeded` against finite differences.
    pub fn check_gradients(&self, seeded: &[usize]) -> Result<()> {
        let wanted = self.differentiable();
        let shapes: Vec<Vec<usize>> = self.oracle(&self.arrays)?.into_iter().map(|output| output.shape).collect();
        let dtypes: Vec<DType> = self.apply(&[])?.2.iter().map(|output| output.value().dtype()).collect();
        let upstream = seeded
            .iter()
            .map(|&i| Ok((i, Array::from_f32(&shapes[i], &self.upstream(i, &shapes[i], dtypes[i])?.to_vec()?))));
        let upstream: Vec<(usize, Array)> = upstream.collect::<Result<_>>()?;
        let loss = |inputs: &[Array]| -> f64 {
            let outputs = self.oracle(inputs).expect("it answered before");
            upstream.iter().map(|(i, upstream)| outputs[*i].dot(upstream)).sum()
        };
        for (&i, gradient) in wanted.iter().zip(self.gradients(&wanted, seeded)?) {
            let name = self.case.inputs[i].name;
            let gradient = Array::from_f32(&self.arrays[i].shape, &gradient);
            for seed in 0..DIRECTIONS {
                let stream = random::stream(&format!("direction {name}"));
                let along = random::normal(&self.device, &gradient.shape, seed, stream)?.to_vec()?;
                let mut direction: Vec<Array> = self.arrays.iter().map(|x| Array::zeros(&x.shape)).collect();
                direction[i] = Array::from_f32(&gradient.shape, &along);
                let want = directional(&loss, &self.arrays, &direction, STEP);
                let got = gradient.dot(&direction[i]);
                // What a derivative along a random direction is like: it may vanish by chance.
                let typical = gradient.norm() * direction[i].norm() / (along.len() as f64).sqrt();
                let error = (got - want).abs() / want.abs().max(typical).max(f64::MIN_POSITIVE);
                ensure!(
                    error <= self.case.tolerance.backward + 2.0 * self.rounding(),
                    "gradient of {name} from outputs {seeded:?}: {got} along direction {seed}, not {want}: off by {error:.2e}"
                );
            }
        }
        Ok(())
    }
}

/// Values that TF32 holds exactly, where `math` is that: f32 without its last 13 bits.
fn round(tensor: &Tensor, math: Math) -> Result<Tensor> {
    if math != Math::Tf32 {
        return Ok(tensor.clone());
    }
    let values: Vec<f32> = tensor.to_vec()?.into_iter().map(|v| f32::from_bits(v.to_bits() & !0x1FFF)).collect();
    Ok(Tensor::from_slice(tensor.device(), tensor.shape(), &values)?)
}

impl Drawn<'_> {
    /// Whether the op takes these inputs.
    ///
    /// # Errors
    /// Where it does and then leaves part of its results unwritten.
    pub fn try_out(&self) -> Result<bool> {
        let Ok((_, _, outputs)) = self.apply(&[]) else {
            return Ok(false);
        };
        let all: Vec<usize> = (0..outputs.len()).collect();
        let mut wanted = self.differentiable();
        wanted.retain(|&i| !self.tensors[i].is_absent());
        let mut results = if wanted.is_empty() { vec![] } else { self.gradients(&wanted, &all)? };
        for output in &outputs {
            results.push(output.value().to_vec()?);
        }
        ensure!(results.iter().flatten().all(|v| !v.is_nan()), "is accepted, and not all results are written");
        Ok(true)
    }
}

/// Every case, not for benchmarks alone, of the ops whose CUDA kernels are there, and what these compute in; of the ops that the variable
/// `VF_OPS` names, if it is set.
fn cuda_cases() -> Vec<(Case, Math)> {
    let asked = std::env::var("VF_OPS").ok();
    let chosen = |name| asked.as_deref().is_none_or(|names| names.split(',').any(|asked| asked == name));
    let complete = |entry: &OpEntry| (entry.kernels)().iter().all(|kernel| kernel.cuda_module.is_some());
    let entries = REGISTRY.iter().filter(|entry| chosen(entry.name) && complete(entry));
    let mut cases = vec![];
    for entry in entries {
        let tf32 = (entry.kernels)().iter().any(|kernel| kernel.tf32);
        for math in Math::ALL.into_iter().filter(|&math| math != Math::Tf32 || tf32) {
            cases.extend((entry.cases)().into_iter().filter(|case| !case.bench).map(|case| (case, math)));
        }
    }
    cases
}

/// Outputs and gradients of one case against the oracle. `false`: the op says that it does not take this shape on this device.
pub fn check_case(case: &Case, device: &Device, math: Math) -> Result<bool> {
    let drawn = Drawn::new(case, device, math)?;
    let outputs = match drawn.apply(&[]) {
        Ok((_, _, outputs)) => outputs.len(),
        Err(error) if matches!(error.downcast_ref(), Some(Error::Shape { message, .. }) if message.contains("CUDA")) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    drawn.check_outputs()?;
    drawn.check_all_gradients(outputs)?;
    Ok(true)
}

/// Checks every case in all that its kernels compute in by `check`, which is [`check_case`] and what else its device has to say. Of each op
/// and arithmetic, two cases at least must have run.
pub fn check_all(check: impl Fn(&Case, Math) -> Result<bool>) -> Result<usize> {
    let (mut failures, mut ran) = (Vec::new(), BTreeMap::new());
    for (case, math) in cuda_cases() {
        let count: &mut usize = ran.entry((case.op, math.suffix())).or_default();
        match check(&case, math) {
            Ok(taken) => *count += usize::from(taken),
            Err(error) => failures.push(format!("{} ({}) {}: {error:#}", case.op, case.label, math.suffix())),
        }
    }
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    ensure!(!ran.is_empty() && ran.values().all(|&count| count > 1), "too few cases ran: {ran:?}");
    Ok(ran.values().sum())
}

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
    let (images, tokens, keys, heads) = (50, 130, 20, 2);
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
