// Batch normalisation over images or tokens, per channel.
#pragma once
#include <stdint.h>

/// mean and biased variance over rows; y = (x − mean)/√(var + eps)·weight + bias; unbiased = var·rows/(rows − 1).
struct BatchNormTrainFwd {
    uint64_t x;         ///< (rows, channels), read
    uint64_t weight;    ///< (channels), read
    uint64_t bias;      ///< (channels), read
    uint64_t y;         ///< (rows, channels), written
    uint64_t mean;      ///< (channels), written
    uint64_t unbiased;  ///< (channels), written
    uint64_t rstd;      ///< (channels), written: 1/√(var + eps)
    uint32_t rows;
    uint32_t channels;
    float eps;
    uint32_t reserved;
};

/// dbias = Σ dy;  dweight = Σ dy·x̂;  dx = weight·rstd·(dy − dbias/rows − x̂·dweight/rows), x̂ = (x − mean)·rstd.
struct BatchNormTrainBwd {
    uint64_t x;        ///< (rows, channels), read
    uint64_t weight;   ///< (channels), read
    uint64_t mean;     ///< (channels), read
    uint64_t rstd;     ///< (channels), read
    uint64_t dy;       ///< (rows, channels), read
    uint64_t dx;       ///< (rows, channels) or absent, written
    uint64_t dweight;  ///< (channels), written
    uint64_t dbias;    ///< (channels), written
    uint32_t rows;
    uint32_t channels;
};

/// y = (x − mean)/√(var + eps)·weight + bias with given statistics.
struct BatchNormEvalFwd {
    uint64_t x;       ///< (rows, channels), read
    uint64_t weight;  ///< (channels), read
    uint64_t bias;    ///< (channels), read
    uint64_t mean;    ///< (channels), read
    uint64_t var;     ///< (channels), read
    uint64_t y;       ///< (rows, channels), written
    uint32_t rows;
    uint32_t channels;
    float eps;
    uint32_t reserved;
};

/// dbias = Σ dy;  dweight = Σ dy·x̂;  dx = weight·rstd·dy.
struct BatchNormEvalBwd {
    uint64_t x;        ///< (rows, channels), read
    uint64_t weight;   ///< (channels), read
    uint64_t mean;     ///< (channels), read
    uint64_t var;      ///< (channels), read
    uint64_t dy;       ///< (rows, channels), read
    uint64_t dx;       ///< (rows, channels) or absent, written
    uint64_t dweight;  ///< (channels), written
    uint64_t dbias;    ///< (channels), written
    uint32_t rows;
    uint32_t channels;
    float eps;
    uint32_t reserved;
};

/// running += momentum·(batch − running).
struct BatchNormTrack {
    uint64_t batch;    ///< (channels), read
    uint64_t running;  ///< (channels), read and written
    uint32_t channels;
    float momentum;
};
