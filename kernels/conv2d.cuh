// What the kernels of convolutions share.
#pragma once
#include "conv2d.h"
#include "matrix_tile.cuh"

/// Rows and columns of the tile for any number of channels.
constexpr uint32_t RAGGED_TILE = 64;

static __device__ __forceinline__ uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/// ⌊(a − pad)/2⌋
static __device__ __forceinline__ int32_t phase_first(uint32_t a, uint32_t pad) { return ((int32_t)a - (int32_t)pad) >> 1; }

/// A place in K, or in the weight gradient's columns, that runs over all channels of a tap, then those of the next tap.
struct TapChannel {
    uint32_t tap, channel;

    __device__ __forceinline__ TapChannel(uint32_t index, uint32_t channels) : tap(index / channels), channel(index % channels) {}
};

/// The way for any number of channels and taps: a product of 64×64 elements, each of which is asked for by itself, by fused multiply-adds.
/// a(row, k) and b(column, k) are elements, 0 outside; then store(row, column, sum).
template <class A, class B, class Store> static __device__ __forceinline__ void ragged_product(uint32_t depth, unsigned char *shared, A &&a, B &&b, Store &&store) {
    constexpr uint32_t K = 16, LINE = RAGGED_TILE + 1;
    float *rows = reinterpret_cast<float *>(shared), *columns = rows + K * LINE, sum[8][4] = {};
    uint32_t row = threadIdx.x / 16, column = threadIdx.x % 16;
    for (uint32_t first = 0; first < depth; first += K) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < K * RAGGED_TILE; i += MATRIX_THREADS) {
            uint32_t k = i % K, at = k * LINE + i / K;
            rows[at] = first + k < depth ? a(i / K, first + k) : 0.0f;
            columns[at] = first + k < depth ? b(i / K, first + k) : 0.0f;
        }
        __syncthreads();
        for (uint32_t k = 0; k < K; k++) {
            for (uint32_t i = 0; i < 8; i++) {
                for (uint32_t j = 0; j < 4; j++) sum[i][j] = fmaf(rows[k * LINE + row + 8 * i], columns[k * LINE + column + 16 * j], sum[i][j]);
            }
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) store(row + 8 * i, column + 16 * j, sum[i][j]);
    }
}

/// Instead of a product over nothing.
template <class Tile> static __device__ __forceinline__ void zero_sums(unsigned char *shared) {
    constexpr uint32_t BYTES = 4 * Staged::BYTES + Tile::WARPS_K * row_sum_place(Tile::ROWS) * sizeof(float);
    for (uint32_t at = threadIdx.x * 16; at < BYTES; at += MATRIX_THREADS * 16) store_shared(shared_address(shared) + at, make_uint4(0, 0, 0, 0));
    __syncthreads();
}

/// A tile for every number of channels.
template <class Math> struct RaggedTile {
    using T = typename Math::T;
    static constexpr uint32_t ROWS = RAGGED_TILE, COLUMNS = RAGGED_TILE;
    static constexpr bool RAGGED = true;
};

template <class Math, uint32_t ROWS, uint32_t COLUMNS> struct AlignedTile : Tile<Math, ROWS, COLUMNS> {
    static constexpr bool RAGGED = false;
};

/// `f` of the tile that the launch asks for.
template <class Math, class F> static __device__ __forceinline__ void with_tile(uint32_t tile, F &&f) {
    switch (tile) {
    case CONV2D_TILE_LARGE: return f(AlignedTile<Math, 128, Math::TENSOR ? 128 : 64>());
    case CONV2D_TILE_NARROW: return f(AlignedTile<Math, 128, 64>());
    default: return f(RaggedTile<Math>());
    }
}
