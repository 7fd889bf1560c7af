// Cutting packed columns into equal parts: q|k|v, and the modulations of adaptive layer norm.
#pragma once
#include <stdint.h>

/// Part i = columns i·cols to (i + 1)·cols of every row of x.
struct ChunkFwd {
    uint64_t x;  ///< (rows, parts·cols), read
    uint64_t a;  ///< (rows, cols), written
    uint64_t b;  ///< (rows, cols) or absent, written
    uint64_t c;  ///< (rows, cols) or absent, written
    uint64_t d;  ///< (rows, cols) or absent, written
    uint64_t e;  ///< (rows, cols) or absent, written
    uint64_t f;  ///< (rows, cols) or absent, written
    uint32_t rows;
    uint32_t cols;
    uint32_t parts;
    uint32_t reserved;
};

/// dx = da | db | …, zeros where one is absent.
struct ChunkBwd {
    uint64_t da;  ///< (rows, cols) or absent, read
    uint64_t db;  ///< (rows, cols) or absent, read
    uint64_t dc;  ///< (rows, cols) or absent, read
    uint64_t dd;  ///< (rows, cols) or absent, read
    uint64_t de;  ///< (rows, cols) or absent, read
    uint64_t df;  ///< (rows, cols) or absent, read
    uint64_t dx;  ///< (rows, parts·cols), written
    uint32_t rows;
    uint32_t cols;
    uint32_t parts;
    uint32_t reserved;
};
