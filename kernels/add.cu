// Sums of tensors: residual connections, and the accumulation of gradients.
//
// Formula   add_fwd: y = a + b;  add_into: sum += x.
// Shapes    all (count).
// Bytes     add_fwd 3, add_into 3 elements per element: each input once, each output once.
// FLOPs     1 per element. Memory-bound.
// Scratch   none.
// Rounding  in f32, rounded once.
// Source    definition.
#include "add.h"
#include "elementwise.cuh"

template <class T> static __device__ __forceinline__ void add(const T *a, const T *b, T *y, uint32_t count) {
    size_t first = first_element<T>();
    if (first >= count) return;
    Chunk<T> sum = load_part(a, first, count), other = load_part(b, first, count);
    for (int i = 0; i < Chunk<T>::N; i++) sum.v[i] += other.v[i];
    store_part(sum, y, first, count);
}

template <class T> static __device__ __forceinline__ void add_fwd(const AddFwd &p) {
    add(at<const T>(p.a), at<const T>(p.b), at<T>(p.y), p.count);
}

template <class T> static __device__ __forceinline__ void add_into(const AddInto &p) {
    add(at<const T>(p.sum), at<const T>(p.x), at<T>(p.sum), p.count);
}

VF_EXPORT(add_fwd, AddFwd, ELEMENTWISE_THREADS)
VF_EXPORT(add_into, AddInto, ELEMENTWISE_THREADS)
