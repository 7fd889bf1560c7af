// 2-D convolution of channels-last images.
#pragma once
#include <stdint.h>

/// CUDA's tiles: 128×128 (exact f32: 128×64), 128×64, and for few channels 128×32. Rows are pixels, columns channels.
/// Weight gradient, outputs by channels of taps: large for outputs and inputs in multiples of 128, as large (narrow) of outputs alone, else
/// 64×128.
#define CONV2D_TILE_LARGE 0
#define CONV2D_TILE_NARROW 1
#define CONV2D_TILE_FEW 2

/// Threads of a block of Conv2dBwdWeightSum and Conv2dPhases.
#define CONV2D_WEIGHT_THREADS 256

/// y[b, i, j, o] = residual[b, i, j, o] + bias[o] + Σ_{u, v, c} x̃[b, stride·i + u − top, stride·j + v − left, c]·weight[o, u, v, c],
/// where x̃ is x (with `upsample` = 1: x doubled by nearest neighbour) and 0 outside of it.
struct Conv2dFwd {
    uint64_t x;         ///< (batch, height, width, inputs), read
    uint64_t weight;    ///< (outputs, kernel_height, kernel_width, inputs), or with `phased` = 1 what Conv2dPhases makes of it, read
    uint64_t bias;      ///< (outputs) or absent, f32, read
    uint64_t residual;  ///< as y or absent, read
    uint64_t y;         ///< (batch, out_height, out_width, outputs), written
    /// (batch, parts, groups, 2) f32 or absent, written: of y what GroupNormStats writes, a part for each tile's pixels. On CUDA, where tiles
    /// have whole groups of pixels of one image (`statistics_parts` in src/ops/conv2d/tiles.rs).
    uint64_t statistics;
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t kernel_height;
    uint32_t kernel_width;
    uint32_t stride;
    uint32_t top;
    uint32_t left;
    uint32_t out_height;
    uint32_t out_width;
    uint32_t upsample;
    uint32_t phased;  ///< 1 only with `upsample`, and on CUDA always then
    uint32_t tile;    ///< on CUDA
    uint32_t groups;  ///< of `statistics`
};

/// dx: the transpose of `Conv2dFwd` in x.
struct Conv2dBwdData {
    uint64_t dy;      ///< (batch, out_height, out_width, outputs), read
    uint64_t weight;  ///< as Conv2dFwd's, read
    uint64_t dx;      ///< (batch, height, width, inputs), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t kernel_height;
    uint32_t kernel_width;
    uint32_t stride;
    uint32_t top;
    uint32_t left;
    uint32_t out_height;
    uint32_t out_width;
    uint32_t upsample;
    uint32_t phased;  ///< as Conv2dFwd's
    uint32_t tile;
    uint32_t reserved;
};

/// dweight and dbias: the transpose of `Conv2dFwd` in weight and bias. CUDA cuts the sum over pixels into `splits` parts, which
/// Conv2dBwdWeightSum adds up; with `phased` = 1 it also leaves the four phases of y's pixels apart, as Conv2dPhases does the weights'.
struct Conv2dBwdWeight {
    uint64_t x;        ///< (batch, height, width, inputs), read
    uint64_t dy;       ///< (batch, out_height, out_width, outputs), read
    uint64_t dweight;  ///< (splits) of (outputs, kernel_height, kernel_width, inputs), or of phases as Conv2dPhases', or absent, f32, written
    uint64_t dbias;    ///< (splits, outputs), with `phased` (splits, 4, outputs), or absent, f32, written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t kernel_height;
    uint32_t kernel_width;
    uint32_t stride;
    uint32_t top;
    uint32_t left;
    uint32_t out_height;
    uint32_t out_width;
    uint32_t upsample;
    uint32_t phased;  ///< as Conv2dFwd's
    uint32_t tile;
    uint32_t splits;  ///< 1 on the CPU
};

/// dweight[o, u, v, i] = Σ over splits of parts; with `phased` = 1 also over the four phases, of phase (a, b)'s tap to which (u, v) went.
struct Conv2dBwdWeightSum {
    uint64_t parts;       ///< Conv2dBwdWeight's dweight or absent, f32, read
    uint64_t bias_parts;  ///< Conv2dBwdWeight's dbias or absent, f32, read
    uint64_t dweight;     ///< (outputs, kernel_height, kernel_width, inputs) or absent, f32, written
    uint64_t dbias;       ///< (outputs) or absent, f32, written
    uint32_t inputs;
    uint32_t outputs;
    uint32_t kernel_height;
    uint32_t kernel_width;
    uint32_t top;
    uint32_t left;
    uint32_t phased;
    uint32_t splits;
};

/// The weights of a convolution through the nearest-neighbour ×2 upsample as four convolutions of x itself, one for each parity (a, b) of
/// y's rows and columns: phases[a, b, o, t, r, i] = Σ weight[o, u, v, i] over the u with ⌊((a + top) % 2 + u)/2⌋ = t and the v likewise.
/// Tap (t, r) of phase (a, b) reads x at row ⌊(a − top)/2⌋ + t for row a of y. t < kernel_height/2 + 1, r < kernel_width/2 + 1.
struct Conv2dPhases {
    uint64_t weight;  ///< (outputs, kernel_height, kernel_width, inputs), read
    uint64_t phases;  ///< (2, 2, outputs, kernel_height/2 + 1, kernel_width/2 + 1, inputs), written
    uint32_t inputs;
    uint32_t outputs;
    uint32_t kernel_height;
    uint32_t kernel_width;
    uint32_t top;
    uint32_t left;
};

/// y[row, c] = x[row, c], with zeros for further channels: on CUDA the tensors of convolutions have channels in multiples of 16 bytes.
struct Conv2dChannels {
    uint64_t x;  ///< (rows, from), read
    uint64_t y;  ///< (rows, to), written
    uint32_t rows;
    uint32_t from;
    uint32_t to;  ///< on CUDA the larger one of the two is a multiple of 16 bytes
    uint32_t reserved;
};
