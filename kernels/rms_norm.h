// RMSNorm (Zhang and Sennrich, 2019), optionally followed by DiT's adaLN modulation (Peebles and Xie, 2022).
#pragma once
#include <stdint.h>

/// y = x̂·weight·(1 + scale[b]) + shift[b], with x̂ = x·rstd and rstd = 1 / √(mean(x²) + eps) of the row; b = row / rows_per_group.
/// Grid: (parts, groups).
struct RmsNormFwd {
    uint64_t x;       ///< (rows, dim), read
    uint64_t weight;  ///< (dim) f32 or absent, read
    uint64_t scale;   ///< (groups, dim) or absent, read
    uint64_t shift;   ///< (groups, dim) or absent, read
    uint64_t branch;  ///< (rows, dim) or absent, read
    uint64_t gate;    ///< (groups, dim), there where branch is, read
    uint64_t y;       ///< (rows, dim), written
    uint64_t rstd;    ///< (rows) f32, written: what backward needs
    uint64_t joined;  ///< (rows, dim), there where branch is: x + gate·branch, written
    uint32_t rows;
    uint32_t dim;
    uint32_t rows_per_group;  ///< rows that share a scale and shift: the tokens of an image
    uint32_t parts;           ///< a group's rows are cut into this many equal parts, the last one shorter
    float eps;
    uint32_t joins;  ///< 1: there is a branch
};

/// dx = rstd·(d − x̂·mean(d·x̂)) + dresidual with d = dy·(1 + scale)·weight; and, per part of a group's rows, the sums over its rows of dy
/// and of dy·x̂, from which `RmsNormSums` makes the other gradients.
/// Grid: (parts, groups).
struct RmsNormBwd {
    uint64_t x;          ///< (rows, dim), read
    uint64_t weight;     ///< (dim) f32 or absent, read
    uint64_t scale;      ///< (groups, dim) or absent, read
    uint64_t rstd;       ///< (rows) f32, read
    uint64_t dy;         ///< (rows, dim), read
    uint64_t dresidual;  ///< (rows, dim) or absent: what reaches x by another way, read
    uint64_t branch;     ///< (rows, dim) or absent, read
    uint64_t gate;       ///< (groups, dim), there where branch is, read
    uint64_t dx;         ///< (rows, dim), there where branch is, else it may be absent; written
    uint64_t sums;       ///< (groups, parts, 2 or with a branch 3, dim) f32 or absent: of dy, of dy·x̂, of dx·branch; written
    uint64_t dbranch;    ///< (rows, dim), there where branch is, written
    uint32_t rows;
    uint32_t dim;
    uint32_t rows_per_group;  ///< as above
    uint32_t parts;           ///< as above
    uint32_t joins;           ///< as above
    uint32_t reserved;
};

/// With A[g] = Σ dy and D[g] = Σ dy·x̂ over a group's parts: dscale[g] = weight·D[g], dshift[g] = A[g], dweight = Σ over g of
/// (1 + scale[g])·D[g].
/// Grid: (dim / 16, rounded up; modulated + affine).
struct RmsNormSums {
    uint64_t scale;    ///< (groups, dim) or absent, read
    uint64_t shift;    ///< (groups, dim) or absent: has the dtype of dshift, and is not read
    uint64_t gate;     ///< (groups, dim) or absent: has the dtype of dgate, and is not read
    uint64_t weight;   ///< (dim) f32 or absent, read
    uint64_t sums;     ///< (groups, parts, values, dim) f32, read
    uint64_t dweight;  ///< (dim) f32 or absent, written
    uint64_t dscale;   ///< (groups, dim) or absent, written
    uint64_t dshift;   ///< (groups, dim) or absent, written
    uint64_t dgate;    ///< (groups, dim) or absent, written
    uint32_t dim;
    uint32_t groups;
    uint32_t parts;
    uint32_t modulated;  ///< blocks y below this write a group's dscale, dshift and dgate: `groups`, or 0 where none is asked for
    uint32_t affine;     ///< 1: blocks y after those write what is summed over groups; 0 where that is not asked for
    uint32_t values;     ///< sums of each column: 2, or 3 with a branch
};
