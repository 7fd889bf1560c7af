// Gated residuals, forward and backward.
//
// Formula   out = x + gate·y;  dy = gate·dout,  dgate = Σ dout·y over the rows of a gate.
// Shapes    x, y, out and their gradients (rows, cols); gate, dgate (rows / rows_per_gate, cols).
// Bytes     forward three, backward three elements per element, and the gates.
// FLOPs     forward 2, backward 3 an element: memory-bound.
// Scratch   none.
// Rounding  f32 inside; results are rounded once. No atomics: sums have a fixed order.
// Source    Peebles and Xie, "Scalable diffusion models with transformers" (2023).
#include "common.cuh"
#include "gate.h"

/// A block has 64 columns of one gate's rows: chunks side by side, and rows below each other.
template <class T> struct GatePlace {
    static constexpr uint32_t N = Chunk<T>::N, CHUNKS = GATE_COLUMNS / N, ROWS = GATE_THREADS / CHUNKS;
    uint32_t column = blockIdx.x * GATE_COLUMNS + threadIdx.x % CHUNKS * N;
    uint32_t first = threadIdx.x / CHUNKS;
};

template <class T> static __device__ __forceinline__ void gate_fwd(const GateFwd &p) {
    GatePlace<T> here;
    if (here.column >= p.cols) return;
    Chunk<T> gate = Chunk<T>::load(at<const T>(p.gate) + (size_t)blockIdx.y * p.cols + here.column);
    for (uint32_t r = here.first; r < p.rows_per_gate; r += here.ROWS) {
        size_t at_row = ((size_t)blockIdx.y * p.rows_per_gate + r) * p.cols + here.column;
        Chunk<T> x = Chunk<T>::load(at<const T>(p.x) + at_row), y = Chunk<T>::load(at<const T>(p.y) + at_row);
        for (uint32_t i = 0; i < here.N; i++) x.v[i] += gate.v[i] * y.v[i];
        x.store(at<T>(p.out) + at_row);
    }
}

template <class T> static __device__ __forceinline__ void gate_bwd(const GateBwd &p) {
    constexpr uint32_t N = Chunk<T>::N, CHUNKS = GatePlace<T>::CHUNKS, WARPS = GATE_THREADS / 32;
    __shared__ float sums[WARPS][N][CHUNKS];
    GatePlace<T> here;
    size_t at_gate = (size_t)blockIdx.y * p.cols + here.column;
    float sum[N] = {};
    bool inside = here.column < p.cols;
    Chunk<T> gate;
    if (inside && p.dy) gate = Chunk<T>::load(at<const T>(p.gate) + at_gate);
    for (uint32_t r = here.first; r < p.rows_per_gate && inside; r += here.ROWS) {
        size_t at_row = ((size_t)blockIdx.y * p.rows_per_gate + r) * p.cols + here.column;
        Chunk<T> dout = Chunk<T>::load(at<const T>(p.dout) + at_row);
        if (p.dgate) {
            Chunk<T> y = Chunk<T>::load(at<const T>(p.y) + at_row);
            for (uint32_t i = 0; i < N; i++) sum[i] += dout.v[i] * y.v[i];
        }
        if (!p.dy) continue;
        for (uint32_t i = 0; i < N; i++) dout.v[i] *= gate.v[i];
        dout.store(at<T>(p.dy) + at_row);
    }
    if (!p.dgate) return;
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t lane = CHUNKS; lane < 32; lane *= 2) sum[i] += __shfl_xor_sync(0xFFFFFFFFu, sum[i], lane);
        if (threadIdx.x % 32 < CHUNKS) sums[threadIdx.x / 32][i][threadIdx.x % 32] = sum[i];
    }
    __syncthreads();
    if (threadIdx.x >= CHUNKS || !inside) return;
    Chunk<T> total;
    for (uint32_t i = 0; i < N; i++) {
        total.v[i] = 0.0f;
        for (uint32_t w = 0; w < WARPS; w++) total.v[i] += sums[w][i][threadIdx.x];
    }
    total.store(at<T>(p.dgate) + at_gate);
}

VF_EXPORT(gate_fwd, GateFwd, GATE_THREADS)
VF_EXPORT(gate_bwd, GateBwd, GATE_THREADS)
