// Rotary position embedding: neighbours of a head turn by their token's angles.
//
// Formula   (x₀, x₁) → (x₀·cos₀ − x₁·sin₀, x₁·cos₁ + x₀·sin₁); transposed, the gradient: (x₀·cos₀ + x₁·sin₁, x₁·cos₁ − x₀·sin₀).
// Shapes    x, y (batch, tokens, heads, head_dim); cos, sin (tokens, head_dim) f32; head_dim a multiple of 4.
// Bytes     x and y once, the tables once.
// FLOPs     3 an element: memory-bound.
// Scratch   none.
// Rounding  f32 inside; the result is rounded once.
// Source    Su et al., "RoFormer: enhanced transformer with rotary position embedding" (2021).
#include "rope.h"
#include "rows.h"
#include "vectors.cuh"

/// A thread takes two pairs of one token and head, and with their angles at hand the same of several images.
template <class T> static __device__ __forceinline__ void rope(const Rope &p) {
    uint32_t token = row_of_thread(), col = column_of_thread<4>(), cols = p.heads * p.head_dim;
    if (token >= p.tokens || col >= cols) return;
    float c[4], s[4];
    size_t angles = (size_t)token * p.head_dim + col % p.head_dim;
    load(at<const float>(p.cos) + angles, c);
    load(at<const float>(p.sin) + angles, s);
    if (p.transpose) {
        for (int i = 0; i < 4; i += 2) {
            float first = s[i];
            s[i] = -s[i + 1], s[i + 1] = -first;
        }
    }
    uint32_t end = min((blockIdx.z + 1) * ROPE_IMAGES, p.batch);
    for (uint32_t image = blockIdx.z * ROPE_IMAGES; image < end; image++) {
        size_t place = ((size_t)image * p.tokens + token) * cols + col;
        float x[4], y[4];
        load(at<const T>(p.x) + place, x);
        for (int i = 0; i < 4; i += 2) {
            y[i] = x[i] * c[i] - x[i + 1] * s[i];
            y[i + 1] = x[i + 1] * c[i + 1] + x[i] * s[i + 1];
        }
        store(y, at<T>(p.y) + place);
    }
}

VF_EXPORT(rope, Rope, ROWS_THREADS)
