// Rotary position embedding.
#pragma once
#include <stdint.h>

/// Images that a thread takes with the angles it has loaded.
#define ROPE_IMAGES 4

/// Turns neighbours (x₀, x₁) of every head to (x₀·cos₀ − x₁·sin₀, x₁·cos₁ + x₀·sin₁).
struct Rope {
    uint64_t x;    ///< (batch, tokens, heads, head_dim), read
    uint64_t cos;  ///< (tokens, head_dim) f32, read
    uint64_t sin;  ///< (tokens, head_dim) f32, read
    uint64_t y;    ///< (batch, tokens, heads, head_dim), written
    uint32_t batch;
    uint32_t tokens;
    uint32_t heads;
    uint32_t head_dim;  ///< CUDA: a multiple of 4
    uint32_t transpose;  ///< 1: the transposed map, which is the gradient
    uint32_t reserved;
};
