// Blocks over tiles of a channels-last tensor's channels, for group norm and batch norm.
//
// A tile's channels lie chunk by chunk across neighbouring threads, so that a thread meets the same few channels at every position and
// keeps what belongs to them in registers; what room is left in the block is for more positions side by side. Sums over positions and
// coefficients of channels change hands through shared memory, in layouts without bank conflicts.
#pragma once
#include "channel_tile.h"
#include "common.cuh"

/// One value of T with the interface of a chunk, where rows are no whole number of chunks.
template <class T> struct Single {
    static constexpr int N = 1;
    float v[1];

    static __device__ __forceinline__ Single load(const T *from) { return {{to_float(*from)}}; }
    __device__ __forceinline__ void store(T *to) const { from_float(v[0], to); }
};

/// Two values in one request, also where only one of them is used.
static __device__ __forceinline__ float2 load_pair(const float2 *from) {
    float2 pair;
    asm("ld.v2.f32 {%0, %1}, [%2];" : "=f"(pair.x), "=f"(pair.y) : "l"(from));
    return pair;
}

/// Where a thread stands in its block's tile: `chunk` of `chunks` across the tile's channels, `row` of `rows` positions side by side.
template <class C> struct ChannelTile {
    uint32_t channels, chunks, rows, chunk, row;

    __device__ __forceinline__ explicit ChannelTile(uint32_t tile)
        : channels(tile), chunks(tile / C::N), rows(blockDim.x / chunks), chunk(threadIdx.x % chunks), row(threadIdx.x / chunks) {}
};

/// Positions [begin, end): number `part` of `parts`, all of one length but for the last ones.
struct Part {
    uint32_t begin, end;

    __device__ __forceinline__ Part(uint32_t part, uint32_t parts, uint32_t positions) {
        uint32_t length = (positions + parts - 1) / parts;
        begin = min(part * length, positions);
        end = min(begin + length, positions);
    }
    __device__ __forceinline__ float length() const { return (float)(end - begin); }
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

/// Shared memory in which rows of threads add up two values per channel.
template <int N> struct RowSums {
    static constexpr uint32_t PER_VALUE = N == 1 ? 1 : N / 4;
    static constexpr uint32_t VECTOR = N == 1 ? 1 : 4;
    /// Between the vectors of a chunk lie half a line's banks, so that neighbouring channels never share one.
    static constexpr uint32_t STRIDE = CHANNEL_TILE_THREADS + 4;

    float words[2 * PER_VALUE * STRIDE * VECTOR];

    __device__ __forceinline__ void put(const float (&a)[N], const float (&b)[N]) {
        for (int i = 0; i < N; i += VECTOR) {
            put(i / VECTOR, a + i);
            put(PER_VALUE + i / VECTOR, b + i);
        }
    }

    /// The sums over `rows` for the channel of the tile, once every thread has put its values and met the others.
    __device__ __forceinline__ float2 of(uint32_t channel, uint32_t chunks, uint32_t rows) const {
        uint32_t first = (channel % N / VECTOR * STRIDE + channel / N) * VECTOR + channel % VECTOR;
        float2 sum = make_float2(0.0f, 0.0f);
        for (uint32_t r = 0; r < rows; r++) {
            uint32_t word = first + r * chunks * VECTOR;
            sum.x += words[word];
            sum.y += words[word + PER_VALUE * STRIDE * VECTOR];
        }
        return sum;
    }

  private:
    __device__ __forceinline__ void put(uint32_t vector, const float *v) {
        uint32_t word = (vector * STRIDE + threadIdx.x) * VECTOR;
        if constexpr (N == 1) words[word] = *v;
        else *reinterpret_cast<float4 *>(words + word) = make_float4(v[0], v[1], v[2], v[3]);
    }
};

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

/// A value of every thread, for `sum_parts`.
static __device__ __forceinline__ float3 *part_sums() {
    __shared__ float3 sums[CHANNEL_TILE_THREADS];
    return sums;
}

/// Adds up over `parts` for each of `groups`: `add(group, part, sum)` adds a part's three values, `finish(group, sum)` takes the sum, in
/// one of the threads that added for this group. The order is fixed. All threads call it, and what `finish` wrote is there when they come back.
template <class Add, class Finish>
static __device__ __forceinline__ void sum_parts(uint32_t groups, uint32_t parts, Add add, Finish finish) {
    constexpr uint32_t MOST_SETS = 16;
    float3 *sums = part_sums();
    for (uint32_t base = 0; base < groups; base += blockDim.x) {
        uint32_t here = min(groups - base, blockDim.x), sets = min(blockDim.x / here, MOST_SETS);
        uint32_t group = base + threadIdx.x % here, set = threadIdx.x / here;
        float3 sum = make_float3(0.0f, 0.0f, 0.0f);
        if (set < sets) {
#pragma unroll 4
            for (uint32_t part = set; part < parts; part += sets) add(group, part, sum);
        }
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (set == 0) {
            for (uint32_t s = 1; s < sets; s++) {
                float3 more = sums[s * here + threadIdx.x];
                sum = make_float3(sum.x + more.x, sum.y + more.y, sum.z + more.z);
            }
            finish(group, sum);
        }
        __syncthreads();
    }
}

/// `f(channel)` for the channels of a group, starting at another one in each group: neighbouring threads that take neighbouring groups
/// then read different banks.
template <class F> static __device__ __forceinline__ void each_of_group(uint32_t group, uint32_t size, F f) {
    uint32_t k = (group + group * size / 32) % size;
    for (uint32_t i = 0; i < size; i++) {
        f(group * size + k);
        k = k + 1 == size ? 0 : k + 1;
    }
}
