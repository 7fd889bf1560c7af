// Gated residuals: adaLN's gates and the layer scale of vision transformers.
#pragma once
#include <stdint.h>

/// out = x + gate·y.
/// Grid: (slices, cols / tile, gates), blocks of channel_tile.cuh; dynamic shared memory: one array of channels.
struct GateFwd {
    uint64_t x;     ///< (gates, rows_per_gate, cols), read
    uint64_t gate;  ///< (gates, cols), or f32 as `parameter` says; read
    uint64_t y;     ///< (gates, rows_per_gate, cols), read
    uint64_t out;   ///< (gates, rows_per_gate, cols), written
    uint32_t gates;
    uint32_t rows_per_gate;
    uint32_t cols;
    uint32_t tile;       ///< columns of a block
    uint32_t slices;     ///< a gate's rows are cut into this many slices, one for a block
    uint32_t parameter;  ///< 1: the gate is a parameter (layer scale), which is f32 whatever the others are
};

/// dy = gate·dout (dx is dout itself), and dgate = Σ dout·y over a gate's rows: of each part of them where there are several.
/// Grid: (parts, cols / tile, gates); dynamic shared memory: one array of channels.
struct GateBwd {
    uint64_t dout;   ///< (gates, rows_per_gate, cols), read
    uint64_t gate;   ///< (gates, cols), as above, read
    uint64_t y;      ///< (gates, rows_per_gate, cols), read
    uint64_t dy;     ///< (gates, rows_per_gate, cols) or absent, written
    uint64_t dgate;  ///< as the gate, or absent; written if `parts` is 1
    uint64_t sums;   ///< (gates, parts, 1, cols) f32, dgate's parts, or absent; written
    uint32_t gates;
    uint32_t rows_per_gate;
    uint32_t cols;
    uint32_t tile;       ///< as above
    uint32_t parts;      ///< a gate's rows are cut into this many parts of equal length, the last one shorter
    uint32_t parameter;  ///< as above
};
