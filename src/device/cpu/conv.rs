//! Convolution on the CPU: which algorithm, and the bias gradient.
//!
//! | shape | algorithm | multiplications per output, input channel |
//! |---|---|---|
//! | 1×1, stride 1 | one matrix product | 1 |
//! | 3×3, stride 1, 12 channels or more | `winograd` | 2.25 |
//! | the same through the upsample | `winograd` | 1.56 |
//! | everything else | gathered patches × weights, `im2col` | kh·kw |
//! | everything else through the upsample, forward and weight gradient | the same, four phases | ⌈(kh+1)/2⌉·⌈(kw+1)/2⌉ at most |
//!
//! Every sum is over fixed ranges in a fixed order, so results are the same bits for any number of threads. A pass keeps at
//! most some 30 MB of scratch besides a copy of the weights, whatever the image; it goes back to a pool of the thread.
//!
//! Measured on one core of a Zen 4 EPYC (FMA peak 116 GFLOP/s) beside PyTorch 2.13 (the faster of its two layouts): CPU
//! time, GFLOP/s by the definition's count, forward and both gradients together, two images:
//!
//! | shape | here | PyTorch |
//! |---|---|---|
//! | 3×3, 128 → 128, 64×64 | 307 | 107 |
//! | 3×3, 128 → 128, 128×128 | 323 | 100 |
//! | 3×3, 256 → 256, 32×32 | 300 | 108 |
//! | 3×3, 512 → 512, 16×16 | 266 | 100 |
//! | 3×3, 64 → 64, 128×128 | 250 | 98 |
//! | upsample, 3×3, 128 → 128, 32×32 stored | 486 | 106 |
//! | 3×3 stride 2, 128 → 128, 64×64 | 90 | 89 |
//! | 4×4 stride 1, 256 → 512, 16×16 | 88 | 98 |

use super::gemm::{self, gemm};
use super::{im2col, winograd};
use rayon::prelude::*;

/// A 2-D convolution over channels-last images, with zero padding.
///
/// `y[b, i, j, o] = bias[o] + Σ x[b, stride·i + ky − pad_top, stride·j + kx − pad_left, c] · w[o, ky, kx, c]`, where `x`
/// is zero outside its extents. Padding at the bottom and right follows from the output's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of the stored `x`.
    pub in_h: usize,
    /// Columns of the stored `x`.
    pub in_w: usize,
    /// Channels of `x`.
    pub in_c: usize,
    /// Rows of `y`.
    pub out_h: usize,
    /// Columns of `y`.
    pub out_w: usize,
    /// Channels of `y`.
    pub out_c: usize,
    /// Rows of the kernel.
    pub kernel_h: usize,
    /// Columns of the kernel.
    pub kernel_w: usize,
    /// Step in `x` per pixel of `y`, both ways.
    pub stride: usize,
    /// Zero rows above `x`.
    pub pad_top: usize,
    /// Zero columns left of `x`.
    pub pad_left: usize,
    /// Read `x` as its nearest-neighbour ×2 upsample, without making it. Needs stride 1.
    pub upsample: bool,
}

impl ConvShape {
    fn is_plain_product(&self) -> bool {
        (self.kernel_h, self.kernel_w, self.stride, self.pad_top, self.pad_left) == (1, 1, 1, 0, 0)
            && !self.upsample
            && (self.in_h, self.in_w) == (self.out_h, self.out_w)
    }

    fn check(&self, x: usize, w: usize, y: usize) {
        assert!(self.stride > 0, "conv2d: stride must be positive");
        assert!(!self.upsample || self.stride == 1, "conv2d: upsample needs stride 1, not {}", self.stride);
        assert_eq!(x, self.batch * self.in_h * self.in_w * self.in_c, "conv2d: elements of x, {self:?}");
        assert_eq!(w, self.out_c * self.kernel_h * self.kernel_w * self.in_c, "conv2d: elements of w, {self:?}");
        assert_eq!(y, self.pixels() * self.out_c, "conv2d: elements of y, {self:?}");
    }

    fn pixels(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }
}

/// `y = conv(x, w) + bias`: x (B, H, W, I), w (O, kh, kw, I), bias (O) or empty for none, y (B, H', W', O), overwritten.
///
/// # Panics
/// If a slice's length does not fit the shape, or for an upsample with a stride.
pub fn conv2d_fwd(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], y: &mut [f32]) {
    s.check(x.len(), w.len(), y.len());
    assert!(bias.is_empty() || bias.len() == s.out_c, "conv2d: {} elements of bias, {s:?}", bias.len());
    if y.is_empty() {
        return;
    }
    if s.is_plain_product() {
        gemm::run::<true>(s.pixels(), s.out_c, s.in_c, x, (s.in_c, 1), w, (1, s.in_c), y, s.out_c, bias, false);
    } else if winograd::suits(s) {
        winograd::forward(s, x, w, bias, y);
    } else {
        im2col::forward(s, x, w, bias, y);
    }
}

/// The gradient of `x`: gx (B, H, W, I), overwritten, from gy (B, H', W', O) and w (O, kh, kw, I).
///
/// # Panics
/// As [`conv2d_fwd`].
pub fn conv2d_bwd_data(s: &ConvShape, gy: &[f32], w: &[f32], gx: &mut [f32]) {
    s.check(gx.len(), w.len(), gy.len());
    if gx.is_empty() {
        return;
    }
    if s.is_plain_product() {
        gemm(s.pixels(), s.in_c, s.out_c, gy, (s.out_c, 1), w, (s.in_c, 1), gx, s.in_c, false);
    } else if winograd::suits(s) {
        winograd::backward_data(s, gy, w, gx);
    } else {
        im2col::backward_data(s, gy, w, gx);
    }
}

/// The gradients of `w` and `bias`: gw (O, kh, kw, I) and gb (O), each empty when it is not wanted, overwritten, from
/// x (B, H, W, I) and gy (B, H', W', O).
///
/// # Panics
/// As [`conv2d_fwd`].
pub fn conv2d_bwd_weight(s: &ConvShape, x: &[f32], gy: &[f32], gw: &mut [f32], gb: &mut [f32]) {
    assert!(gb.is_empty() || gb.len() == s.out_c, "conv2d: {} elements of the bias gradient, {s:?}", gb.len());
    if !gb.is_empty() {
        sum_pixels(gy, gb);
    }
    if gw.is_empty() {
        return;
    }
    s.check(x.len(), gw.len(), gy.len());
    if s.is_plain_product() {
        gemm(s.out_c, s.in_c, s.pixels(), gy, (1, s.out_c), x, (s.in_c, 1), gw, s.in_c, false);
    } else if winograd::suits(s) {
        winograd::backward_weight(s, x, gy, gw);
    } else {
        im2col::backward_weight(s, x, gy, gw);
    }
}

/// Pixels per partial sum of the bias gradient.
const BIAS_PIXELS: usize = 512;

fn sum_pixels(gy: &[f32], gb: &mut [f32]) {
    let channels = gb.len();
    let partial: Vec<Vec<f32>> = gy
        .par_chunks(BIAS_PIXELS * channels)
        .map(|chunk| {
            let mut sum = vec![0.0; channels];
            for pixel in chunk.chunks_exact(channels) {
                sum.iter_mut().zip(pixel).for_each(|(s, g)| *s += g);
            }
            sum
        })
        .collect();
    gb.fill(0.0);
    for sum in partial {
        gb.iter_mut().zip(sum).for_each(|(g, s)| *g += s);
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::testing::{error, noise};
    use super::*;

    /// Visits every product of the convolution's definition as indices into y, x and w.
    fn each(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
        let zoom = if s.upsample { 2 } else { 1 };
        for b in 0..s.batch {
            for i in 0..s.out_h {
                for j in 0..s.out_w {
                    for ky in 0..s.kernel_h {
                        for kx in 0..s.kernel_w {
                            let (y, x) = (
                                (s.stride * i + ky).wrapping_sub(s.pad_top),
                                (s.stride * j + kx).wrapping_sub(s.pad_left),
                            );
                            if y >= zoom * s.in_h || x >= zoom * s.in_w {
                                continue;
                            }
                            let px = (b * s.in_h + y / zoom) * s.in_w + x / zoom;
                            let py = (b * s.out_h + i) * s.out_w + j;
                            for o in 0..s.out_c {
                                for c in 0..s.in_c {
                                    visit(
                                        py * s.out_c + o,
                                        px * s.in_c + c,
                                        ((o * s.kernel_h + ky) * s.kernel_w + kx) * s.in_c + c,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Tolerance against f64, relative to the largest value: twice the largest error that Winograd was seen to make.
    fn check(s: &ConvShape) {
        let (nx, nw, ny) =
            (s.batch * s.in_h * s.in_w * s.in_c, s.out_c * s.kernel_h * s.kernel_w * s.in_c, s.pixels() * s.out_c);
        let (x, w, bias, gy) = (noise(nx, 1), noise(nw, 2), noise(s.out_c, 3), noise(ny, 4));
        let (mut y, mut gx, mut gw, mut gb) =
            (vec![f32::NAN; ny], vec![f32::NAN; nx], vec![f32::NAN; nw], vec![f32::NAN; s.out_c]);
        conv2d_fwd(s, &x, &w, &bias, &mut y);
        conv2d_bwd_data(s, &gy, &w, &mut gx);
        conv2d_bwd_weight(s, &x, &gy, &mut gw, &mut gb);
        let f = |v: f32| f64::from(v);
        let mut want_y: Vec<f64> = (0..ny).map(|i| f(bias[i % s.out_c])).collect();
        let (mut want_gx, mut want_gw, mut want_gb) = (vec![0.0; nx], vec![0.0; nw], vec![0.0; s.out_c]);
        each(s, |iy, ix, iw| {
            want_y[iy] += f(x[ix]) * f(w[iw]);
            want_gx[ix] += f(gy[iy]) * f(w[iw]);
            want_gw[iw] += f(gy[iy]) * f(x[ix]);
        });
        gy.iter().enumerate().for_each(|(i, g)| want_gb[i % s.out_c] += f(*g));
        for (name, got, want) in
            [("y", &y, &want_y), ("gx", &gx, &want_gx), ("gw", &gw, &want_gw), ("gb", &gb, &want_gb)]
        {
            let e = error(got, want);
            assert!(e < 5e-6, "{name}: {e:.1e} for {s:?}");
        }
        let mut again = vec![f32::NAN; ny];
        let mut gw_again = gw.clone();
        rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(|| {
            conv2d_fwd(s, &x, &w, &bias, &mut again);
            conv2d_bwd_weight(s, &x, &gy, &mut gw_again, &mut []);
        });
        assert!(y == again && gw == gw_again, "the result depends on the number of threads: {s:?}");
    }

    fn shape(
        batch: usize,
        (in_h, in_w): (usize, usize),
        in_c: usize,
        out_c: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> ConvShape {
        let out = |n: usize| (n + 2 * pad - kernel) / stride + 1;
        ConvShape {
            batch,
            in_h,
            in_w,
            in_c,
            out_h: out(in_h),
            out_w: out(in_w),
            out_c,
            kernel_h: kernel,
            kernel_w: kernel,
            stride,
            pad_top: pad,
            pad_left: pad,
            upsample: false,
        }
    }

    #[test]
    fn three_by_three_agrees_with_f64() {
        for (size, i, o) in
            [((16, 16), 32, 32), ((9, 7), 37, 50), ((13, 17), 16, 130), ((12, 8), 140, 33), ((5, 21), 300, 20)]
        {
            check(&shape(2, size, i, o, 3, 1, 1));
        }
        check(&shape(1, (11, 10), 24, 40, 3, 1, 0));
        check(&shape(1, (11, 10), 24, 40, 3, 1, 2));
        check(&shape(3, (40, 37), 20, 24, 3, 1, 1));
    }

    #[test]
    fn few_channels_agree_with_f64() {
        check(&shape(2, (9, 7), 3, 40, 3, 1, 1));
        check(&shape(2, (9, 7), 40, 3, 3, 1, 1));
        check(&shape(2, (12, 14), 3, 17, 4, 2, 1));
        check(&shape(1, (6, 5), 33, 1, 4, 1, 1));
    }

    #[test]
    fn strides_pads_and_kernels_agree_with_f64() {
        // The reference's downsample: pad right and bottom by 1.
        for size in [(8, 8), (9, 7), (6, 11)] {
            let mut s = shape(2, size, 18, 35, 3, 2, 0);
            (s.out_h, s.out_w) = ((size.0 - 2) / 2 + 1, (size.1 - 2) / 2 + 1);
            check(&s);
        }
        for (k, stride, pad) in
            [(4, 2, 1), (4, 1, 1), (1, 1, 0), (1, 2, 0), (5, 3, 2), (2, 2, 0), (7, 1, 3), (1, 3, 1), (14, 14, 0)]
        {
            check(&shape(2, (15, 18), 19, 34, k, stride, pad));
        }
        let mut s = shape(1, (7, 9), 5, 6, 3, 1, 1);
        (s.kernel_w, s.pad_left) = (1, 0);
        check(&s);
    }

    #[test]
    fn upsample_agrees_with_f64() {
        for (size, i, o, k, pad) in [
            ((8, 8), 32, 32, 3, 1),
            ((5, 7), 36, 21, 3, 1),
            ((9, 6), 130, 66, 3, 1),
            ((4, 5), 3, 20, 3, 1),
            ((4, 5), 20, 3, 3, 1),
            ((5, 4), 9, 8, 4, 1),
            ((5, 4), 17, 8, 1, 0),
            ((3, 4), 18, 20, 5, 2),
            ((6, 6), 20, 20, 3, 0),
        ] {
            let mut s = shape(2, (2 * size.0, 2 * size.1), i, o, k, 1, pad);
            (s.in_h, s.in_w, s.upsample) = (size.0, size.1, true);
            check(&s);
        }
    }

    #[test]
    fn empty_batches_leave_zero_gradients() {
        let s = shape(0, (8, 8), 16, 16, 3, 1, 1);
        let (mut gw, mut gb) = (vec![1.0; 16 * 9 * 16], vec![1.0; 16]);
        conv2d_fwd(&s, &[], &gw.clone(), &[], &mut []);
        conv2d_bwd_weight(&s, &[], &[], &mut gw, &mut gb);
        assert!(gw.iter().chain(&gb).all(|&g| g == 0.0));
    }
}
