// Weighing loss streams against each other, without the host: squared norms, the adaptive weight and scaled sums.
#pragma once
#include <stdint.h>

/// Keeps the adaptive weight finite where the other gradient vanishes (the reference's constant).
#define ADAPTIVE_NORM_FLOOR 1e-4f

/// parts[b] = Σ xᵢ² over the elements of block b.
struct SumOfSquares {
    uint64_t x;    ///< (count), read
    uint64_t sum;  ///< (parts) f32, written
    uint32_t count;
    uint32_t parts;
};

/// weight = clamp(√nll / (√other + 1e-4), 0, largest) · factor, of squared norms.
struct AdaptiveWeight {
    uint64_t nll;     ///< (1) f32, read
    uint64_t other;   ///< (1) f32, read
    uint64_t weight;  ///< (1) f32, written
    float largest;
    float factor;
};

/// y = scale · x.
struct Scale {
    uint64_t x;      ///< (count), read
    uint64_t scale;  ///< (1) f32, read
    uint64_t y;      ///< (count), written
    uint32_t count;
    uint32_t reserved;
};

/// sum += scale · x.
struct AddScaled {
    uint64_t x;      ///< (count), read
    uint64_t scale;  ///< (1) f32, read
    uint64_t sum;    ///< (count), read and written
    uint32_t count;
    uint32_t reserved;
};
