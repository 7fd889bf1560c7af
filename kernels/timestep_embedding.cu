// Sines and cosines of diffusion times.
//
// Formula   y = cos(t·ωᵢ) | sin(t·ωᵢ), ωᵢ = 10000^(−i / (dim/2));  dt = Σᵢ ωᵢ·(dsin·cos(t·ωᵢ) − dcos·sin(t·ωᵢ)).
// Shapes    t, dt (batch) f32; y, dy (batch, dim) f32.
// Bytes     each tensor once.
// FLOPs     about 40 an element, of some hundred thousand.
// Scratch   none.
// Rounding  f32: the angle to an ulp, sine and cosine to two (angles to about 10⁵; the library's would need local memory). The sum in a
//           fixed order.
// Source    Vaswani et al., "Attention is all you need" (2017); minimax polynomials after Moshier's Cephes.
#include "common.cuh"
#include "timestep_embedding.h"

#define LOG2_MAX_PERIOD 13.287712379549449f

/// sin and cos by reduction to [−π/4, π/4] in three parts of π/2 (Cody and Waite).
static __device__ __forceinline__ float2 sine_cosine(float x) {
    float turns = rintf(x * 0.636619772367581f);
    float r = fmaf(turns, -1.5707962513e0f, x);
    r = fmaf(turns, -7.5497894159e-8f, r);
    r = fmaf(turns, -5.3903029534e-15f, r);
    float r2 = r * r;
    float s = fmaf(-1.9515295891e-4f, r2, 8.3321608736e-3f);
    s = fmaf(s, r2, -1.6666654611e-1f);
    s = fmaf(s * r2, r, r);
    float c = fmaf(2.443315711809948e-5f, r2, -1.388731625493765e-3f);
    c = fmaf(c, r2, 4.166664568298827e-2f);
    c = fmaf(c * r2, r2, fmaf(-0.5f, r2, 1.0f));
    int quadrant = (int)turns & 3;
    float a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
    return make_float2(quadrant & 2 ? -a : a, quadrant == 1 || quadrant == 2 ? -b : b);
}

static __device__ __forceinline__ float frequency(uint32_t i, uint32_t half) {
    return exp2f((float)i / (float)half * -LOG2_MAX_PERIOD);
}

static __device__ __forceinline__ void timestep_embedding_fwd(const TimestepEmbeddingFwd &p) {
    uint32_t half = p.dim / 2, i = blockIdx.y * blockDim.x + threadIdx.x, row = blockIdx.x;
    if (i >= half) return;
    float2 wave = sine_cosine(at<const float>(p.t)[row] * frequency(i, half));
    float *y = at<float>(p.y) + (size_t)row * p.dim;
    y[i] = wave.y;
    y[half + i] = wave.x;
}

/// A warp owns a time.
static __device__ __forceinline__ void timestep_embedding_bwd(const TimestepEmbeddingBwd &p) {
    uint32_t half = p.dim / 2, row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (row >= p.batch) return;
    float t = at<const float>(p.t)[row], sum = 0.0f;
    const float *dy = at<const float>(p.dy) + (size_t)row * p.dim;
    for (uint32_t i = threadIdx.x % 32; i < half; i += 32) {
        float w = frequency(i, half);
        float2 wave = sine_cosine(t * w);
        sum += w * (dy[half + i] * wave.y - dy[i] * wave.x);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) at<float>(p.dt)[row] = sum;
}

VF_EXPORT_F32(timestep_embedding_fwd, TimestepEmbeddingFwd, TIMESTEP_EMBEDDING_THREADS)
VF_EXPORT_F32(timestep_embedding_bwd, TimestepEmbeddingBwd, TIMESTEP_EMBEDDING_THREADS)
