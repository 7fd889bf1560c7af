// The cosine between the rows of two matrices.
#pragma once
#include <stdint.h>

/// y[r] = a·b / (max(‖a‖, eps)·max(‖b‖, eps)).
/// Grid: parts.
struct CosineSimilarityFwd {
    uint64_t a;  ///< (rows, channels), read
    uint64_t b;  ///< (rows, channels), read
    uint64_t y;  ///< (rows), written
    uint32_t rows;
    uint32_t channels;
    uint32_t parts;  ///< rows are cut into this many equal parts, the last one shorter
    float eps;
};

/// da = dy·(b/(‖a‖‖b‖) − y·a/‖a‖²), the second term only where ‖a‖ > eps; db likewise.
/// Grid: parts.
struct CosineSimilarityBwd {
    uint64_t a;   ///< (rows, channels), read
    uint64_t b;   ///< (rows, channels), read
    uint64_t dy;  ///< (rows), read
    uint64_t da;  ///< (rows, channels) or absent, written
    uint64_t db;  ///< (rows, channels) or absent, written
    uint32_t rows;
    uint32_t channels;
    uint32_t parts;  ///< as above
    float eps;
};
