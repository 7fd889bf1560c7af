// The optimizer: the norm of all gradients, and the update of all parameters, each in one launch over a list of tensors.
#pragma once
#include <stdint.h>

/// Tensors that one launch takes. A kernel's parameters may have 32,764 bytes.
#define ADAMW_LIST 512
/// Elements of a tensor that one block takes.
#define ADAMW_BLOCK_ELEMENTS 4096
/// Threads per block.
#define ADAMW_THREADS 256

/// What the optimizer keeps on the device, f32 each: updates done; steps skipped because the norm was not finite; the norm of all
/// gradients; what multiplies them; lr / c₁; 1 / √c₂; lr·wd (AdamW) or wd (Adam); 1 where there is an update to do.
#define ADAMW_UPDATES 0
#define ADAMW_SKIPPED 1
#define ADAMW_NORM 2
#define ADAMW_FACTOR 3
#define ADAMW_STEP_SIZE 4
#define ADAMW_RSQRT_CORRECTION2 5
#define ADAMW_DECAY 6
#define ADAMW_APPLY 7
#define ADAMW_STATE 8

/// parts[first_part + b] = Σ grad² over the elements of block b.
struct AdamWNorm {
    uint64_t parts;             ///< a part for each block, written
    uint64_t grad[ADAMW_LIST];  ///< (count) each, read
    uint32_t count[ADAMW_LIST];
    uint32_t first_block[ADAMW_LIST];
    uint32_t tensors;
    uint32_t first_part;
};

/// The scalars of the next update: norm = √Σ parts · scale; factor = scale · min(1, max_norm / norm); cᵢ = 1 − βᵢᵗ. A norm that is
/// not finite makes it a skipped one.
struct AdamWPrepare {
    uint64_t parts;  ///< (count), read
    uint64_t lr;     ///< (1), read
    uint64_t state;  ///< (ADAMW_STATE), read and written
    uint32_t count;
    float scale;
    float max_norm;  ///< 0: gradients are not clipped
    float beta1;
    float beta2;
    float weight_decay;
    uint32_t decoupled;  ///< 1: AdamW; 0: Adam
    uint32_t reserved;
};

/// One step of Adam (weight decay added to the gradient) or AdamW (decay decoupled), then ema ← d·ema + (1−d)·param:
///   g = factor·grad (+ wd·p for Adam);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;
///   p ← p(1 − lr·wd for AdamW) − (lr/c₁)·m / (√v/√c₂ + eps);  rounded ← p in bf16.
struct AdamW {
    uint64_t state;                   ///< (ADAMW_STATE), read
    uint64_t grad[ADAMW_LIST];        ///< (count) each, read
    uint64_t param[ADAMW_LIST];       ///< (count) each, read and written
    uint64_t exp_avg[ADAMW_LIST];     ///< (count) each, read and written
    uint64_t exp_avg_sq[ADAMW_LIST];  ///< (count) each, read and written
    uint64_t ema[ADAMW_LIST];         ///< (count) each or absent, read and written
    uint64_t rounded[ADAMW_LIST];     ///< (count) bf16 each or absent, written
    uint32_t count[ADAMW_LIST];
    uint32_t first_block[ADAMW_LIST];
    uint32_t tensors;
    uint32_t first_part;
    float beta1;
    float beta2;
    float eps;
    float ema_decay;
    uint32_t decoupled;  ///< 1: AdamW; 0: Adam
    uint32_t reserved;
};
