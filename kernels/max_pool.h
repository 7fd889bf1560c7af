// 2×2 max-pool with stride 2; an odd last row or column is dropped.
#pragma once
#include <stdint.h>

/// y[b, i, j, c] = the largest of x over rows 2i, 2i+1 and columns 2j, 2j+1.
struct MaxPoolFwd {
    uint64_t x;  ///< (batch, height, width, channels), read
    uint64_t y;  ///< (batch, height/2, width/2, channels), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t channels;
};

/// dx = dy at the first largest of each square in row order, 0 elsewhere.
struct MaxPoolBwd {
    uint64_t x;   ///< (batch, height, width, channels), read
    uint64_t dy;  ///< (batch, height/2, width/2, channels), read
    uint64_t dx;  ///< (batch, height, width, channels), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t channels;
};
