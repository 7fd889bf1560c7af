// Rows of length one.
#pragma once
#include <stdint.h>

/// y = x / max(‖x‖, eps) per row.
struct L2NormalizeFwd {
    uint64_t x;  ///< (rows, channels), read
    uint64_t y;  ///< (rows, channels), written
    uint32_t rows;
    uint32_t channels;
    float eps;
    uint32_t reserved;
};

/// dx = (dy − y·(y·dy)) / ‖x‖, without the second term where ‖x‖ ≤ eps.
struct L2NormalizeBwd {
    uint64_t x;   ///< (rows, channels), read
    uint64_t dy;  ///< (rows, channels), read
    uint64_t dx;  ///< (rows, channels), written
    uint32_t rows;
    uint32_t channels;
    float eps;
    uint32_t reserved;
};
