// The diagonal Gaussian posterior: a sample and its divergence from N(0, 1) in one pass.
//
// Formula   gaussian_fwd: z = mean + exp(½ logvar)·noise, kl[b] = ½ Σ over block b's elements of (mean² + e^logvar − 1 − logvar) / batch.
//           gaussian_bwd: dmean = dz + mean·dkl/batch, dlogvar = ½ exp(½ logvar)·noise·dz + ½ (e^logvar − 1)·dkl/batch, which is 0
//           outside the clamp, dnoise = exp(½ logvar)·dz. kl_terms: the terms without the ½, one by one.
// Shapes    moments, dmoments (pixels, mean | logvar: 2·channels); noise, z, dz, dnoise, terms (pixels, channels); kl (parts).
// Bytes     forward 4, backward 6 (7 with dnoise) elements per latent value: each tensor once.
// FLOPs     about 12 per latent value, of which one or two exponentials. Memory-bound.
// Scratch   4 bytes a block, which `sum_parts` adds.
// Rounding  f32 inside, results rounded once. expm1f near 0, where e^logvar − 1 − logvar cancels. No atomics.
// Source    Kingma and Welling, "Auto-encoding variational Bayes" (2014); the reference's DiagonalGaussianDistribution.
#include "elementwise.cuh"
#include "gaussian.h"

/// The places of N neighbouring latent values: in a tensor (pixels, channels), and of their means in one of moments. Where rows
/// are whole chunks they are neighbours there too; elsewhere every value is looked up by itself.
template <class T> struct Latents {
    static constexpr int N = Chunk<T>::N;
    size_t first, count;
    uint32_t channels;
    bool whole;

    __device__ __forceinline__ Latents(size_t first, uint32_t pixels, uint32_t channels)
        : first(first), count((size_t)pixels * channels), channels(channels), whole(channels % N == 0) {}

    __device__ __forceinline__ size_t mean_at(int i) const {
        uint32_t pixel = (uint32_t)(first + i) / channels;
        return (first + i) + (size_t)pixel * channels;
    }

    __device__ __forceinline__ void load(const T *moments, Chunk<T> &mean, Chunk<T> &logvar) const {
        if (whole) {
            mean = Chunk<T>::load(moments + mean_at(0));
            logvar = Chunk<T>::load(moments + mean_at(0) + channels);
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            bool inside = first + i < count;
            mean.v[i] = inside ? to_float(moments[mean_at(i)]) : 0.0f;
            logvar.v[i] = inside ? to_float(moments[mean_at(i) + channels]) : 0.0f;
        }
    }

    __device__ __forceinline__ void store(const Chunk<T> &mean, const Chunk<T> &logvar, T *moments) const {
        if (whole) {
            mean.store(moments + mean_at(0));
            logvar.store(moments + mean_at(0) + channels);
            return;
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (first + i >= count) return;
            from_float(mean.v[i], moments + mean_at(i));
            from_float(logvar.v[i], moments + mean_at(i) + channels);
        }
    }
};

/// NaN stays NaN.
static __device__ __forceinline__ float clamped(float logvar) {
    return logvar < GAUSSIAN_LOGVAR_MIN ? GAUSSIAN_LOGVAR_MIN : logvar > GAUSSIAN_LOGVAR_MAX ? GAUSSIAN_LOGVAR_MAX : logvar;
}

static __device__ __forceinline__ bool outside(float logvar) { return logvar < GAUSSIAN_LOGVAR_MIN || logvar > GAUSSIAN_LOGVAR_MAX; }

static __device__ __forceinline__ float kl_term(float mean, float logvar) { return mean * mean + expm1f(logvar) - logvar; }

template <class T> static __device__ __forceinline__ void gaussian_fwd(const GaussianFwd &p) {
    Latents<T> here(first_element<T>(), p.pixels, p.channels);
    float kl = 0.0f;
    if (here.first < here.count) {
        Chunk<T> mean, logvar, z = load_part(at<const T>(p.noise), here.first, here.count);
        here.load(at<const T>(p.moments), mean, logvar);
        for (int i = 0; i < Chunk<T>::N; i++) {
            float l = clamped(logvar.v[i]);
            z.v[i] = mean.v[i] + expf(0.5f * l) * z.v[i];
            // A zero mean and log-variance beyond the end add nothing.
            kl += kl_term(mean.v[i], l);
        }
        store_part(z, at<T>(p.z), here.first, here.count);
    }
    kl = block_total(kl);
    if (threadIdx.x == 0) at<float>(p.kl)[blockIdx.x] = 0.5f * kl / (float)p.batch;
}

template <class T> static __device__ __forceinline__ void gaussian_bwd(const GaussianBwd &p) {
    Latents<T> here(first_element<T>(), p.pixels, p.channels);
    if (here.first >= here.count) return;
    float dkl = p.dkl ? at<const float>(p.dkl)[0] / (float)p.batch : 0.0f;
    Chunk<T> mean, logvar, noise = load_part(at<const T>(p.noise), here.first, here.count), dz;
    here.load(at<const T>(p.moments), mean, logvar);
    for (int i = 0; i < Chunk<T>::N; i++) dz.v[i] = 0.0f;
    if (p.dz) dz = load_part(at<const T>(p.dz), here.first, here.count);
    for (int i = 0; i < Chunk<T>::N; i++) {
        float l = clamped(logvar.v[i]), std = expf(0.5f * l);
        float dlogvar = 0.5f * (std * noise.v[i] * dz.v[i] + expm1f(l) * dkl);
        noise.v[i] = std * dz.v[i];
        mean.v[i] = dz.v[i] + mean.v[i] * dkl;
        logvar.v[i] = outside(logvar.v[i]) ? 0.0f : dlogvar;
    }
    if (p.dmoments) here.store(mean, logvar, at<T>(p.dmoments));
    if (p.dnoise) store_part(noise, at<T>(p.dnoise), here.first, here.count);
}

template <class T> static __device__ __forceinline__ void kl_terms_fwd(const KlTermsFwd &p) {
    Latents<T> here(first_element<T>(), p.pixels, p.channels);
    if (here.first >= here.count) return;
    Chunk<T> mean, logvar;
    here.load(at<const T>(p.moments), mean, logvar);
    for (int i = 0; i < Chunk<T>::N; i++) mean.v[i] = kl_term(mean.v[i], clamped(logvar.v[i]));
    store_part(mean, at<T>(p.terms), here.first, here.count);
}

template <class T> static __device__ __forceinline__ void kl_terms_bwd(const KlTermsBwd &p) {
    Latents<T> here(first_element<T>(), p.pixels, p.channels);
    if (here.first >= here.count) return;
    Chunk<T> mean, logvar, dterms = load_part(at<const T>(p.dterms), here.first, here.count);
    here.load(at<const T>(p.moments), mean, logvar);
    for (int i = 0; i < Chunk<T>::N; i++) {
        mean.v[i] = 2.0f * mean.v[i] * dterms.v[i];
        logvar.v[i] = outside(logvar.v[i]) ? 0.0f : expm1f(logvar.v[i]) * dterms.v[i];
    }
    here.store(mean, logvar, at<T>(p.dmoments));
}

VF_EXPORT(gaussian_fwd, GaussianFwd, ELEMENTWISE_THREADS)
VF_EXPORT(gaussian_bwd, GaussianBwd, ELEMENTWISE_THREADS)
VF_EXPORT(kl_terms_fwd, KlTermsFwd, ELEMENTWISE_THREADS)
VF_EXPORT(kl_terms_bwd, KlTermsBwd, ELEMENTWISE_THREADS)
