// The linear layer, and its gradients.
#pragma once
#include <stdint.h>

/// y = x·weightᵀ + bias.
struct LinearFwd {
    uint64_t x;       ///< (rows, inputs), read
    uint64_t weight;  ///< (outputs, inputs), read
    uint64_t bias;    ///< (outputs) or absent, read
    uint64_t y;       ///< (rows, outputs), written
    uint32_t rows;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t reserved;
};

/// dx = dy·weight.
struct LinearBwdInput {
    uint64_t dy;      ///< (rows, outputs), read
    uint64_t weight;  ///< (outputs, inputs), read
    uint64_t dx;      ///< (rows, inputs), written
    uint32_t rows;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t reserved;
};

/// dweight = dyᵀ·x.
struct LinearBwdWeight {
    uint64_t x;        ///< (rows, inputs), read
    uint64_t dy;       ///< (rows, outputs), read
    uint64_t dweight;  ///< (outputs, inputs), written
    uint32_t rows;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t reserved;
};

/// dbias = Σ_rows dy.
struct LinearBwdBias {
    uint64_t dy;     ///< (rows, outputs), read
    uint64_t dbias;  ///< (outputs), written
    uint32_t rows;
    uint32_t outputs;
};
