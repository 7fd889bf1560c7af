// Layer norm, with the modulation of adaptive layer norm fused.
#pragma once
#include <stdint.h>

/// y = ((x − mean)·rstd·weight + bias)·(1 + scale[b]) + shift[b], mean and rstd over the columns of a row; b = row / rows_per_group.
/// Grid: (parts, groups).
struct LayerNormFwd {
    uint64_t x;       ///< (rows, dim), read
    uint64_t weight;  ///< (dim) f32 or absent, read
    uint64_t bias;    ///< (dim) f32 or absent, read
    uint64_t scale;   ///< (groups, dim) or absent, read
    uint64_t shift;   ///< (groups, dim) or absent, read
    uint64_t y;       ///< (rows, dim), written
    uint64_t mean;    ///< (rows) f32, written
    uint64_t rstd;    ///< (rows) f32, written
    uint32_t rows;
    uint32_t dim;
    uint32_t rows_per_group;  ///< rows that share a scale and shift: the tokens of an image
    uint32_t parts;           ///< a group's rows are cut into this many equal parts, the last one shorter
    float eps;
    uint32_t reserved;
};

/// dx = rstd·(d − mean(d) − x̂·mean(d·x̂)) + dresidual with x̂ = (x − mean)·rstd and d = dy·(1 + scale)·weight; and, per part of a group's
/// rows, the sums over its rows of dy and of dy·x̂, from which `LayerNormSums` makes the other gradients.
/// Grid: (parts, groups).
struct LayerNormBwd {
    uint64_t x;          ///< (rows, dim), read
    uint64_t weight;     ///< (dim) f32 or absent, read
    uint64_t scale;      ///< (groups, dim) or absent, read
    uint64_t mean;       ///< (rows) f32, read
    uint64_t rstd;       ///< (rows) f32, read
    uint64_t dy;         ///< (rows, dim), read
    uint64_t dresidual;  ///< (rows, dim) or absent: what reaches x by another way, read
    uint64_t dx;         ///< (rows, dim) or absent, written
    uint64_t sums;       ///< (groups, parts, 2, dim) f32 or absent: of dy, of dy·x̂; written
    uint32_t rows;
    uint32_t dim;
    uint32_t rows_per_group;  ///< as above
    uint32_t parts;           ///< as above
};

/// With A[g] = Σ dy and D[g] = Σ dy·x̂ over a group's parts: dscale[g] = weight·D[g] + bias·A[g], dshift[g] = A[g],
/// dweight = Σ over g of (1 + scale[g])·D[g], dbias = Σ over g of (1 + scale[g])·A[g].
/// Grid: (dim / 16, rounded up; modulated + affine).
struct LayerNormSums {
    uint64_t scale;    ///< (groups, dim) or absent, read
    uint64_t shift;    ///< (groups, dim) or absent: has the dtype of dshift, and is not read
    uint64_t weight;   ///< (dim) f32 or absent, read
    uint64_t bias;     ///< (dim) f32 or absent, read
    uint64_t sums;     ///< (groups, parts, 2, dim) f32, read
    uint64_t dweight;  ///< (dim) f32 or absent, written
    uint64_t dbias;    ///< (dim) f32 or absent, written
    uint64_t dscale;   ///< (groups, dim) or absent, written
    uint64_t dshift;   ///< (groups, dim) or absent, written
    uint32_t dim;
    uint32_t groups;
    uint32_t parts;
    uint32_t modulated;  ///< blocks y below this write a group's dscale and dshift: `groups`, or 0 where neither is asked for
    uint32_t affine;     ///< 1: blocks y after those write what is summed over groups; 0 where that is not asked for
    uint32_t reserved;
};
