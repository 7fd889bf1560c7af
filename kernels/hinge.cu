// The discriminator's hinge loss and its gradient.
//
// Formula   loss = ½ (mean relu(1 − real) + mean relu(1 + fake));  dreal = −½ dloss/real_count where real < 1, 0 elsewhere;
//           dfake = ½ dloss/fake_count where fake > −1, 0 elsewhere.
// Shapes    real, dreal (real_count); fake, dfake (fake_count), any shapes; loss (parts); dloss (1).
// Bytes     each tensor once, 4 a part.
// FLOPs     3 per element.
// Scratch   forward: a part for each block, which `sum_parts` adds up.
// Rounding  everything in f32, sums in a fixed order; gradients are rounded once. NaN stays NaN in the loss.
// Source    Lim and Ye, "Geometric GAN" (2017).
#include "elementwise.cuh"
#include "hinge.h"

/// Which logits this block takes: those of the real ones come first, so many blocks.
template <class T> struct Logits {
    bool real;
    float sign;
    size_t first;
    uint32_t count;

    __device__ __forceinline__ Logits(uint32_t real_count, uint32_t fake_count) {
        constexpr uint32_t PER_BLOCK = ELEMENTWISE_THREADS * Chunk<T>::N;
        uint32_t real_blocks = (real_count + PER_BLOCK - 1) / PER_BLOCK;
        real = blockIdx.x < real_blocks;
        sign = real ? -1.0f : 1.0f;
        first = first_element<T>() - (real ? 0 : (size_t)real_blocks * PER_BLOCK);
        count = real ? real_count : fake_count;
    }

    /// 1 − real or 1 + fake.
    __device__ __forceinline__ Chunk<T> margins(uint64_t reals, uint64_t fakes) const {
        Chunk<T> chunk = load_part(at<const T>(real ? reals : fakes), first, count);
        for (float &v : chunk.v) v = 1.0f + sign * v;
        return chunk;
    }
};

template <class T> static __device__ __forceinline__ void hinge_fwd(const HingeFwd &p) {
    Logits<T> mine(p.real_count, p.fake_count);
    float sum = 0.0f;
    if (mine.first < mine.count) {
        Chunk<T> margin = mine.margins(p.real, p.fake);
        for (int i = 0; i < Chunk<T>::N; i++) {
            // Not fmaxf, which would make a number of a NaN.
            if (mine.first + i < mine.count) sum += margin.v[i] < 0.0f ? 0.0f : margin.v[i];
        }
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) at<float>(p.loss)[blockIdx.x] = 0.5f * sum / (float)mine.count;
}

template <class T> static __device__ __forceinline__ void hinge_bwd(const HingeBwd &p) {
    Logits<T> mine(p.real_count, p.fake_count);
    T *gradient = at<T>(mine.real ? p.dreal : p.dfake);
    if (mine.first >= mine.count || !gradient) return;
    float slope = mine.sign * 0.5f * *at<const float>(p.dloss) / (float)mine.count;
    Chunk<T> chunk = mine.margins(p.real, p.fake);
    for (float &v : chunk.v) v = v > 0.0f ? slope : 0.0f;
    store_part(chunk, gradient, mine.first, mine.count);
}

VF_EXPORT(hinge_fwd, HingeFwd, ELEMENTWISE_THREADS)
VF_EXPORT(hinge_bwd, HingeBwd, ELEMENTWISE_THREADS)
