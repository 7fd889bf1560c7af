// What launches of kernels made from matrix_tile.cuh share.
#pragma once

/// Threads of a block: four warps.
#define MATRIX_THREADS 128

/// Dynamic shared memory of every tile shape, in bytes: two blocks fit on a multiprocessor of 164 KiB.
#define MATRIX_SHARED 81920

/// Rows and columns of a block's tile: the `tile` of products of whole matrices. Large tiles load less for each product, small ones leave fewer
/// multiprocessors idle at the end: a product may begin with the former, for its first `bulk` rows, and end with the latter.
#define MATRIX_128X128 0  // bf16 only
#define MATRIX_128X64 1
#define MATRIX_64X64 2  // bf16 only
#define MATRIX_RAGGED 3  // 64×32, for rows that do not start at multiples of 16 bytes
