// Cutting packed q|k|v columns apart.
#pragma once
#include <stdint.h>

/// a, b, c = the thirds of every row of x.
struct SplitFwd {
    uint64_t x;  ///< (rows, 3·cols), read
    uint64_t a;  ///< (rows, cols), written
    uint64_t b;  ///< (rows, cols), written
    uint64_t c;  ///< (rows, cols), written
    uint32_t rows;
    uint32_t cols;
};

/// dx = da | db | dc, zeros where one is absent.
struct SplitBwd {
    uint64_t da;  ///< (rows, cols) or absent, read
    uint64_t db;  ///< (rows, cols) or absent, read
    uint64_t dc;  ///< (rows, cols) or absent, read
    uint64_t dx;  ///< (rows, 3·cols), written
    uint32_t rows;
    uint32_t cols;
};
