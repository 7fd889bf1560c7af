// The two ends of a diffusion transformer: positions for the patches, and images out of them.
#pragma once
#include <stdint.h>

/// y[b] = x[b] + table.
struct AddPositionsFwd {
    uint64_t x;      ///< (batch, count), read
    uint64_t table;  ///< (count), read
    uint64_t y;      ///< (batch, count), written
    uint32_t batch;
    uint32_t count;
};

/// dtable = Σ_b dy[b].
struct AddPositionsBwd {
    uint64_t dy;      ///< (batch, count), read
    uint64_t dtable;  ///< (count), f32, written
    uint32_t batch;
    uint32_t count;
};

/// y[b, i·p + u, j·p + v, c] = x[b, i, j, u, v, c] for c < channels.
struct UnpatchifyFwd {
    uint64_t x;  ///< (batch, grid_h, grid_w, patch, patch, x_channels), read
    uint64_t y;  ///< (batch, grid_h·patch, grid_w·patch, channels), written
    uint32_t batch;
    uint32_t grid_h;
    uint32_t grid_w;
    uint32_t patch;
    uint32_t x_channels;
    uint32_t channels;
};

/// The transposed map: zeros in the channels that y does not have.
struct UnpatchifyBwd {
    uint64_t dy;  ///< (batch, grid_h·patch, grid_w·patch, channels), read
    uint64_t dx;  ///< (batch, grid_h, grid_w, patch, patch, x_channels), written
    uint32_t batch;
    uint32_t grid_h;
    uint32_t grid_w;
    uint32_t patch;
    uint32_t x_channels;
    uint32_t channels;
};
