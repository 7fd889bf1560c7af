// The discriminator's hinge loss.
#pragma once
#include <stdint.h>

/// loss[b] = block b's share of ½ (mean relu(1 − real) + mean relu(1 + fake)): all of it where there is one part.
struct HingeFwd {
    uint64_t real;  ///< (real_count), read
    uint64_t fake;  ///< (fake_count), read
    uint64_t loss;  ///< (parts) f32, written
    uint32_t real_count;
    uint32_t fake_count;
};

/// dreal = −½ dloss/real_count where real < 1;  dfake = ½ dloss/fake_count where fake > −1.
struct HingeBwd {
    uint64_t real;   ///< (real_count), read
    uint64_t fake;   ///< (fake_count), read
    uint64_t dloss;  ///< (1) f32, read
    uint64_t dreal;  ///< (real_count) or absent, written
    uint64_t dfake;  ///< (fake_count) or absent, written
    uint32_t real_count;
    uint32_t fake_count;
};
