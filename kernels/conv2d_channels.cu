// Channels appended or taken away: what lets convolutions of RGB images run in tiles of 16-byte chunks.
//
// Formula  y[row, c] = x[row, c] where x has that channel, 0 otherwise.
// Shapes   x (rows, from), y (rows, to); the larger of `from` and `to` a multiple of 16 bytes.
// Bytes    x and y once, in chunks of 16 bytes; a row that two blocks share is read by both.
// FLOPs    none.
// Scratch  none.
// Rounding none.
// Source   this project.
#include "conv2d.h"
#include "elementwise.cuh"
#include "tensor_core.cuh"

/// A lane's chunk as f32 at `at` in shared memory. Of eight lanes with neighbouring chunks of 32 bytes the upper four go by in the other
/// order, so that none conflict.
template <uint32_t N> static __device__ __forceinline__ void put_shared(uint32_t at, const float (&v)[N]) {
    if constexpr (N == 4) {
        store_shared(at, v[0], v[1], v[2], v[3]);
    } else {
        bool turn = threadIdx.x / 4 % 2;
        for (uint32_t i = 0; i < 2; i++) {
            bool high = turn != (i == 1);
            store_shared(at + high * 16, high ? v[4] : v[0], high ? v[5] : v[1], high ? v[6] : v[2], high ? v[7] : v[3]);
        }
    }
}

template <uint32_t N> static __device__ __forceinline__ void get_shared(uint32_t at, float (&v)[N]) {
    bool turn = N == 8 && threadIdx.x / 4 % 2;
    float4 first = load_shared<0>(at + turn * 16), low = first;
    if constexpr (N == 8) {
        float4 second = load_shared<0>(at + !turn * 16), high = turn ? first : second;
        low = turn ? second : first;
        v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    }
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
}

/// A block writes a span of y, a chunk by each thread.
template <class T> static __device__ __forceinline__ void conv2d_channels(const Conv2dChannels &p) {
    constexpr uint32_t N = Chunk<T>::N, SPAN = ELEMENTWISE_THREADS * N, SECTOR = 2 * N;
    // The block's part of the narrower of x and y.
    __shared__ __align__(16) float narrow[SPAN + 2 * SECTOR];
    const T *x = at<const T>(p.x);
    T *y = at<T>(p.y);
    uint32_t begin = blockIdx.x * SPAN, total = p.rows * p.to, end = min(begin + SPAN, total), index = begin + threadIdx.x * N;
    if (p.from % N == 0 && p.to % N == 0) {
        if (index >= end) return;
        uint32_t c = index % p.to;
        Chunk<T> chunk = {};
        if (c < p.from) chunk = Chunk<T>::load(x + index / p.to * p.from + c);
        chunk.store(y + index);
    } else if (p.from < p.to) {
        // Rows of x lie side by side, from the sector on in which the first one begins.
        uint32_t first = (begin / p.to * p.from + min(begin % p.to, p.from)) / SECTOR * SECTOR;
        uint32_t last = (end / p.to * p.from + min(end % p.to, p.from) + SECTOR - 1) / SECTOR * SECTOR, count = p.rows * p.from;
        for (uint32_t i = first + threadIdx.x * N; i < min(last, count); i += SPAN) {
            put_shared<N>(shared_address(narrow + (i - first)), load_part(x, i, count).v);
        }
        __syncthreads();
        if (index >= end) return;
        Chunk<T> chunk = {};
        uint32_t c = index % p.to, from = index / p.to * p.from + c - first;
        for (uint32_t i = 0; i < N; i++) {
            if (c + i < p.from) chunk.v[i] = narrow[from + i];
        }
        chunk.store(y + index);
    } else {
        // Every row of x that a part of goes into the span.
        uint32_t first = begin / p.to * p.from / SECTOR * SECTOR, last = ((end - 1) / p.to + 1) * p.from;
        last = min((last + SECTOR - 1) / SECTOR * SECTOR, p.rows * p.from);
        for (uint32_t i = first + threadIdx.x * N; i < last; i += SPAN) {
            Chunk<T> chunk = Chunk<T>::load(x + i);
            uint32_t c = i % p.from, to = i / p.from * p.to + c;
            for (uint32_t e = 0; e < N; e++) {
                uint32_t at = to + e - begin;
                if (c + e < p.to && at < end - begin) store_shared(shared_address(narrow) + at * sizeof(float), chunk.v[e]);
            }
        }
        // The last chunk may be cut short.
        if (threadIdx.x < N) narrow[end - begin + threadIdx.x] = 0.0f;
        __syncthreads();
        if (index >= end) return;
        Chunk<T> chunk;
        get_shared<N>(shared_address(narrow + (index - begin)), chunk.v);
        store_part(chunk, y, index, total);
    }
}

VF_EXPORT(conv2d_channels, Conv2dChannels, ELEMENTWISE_THREADS)
