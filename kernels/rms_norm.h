// RMSNorm (Zhang and Sennrich, 2019), optionally followed by DiT's adaLN modulation (Peebles and Xie, 2022).
#pragma once
#include <stdint.h>

/// Threads per block of the forward: a warp takes a row.
#define RMS_NORM_FWD_THREADS 256
/// Threads per block of the backward: a warp takes every fourth of the block's rows.
#define RMS_NORM_BWD_THREADS 128
/// Threads per block of the sums: 8 groups of 32, each thread 4 columns.
#define RMS_NORM_SUMS_THREADS 256

/// y = x̂·weight·(1 + scale[b]) + shift[b], with x̂ = x·rstd and rstd = 1 / √(mean(x²) + eps) of the row; b = row / rows_per_group.
/// Grid: rows / 8, rounded up.
struct RmsNormFwd {
    uint64_t x;       ///< (rows, dim), read
    uint64_t weight;  ///< (dim) or absent, read
    uint64_t scale;   ///< (groups, dim) or absent, read
    uint64_t shift;   ///< (groups, dim) or absent, read
    uint64_t y;       ///< (rows, dim), written
    uint64_t rstd;    ///< (rows) f32, written: what backward needs
    uint32_t rows;
    uint32_t dim;             ///< CUDA: a multiple of 4 (f32) or 8 (bf16)
    uint32_t rows_per_group;  ///< rows that share a scale and shift: the tokens of an image
    float eps;
};

/// dx = rstd·(d − x̂·mean(d·x̂)) with d = dy·(1 + scale)·weight; and, per part of a group's rows, the sums over its rows of dy·x̂ and
/// dy, from which `RmsNormSums` makes the other gradients. Without scale and shift the rows may be cut into groups at will.
/// Grid: (parts, groups); dynamic shared memory: 32 bytes per column, columns rounded up to a multiple of 128 (f32) or 256 (bf16).
struct RmsNormBwd {
    uint64_t x;          ///< (rows, dim), read
    uint64_t weight;     ///< (dim) or absent, read
    uint64_t scale;      ///< (groups, dim) or absent, read
    uint64_t rstd;       ///< (rows) f32, read
    uint64_t dy;         ///< (rows, dim), read
    uint64_t dx;         ///< (rows, dim), written
    uint64_t sum_dy_xhat;  ///< (groups, parts, dim) f32 or absent, written
    uint64_t sum_dy;       ///< (groups, parts, dim) f32 or absent with it, written
    uint32_t rows;
    uint32_t dim;             ///< CUDA: a multiple of 4 (f32) or 8 (bf16)
    uint32_t rows_per_group;
    uint32_t parts;  ///< a group's rows are cut into this many equal parts, the last one shorter
};

/// With A[g] = Σ over parts of sum_dy_xhat[g]: dscale[g] = weight·A[g], dshift[g] = Σ sum_dy[g], dweight = Σ over g of (1 + scale[g])·A[g].
/// Grid: dim / 128, rounded up.
struct RmsNormSums {
    uint64_t weight;       ///< (dim) or absent, read
    uint64_t scale;        ///< (groups, dim) or absent, read
    uint64_t sum_dy_xhat;  ///< (groups, parts, dim) f32, read
    uint64_t sum_dy;       ///< (groups, parts, dim) f32, read
    uint64_t dweight;      ///< (dim) f32 or absent, written
    uint64_t dscale;       ///< (groups, dim) or absent, written
    uint64_t dshift;       ///< (groups, dim) or absent, written
    uint32_t dim;          ///< CUDA: a multiple of 4
    uint32_t groups;
    uint32_t parts;
    uint32_t reserved;
};
