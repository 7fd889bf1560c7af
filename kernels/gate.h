// Gated residuals: adaLN's gates and the layer scale of vision transformers.
#pragma once
#include <stdint.h>

/// Threads of a block, and columns of the tensors that it has.
#define GATE_THREADS 256
#define GATE_COLUMNS 64

/// out = x + gate·y.
struct GateFwd {
    uint64_t x;     ///< (rows, cols), read
    uint64_t gate;  ///< (rows / rows_per_gate, cols), read
    uint64_t y;     ///< (rows, cols), read
    uint64_t out;   ///< (rows, cols), written
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_per_gate;
    uint32_t reserved;
};

/// dgate = Σ_rows dout·y, dy = gate·dout (dx is dout itself).
struct GateBwd {
    uint64_t gate;   ///< (rows / rows_per_gate, cols), read
    uint64_t y;      ///< (rows, cols), read
    uint64_t dout;   ///< (rows, cols), read
    uint64_t dgate;  ///< (rows / rows_per_gate, cols) or absent, written
    uint64_t dy;     ///< (rows, cols) or absent, written
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_per_gate;
    uint32_t reserved;
};
