// The second pass of sums over whole tensors: one block adds what the blocks of the first pass left.
//
// Formula   sum = Σ parts[i].
// Shapes    parts (count), sum (1).
// Bytes     4 per part. A few KB: the launch is what costs.
// FLOPs     1 per part.
// Scratch   none.
// Rounding  f32; every thread adds each 256th part in order, then a fixed tree. No atomics.
// Source    definition.
#include "elementwise.cuh"
#include "sum.h"

static __device__ __forceinline__ void sum_parts(const SumParts &p) {
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < p.count; i += ELEMENTWISE_THREADS) sum += at<const float>(p.parts)[i];
    sum = block_total(sum);
    if (threadIdx.x == 0) at<float>(p.sum)[0] = sum;
}

VF_EXPORT_F32(sum_parts, SumParts, ELEMENTWISE_THREADS)
