// What the kernels of convolutions share.
#pragma once
#include "conv2d.h"
#include "matrix_tile.cuh"

static __device__ __forceinline__ uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/// ⌊(a − pad)/2⌋
static __device__ __forceinline__ int32_t phase_first(uint32_t a, uint32_t pad) { return ((int32_t)a - (int32_t)pad) >> 1; }

/// Instead of a product over nothing.
template <class Tile> static __device__ __forceinline__ void zero_sums(unsigned char *shared) {
    constexpr uint32_t BYTES = 4 * Staged::BYTES + Tile::WARPS_K * row_sum_place(Tile::ROWS) * sizeof(float);
    for (uint32_t at = threadIdx.x * 16; at < BYTES; at += MATRIX_THREADS * 16) store_shared(shared_address(shared) + at, make_uint4(0, 0, 0, 0));
    __syncthreads();
}

/// `f` of the tile that the launch asks for.
template <class Math, class Few, class F> static __device__ __forceinline__ void with_tile(uint32_t tile, F &&f) {
    switch (tile) {
    case CONV2D_TILE_LARGE: return f(Tile<Math, 128, Math::TENSOR ? 128 : 64>());
    case CONV2D_TILE_NARROW: return f(Tile<Math, 128, 64>());
    default: return f(Few());
    }
}
