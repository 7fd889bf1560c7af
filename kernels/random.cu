// Normal and uniform random numbers: philox.h, whose values are the same to the last bit on the host.
//
// Formula   random_uniform: y[i] = low + (high − low)·u[i];  random_normal: y[2i], y[2i + 1] = √(−2 ln u[2i])·(cos θ, sin θ),
//           θ = 2π·u[2i + 1] − π/4;  u[i] in [0, 1) from word i of (seed, stream).
// Shapes    y (count), any shape.
// Bytes     each element written once, nothing read.
// FLOPs     about 60 integer and 40 float operations per element.
// Scratch   none.
// Rounding  as philox.h says.
// Source    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); Box and Muller (1958).
#include "common.cuh"
#include "philox.h"
#include "random.h"

static __device__ __forceinline__ uint64_t whole(const uint32_t half[2]) { return (uint64_t)half[1] << 32 | half[0]; }

/// A thread takes the block that fills 16 bytes of y: elements `first` to `first + N − 1`.
template <class Params, class Values> static __device__ __forceinline__ void fill(const Params &p, Values values) {
    constexpr int N = Chunk<float>::N;
    uint64_t first = ((uint64_t)blockIdx.x * RANDOM_THREADS + threadIdx.x) * N;
    if (first >= p.count) return;
    Chunk<float> chunk;
    values(philox_block(whole(p.seed), whole(p.stream), first / N), chunk.v);
    float *y = at<float>(p.y) + first;
    if (first + N <= p.count) {
        chunk.store(y);
    } else {
        for (int i = 0; i < N; i++) {
            if (first + i < p.count) y[i] = chunk.v[i];
        }
    }
}

static __device__ __forceinline__ void random_normal(const RandomNormal &p) {
    fill(p, [](PhiloxBlock block, float *v) { philox_normals(block, v); });
}

static __device__ __forceinline__ void random_uniform(const RandomUniform &p) {
    fill(p, [&](PhiloxBlock block, float *v) {
        // Not contracted, so that the host's bits come out.
        for (int i = 0; i < 4; i++) v[i] = __fadd_rn(p.low, __fmul_rn(p.high - p.low, philox_uniform(block.word[i])));
    });
}

VF_EXPORT_F32(random_normal, RandomNormal, RANDOM_THREADS)
VF_EXPORT_F32(random_uniform, RandomUniform, RANDOM_THREADS)
