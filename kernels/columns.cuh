// Blocks whose threads each own a chunk of neighbouring columns and walk down the rows: what group norm, batch norm, layer norm, RMS norm,
// modulation and gates share. Sums over rows are made part by part and added up in a fixed order; values that change hands in shared memory
// lie where no banks conflict.
#pragma once
#include "common.cuh"

/// One value of T with the interface of a chunk, where rows are no whole number of chunks.
template <class T> struct Single {
    static constexpr int N = 1;
    float v[1];

    static __device__ __forceinline__ Single load(const T *from) { return {{to_float(*from)}}; }
    static __device__ __forceinline__ Single load_or(const T *tensor, size_t offset, float value) {
        return {{tensor ? to_float(tensor[offset]) : value}};
    }
    __device__ __forceinline__ void store(T *to) const { from_float(v[0], to); }
};

static __device__ __forceinline__ void load4(const float *from, float *v) {
    float4 four = *reinterpret_cast<const float4 *>(from);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
}

/// Two values in one request, also where only one of them is used.
static __device__ __forceinline__ float2 load_pair(const float2 *from) {
    float2 pair;
    asm("ld.v2.f32 {%0, %1}, [%2];" : "=f"(pair.x), "=f"(pair.y) : "l"(from));
    return pair;
}

/// Rows or positions [begin, end): number `part` of `parts`, all of one length but for the last ones.
struct Part {
    uint32_t begin, end;

    __device__ __forceinline__ Part(uint32_t part, uint32_t parts, uint32_t positions) {
        uint32_t length = (positions + parts - 1) / parts;
        begin = min(part * length, positions);
        end = min(begin + length, positions);
    }
    __device__ __forceinline__ float length() const { return (float)(end - begin); }
};

/// Shared memory in which rows of threads add up two values per channel.
template <int N, uint32_t THREADS> struct RowSums {
    static constexpr uint32_t PER_VALUE = N == 1 ? 1 : N / 4;
    static constexpr uint32_t VECTOR = N == 1 ? 1 : 4;
    /// Between the vectors of a chunk lie half a line's banks, so that neighbouring channels never share one.
    static constexpr uint32_t STRIDE = THREADS + 4;

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

/// The most threads of a block that calls `sum_parts`.
constexpr uint32_t PART_SUM_THREADS = 256;

/// A value of every thread, for `sum_parts`.
static __device__ __forceinline__ float3 *part_sums() {
    __shared__ float3 sums[PART_SUM_THREADS];
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
#pragma unroll 8
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
