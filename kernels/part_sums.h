// Adding up what blocks summed over their rows.
#pragma once
#include <stdint.h>

/// Columns of a block.
#define PART_SUMS_COLUMNS 64
/// Threads of a block: several for each column.
#define PART_SUMS_BLOCK 256

/// first = Σ over parts of sums[.., 0, ..], second = Σ over parts of sums[.., 1, ..].
/// Grid: (columns / 64, rounded up, groups).
struct PartSums {
    uint64_t like;    ///< any tensor of the results' dtype; not read
    uint64_t sums;    ///< (groups, parts, values, columns) f32, read
    uint64_t first;   ///< (groups, columns) or absent, written
    uint64_t second;  ///< (groups, columns) or absent, written; there only if `values` is 2
    uint32_t groups;
    uint32_t parts;
    uint32_t values;  ///< sums of each column: 1 or 2
    uint32_t columns;
};
