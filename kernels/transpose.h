// Matrices turned over: convolution weights between the files' layout and the engine's.
#pragma once
#include <stdint.h>

/// A block takes a tile of up to this many rows and columns.
#define TRANSPOSE_TILE 32
#define TRANSPOSE_THREADS 256

/// y[o, c, r] = x[o, r, c].
struct Transpose {
    uint64_t x;  ///< (outer, rows, cols), read
    uint64_t y;  ///< (outer, cols, rows), written
    uint32_t outer;
    uint32_t rows;
    uint32_t cols;
    uint32_t reserved;
};
