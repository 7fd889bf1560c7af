// 2-D convolution of channels-last images.
#pragma once
#include <stdint.h>

/// y[b, i, j, o] = residual[b, i, j, o] + bias[o] + Σ_{u, v, c} x̃[b, stride·i + u − top, stride·j + v − left, c]·weight[o, u, v, c],
/// where x̃ is x (with `upsample` = 1: x doubled by nearest neighbour) and 0 outside of it.
struct Conv2dFwd {
    uint64_t x;         ///< (batch, height, width, inputs), read
    uint64_t weight;    ///< (outputs, kernel_height, kernel_width, inputs), read
    uint64_t bias;      ///< (outputs) or absent, f32, read
    uint64_t residual;  ///< as y or absent, read
    uint64_t y;         ///< (batch, out_height, out_width, outputs), written
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
    uint32_t reserved;
};

/// dx: the transpose of `Conv2dFwd` in x.
struct Conv2dBwdData {
    uint64_t dy;      ///< (batch, out_height, out_width, outputs), read
    uint64_t weight;  ///< (outputs, kernel_height, kernel_width, inputs), read
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
    uint32_t reserved;
};

/// dweight and dbias: the transpose of `Conv2dFwd` in weight and bias.
struct Conv2dBwdWeight {
    uint64_t x;        ///< (batch, height, width, inputs), read
    uint64_t dy;       ///< (batch, out_height, out_width, outputs), read
    uint64_t dweight;  ///< (outputs, kernel_height, kernel_width, inputs) or absent, f32, written
    uint64_t dbias;    ///< (outputs) or absent, f32, written
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
    uint32_t reserved;
};
