// Weighing loss streams against each other, without the host.
//
// Formula   sum_of_squares: parts[b] = Σ over block b's elements of x²;  adaptive_weight:
//           clamp(√nll / (√other + 1e-4), 0, largest)·factor;  scale: y = scale·x;  add_scaled: sum += scale·x.
// Shapes    x, y, sum (count); parts (parts); the others (1).
// Bytes     sum_of_squares 1, scale 2, add_scaled 3 elements per element.
// FLOPs     1 to 2 per element. Memory-bound.
// Scratch   sum_of_squares: 4 bytes a block, which `sum_parts` adds.
// Rounding  f32 inside, rounded once. No atomics: blocks and threads have fixed elements.
// Source    Esser, Rombach and Ommer, "Taming transformers for high-resolution image synthesis" (2021), for the adaptive weight.
#include "adaptive.h"
#include "elementwise.cuh"

template <class T> static __device__ __forceinline__ void sum_of_squares(const SumOfSquares &p) {
    float sum = 0.0f;
    size_t stride = (size_t)p.parts * ELEMENTWISE_THREADS * Chunk<T>::N;
    for (size_t first = first_element<T>(); first < p.count; first += stride) {
        Chunk<T> x = load_part(at<const T>(p.x), first, p.count);
        for (int i = 0; i < Chunk<T>::N; i++) sum += x.v[i] * x.v[i];
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) at<float>(p.sum)[blockIdx.x] = sum;
}

static __device__ __forceinline__ void adaptive_weight(const AdaptiveWeight &p) {
    if (threadIdx.x != 0) return;
    float ratio = sqrtf(at<const float>(p.nll)[0]) / (sqrtf(at<const float>(p.other)[0]) + ADAPTIVE_NORM_FLOOR);
    // fminf and fmaxf would make a number of a NaN, which the training loop looks for.
    ratio = ratio < 0.0f ? 0.0f : ratio > p.largest ? p.largest : ratio;
    at<float>(p.weight)[0] = ratio * p.factor;
}

template <class T> static __device__ __forceinline__ void scale(const Scale &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    float factor = at<const float>(p.scale)[0];
    Chunk<T> x = load_part(at<const T>(p.x), first, p.count);
    for (int i = 0; i < Chunk<T>::N; i++) x.v[i] *= factor;
    store_part(x, at<T>(p.y), first, p.count);
}

template <class T> static __device__ __forceinline__ void add_scaled(const AddScaled &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    float factor = at<const float>(p.scale)[0];
    Chunk<T> x = load_part(at<const T>(p.x), first, p.count), sum = load_part(at<const T>(p.sum), first, p.count);
    for (int i = 0; i < Chunk<T>::N; i++) sum.v[i] += factor * x.v[i];
    store_part(sum, at<T>(p.sum), first, p.count);
}

VF_EXPORT(sum_of_squares, SumOfSquares, ELEMENTWISE_THREADS)
VF_EXPORT_F32(adaptive_weight, AdaptiveWeight, ELEMENTWISE_THREADS)
VF_EXPORT(scale, Scale, ELEMENTWISE_THREADS)
VF_EXPORT(add_scaled, AddScaled, ELEMENTWISE_THREADS)
