// Sums of tensors: residual connections, and the accumulation of gradients.
#pragma once
#include <stdint.h>

/// y = a + b.
struct AddFwd {
    uint64_t a;  ///< (count), read
    uint64_t b;  ///< (count), read
    uint64_t y;  ///< (count), written
    uint32_t count;
    uint32_t reserved;
};

/// sum += x.
struct AddInto {
    uint64_t x;    ///< (count), read
    uint64_t sum;  ///< (count), read and written
    uint32_t count;
    uint32_t reserved;
};
