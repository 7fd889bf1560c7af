// One value throughout a tensor: zeros, constants, seeds of gradients.
//
// Formula   y[i] = value.
// Shapes    y (count), any shape.
// Bytes     each element written once, nothing read.
// FLOPs     none.
// Scratch   none.
// Rounding  bf16 is the f32 value rounded once.
// Source    definition.
#include "common.cuh"
#include "fill.h"

template <class T> static __device__ __forceinline__ void fill(const Fill &p) {
    constexpr uint32_t N = Chunk<T>::N;
    size_t first = ((size_t)blockIdx.x * FILL_THREADS + threadIdx.x) * N;
    if (first >= p.count) return;
    Chunk<T> chunk = Chunk<T>::load_or(nullptr, 0, p.value);
    T *y = at<T>(p.y) + first;
    if (first + N <= p.count) {
        chunk.store(y);
    } else {
        for (uint32_t i = 0; first + i < p.count; i++) from_float(p.value, y + i);
    }
}

VF_EXPORT(fill, Fill, FILL_THREADS)
