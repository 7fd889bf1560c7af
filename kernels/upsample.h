// Nearest-neighbour doubling of images.
#pragma once
#include <stdint.h>

/// y[b, i, j, c] = x[b, i/2, j/2, c].
struct UpsampleFwd {
    uint64_t x;  ///< (batch, height, width, channels), read
    uint64_t y;  ///< (batch, 2·height, 2·width, channels), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t channels;
};

/// dx[b, i, j, c] = the sum of dy over the 2×2 square that (i, j) was copied to.
struct UpsampleBwd {
    uint64_t dy;  ///< (batch, 2·height, 2·width, channels), read
    uint64_t dx;  ///< (batch, height, width, channels), written
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t channels;
};
