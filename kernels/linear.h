// The linear layer with what may follow it at once, and its gradients.
#pragma once
#include <stdint.h>

#include "activation.h"
#include "matrix_tile.h"

/// No activation; the others are ACTIVATION_SILU, ACTIVATION_GELU_ERF and ACTIVATION_GELU_TANH.
#define LINEAR_IDENTITY 16
/// silu(a)·b of two halves a | b.
#define LINEAR_SWIGLU 17

/// Threads per block of linear_bwd_bias and linear_bwd_weight_sum.
#define LINEAR_SUM_THREADS 256
/// Columns of a block of linear_bwd_bias.
#define LINEAR_BIAS_COLUMNS 64

/// s = x·weightᵀ + bias; a = f(s), or silu(s₁)·s₂ for SwiGLU, where s, weight and bias have 2·outputs columns or rows (s₁, then s₂);
/// y = a, or residual + gate·a.
struct LinearFwd {
    uint64_t x;         ///< (rows, inputs), read
    uint64_t weight;    ///< (outputs, inputs), read
    uint64_t bias;      ///< (outputs) f32 or absent, read
    uint64_t residual;  ///< (rows, outputs) or absent, read
    uint64_t gate;      ///< (rows / rows_per_gate, outputs), (outputs) f32 if `parameter` is 1, or absent (which is 1), read
    uint64_t y;         ///< (rows, outputs), written
    uint64_t sums;      ///< s, or absent, written
    uint64_t branch;    ///< (rows, outputs): a where there is a gate, or absent, written
    uint32_t rows;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t rows_per_gate;
    uint32_t activation;
    uint32_t tile;       ///< of the rows after `bulk`
    uint32_t bulk;       ///< rows, from the first on, that are cut into whole 128×128 tiles: bf16 only, or 0
    uint32_t parameter;  ///< 1: the gate is one parameter vector for all rows
};

/// d = dy·weight; dx = d, with what else reaches x added, or the gradient of what came before this layer: d·f′(s), for SwiGLU of both halves of s.
struct LinearBwdInput {
    uint64_t dy;         ///< (rows, outputs), read
    uint64_t weight;     ///< (outputs, inputs), read
    uint64_t sums;       ///< s: (rows, inputs), for SwiGLU (rows, 2·inputs); absent without an activation; read
    uint64_t dresidual;  ///< (rows, inputs): what else reaches x; absent where nothing does, or with an activation; read
    uint64_t dx;         ///< shaped as s, written
    uint32_t rows;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t activation;
    uint32_t tile;  ///< as above
    uint32_t bulk;  ///< as above
};

/// dweight = dyᵀ·x, and dbias = Σ_rows dy in the same pass. Tiles are dealt out to `blocks` as far as they go round; the rest is cut along the
/// rows of x, so that all have the same work, and such parts of a tile are left to linear_bwd_weight_sum.
struct LinearBwdWeight {
    uint64_t x;             ///< (rows, inputs), read
    uint64_t dy;            ///< (rows, outputs), read
    uint64_t dweight;       ///< (outputs, inputs) f32, written
    uint64_t dbias;         ///< (outputs) f32 or absent, written
    uint64_t partial;       ///< (blocks + tiles % blocks − 1, tile) f32, absent where blocks divides tiles (and on the CPU), written
    uint64_t partial_bias;  ///< (blocks + tiles % blocks − 1, the tile's rows) f32, absent where partial or dbias is, written
    uint32_t rows;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t blocks;
    uint32_t tile;
    uint32_t reserved;
};

/// Adds up the parts of tiles that several blocks of linear_bwd_weight have shared.
struct LinearBwdWeightSum {
    uint64_t partial;       ///< as above, read
    uint64_t partial_bias;  ///< as above or absent, read
    uint64_t dweight;       ///< (outputs, inputs) f32, written where tiles were shared
    uint64_t dbias;         ///< (outputs) f32 or absent, written where tiles were shared
    uint32_t inputs;
    uint32_t outputs;
    uint32_t blocks;
    uint32_t slabs;         ///< of the rows that blocks have shared, per tile
    uint32_t tile_rows;
    uint32_t tile_columns;
};

/// dbias = Σ_rows dy, where dweight is not wanted.
struct LinearBwdBias {
    uint64_t dy;     ///< (rows, outputs), read
    uint64_t dbias;  ///< (outputs) f32, written
    uint32_t rows;
    uint32_t outputs;
};
