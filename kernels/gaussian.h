// The diagonal Gaussian posterior: a sample and its divergence from N(0, 1).
#pragma once
#include <stdint.h>

/// Bounds of the log-variance; outside them it has no gradient.
#define GAUSSIAN_LOGVAR_MIN -30
#define GAUSSIAN_LOGVAR_MAX 20

/// z = mean + exp(logvar/2)·noise;  kl = ½ Σ (mean² + e^logvar − 1 − logvar) / batch.
struct GaussianFwd {
    uint64_t moments;  ///< (pixels, 2·channels) = mean | logvar, read
    uint64_t noise;    ///< (pixels, channels), read
    uint64_t z;        ///< (pixels, channels), written
    uint64_t kl;       ///< f32, a part for each block, written
    uint32_t pixels;   ///< batch·height·width
    uint32_t channels;
    uint32_t batch;
    uint32_t reserved;
};

/// dmean = dz + mean·dkl/batch;  dlogvar = ½ exp(logvar/2)·noise·dz + ½ (e^logvar − 1)·dkl/batch;  dnoise = exp(logvar/2)·dz.
struct GaussianBwd {
    uint64_t moments;   ///< (pixels, 2·channels), read
    uint64_t noise;     ///< (pixels, channels), read
    uint64_t dz;        ///< (pixels, channels) or absent, read
    uint64_t dkl;       ///< (1) f32 or absent, read
    uint64_t dmoments;  ///< (pixels, 2·channels) or absent, written
    uint64_t dnoise;    ///< (pixels, channels) or absent, written
    uint32_t pixels;
    uint32_t channels;
    uint32_t batch;
    uint32_t reserved;
};

/// terms = mean² + e^logvar − 1 − logvar.
struct KlTermsFwd {
    uint64_t moments;  ///< (pixels, 2·channels), read
    uint64_t terms;    ///< (pixels, channels), written
    uint32_t pixels;
    uint32_t channels;
};

/// dmean = 2·mean·dterms;  dlogvar = (e^logvar − 1)·dterms.
struct KlTermsBwd {
    uint64_t moments;   ///< (pixels, 2·channels), read
    uint64_t dterms;    ///< (pixels, channels), read
    uint64_t dmoments;  ///< (pixels, 2·channels), written
    uint32_t pixels;
    uint32_t channels;
};
