// Gated linear unit with SiLU (Shazeer, "GLU variants improve transformer", 2020).
#pragma once
#include <stdint.h>

/// Threads per block; one takes 16 bytes of y (backward: of dy) and the grid covers them all once.
#define SWIGLU_THREADS 256

/// y[r, i] = silu(x[r, i]) · x[r, hidden + i], with silu(a) = a / (1 + e⁻ᵃ).
struct SwigluFwd {
    uint64_t x;  ///< (rows, 2·hidden), read: gates, then values
    uint64_t y;  ///< (rows, hidden), written
    uint32_t rows;
    uint32_t hidden;  ///< CUDA: a multiple of 4 (f32) or 8 (bf16)
};

/// With s = 1 / (1 + e⁻ᵃ), a the gate and b the value: da = dy·b·s·(1 + a·(1 − s)) and db = dy·a·s.
struct SwigluBwd {
    uint64_t x;   ///< (rows, 2·hidden), read
    uint64_t dy;  ///< (rows, hidden), read
    uint64_t dx;  ///< (rows, 2·hidden), written
    uint32_t rows;
    uint32_t hidden;  ///< CUDA: a multiple of 4 (f32) or 8 (bf16)
};
