// One value throughout a tensor: zeros, constants, seeds of gradients.
//
// Formula   y[i] = value.
// Shapes    y (count), any shape.
// Bytes     each element written once, nothing read.
// FLOPs     none.
// Scratch   none.
// Rounding  bf16 is the f32 value rounded once.
// Source    definition.
#include "elementwise.cuh"
#include "fill.h"

template <class T> static __device__ __forceinline__ void fill(const Fill &p) {
    size_t first = first_element<T>();
    if (first < p.count) store_part(Chunk<T>::load_or(nullptr, 0, p.value), at<T>(p.y), first, p.count);
}

VF_EXPORT(fill, Fill, ELEMENTWISE_THREADS)
