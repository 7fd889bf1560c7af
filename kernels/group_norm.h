// Group norm over channels-last images, with SiLU fused.
#pragma once
#include <stdint.h>

/// The mean and the sum of squared differences from it, of each group in each part of the positions.
/// Grid: (parts, channels / tile, batch); dynamic shared memory: two arrays of channels (channel_tile.cuh).
struct GroupNormStats {
    uint64_t x;        ///< (batch, positions, channels), read
    uint64_t partial;  ///< (batch, parts, groups, 2) f32: mean, sum of squares; written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t groups;
    uint32_t tile;   ///< channels of a block: whole groups and whole chunks of 16 bytes, and a divisor of `channels`
    uint32_t parts;  ///< positions are cut into this many parts of equal length, the last one shorter
};

/// The same of fewer and longer parts, `fold` at a time: what a convolution leaves are many. Grid: a thread for each group of each longer part.
struct GroupNormMerge {
    uint64_t partial;  ///< (batch, parts, groups, 2) f32, read
    uint64_t merged;   ///< (batch, ⌈parts / fold⌉, groups, 2) f32, written
    uint32_t batch;
    uint32_t groups;
    uint32_t parts;
    uint32_t fold;
    uint32_t elements;  ///< of a group in each of `parts`
    uint32_t reserved;
};

/// y = act((x − mean)·rstd·weight + bias), mean and rstd over the positions and channels of a group, from the statistics of its parts.
/// Grid: (slices, channels / tile, batch); dynamic shared memory: four arrays of channels.
struct GroupNormFwd {
    uint64_t x;         ///< (batch, positions, channels), read
    uint64_t weight;    ///< (channels) f32, read
    uint64_t bias;      ///< (channels) f32, read
    uint64_t partial;   ///< (batch, parts, groups, 2) f32, as `GroupNormStats` writes it, read
    uint64_t y;         ///< (batch, positions, channels), written
    uint64_t mean;      ///< (batch, groups) f32, written
    uint64_t rstd;      ///< (batch, groups) f32, written
    uint64_t unbiased;  ///< (batch, groups) f32 or absent: the variance by one element less, for batch norm; written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t groups;
    uint32_t tile;    ///< as above
    uint32_t parts;   ///< of `partial`
    uint32_t length;  ///< positions of each part, but the last one may have less
    uint32_t slices;  ///< positions are cut into this many slices, one for a block
    float eps;
    uint32_t silu;  ///< 1: act is SiLU; 0: the identity
};

/// With x̂ = (x − mean)·rstd, dz = dy·act′(x̂·weight + bias) and, over a part's positions, S = Σ dz and T = Σ dz·x̂ of each channel: S
/// and T, and for each group the sums over its channels of weight·S and weight·T.
/// Grid: (parts, channels / tile, batch); dynamic shared memory: five arrays of channels.
struct GroupNormBwdSums {
    uint64_t x;           ///< (batch, positions, channels), read
    uint64_t weight;      ///< (channels) f32, read
    uint64_t bias;        ///< (channels) f32, read
    uint64_t mean;        ///< (batch, groups) f32, read
    uint64_t rstd;        ///< (batch, groups) f32, read
    uint64_t dy;          ///< (batch, positions, channels), read
    uint64_t by_channel;  ///< (batch, parts, 2, channels) f32: S, T; or absent; written
    uint64_t by_group;    ///< (batch, parts, groups, 2) f32: of weight·S, of weight·T; or absent; written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t groups;
    uint32_t tile;   ///< as above
    uint32_t parts;  ///< as above
    uint32_t silu;   ///< as above
    uint32_t reserved;
};

/// dbias = Σ S and dweight = Σ T over batch and parts; dx = dresidual + rstd·(weight·dz − m − x̂·n), where m and n are the sums of weight·S
/// and of weight·T over the parts of a group, divided by the number of its elements.
/// Grid: (slices + 1, channels / tile, batch), where block x = 0 sums and the others write dx, or (1, channels / tile, 1) where no dx is
/// asked for; dynamic shared memory: six arrays of channels.
struct GroupNormBwd {
    uint64_t x;           ///< (batch, positions, channels), read
    uint64_t weight;      ///< (channels) f32, read
    uint64_t bias;        ///< (channels) f32, read
    uint64_t mean;        ///< (batch, groups) f32, read
    uint64_t rstd;        ///< (batch, groups) f32, read
    uint64_t dy;          ///< (batch, positions, channels), read
    uint64_t by_channel;  ///< (batch, parts, 2, channels) f32 or absent with dweight and dbias, read
    uint64_t by_group;    ///< (batch, parts, groups, 2) f32 or absent with dx, read
    uint64_t dresidual;   ///< as x or absent: what reaches x on other ways; read
    uint64_t dx;          ///< (batch, positions, channels) or absent, written
    uint64_t dweight;     ///< (channels) f32 or absent, written
    uint64_t dbias;       ///< (channels) f32 or absent, written
    uint32_t batch;
    uint32_t positions;
    uint32_t channels;
    uint32_t groups;
    uint32_t tile;    ///< as above
    uint32_t parts;   ///< of `by_channel` and `by_group`
    uint32_t slices;  ///< as above; 0 where no dx is asked for
    uint32_t silu;    ///< as above
};
