// Sines and cosines of diffusion times.
#pragma once
#include <stdint.h>

/// y = cos(t·ωᵢ) | sin(t·ωᵢ), ωᵢ = 10000^(−i / (dim/2)).
struct TimestepEmbeddingFwd {
    uint64_t t;  ///< (batch), read
    uint64_t y;  ///< (batch, dim), written
    uint32_t batch;
    uint32_t dim;
};

/// dt = Σᵢ ωᵢ·(dy_sin·cos(t·ωᵢ) − dy_cos·sin(t·ωᵢ)).
struct TimestepEmbeddingBwd {
    uint64_t t;   ///< (batch), read
    uint64_t dy;  ///< (batch, dim), read
    uint64_t dt;  ///< (batch), written
    uint32_t batch;
    uint32_t dim;
};
