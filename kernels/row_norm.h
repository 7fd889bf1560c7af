// What row_norm.cuh and the ops that launch its blocks agree on.
#pragma once

/// The most threads of a block: those across one row.
#define ROW_NORM_THREADS 512
/// Columns of a block of the kernels that add up the parts' sums.
#define ROW_NORM_SUM_COLUMNS 16
/// Threads of these.
#define ROW_NORM_SUM_THREADS 256
/// Rows that a team takes at a time; twice as many where a chunk has four elements or one.
#define ROW_NORM_ROWS 2
