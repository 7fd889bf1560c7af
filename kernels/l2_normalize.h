// Rows of length one.
#pragma once
#include <stdint.h>

/// y = x / max(‖x‖, eps) per row.
/// Grid: parts.
struct L2NormalizeFwd {
    uint64_t x;  ///< (rows, channels), read
    uint64_t y;  ///< (rows, channels), written
    uint32_t rows;
    uint32_t channels;
    uint32_t parts;  ///< rows are cut into this many equal parts, the last one shorter
    float eps;
};

/// dx = (dy − y·(y·dy)) / ‖x‖, without the second term where ‖x‖ ≤ eps.
/// Grid: parts.
struct L2NormalizeBwd {
    uint64_t x;   ///< (rows, channels), read
    uint64_t dy;  ///< (rows, channels), read
    uint64_t dx;  ///< (rows, channels), written
    uint32_t rows;
    uint32_t channels;
    uint32_t parts;  ///< as above
    float eps;
};
