// The geometry of kernels over rows (vectors.cuh).
#pragma once

/// Threads per block: up to a warp across a row, each with its vector of columns, and as many rows as have room.
#define ROWS_THREADS 256
