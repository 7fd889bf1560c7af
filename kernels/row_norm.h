// What row_norm.cuh and the ops that launch its blocks agree on.
#pragma once

/// Columns of a block that adds up the sums of parts.
#define ROW_NORM_SUM_COLUMNS 16
/// Threads of such a block.
#define ROW_NORM_SUM_THREADS 256
