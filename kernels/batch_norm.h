// Batch normalisation over images or tokens, per channel, by given statistics. By those of the batch it is group norm of one sample, with
// a group for each channel (group_norm.h).
#pragma once
#include <stdint.h>

/// y = (x − mean)/√(var + eps)·weight + bias.
/// Grid: (slices, channels / tile); dynamic shared memory: two arrays of channels (channel_tile.cuh).
struct BatchNormEvalFwd {
    uint64_t x;       ///< (rows, channels), read
    uint64_t weight;  ///< (channels) f32, read
    uint64_t bias;    ///< (channels) f32, read
    uint64_t mean;    ///< (channels) f32, read
    uint64_t var;     ///< (channels) f32, read
    uint64_t y;       ///< (rows, channels), written
    uint32_t rows;
    uint32_t channels;
    uint32_t tile;    ///< channels of a block
    uint32_t slices;  ///< rows are cut into this many slices, one for a block
    float eps;
    uint32_t reserved;
};

/// dx = weight·dy/√(var + eps); and, per part of the rows, of dy and of dy·x̂, the sums whose sums are dbias and dweight.
/// Grid: (parts, channels / tile); dynamic shared memory: two arrays of channels.
struct BatchNormEvalBwd {
    uint64_t x;       ///< (rows, channels), read
    uint64_t weight;  ///< (channels) f32, read
    uint64_t mean;    ///< (channels) f32, read
    uint64_t var;     ///< (channels) f32, read
    uint64_t dy;      ///< (rows, channels), read
    uint64_t dx;      ///< (rows, channels) or absent, written
    uint64_t sums;    ///< (parts, 2, channels) f32 or absent, written
    uint32_t rows;
    uint32_t channels;
    uint32_t tile;   ///< as above
    uint32_t parts;  ///< rows are cut into this many parts of equal length, the last one shorter
    float eps;
    uint32_t reserved;
};

/// Threads of a block that tracks.
#define BATCH_NORM_TRACK_THREADS 128

/// running += momentum·(batch − running).
/// Grid: channels / 128, rounded up.
struct BatchNormTrack {
    uint64_t batch;    ///< (channels) f32, read
    uint64_t running;  ///< (channels) f32, read and written
    uint32_t channels;
    float momentum;
};
