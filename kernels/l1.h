// The L1 loss of a reconstruction, in the reference's reduction: summed over pixels, divided by the batch.
#pragma once
#include <stdint.h>

/// loss[b] = Σ |x_hat − x| / batch over the elements of block b.
struct L1Fwd {
    uint64_t x_hat;  ///< (count), read
    uint64_t x;      ///< (count), read
    uint64_t loss;   ///< (parts) f32, written
    uint32_t count;
    uint32_t batch;
    uint32_t parts;
    uint32_t reserved;
};

/// dx_hat = sign(x_hat − x)·dloss / batch, dx = −dx_hat.
struct L1Bwd {
    uint64_t x_hat;   ///< (count), read
    uint64_t x;       ///< (count), read
    uint64_t dloss;   ///< (1) f32, read
    uint64_t dx_hat;  ///< (count) or absent, written
    uint64_t dx;      ///< (count) or absent, written
    uint32_t count;
    uint32_t batch;
};
