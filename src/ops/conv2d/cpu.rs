//! The convolution's kernels on the CPU, over `device::cpu::conv`.

use super::phase_taps;
use crate::device::cpu::conv::{ConvShape, conv2d_bwd_data, conv2d_bwd_weight, conv2d_fwd};
use crate::device::cpu::rows::add;
use crate::params;

/// Without statistics, for which a CPU is not asked.
pub(super) fn fwd(p: &params::Conv2dFwd, [x, weight, bias, residual]: [&[f32]; 4], [y, _]: [&mut [f32]; 2]) {
    let shape = geometry!(of p);
    if p.phased == 1 {
        for phase in Phase::all(&shape) {
            let mut part = vec![0.0; phase.pixels() * shape.out_c];
            conv2d_fwd(&phase.shape, x, phase.of(weight), bias, &mut part);
            phase.scatter(&part, y);
        }
    } else {
        conv2d_fwd(&shape, x, weight, bias, y);
    }
    add(y, residual);
}

pub(super) fn bwd_data(p: &params::Conv2dBwdData, [dy, weight]: [&[f32]; 2], [dx]: [&mut [f32]; 1]) {
    let shape = geometry!(of p);
    if p.phased == 0 {
        return conv2d_bwd_data(&shape, dy, weight, dx);
    }
    dx.fill(0.0);
    let mut part = vec![0.0; dx.len()];
    for phase in Phase::all(&shape) {
        conv2d_bwd_data(&phase.shape, &phase.gather(dy), phase.of(weight), &mut part);
        add(dx, &part);
    }
}

pub(super) fn bwd_weight(p: &params::Conv2dBwdWeight, [x, dy]: [&[f32]; 2], [dweight, dbias]: [&mut [f32]; 2]) {
    let shape = geometry!(of p);
    if p.phased == 0 {
        return conv2d_bwd_weight(&shape, x, dy, dweight, dbias);
    }
    for phase in Phase::all(&shape) {
        let (dweight, dbias) = (phase.of_mut(dweight), phase.of_mut(dbias));
        conv2d_bwd_weight(&phase.shape, x, &phase.gather(dy), dweight, dbias);
    }
}

pub(super) fn bwd_weight_sum(
    p: &params::Conv2dBwdWeightSum,
    [parts, bias_parts]: [&[f32]; 2],
    [dweight, dbias]: [&mut [f32]; 2],
) {
    let (taps, inputs) = ((p.kernel_height * p.kernel_width) as usize, p.inputs as usize);
    let phases = if p.phased == 1 { 4 } else { 1 };
    for (o, dbias) in dbias.iter_mut().enumerate() {
        *dbias = bias_parts.iter().skip(o).step_by(p.outputs as usize).sum();
    }
    for (row, dweight) in dweight.chunks_exact_mut(inputs).enumerate() {
        let (o, u, v) = (row / taps, (row % taps) as u32 / p.kernel_width, (row % taps) as u32 % p.kernel_width);
        dweight.fill(0.0);
        for part in 0..p.splits as usize * phases {
            let row = match p.phased {
                1 => {
                    let (a, b) = (part as u32 % 4 / 2, part as u32 % 2);
                    let [high, wide] = [phase_taps(p.kernel_height), phase_taps(p.kernel_width)];
                    let tap = phase_tap(a, p.top, u) * wide + phase_tap(b, p.left, v);
                    (part * p.outputs as usize + o) * (high * wide) as usize + tap as usize
                }
                _ => (part * p.outputs as usize + o) * taps + row % taps,
            };
            dweight.iter_mut().zip(&parts[row * inputs..]).for_each(|(sum, part)| *sum += part);
        }
    }
}

pub(super) fn phases(p: &params::Conv2dPhases, [weight]: [&[f32]; 1], [phases]: [&mut [f32]; 1]) {
    let [high, wide] = [phase_taps(p.kernel_height), phase_taps(p.kernel_width)];
    let inputs = p.inputs as usize;
    phases.fill(0.0);
    for (row, weight) in weight.chunks_exact(inputs).enumerate() {
        let (row, taps) = (row as u32, p.kernel_height * p.kernel_width);
        let (o, u, v) = (row / taps, row % taps / p.kernel_width, row % p.kernel_width);
        for phase in 0..4 {
            let (t, r) = (phase_tap(phase / 2, p.top, u), phase_tap(phase % 2, p.left, v));
            let to = (((phase * p.outputs + o) * high + t) * wide + r) as usize * inputs;
            add(&mut phases[to..to + inputs], weight);
        }
    }
}

pub(super) fn channels(p: &params::Conv2dChannels, [x]: [&[f32]; 1], [y]: [&mut [f32]; 1]) {
    let (from, to) = (p.from as usize, p.to as usize);
    y.fill(0.0);
    for (y, x) in y.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
        let both = from.min(to);
        y[..both].copy_from_slice(&x[..both]);
    }
}

/// The tap of its phase `a` that a tap of the kernel belongs to.
fn phase_tap(a: u32, pad: u32, tap: u32) -> u32 {
    ((a + pad) % 2 + tap) / 2
}

/// One of the four convolutions, by the parity (a, b) of y's rows and columns, that one through the upsample falls into.
struct Phase<'a> {
    whole: &'a ConvShape,
    a: usize,
    b: usize,
    shape: ConvShape,
}

impl Phase<'_> {
    fn all(whole: &ConvShape) -> impl Iterator<Item = Phase<'_>> {
        let along = |parity: usize, out: usize, kernel: usize, pad: usize| {
            // Taps begin at ⌊(parity − pad)/2⌋.
            ((out + 1 - parity) / 2, phase_taps(kernel as u32) as usize, (pad + (parity + pad) % 2 - parity) / 2)
        };
        [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().map(move |(a, b)| {
            let (out_h, kernel_h, pad_top) = along(a, whole.out_h, whole.kernel_h, whole.pad_top);
            let (out_w, kernel_w, pad_left) = along(b, whole.out_w, whole.kernel_w, whole.pad_left);
            let shape = ConvShape { out_h, out_w, kernel_h, kernel_w, pad_top, pad_left, upsample: false, ..*whole };
            Phase { whole, a, b, shape }
        })
    }

    fn pixels(&self) -> usize {
        self.shape.batch * self.shape.out_h * self.shape.out_w
    }

    /// The phase's quarter of something that has one for each.
    fn of<'t>(&self, all: &'t [f32]) -> &'t [f32] {
        &all[self.range(all.len())]
    }

    fn of_mut<'t>(&self, all: &'t mut [f32]) -> &'t mut [f32] {
        let range = self.range(all.len());
        &mut all[range]
    }

    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let phase = 2 * self.a + self.b;
        phase * len / 4..(phase + 1) * len / 4
    }

    /// Where the phase's pixels lie among all of y's, in elements.
    fn places(&self) -> impl Iterator<Item = usize> {
        let (whole, of) = (self.whole, self.shape);
        let lines = (0..of.batch).flat_map(move |b| (0..of.out_h).map(move |i| (b, i)));
        lines.flat_map(move |(b, i)| {
            let line = (b * whole.out_h + 2 * i + self.a) * whole.out_w;
            (0..of.out_w).map(move |j| (line + 2 * j + self.b) * whole.out_c)
        })
    }

    fn gather(&self, y: &[f32]) -> Vec<f32> {
        self.places().flat_map(|at| &y[at..at + self.whole.out_c]).copied().collect()
    }

    fn scatter(&self, part: &[f32], y: &mut [f32]) {
        for (at, pixel) in self.places().zip(part.chunks_exact(self.whole.out_c)) {
            y[at..at + pixel.len()].copy_from_slice(pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between −1 and 1 without a pattern.
    fn noise(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    fn assert_close(what: &str, got: &[f32], want: &[f32]) {
        let largest = want.iter().fold(0f32, |most, v| most.max(v.abs()));
        for (got, want) in got.iter().zip(want) {
            // Two orders of summation in f32, of at most a hundred products.
            assert!((got - want).abs() <= 1e-5 * largest, "{what}: {got}, not {want}");
        }
    }

    /// What the convolution through the upsample does, its four phases do together.
    #[test]
    fn phases_are_the_convolution_through_the_upsample() {
        for (height, width, kernel, pads) in [
            (4, 5, [3, 3], [1, 1, 1, 1]),
            (3, 2, [4, 4], [1, 2, 1, 1]),
            (2, 3, [5, 2], [2, 0, 2, 0]),
            (1, 1, [1, 1], [0; 4]),
        ] {
            let [top, left, bottom, right] = pads;
            let (out_height, out_width) =
                (2 * height + top + bottom + 1 - kernel[0], 2 * width + left + right + 1 - kernel[1]);
            let (batch, inputs, outputs, parts) = (2, 3, 4, 2);
            let whole = params::Conv2dFwd {
                batch,
                height,
                width,
                inputs,
                outputs,
                kernel_height: kernel[0],
                kernel_width: kernel[1],
                stride: 1,
                top,
                left,
                out_height,
                out_width,
                upsample: 1,
                ..Default::default()
            };
            let (x_len, y_len) =
                ((batch * height * width * inputs) as usize, (batch * out_height * out_width * outputs) as usize);
            let taps = phase_taps(kernel[0]) * phase_taps(kernel[1]);
            let (weight_len, phases_len) =
                ((outputs * kernel[0] * kernel[1] * inputs) as usize, (4 * outputs * taps * inputs) as usize);
            let (x, weight, bias, residual) = (noise(x_len, 1), noise(weight_len, 2), noise(4, 3), noise(y_len, 4));
            let mut of_phases = vec![f32::NAN; phases_len];
            let p = params::Conv2dPhases {
                inputs,
                outputs,
                kernel_height: kernel[0],
                kernel_width: kernel[1],
                top,
                left,
                ..Default::default()
            };
            phases(&p, [&weight], [&mut of_phases]);

            let run = |phased: u32, weight: &[f32]| {
                let p = params::Conv2dFwd { phased, ..whole };
                let mut y = vec![f32::NAN; y_len];
                fwd(&p, [&x, weight, &bias, &residual], [&mut y, &mut []]);
                let mut dx = vec![f32::NAN; x_len];
                let s: ConvShape = geometry!(of p);
                let mut p = geometry!(Conv2dBwdData of s, on crate::device::Device::cpu());
                p.phased = phased;
                bwd_data(&p, [&residual, weight], [&mut dx]);
                (y, dx)
            };
            let ((y, dx), (want_y, want_dx)) = (run(1, &of_phases), run(0, &weight));
            assert_close("y", &y, &want_y);
            assert_close("dx", &dx, &want_dx);

            let (mut dweight, mut dbias) = (vec![f32::NAN; weight_len], vec![f32::NAN; 4]);
            let (mut want_dweight, mut want_dbias) = (dweight.clone(), dbias.clone());
            let s: ConvShape = geometry!(of whole);
            let mut p = geometry!(Conv2dBwdWeight of s, on crate::device::Device::cpu());
            bwd_weight(&p, [&x, &residual], [&mut want_dweight, &mut want_dbias]);
            p.phased = 1;
            let (mut parts_of_weight, mut parts_of_bias) = (vec![f32::NAN; phases_len], vec![f32::NAN; 16]);
            bwd_weight(&p, [&x, &residual], [&mut parts_of_weight, &mut parts_of_bias]);
            let p = params::Conv2dBwdWeightSum {
                inputs,
                outputs,
                kernel_height: kernel[0],
                kernel_width: kernel[1],
                top,
                left,
                phased: 1,
                splits: parts,
                ..Default::default()
            };
            // The same part twice: twice the gradient.
            let twice = |part: &[f32]| part.repeat(2);
            bwd_weight_sum(&p, [&twice(&parts_of_weight), &twice(&parts_of_bias)], [&mut dweight, &mut dbias]);
            let double = |v: &[f32]| v.iter().map(|v| 2.0 * v).collect::<Vec<f32>>();
            assert_close("dweight", &dweight, &double(&want_dweight));
            assert_close("dbias", &dbias, &double(&want_dbias));
        }
    }
}
