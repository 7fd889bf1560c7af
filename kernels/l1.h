// The L1 loss of a reconstruction, in the reference's reduction: summed over pixels, divided by the batch.
#pragma once
#include <stdint.h>

/// loss[b] = Σ |x_hat − x| / batch over the elements of block b; dx_hat = sign(x_hat − x)·weight / batch.
struct L1Loss {
    uint64_t x_hat;   ///< (count), read
    uint64_t x;       ///< (count), read
    uint64_t loss;    ///< (parts) f32, written
    uint64_t dx_hat;  ///< (count), written
    uint32_t count;
    uint32_t batch;
    uint32_t parts;
    float weight;
};
