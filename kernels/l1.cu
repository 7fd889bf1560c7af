// The L1 loss of a reconstruction, in the reference's reduction: summed over pixels, divided by the batch.
//
// Formula   l1_fwd: loss[b] = Σ over block b's elements of |x_hat − x| / batch;  l1_bwd: dx_hat = sign(x_hat − x)·dloss/batch, 0 where
//           both agree, dx = −dx_hat.
// Shapes    x_hat, x, dx_hat, dx (count); loss (parts); dloss (1).
// Bytes     forward 2, backward 3 (4 with dx) elements per element. A gradient written by the forward would have to be read and written
//           once more by the backward, which knows dloss: the same five in all.
// FLOPs     2 per element. Memory-bound.
// Scratch   4 bytes a block, which `sum_parts` adds.
// Rounding  f32 inside, gradients rounded once. No atomics.
// Source    definition; the reference's contperceptual.py for the reduction.
#include "elementwise.cuh"
#include "l1.h"

template <class T> static __device__ __forceinline__ void l1_fwd(const L1Fwd &p) {
    float sum = 0.0f;
    size_t stride = (size_t)p.parts * ELEMENTWISE_THREADS * Chunk<T>::N;
    for (size_t first = first_element<T>(); first < p.count; first += stride) {
        Chunk<T> x_hat = load_part(at<const T>(p.x_hat), first, p.count), x = load_part(at<const T>(p.x), first, p.count);
        for (int i = 0; i < Chunk<T>::N; i++) sum += fabsf(x_hat.v[i] - x.v[i]);
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) at<float>(p.loss)[blockIdx.x] = sum / (float)p.batch;
}

template <class T> static __device__ __forceinline__ void l1_bwd(const L1Bwd &p) {
    size_t first = first_element<T>();
    if (first >= p.count) return;
    float slope = at<const float>(p.dloss)[0] / (float)p.batch;
    Chunk<T> x_hat = load_part(at<const T>(p.x_hat), first, p.count), x = load_part(at<const T>(p.x), first, p.count);
    for (int i = 0; i < Chunk<T>::N; i++) {
        float d = x_hat.v[i] - x.v[i];
        // A NaN stays one.
        x_hat.v[i] = d == 0.0f ? 0.0f : d == d ? copysignf(1.0f, d) * slope : d;
    }
    if (p.dx_hat) store_part(x_hat, at<T>(p.dx_hat), first, p.count);
    if (!p.dx) return;
    for (int i = 0; i < Chunk<T>::N; i++) x_hat.v[i] = -x_hat.v[i];
    store_part(x_hat, at<T>(p.dx), first, p.count);
}

VF_EXPORT(l1_fwd, L1Fwd, ELEMENTWISE_THREADS)
VF_EXPORT(l1_bwd, L1Bwd, ELEMENTWISE_THREADS)
