// Weighing loss streams against each other, without the host: squared norms, the adaptive weight and scaled sums.
#pragma once
#include <stdint.h>

/// sum = Σ xᵢ².
struct SumOfSquares {
    uint64_t x;    ///< (count), read
    uint64_t sum;  ///< (1), written
    uint32_t count;
    uint32_t reserved;
};

/// weight = clamp(√nll / (√other + 1e-4), 0, largest) · factor, of squared norms.
struct AdaptiveWeight {
    uint64_t nll;     ///< (1), read
    uint64_t other;   ///< (1), read
    uint64_t weight;  ///< (1), written
    float largest;
    float factor;
};

/// y = scale · x.
struct Scale {
    uint64_t x;      ///< (count), read
    uint64_t scale;  ///< (1), read
    uint64_t y;      ///< (count), written
    uint32_t count;
    uint32_t reserved;
};

/// sum += scale · x.
struct AddScaled {
    uint64_t x;      ///< (count), read
    uint64_t scale;  ///< (1), read
    uint64_t sum;    ///< (count), read and written
    uint32_t count;
    uint32_t reserved;
};
