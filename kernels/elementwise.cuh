// Kernels in which element i of every output depends on element i of every input: a thread takes 16 bytes of T, and the last
// thread what is left over, element by element.
#pragma once
#include "common.cuh"
#include "elementwise.h"

/// The first element of this thread's chunk.
template <class T> __device__ __forceinline__ size_t first_element() {
    return ((size_t)blockIdx.x * ELEMENTWISE_THREADS + threadIdx.x) * Chunk<T>::N;
}

/// Elements [first, first + N) of a tensor of `count`, zeros beyond its end.
template <class T> __device__ __forceinline__ Chunk<T> load_part(const T *x, size_t first, size_t count) {
    if (first + Chunk<T>::N <= count) return Chunk<T>::load(x + first);
    Chunk<T> chunk;
#pragma unroll
    for (int i = 0; i < Chunk<T>::N; i++) chunk.v[i] = first + i < count ? to_float(x[first + i]) : 0.0f;
    return chunk;
}

/// Writes what of the chunk lies before the end.
template <class T> __device__ __forceinline__ void store_part(const Chunk<T> &chunk, T *x, size_t first, size_t count) {
    if (first + Chunk<T>::N <= count) return chunk.store(x + first);
#pragma unroll
    for (int i = 0; i < Chunk<T>::N; i++) {
        if (first + i < count) from_float(chunk.v[i], x + first + i);
    }
}

/// Four neighbouring values, zeros beyond the end.
template <class T> __device__ __forceinline__ Chunk<float> load4_part(const T *x, size_t first, size_t count) {
    Chunk<float> values;
    if (first + 4 <= count) {
        float4 four = load4_or(x, first, 0.0f);
        values.v[0] = four.x, values.v[1] = four.y, values.v[2] = four.z, values.v[3] = four.w;
        return values;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) values.v[i] = first + i < count ? to_float(x[first + i]) : 0.0f;
    return values;
}

/// Writes four neighbouring values, each rounded once, as far as they lie before the end.
template <class T> __device__ __forceinline__ void store4_part(const Chunk<float> &values, T *x, size_t first, size_t count) {
    if (first + 4 <= count) return store4(make_float4(values.v[0], values.v[1], values.v[2], values.v[3]), x + first);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (first + i < count) from_float(values.v[i], x + first + i);
    }
}

/// The sum over a block of ELEMENTWISE_THREADS threads, in thread 0, in an order that does not change.
__device__ __forceinline__ float block_total(float x) {
    __shared__ float of_warp[ELEMENTWISE_THREADS / 32];
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0.0f;
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < ELEMENTWISE_THREADS / 32; i++) x += of_warp[i];
    }
    return x;
}
