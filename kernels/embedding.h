// Rows of a table by index: label embeddings.
#pragma once
#include <stdint.h>

/// Indices that a block of embedding_bwd looks through at a time, and the most threads it has.
#define EMBEDDING_INDICES 1024
#define EMBEDDING_BWD_THREADS 256

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
    uint64_t dtable;   ///< (entries, cols) f32, written
    uint32_t entries;
    uint32_t cols;
    uint32_t count;
    uint32_t reserved;
};
