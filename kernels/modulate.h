// The modulation of adaptive layer norm.
#pragma once
#include <stdint.h>

/// y = x·(1 + scale) + shift.
/// Grid: (slices, cols / tile, groups), blocks of channel_tile.cuh.
struct ModulateFwd {
    uint64_t x;      ///< (groups, rows_per_group, cols), read
    uint64_t scale;  ///< (groups, cols), read
    uint64_t shift;  ///< (groups, cols) or absent, read
    uint64_t y;      ///< (groups, rows_per_group, cols), written
    uint32_t groups;
    uint32_t rows_per_group;
    uint32_t cols;
    uint32_t tile;    ///< columns of a block
    uint32_t slices;  ///< a group's rows are cut into this many slices, one for a block
    uint32_t reserved;
};

/// dx = dy·(1 + scale), and over a group's rows dscale = Σ dy·x and dshift = Σ dy: of each part of them where there are several.
/// Grid: (parts, cols / tile, groups).
struct ModulateBwd {
    uint64_t x;       ///< (groups, rows_per_group, cols), read
    uint64_t scale;   ///< (groups, cols), read
    uint64_t dy;      ///< (groups, rows_per_group, cols), read
    uint64_t dx;      ///< (groups, rows_per_group, cols) or absent, written
    uint64_t dscale;  ///< (groups, cols) or absent; written if `parts` is 1
    uint64_t dshift;  ///< (groups, cols) or absent; written if `parts` is 1
    uint64_t sums;    ///< (groups, parts, 2, cols) f32, parts of dshift and dscale, or absent; written
    uint32_t groups;
    uint32_t rows_per_group;
    uint32_t cols;
    uint32_t tile;   ///< as above
    uint32_t parts;  ///< a group's rows are cut into this many parts of equal length, the last one shorter
    uint32_t reserved;
};
