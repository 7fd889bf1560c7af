// Rows of a table by index: label embeddings.
#pragma once
#include <stdint.h>

/// y[i] = table[indices[i]]; NaN where an index lies outside the table.
struct EmbeddingFwd {
    uint64_t table;    ///< (entries, cols), read
    uint64_t indices;  ///< (count) u32, read
    uint64_t y;        ///< (count, cols), written
    uint32_t entries;
    uint32_t cols;
    uint32_t count;
    uint32_t reserved;
};

/// dtable[k] = Σ_{i: indices[i] = k} dy[i], in ascending order of i.
struct EmbeddingBwd {
    uint64_t dy;       ///< (count, cols), read
    uint64_t indices;  ///< (count) u32, read
    uint64_t dtable;   ///< (entries, cols), written
    uint32_t entries;
    uint32_t cols;
    uint32_t count;
    uint32_t reserved;
};
