// Layer norm, with the modulation of adaptive layer norm fused.
#pragma once
#include <stdint.h>

/// y = ((x − mean)·rstd·weight + bias)·(1 + scale) + shift, mean and rstd over the columns of a row.
struct LayerNormFwd {
    uint64_t x;       ///< (rows, cols), read
    uint64_t weight;  ///< (cols) or absent, read
    uint64_t bias;    ///< (cols) or absent, read
    uint64_t scale;   ///< (rows / rows_per_batch, cols) or absent, read
    uint64_t shift;   ///< (rows / rows_per_batch, cols) or absent, read
    uint64_t y;       ///< (rows, cols), written
    uint64_t mean;    ///< (rows) f32, written
    uint64_t rstd;    ///< (rows) f32, written
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_per_batch;
    float eps;
};

/// The gradients, from x and the statistics.
struct LayerNormBwd {
    uint64_t x;        ///< (rows, cols), read
    uint64_t weight;   ///< (cols) or absent, read
    uint64_t bias;     ///< (cols) or absent, read
    uint64_t scale;    ///< (rows / rows_per_batch, cols) or absent, read
    uint64_t mean;     ///< (rows) f32, read
    uint64_t rstd;     ///< (rows) f32, read
    uint64_t dy;       ///< (rows, cols), read
    uint64_t dx;       ///< (rows, cols) or absent, written
    uint64_t dweight;  ///< (cols) or absent, written
    uint64_t dbias;    ///< (cols) or absent, written
    uint64_t dscale;   ///< (rows / rows_per_batch, cols) or absent, written
    uint64_t dshift;   ///< (rows / rows_per_batch, cols) or absent, written
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_per_batch;
    uint32_t reserved;
};
