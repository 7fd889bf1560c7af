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

/// A thread takes fours: 8 bytes of bf16 and 16 of f32, neighbours the next ones.
template <class T> static __device__ __forceinline__ void cast(const Cast &p) {
    using U = typename Other<T>::Type;
    size_t first = ((size_t)blockIdx.x * ELEMENTWISE_THREADS * CAST_FOURS + threadIdx.x) * 4;
    constexpr size_t NEXT = ELEMENTWISE_THREADS * 4;
    Chunk<float> fours[CAST_FOURS];
#pragma unroll
    for (int i = 0; i < CAST_FOURS; i++) fours[i] = load4_part(at<const T>(p.x), first + i * NEXT, p.count);
#pragma unroll
    for (int i = 0; i < CAST_FOURS; i++) store4_part(fours[i], at<U>(p.y), first + i * NEXT, p.count);
}

VF_EXPORT(cast, Cast, ELEMENTWISE_THREADS)
