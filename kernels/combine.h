// Sums of a few tensors with coefficients: the steps of differential equation solvers.
#pragma once
#include <stdint.h>

/// y = Σᵢ coefficients[i]·xᵢ over the tensors that are there.
struct CombineFwd {
    uint64_t x0;  ///< (count), read
    uint64_t x1;  ///< (count) or absent, read
    uint64_t x2;  ///< (count) or absent, read
    uint64_t x3;  ///< (count) or absent, read
    uint64_t x4;  ///< (count) or absent, read
    uint64_t x5;  ///< (count) or absent, read
    uint64_t x6;  ///< (count) or absent, read
    uint64_t x7;  ///< (count) or absent, read
    uint64_t y;   ///< (count), written
    float coefficients[8];
    uint32_t count;
    uint32_t reserved;
};

/// dxᵢ = coefficients[i]·dy for those that are there.
struct CombineBwd {
    uint64_t dy;   ///< (count), read
    uint64_t dx0;  ///< (count) or absent, written
    uint64_t dx1;  ///< (count) or absent, written
    uint64_t dx2;  ///< (count) or absent, written
    uint64_t dx3;  ///< (count) or absent, written
    uint64_t dx4;  ///< (count) or absent, written
    uint64_t dx5;  ///< (count) or absent, written
    uint64_t dx6;  ///< (count) or absent, written
    uint64_t dx7;  ///< (count) or absent, written
    float coefficients[8];
    uint32_t count;
    uint32_t reserved;
};
