// Blocks of threads over rows, each with a vector of 1, 4 or 16 / sizeof(T) neighbouring columns.
#pragma once
#include "common.cuh"
#include <type_traits>

/// `N` neighbouring values in 8 or 16 aligned bytes, or one alone.
template <int N, class T> __device__ __forceinline__ void load(const T *from, float (&v)[N]) {
    if constexpr (N == 1) {
        v[0] = to_float(*from);
    } else if constexpr (N == 4) {
        float4 four = load4_or(from, 0, 0.0f);
        v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    } else {
        static_assert(N == Chunk<T>::N, "one, four, or sixteen bytes");
        Chunk<T> chunk = Chunk<T>::load(from);
        for (int i = 0; i < N; i++) v[i] = chunk.v[i];
    }
}

/// As `load`, each value rounded once.
template <int N, class T> __device__ __forceinline__ void store(const float (&v)[N], T *to) {
    if constexpr (N == 1) {
        from_float(v[0], to);
    } else if constexpr (N == 4) {
        store4(make_float4(v[0], v[1], v[2], v[3]), to);
    } else {
        static_assert(N == Chunk<T>::N, "one, four, or sixteen bytes");
        Chunk<T> chunk;
        for (int i = 0; i < N; i++) chunk.v[i] = v[i];
        chunk.store(to);
    }
}

/// This thread's row of a block over rows: neighbours in x share one.
__device__ __forceinline__ uint32_t row_of_thread() { return blockIdx.x * blockDim.y + threadIdx.y; }

/// Its first column, where it takes `N`.
template <int N> __device__ __forceinline__ uint32_t column_of_thread() { return (blockIdx.y * blockDim.x + threadIdx.x) * N; }

/// The same of rows that are long enough for blocks of their own (`rows::long` on the host).
__device__ __forceinline__ uint32_t row_of_block() { return blockIdx.y; }

template <int N> __device__ __forceinline__ uint32_t column_of_block() { return (blockIdx.x * blockDim.x + threadIdx.x) * N; }

/// Calls `body(width)` for the widest vectors that rows of `columns` are made of: 16 bytes, or single values.
template <class T, class Body> __device__ __forceinline__ void by_width(uint32_t columns, Body body) {
    if (columns % Chunk<T>::N == 0) {
        body(std::integral_constant<int, Chunk<T>::N>());
    } else {
        body(std::integral_constant<int, 1>());
    }
}

/// As `by_width` in fours, which rows of T and of f32 can both move in whole sectors.
template <class Body> __device__ __forceinline__ void by_fours(uint32_t columns, Body body) {
    if (columns % 4 == 0) {
        body(std::integral_constant<int, 4>());
    } else {
        body(std::integral_constant<int, 1>());
    }
}
