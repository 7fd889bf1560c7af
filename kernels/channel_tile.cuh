// Blocks over tiles of a channels-last tensor's channels, for group norm and batch norm.
//
// A tile's channels lie chunk by chunk across neighbouring threads, so that a thread meets the same few channels at every position and
// keeps what belongs to them in registers; what room is left in the block is for more positions side by side. Sums over positions and
// coefficients of channels change hands through shared memory, in layouts without bank conflicts.
#pragma once
#include "channel_tile.h"
#include "columns.cuh"

/// For VF_EXPORT: threads of a block, and blocks that a multiprocessor has room for. Left to itself ptxas spills a word or two to fit one more.
#define CHANNEL_TILE_BOUNDS CHANNEL_TILE_THREADS, 2

/// Where a thread stands in its block's tile: `chunk` of `chunks` across the tile's channels, `row` of `rows` positions side by side.
template <class C> struct ChannelTile {
    uint32_t channels, chunks, rows, chunk, row;

    __device__ __forceinline__ explicit ChannelTile(uint32_t tile)
        : channels(tile), chunks(tile / C::N), rows(blockDim.x / chunks), chunk(threadIdx.x % chunks), row(threadIdx.x / chunks) {}
};

/// A thread's positions of a part, `U` at a time: `body(each)` may call `each(f)` several times, which calls `f(position, u)` for those
/// that there are. What it loads in one call is under way together, whatever it stores in the next.
template <int U, class Body> static __device__ __forceinline__ void batches(Part part, uint32_t row, uint32_t rows, Body body) {
    for (uint32_t first = part.begin + row; first < part.end; first += U * rows) {
        body([&](auto f) {
#pragma unroll
            for (int u = 0; u < U; u++) {
                uint32_t position = first + u * rows;
                if (position < part.end) f(position, u);
            }
        });
    }
}

/// Dynamic shared memory in which a block keeps f32 values of its channels or groups, one array after the other. The host asks for
/// 16·(⌈tile / 4⌉ + 16) bytes for each.
extern __shared__ float4 channel_values[];

static __device__ __forceinline__ float *channel_array(uint32_t i, uint32_t tile) {
    return reinterpret_cast<float *>(channel_values + i * ((tile + 3) / 4 + 16));
}

/// A channel array that is written channel by channel and read chunk by chunk. The halves of chunks of eight lie apart, by half a line's
/// banks more than a whole number of lines.
template <int N> struct Coefficients {
    float *words;
    uint32_t stride;

    __device__ __forceinline__ Coefficients(uint32_t i, uint32_t tile)
        : words(channel_array(i, tile)), stride((tile / N + 3) / 8 * 8 + 4) {}

    __device__ __forceinline__ void set(uint32_t channel, float value) {
        words[N == 8 ? (channel / 4 % 2 * stride + channel / 8) * 4 + channel % 4 : channel] = value;
    }

    __device__ __forceinline__ void get(uint32_t chunk, float (&v)[N]) const {
        if constexpr (N == 1) {
            v[0] = words[chunk];
        } else {
            for (int i = 0; i < N; i += 4) {
                float4 part = reinterpret_cast<const float4 *>(words)[i / 4 * stride + chunk];
                v[i] = part.x, v[i + 1] = part.y, v[i + 2] = part.z, v[i + 3] = part.w;
            }
        }
    }
};

/// `f(channel)` for the channels of a group, starting at another one in each group: neighbouring threads that take neighbouring groups
/// then read different banks.
template <class F> static __device__ __forceinline__ void each_of_group(uint32_t group, uint32_t size, F f) {
    uint32_t k = (group + group * size / 32) % size;
    for (uint32_t i = 0; i < size; i++) {
        f(group * size + k);
        k = k + 1 == size ? 0 : k + 1;
    }
}
