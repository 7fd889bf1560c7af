// What the VF loss's kernels share: tiles of 64 positions as rows of f32 in shared memory.
#pragma once
#include "bf16_parts.cuh"
#include "common.cuh"
#include "vf_loss.h"

constexpr uint32_t TILE = VF_LOSS_TILE;

/// Floats from a row of a tile to the next, for CHANNELS = 32 or 64.
template <uint32_t CHANNELS> constexpr uint32_t STRIDE = CHANNELS + 8;
/// Floats of a tile.
template <uint32_t CHANNELS> constexpr uint32_t TILE_FLOATS = TILE * STRIDE<CHANNELS>;

/// Rows of T, `channels` wide, as a tile; zero where there are none.
template <uint32_t CHANNELS, uint32_t THREADS, class T>
static __device__ __forceinline__ void load_tile(float *tile, const T *from, uint32_t rows, uint32_t channels) {
    constexpr uint32_t APART = THREADS / (CHANNELS / 4);
    uint32_t c = threadIdx.x % (CHANNELS / 4) * 4, first = threadIdx.x / (CHANNELS / 4);
    const T *quad = from + (size_t)first * channels + c;
    float *to = tile + first * STRIDE<CHANNELS> + c;
#pragma unroll
    for (uint32_t row = 0; row < TILE; row += APART, quad += APART * channels) {
        float4 v = load4_or(first + row < rows && c < channels ? quad : nullptr, 0, 0.0f);
        *reinterpret_cast<float4 *>(to + row * STRIDE<CHANNELS>) = v;
    }
}

/// To device memory: nvcc 13 splits some plain assignments into stores of 4 bytes.
static __device__ __forceinline__ void store_quad(float *to, float4 v) { __stwb(reinterpret_cast<float4 *>(to), v); }
static __device__ __forceinline__ void store_quad(__nv_bfloat16 *to, float4 v) {
    uint32_t low[1], high[1];
    split(v.x, v.y, low);
    split(v.z, v.w, high);
    __stwb(reinterpret_cast<uint2 *>(to), make_uint2(low[0], high[0]));
}

/// Two neighbours.
static __device__ __forceinline__ void store_pair(float *to, float2 v) { __stwb(reinterpret_cast<float2 *>(to), v); }
static __device__ __forceinline__ void store_pair(__nv_bfloat16 *to, float2 v) {
    uint32_t pair[1];
    split(v.x, v.y, pair);
    __stwb(reinterpret_cast<uint32_t *>(to), pair[0]);
}

/// ROWS rows of a tile from `first` on, of which those below `rows` are there, as rows of T: by THREADS threads, of which this is `thread`.
template <uint32_t CHANNELS, uint32_t ROWS, uint32_t THREADS, class T>
static __device__ __forceinline__ void store_rows(T *to, const float *tile, uint32_t first, uint32_t rows, uint32_t channels, uint32_t thread) {
#pragma unroll
    for (uint32_t i = thread; i < ROWS * (CHANNELS / 4); i += THREADS) {
        uint32_t row = first + i / (CHANNELS / 4), c = i % (CHANNELS / 4) * 4;
        if (row >= rows || c >= channels) continue;
        store_quad(to + (size_t)row * channels + c, *reinterpret_cast<const float4 *>(tile + row * STRIDE<CHANNELS> + c));
    }
}

/// d += (low, high)·(b.x, b.y), where mma would put it.
static __device__ __forceinline__ void add_outer(float (&d)[4], float low, float high, float2 b) {
    d[0] = fmaf(low, b.x, d[0]);
    d[1] = fmaf(low, b.y, d[1]);
    d[2] = fmaf(high, b.x, d[2]);
    d[3] = fmaf(high, b.y, d[3]);
}

template <uint32_t AT> static __device__ __forceinline__ float load_shared_float(uint32_t from) {
    float v;
    asm volatile("ld.shared.f32 %0, [%1 + %2];" : "=f"(v) : "r"(from), "n"(AT) : "memory");
    return v;
}

template <uint32_t AT> static __device__ __forceinline__ float2 load_shared_pair(uint32_t from) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2 + %3];" : "=f"(v.x), "=f"(v.y) : "r"(from), "n"(AT) : "memory");
    return v;
}

/// (16 rows at `row` of a tile of z)·M, as mma results.
template <uint32_t Z_PARTS, uint32_t CHANNELS, uint32_t PARTS>
static __device__ __forceinline__ void times_gram(float (&product)[CHANNELS / 8][4], const float *z, uint32_t row,
                                                  const SymmetricRight<CHANNELS, PARTS> &gram) {
#pragma unroll
    for (uint32_t k = 0; k < CHANNELS; k += 16) {
        Left<Z_PARTS> left;
        left.template load<STRIDE<CHANNELS>>(z, row, k);
#pragma unroll
        for (uint32_t n = 0; n < CHANNELS / 8; n++) multiply(product[n], left, gram.get(n, k));
    }
}

/// The sum over the four lanes that share an mma result's row.
static __device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

/// Which pair (tile_i, tile_j ≥ tile_i) of so many tiles is.
static __device__ __forceinline__ uint32_t pair_index(uint32_t tile_i, uint32_t tile_j, uint32_t tiles) {
    return tile_i * tiles - tile_i * (tile_i + 1) / 2 + tile_j;
}
