// Element-wise activations.
#pragma once
#include <stdint.h>

/// Which function: the `kind` of the structs below.
#define ACTIVATION_SILU 0
#define ACTIVATION_GELU_ERF 1
#define ACTIVATION_GELU_TANH 2
#define ACTIVATION_LEAKY_RELU 3

/// y = f(x).
struct ActivationFwd {
    uint64_t x;  ///< (count), read
    uint64_t y;  ///< (count), written
    uint32_t count;
    uint32_t kind;
    float slope;  ///< of the leaky ReLU's negative side
    uint32_t reserved;
};

/// dx = f'(x) · dy.
struct ActivationBwd {
    uint64_t x;   ///< (count), read
    uint64_t dy;  ///< (count), read
    uint64_t dx;  ///< (count), written
    uint32_t count;
    uint32_t kind;
    float slope;
    uint32_t reserved;
};
