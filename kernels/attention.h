// Softmax attention without the score matrix in memory.
#pragma once
#include <stdint.h>

#define ATTENTION_THREADS 256
/// Threads of a block of attention_fwd's for heads of up to 128 channels.
#define ATTENTION_FWD_THREADS 128
/// Queries of such a block, and of one of qkv_attention_fwd's, where larger blocks would leave multiprocessors idle.
#define ATTENTION_FEW_QUERIES 64
/// The largest head size on CUDA.
#define ATTENTION_MAX_HEAD 512
/// Rows of a block of attention_delta.
#define ATTENTION_DELTA_ROWS 64
/// Rows (queries, or keys in their gradients) that a block of the wide kernels owns, and its dynamic shared memory for f32 and bf16.
#define ATTENTION_WIDE_ROWS 32
#define ATTENTION_WIDE_BYTES_F32 95744
#define ATTENTION_WIDE_BYTES_BF16 50688

/// out = softmax(scale·q·kᵀ)·v per head; logsumexp of every row of scores is kept for the gradients.
struct AttentionFwd {
    uint64_t q;          ///< (batch, queries, heads, head_dim), read
    uint64_t k;          ///< (batch, keys, heads, head_dim), read
    uint64_t v;          ///< (batch, keys, heads, head_dim), read
    uint64_t out;        ///< (batch, queries, heads, head_dim), written
    uint64_t logsumexp;  ///< (batch, heads, queries) f32, written
    uint32_t batch;
    uint32_t queries;
    uint32_t keys;
    uint32_t heads;
    uint32_t head_dim;
    float scale;
    uint32_t block_queries;  ///< queries of a block on a GPU, for heads of up to 128 channels
    uint32_t reserved;
};

/// delta = Σ out·dout of every row and head.
struct AttentionDelta {
    uint64_t out;    ///< (batch, queries, heads, head_dim), read
    uint64_t dout;   ///< (batch, queries, heads, head_dim), read
    uint64_t delta;  ///< (batch, heads, queries) f32, written
    uint32_t batch;
    uint32_t queries;
    uint32_t heads;
    uint32_t head_dim;
};

/// The gradients, with the probabilities recomputed from q, k and logsumexp.
struct AttentionBwd {
    uint64_t q;          ///< (batch, queries, heads, head_dim), read
    uint64_t k;          ///< (batch, keys, heads, head_dim), read
    uint64_t v;          ///< (batch, keys, heads, head_dim), read
    uint64_t out;        ///< (batch, queries, heads, head_dim) where delta is absent, read
    uint64_t logsumexp;  ///< (batch, heads, queries) f32, read
    uint64_t delta;      ///< (batch, heads, queries) f32 or absent, read
    uint64_t dout;       ///< (batch, queries, heads, head_dim), read
    uint64_t dq;         ///< (batch, queries, heads, head_dim) or absent, written
    uint64_t dk;         ///< (batch, keys, heads, head_dim) or absent, written
    uint64_t dv;         ///< (batch, keys, heads, head_dim) or absent, written
    uint64_t dq_parts;   ///< (parts, batch, queries, heads, head_dim) f32 in place of dq, or absent, written
    uint32_t batch;
    uint32_t queries;
    uint32_t keys;
    uint32_t heads;
    uint32_t head_dim;
    float scale;
};

/// dq = the sum of what the parts of a head's keys gave. dq comes first because an entry has the dtype of the first tensor.
struct AttentionBwdSum {
    uint64_t dq;        ///< (elements), written
    uint64_t dq_parts;  ///< (parts, elements) f32, read
    uint32_t elements;
    uint32_t parts;
};
