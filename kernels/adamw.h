// The optimizer's update, with the moving average of the parameters in the same pass.
#pragma once
#include <stdint.h>

/// One step of Adam (weight decay added to the gradient) or AdamW (decay decoupled), then ema ← d·ema + (1−d)·param:
///   g = clip·grad (+ wd·p for Adam);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;
///   p ← p(1 − lr·wd for AdamW) − (lr/c₁)·m / (√v/√c₂ + eps)  with cᵢ = 1 − βᵢᵗ.
struct AdamW {
    uint64_t grad;        ///< (count), read
    uint64_t clip;        ///< (1) or absent, read: multiplies the gradient
    uint64_t param;       ///< (count), read and written
    uint64_t exp_avg;     ///< (count), read and written
    uint64_t exp_avg_sq;  ///< (count), read and written
    uint64_t ema;         ///< (count) or absent, read and written
    float beta1;
    float beta2;
    float eps;
    float step_size;        ///< lr / c₁
    float rsqrt_correction2;  ///< 1 / √c₂
    float decay;            ///< lr·wd for AdamW, wd for Adam
    float ema_decay;
    uint32_t decoupled;  ///< 1: AdamW; 0: Adam
    uint32_t count;
    uint32_t reserved;
};
