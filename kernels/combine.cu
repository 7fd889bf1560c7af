// Sums of up to eight tensors with coefficients, in one pass: the steps of differential equation solvers.
//
// Formula   y = Σᵢ coefficients[i]·xᵢ over the tensors that are there;  dxᵢ = coefficients[i]·dy for those that are asked for.
// Shapes    all (count).
// Bytes     each tensor that is there once.
// FLOPs     2 an element of every x, 1 of every dx. Memory-bound.
// Scratch   none.
// Rounding  in f32, in the order of the tensors; each result is rounded once.
// Source    definition.
#include "combine.h"
#include "elementwise.cuh"

template <class T> static __device__ __forceinline__ void combine_fwd(const CombineFwd &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    const uint64_t tensors[] = {p.x0, p.x1, p.x2, p.x3, p.x4, p.x5, p.x6, p.x7};
    Chunk<T> y = Chunk<T>::load_or(nullptr, 0, 0.0f);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (!tensors[i]) continue;
        Chunk<T> x = load_part(at<const T>(tensors[i]), first, p.count);
        for (int j = 0; j < Chunk<T>::N; j++) y.v[j] = fmaf(p.coefficients[i], x.v[j], y.v[j]);
    }
    store_part(y, at<T>(p.y), first, p.count);
}

template <class T> static __device__ __forceinline__ void combine_bwd(const CombineBwd &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    const uint64_t tensors[] = {p.dx0, p.dx1, p.dx2, p.dx3, p.dx4, p.dx5, p.dx6, p.dx7};
    Chunk<T> dy = load_part(at<const T>(p.dy), first, p.count);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (!tensors[i]) continue;
        Chunk<T> dx;
        for (int j = 0; j < Chunk<T>::N; j++) dx.v[j] = p.coefficients[i] * dy.v[j];
        store_part(dx, at<T>(tensors[i]), first, p.count);
    }
}

VF_EXPORT(combine_fwd, CombineFwd, ELEMENTWISE_THREADS)
VF_EXPORT(combine_bwd, CombineBwd, ELEMENTWISE_THREADS)
