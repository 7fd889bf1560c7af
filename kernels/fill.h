// One value throughout a tensor.
#pragma once
#include <stdint.h>

/// Threads per block; one takes 16 bytes of y and the grid covers them all once.
#define FILL_THREADS 256

/// y = value.
struct Fill {
    uint64_t y;  ///< (count), written
    float value;
    uint32_t count;
};
