// Sines and cosines of diffusion times.
#pragma once
#include <stdint.h>

#define TIMESTEP_EMBEDDING_THREADS 128

/// y = cos(t·ωᵢ) | sin(t·ωᵢ), ωᵢ = 10000^(−i / (dim/2)).
struct TimestepEmbeddingFwd {
    uint64_t t;  ///< (batch) f32, read
    uint64_t y;  ///< (batch, dim) f32, written
    uint32_t batch;
    uint32_t dim;
};

/// dt = Σᵢ ωᵢ·(dy_sin·cos(t·ωᵢ) − dy_cos·sin(t·ωᵢ)).
struct TimestepEmbeddingBwd {
    uint64_t t;   ///< (batch) f32, read
    uint64_t dy;  ///< (batch, dim) f32, read
    uint64_t dt;  ///< (batch) f32, written
    uint32_t batch;
    uint32_t dim;
};
