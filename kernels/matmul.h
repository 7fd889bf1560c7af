// Products of matrices, one for each entry of a batch.
#pragma once
#include <stdint.h>

#include "matrix_tile.h"

/// a·bᵀ.
#define MATMUL_NT 0
/// a·b.
#define MATMUL_NN 1
/// aᵀ·b.
#define MATMUL_TN 2

/// y = the product of a and b, of each entry of the batch.
struct Matmul {
    uint64_t a;  ///< (batch, rows, depth), for aᵀ·b (batch, depth, rows), read
    uint64_t b;  ///< (batch, depth, columns), for a·bᵀ (batch, columns, depth), read
    uint64_t y;  ///< (batch, rows, columns), written
    uint32_t batch;
    uint32_t rows;
    uint32_t columns;
    uint32_t depth;
    uint32_t form;  ///< MATMUL_NT, …
    uint32_t tile;  ///< of the rows after `bulk`
    uint32_t bulk;  ///< rows, from the first on, that are cut into whole 128×128 tiles: bf16 only, or 0
    uint32_t reserved;
};
