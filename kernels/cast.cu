// Between f32 and bf16: `cast_f32` reads f32 and writes bf16, `cast_bf16` the reverse.
//
// Formula   y[i] = x[i].
// Shapes    x, y (count), of different dtypes.
// Bytes     6 per element.
// FLOPs     none.
// Scratch   none.
// Rounding  to nearest, ties to even; from bf16 exact.
// Source    definition.
#include "cast.h"
#include "elementwise.cuh"

template <class T> struct Other;
template <> struct Other<float> { using Type = __nv_bfloat16; };
template <> struct Other<__nv_bfloat16> { using Type = float; };

/// A thread takes eight elements: one chunk of bf16, two of f32.
template <class T> static __device__ __forceinline__ void cast(const Cast &p) {
    using U = typename Other<T>::Type;
    size_t first = ((size_t)blockIdx.x * ELEMENTWISE_THREADS + threadIdx.x) * 8;
    float v[8];
#pragma unroll
    for (int part = 0; part < 8; part += Chunk<T>::N) {
        if (first + part >= p.count) break;
        Chunk<T> chunk = load_part(at<const T>(p.x), first + part, p.count);
        for (int i = 0; i < Chunk<T>::N; i++) v[part + i] = chunk.v[i];
    }
#pragma unroll
    for (int part = 0; part < 8; part += Chunk<U>::N) {
        if (first + part >= p.count) break;
        Chunk<U> chunk;
        for (int i = 0; i < Chunk<U>::N; i++) chunk.v[i] = v[part + i];
        store_part(chunk, at<U>(p.y), first + part, p.count);
    }
}

VF_EXPORT(cast, Cast, ELEMENTWISE_THREADS)
