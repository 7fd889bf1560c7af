// Statistics for group norm of a part of the positions, by a block that has seen all of them: a pass of its own (group_norm.cu), or the
// convolution that writes the tensor (conv2d.cu).
#pragma once
#include "channel_tile.cuh"

/// Of a block's `channels`, `size` neighbouring ones in each group, over `length` positions. `means` and `within` are shared memory of
/// so many floats.
struct GroupStats {
    float *means, *within;
    uint32_t channels, size;
    float length;

    /// The mean and the sum of squared differences from it of each group, into `to`. `sums(c)` is Σ d and Σ d² over the positions,
    /// d the difference from `shift(c)`: a value near the channel's mean, so that a large mean costs no digits. All threads call it.
    template <class Sums, class Shift> __device__ __forceinline__ void write(float2 *to, Sums sums, Shift shift) const {
        for (uint32_t c = threadIdx.x; c < channels; c += blockDim.x) {
            float2 of = sums(c);
            means[c] = shift(c) + of.x / length;
            within[c] = of.y - of.x * of.x / length;
        }
        __syncthreads();
        for (uint32_t group = threadIdx.x; group < channels / size; group += blockDim.x) {
            float mean = 0.0f, all = 0.0f, between = 0.0f;
            each_of_group(group, size, [&](uint32_t c) { mean += means[c], all += within[c]; });
            mean /= (float)size;
            each_of_group(group, size, [&](uint32_t c) { between += (means[c] - mean) * (means[c] - mean); });
            to[group] = make_float2(mean, all + length * between);
        }
    }
};
