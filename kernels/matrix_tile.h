// What launches of kernels made from matrix_tile.cuh share.
#pragma once

/// Threads of a block: four warps.
#define MATRIX_THREADS 128

/// Dynamic shared memory of every tile shape, in bytes: two blocks fit on a multiprocessor of 164 KiB.
#define MATRIX_SHARED 81920
