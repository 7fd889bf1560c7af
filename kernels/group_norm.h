// Group norm over channels-last images, with SiLU fused.
#pragma once
#include <stdint.h>

/// y = act((x − mean)·rstd·weight + bias), mean and rstd over the positions and channels of a group.
struct GroupNormFwd {
    uint64_t x;       ///< (batch, positions, channels), read
    uint64_t weight;  ///< (channels), read
    uint64_t bias;    ///< (channels), read
    uint64_t y;       ///< (batch, positions, channels), written
    uint64_t mean;    ///< (batch, groups) f32, written
    uint64_t rstd;    ///< (batch, groups) f32, written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t groups;
    float eps;
    uint32_t silu;  ///< 1: act is SiLU; 0: the identity
};

/// The gradients, from x and the statistics; the normalised tensor is recomputed.
struct GroupNormBwd {
    uint64_t x;        ///< (batch, positions, channels), read
    uint64_t weight;   ///< (channels), read
    uint64_t bias;     ///< (channels), read
    uint64_t mean;     ///< (batch, groups) f32, read
    uint64_t rstd;     ///< (batch, groups) f32, read
    uint64_t dy;       ///< (batch, positions, channels), read
    uint64_t dx;       ///< (batch, positions, channels) or absent, written
    uint64_t dweight;  ///< (channels), written
    uint64_t dbias;    ///< (channels), written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t groups;
    uint32_t silu;
    uint32_t reserved;
};
