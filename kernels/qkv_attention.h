// Softmax attention straight from the packed output of a linear layer, with QK norm and rotary position embedding on the way.
#pragma once
#include <stdint.h>

#define QKV_ATTENTION_THREADS 256
/// Threads of a block of many queries of qkv_attention_fwd's in f32, whose rows take twice the shared memory.
#define QKV_ATTENTION_FWD_THREADS_F32 128
/// The largest head size on CUDA.
#define QKV_ATTENTION_MAX_HEAD 128
/// Rows of a block of qkv_attention_bwd_embedding.
#define QKV_ATTENTION_ROWS_PER_BLOCK 128

/// out = softmax(scale·q̂·k̂ᵀ)·v per head, with q̂ and k̂ the rows of q and k normed (x·rstd·weight) and turned.
struct QkvAttentionFwd {
    uint64_t qkv;        ///< (batch, tokens, 3, heads, head_dim), read
    uint64_t q_norm;     ///< (head_dim) f32 or absent, read
    uint64_t k_norm;     ///< (head_dim) f32 or absent with q_norm, read
    uint64_t cos;        ///< (tokens, head_dim) f32 or absent, read
    uint64_t sin;        ///< (tokens, head_dim) f32 or absent with cos, read
    uint64_t out;        ///< (batch, tokens, heads, head_dim), written
    uint64_t logsumexp;  ///< (batch, heads, tokens) f32, written
    uint32_t batch;
    uint32_t tokens;
    uint32_t heads;
    uint32_t head_dim;
    float scale;
    float eps;
    uint32_t block_queries;  ///< queries of a block on a GPU
    uint32_t reserved;
};

/// The gradients. Those of q and k are finished here, unless there is a norm to go back through, or several parts of dq to add up:
/// then they are left, turned back, in dq_parts and dk_normed for qkv_attention_bwd_embedding.
struct QkvAttentionBwd {
    uint64_t qkv;        ///< (batch, tokens, 3, heads, head_dim), read
    uint64_t q_norm;     ///< (head_dim) f32 or absent, read
    uint64_t k_norm;     ///< (head_dim) f32 or absent, read
    uint64_t cos;        ///< (tokens, head_dim) f32 or absent, read
    uint64_t sin;        ///< (tokens, head_dim) f32 or absent, read
    uint64_t out;        ///< (batch, tokens, heads, head_dim), read
    uint64_t logsumexp;  ///< (batch, heads, tokens) f32, read
    uint64_t dout;       ///< (batch, tokens, heads, head_dim), read
    uint64_t dqkv;       ///< (batch, tokens, 3, heads, head_dim) or absent, written
    uint64_t dq_parts;   ///< (parts, batch, tokens, heads, head_dim) f32 or absent, written
    uint64_t dk_normed;  ///< (batch, tokens, heads, head_dim) f32 or absent, written
    uint32_t batch;
    uint32_t tokens;
    uint32_t heads;
    uint32_t head_dim;
    float scale;
    float eps;
};

/// Adds up dq's parts, and takes dq and dk back through the norm: x̂ = x·rstd, dx = rstd·(w·d − x̂·mean(w·d·x̂)). Of the weights of q's
/// norm and of k's each block leaves Σ d·x̂ over its rows for part_sums. Grid: (blocks, tensors).
struct QkvAttentionBwdEmbedding {
    uint64_t qkv;          ///< (rows, 3, heads, head_dim), read
    uint64_t q_norm;       ///< (head_dim) f32 or absent, read
    uint64_t k_norm;       ///< (head_dim) f32 or absent, read
    uint64_t dq_parts;     ///< (parts, rows, heads, head_dim) f32, read
    uint64_t dk_normed;    ///< (rows, heads, head_dim) f32 or absent, read
    uint64_t dqkv;         ///< (rows, 3, heads, head_dim) or absent, of which dq and, where dk_normed is, dk, written
    uint64_t weight_sums;  ///< (blocks, 2, head_dim) f32 or absent, written
    uint32_t rows;
    uint32_t heads;
    uint32_t head_dim;
    uint32_t parts;
    float eps;
    uint32_t blocks;
    uint32_t tensors;  ///< 2 with dk_normed, 1 without
    uint32_t reserved;
};
