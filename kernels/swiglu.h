#include <stdint.h>

#define SWIGLU_THREADS 256

/// `y[r, i] = silu(x[r, i]) · x[r, hidden + i]`.
struct SwigluFwd {
    /// (rows, 2·hidden): the gate's half, then the value's.
    uint64_t x;
    /// (rows, hidden)
    uint64_t y;
    uint32_t rows;
    /// A multiple of 8 on CUDA (16-byte accesses).
    uint32_t hidden;
};

/// `dx` of `SwigluFwd`, which it recomputes from `x`.
struct SwigluBwd {
    /// (rows, 2·hidden)
    uint64_t x;
    /// (rows, hidden)
    uint64_t dy;
    /// (rows, 2·hidden)
    uint64_t dx;
    uint32_t rows;
    uint32_t hidden;
};
