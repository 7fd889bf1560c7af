// Between f32 and bf16.
#pragma once
#include <stdint.h>

/// Fours of elements that a thread takes.
#define CAST_FOURS 2

/// y = x in the other of the two dtypes.
struct Cast {
    uint64_t x;  ///< (count), read
    uint64_t y;  ///< (count) of the other dtype, written
    uint32_t count;
    uint32_t reserved;
};
