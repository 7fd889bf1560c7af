// The L1 loss of a reconstruction with its gradient, in the reference's reduction: summed over pixels, divided by the batch.
//
// Formula   loss[b] = Σ over block b's elements of |x_hat − x| / batch; dx_hat = sign(x_hat − x)·weight / batch, 0 where both agree.
// Shapes    x_hat, x, dx_hat (count); loss (parts).
// Bytes     3 elements per element, each once: the loss's weight is known beforehand, so that no second pass has to wait for it.
// FLOPs     4 per element. Memory-bound.
// Scratch   4 bytes a block, which `sum_parts` adds.
// Rounding  f32 inside, the gradient rounded once. No atomics.
// Source    definition; the reference's contperceptual.py for the reduction.
#include "elementwise.cuh"
#include "l1.h"

template <class T> static __device__ __forceinline__ void l1_loss(const L1Loss &p) {
    float sum = 0.0f, slope = p.weight / (float)p.batch;
    size_t stride = (size_t)p.parts * ELEMENTWISE_THREADS * Chunk<T>::N;
    for (size_t first = first_element<T>(); first < p.count; first += stride) {
        Chunk<T> x_hat = load_part(at<const T>(p.x_hat), first, p.count), x = load_part(at<const T>(p.x), first, p.count);
        for (int i = 0; i < Chunk<T>::N; i++) {
            float d = x_hat.v[i] - x.v[i];
            sum += fabsf(d);
            // A NaN stays one.
            x_hat.v[i] = d == 0.0f ? 0.0f : d == d ? copysignf(1.0f, d) * slope : d;
        }
        store_part(x_hat, at<T>(p.dx_hat), first, p.count);
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) at<float>(p.loss)[blockIdx.x] = sum / (float)p.batch;
}

VF_EXPORT(l1_loss, L1Loss, ELEMENTWISE_THREADS)
