// The modulation of adaptive layer norm.
#pragma once
#include <stdint.h>

/// y = x·(1 + scale) + shift.
struct ModulateFwd {
    uint64_t x;      ///< (rows, cols), read
    uint64_t scale;  ///< (rows / rows_per_batch, cols), read
    uint64_t shift;  ///< (rows / rows_per_batch, cols) or absent, read
    uint64_t y;      ///< (rows, cols), written
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_per_batch;
    uint32_t reserved;
};

/// dx = dy·(1 + scale), dscale = Σ_rows dy·x, dshift = Σ_rows dy.
struct ModulateBwd {
    uint64_t x;       ///< (rows, cols), read
    uint64_t scale;   ///< (rows / rows_per_batch, cols), read
    uint64_t dy;      ///< (rows, cols), read
    uint64_t dx;      ///< (rows, cols) or absent, written
    uint64_t dscale;  ///< (rows / rows_per_batch, cols) or absent, written
    uint64_t dshift;  ///< (rows / rows_per_batch, cols) or absent, written
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_per_batch;
    uint32_t reserved;
};
