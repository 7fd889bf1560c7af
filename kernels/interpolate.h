// The path between noise and data, and its velocity.
#pragma once
#include <stdint.h>

/// With (α, σ, α′, σ′) of each sample: xt = α·x1 + σ·x0, ut = α′·x1 + σ′·x0.
struct InterpolateFwd {
    uint64_t x0;            ///< (batch, count), read
    uint64_t x1;            ///< (batch, count), read
    uint64_t coefficients;  ///< (batch, 4), f32, read
    uint64_t xt;            ///< (batch, count), written
    uint64_t ut;            ///< (batch, count), written
    uint32_t batch;
    uint32_t count;
};

/// dx0 = σ·dxt + σ′·dut, dx1 = α·dxt + α′·dut.
struct InterpolateBwd {
    uint64_t dxt;           ///< (batch, count) or absent, read
    uint64_t dut;           ///< (batch, count) or absent, read
    uint64_t coefficients;  ///< (batch, 4), f32, read
    uint64_t dx0;           ///< (batch, count) or absent, written
    uint64_t dx1;           ///< (batch, count) or absent, written
    uint32_t batch;
    uint32_t count;
};
