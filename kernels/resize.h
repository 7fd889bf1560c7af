// Separable resizing of images.
#pragma once
#include <stdint.h>

#define RESIZE_BILINEAR 0
#define RESIZE_BICUBIC_ANTIALIAS 1

/// y[b, i, j, c] = Σ_u Σ_v rows[i, u]·columns[j, v]·x[b, u, v, c]; the tables follow from the sizes and the kind.
struct ResizeFwd {
    uint64_t x;  ///< (batch, height, width, channels), read
    uint64_t y;  ///< (batch, out_height, out_width, channels), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t out_height;
    uint32_t out_width;
    uint32_t channels;
    uint32_t kind;
    uint32_t reserved;
};

/// The transpose of `ResizeFwd`.
struct ResizeBwd {
    uint64_t dy;  ///< (batch, out_height, out_width, channels), read
    uint64_t dx;  ///< (batch, height, width, channels), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t out_height;
    uint32_t out_width;
    uint32_t channels;
    uint32_t kind;
    uint32_t reserved;
};
