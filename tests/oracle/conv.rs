//! Convolutions and their neighbours over images (B, H, W, C).

use super::{Array, sum};

/// Where a convolution reads: output (y, x) covers the input from (stride·y − pad_top, stride·x − pad_left) on; what
/// lies outside the input counts as zero, so the output's size alone says how much is padded below and to the right.
#[derive(Clone, Copy, Debug)]
pub struct ConvGeometry {
    pub stride: usize,
    pub pad_top: usize,
    pub pad_left: usize,
    pub out_h: usize,
    pub out_w: usize,
}

impl ConvGeometry {
    /// For an input of h × w and pads (top, left, bottom, right).
    pub fn new(input: [usize; 2], kernel: [usize; 2], stride: usize, pads: [usize; 4]) -> ConvGeometry {
        let [top, left, bottom, right] = pads;
        ConvGeometry {
            stride,
            pad_top: top,
            pad_left: left,
            out_h: (input[0] + top + bottom - kernel[0]) / stride + 1,
            out_w: (input[1] + left + right - kernel[1]) / stride + 1,
        }
    }
}

/// out[b,y,x,o] = bias[o] + Σ_{u,v,i} in[b, stride·y + u − pad_top, stride·x + v − pad_left, i] · weight[o,u,v,i]
/// for x (B, H, W, I), weight (O, kh, kw, I), bias (O).
pub fn conv2d(x: &Array, weight: &Array, bias: Option<&Array>, g: ConvGeometry) -> Array {
    let ([b, h, w, channels], [o, kh, kw, i]) = (x.dims(), weight.dims());
    assert_eq!(channels, i);
    Array::build([b, g.out_h, g.out_w, o], |[b, oy, ox, o]| {
        let mut total = bias.map_or(0.0, |bias| bias.at([o]));
        for u in 0..kh {
            for v in 0..kw {
                let (y, x_) = (g.stride * oy + u, g.stride * ox + v);
                if y < g.pad_top || x_ < g.pad_left || y - g.pad_top >= h || x_ - g.pad_left >= w {
                    continue;
                }
                let (y, x_) = (y - g.pad_top, x_ - g.pad_left);
                total += sum(i, |i| x.at([b, y, x_, i]) * weight.at([o, u, v, i]));
            }
        }
        total
    })
}

/// Nearest-neighbour ×2: out[b,y,x,c] = in[b, ⌊y/2⌋, ⌊x/2⌋, c].
pub fn upsample_nearest2(x: &Array) -> Array {
    let [b, h, w, c] = x.dims();
    Array::build([b, 2 * h, 2 * w, c], |[b, y, x_, c]| x.at([b, y / 2, x_ / 2, c]))
}

/// Largest of each 2×2 square; an odd last row or column is dropped.
pub fn max_pool2(x: &Array) -> Array {
    let [b, h, w, c] = x.dims();
    Array::build([b, h / 2, w / 2, c], |[b, y, x_, c]| {
        let square = [(0, 0), (0, 1), (1, 0), (1, 1)];
        square.into_iter().map(|(u, v)| x.at([b, 2 * y + u, 2 * x_ + v, c])).fold(f64::NEG_INFINITY, f64::max)
    })
}
