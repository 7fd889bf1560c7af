// One value throughout a tensor.
#pragma once
#include <stdint.h>

/// y = value.
struct Fill {
    uint64_t y;  ///< (count), written
    float value;
    uint32_t count;
};
