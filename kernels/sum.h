// The second pass of sums over whole tensors.
#pragma once
#include <stdint.h>

/// sum = Σ parts, in an order that does not change.
struct SumParts {
    uint64_t parts;  ///< (count) f32, read
    uint64_t sum;    ///< (1) f32, written
    uint32_t count;
    uint32_t reserved;
};
