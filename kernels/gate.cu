// Gated residuals, forward and backward.
//
// Formula   out = x + gate·y;  dx = dout, dy = gate·dout, dgate = Σ dout·y over a gate's rows.
// Shapes    x, y, out and their gradients (gates, rows_per_gate, cols); gate, dgate (gates, cols).
// Bytes     forward: x, y and out once. backward: y, dout and dy once; the gates, and the sums below.
// FLOPs     forward 2, backward 3 an element: memory-bound.
// Scratch   backward, where gates are so few that their rows are cut: an f32 sum per column, part and gate, which part_sums adds up.
// Rounding  everything in f32; each result is rounded once. No atomics: sums have a fixed order.
// Source    Peebles and Xie, "Scalable diffusion models with transformers" (2023); Touvron et al., "Going deeper with image transformers"
//           (2021) for layer scale.
#include "channel_tile.cuh"
#include "gate.h"

/// A thread's columns of the gate. All threads of the block call it.
template <class T, int N, class P> static __device__ __forceinline__ void load_gate(const P &p, uint32_t chunk, float (&gate)[N]) {
    Coefficients<N> gates(0, p.tile);
    uint32_t first = blockIdx.z * p.cols + blockIdx.y * p.tile;
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        gates.set(c, p.parameter ? at<const float>(p.gate)[first + c] : to_float(at<const T>(p.gate)[first + c]));
    }
    __syncthreads();
    gates.get(chunk, gate);
}

template <class T, class C> static __device__ __forceinline__ void forward(const GateFwd &p) {
    ChannelTile<C> tile(p.tile);
    float gate[C::N];
    load_gate<T>(p, tile.chunk, gate);
    if (tile.row >= tile.rows) return;

    uint32_t first = blockIdx.z * p.rows_per_gate * p.cols + blockIdx.y * p.tile + tile.chunk * C::N;
    constexpr int AT_ONCE = 2;
    batches<AT_ONCE>(Part(blockIdx.x, p.slices, p.rows_per_gate), tile.row, tile.rows, [&](auto each) {
        C x[AT_ONCE], y[AT_ONCE];
        each([&](uint32_t row, int u) {
            x[u] = C::load(at<const T>(p.x) + (first + row * p.cols));
            y[u] = C::load(at<const T>(p.y) + (first + row * p.cols));
        });
        each([&](uint32_t row, int u) {
            for (int i = 0; i < C::N; i++) x[u].v[i] += gate[i] * y[u].v[i];
            x[u].store(at<T>(p.out) + (first + row * p.cols));
        });
    });
}

template <class T, class C> static __device__ __forceinline__ void backward(const GateBwd &p) {
    __shared__ RowSums<C::N, CHANNEL_TILE_THREADS> rows;
    ChannelTile<C> tile(p.tile);
    bool summed = p.sums || p.dgate;
    float gate[C::N], sum[C::N] = {};
    load_gate<T>(p, tile.chunk, gate);
    if (tile.row < tile.rows) {
        uint32_t first = blockIdx.z * p.rows_per_gate * p.cols + blockIdx.y * p.tile + tile.chunk * C::N;
        constexpr int AT_ONCE = 2;
        batches<AT_ONCE>(Part(blockIdx.x, p.parts, p.rows_per_gate), tile.row, tile.rows, [&](auto each) {
            C y[AT_ONCE], d[AT_ONCE];
            each([&](uint32_t row, int u) {
                if (summed) y[u] = C::load(at<const T>(p.y) + (first + row * p.cols));
                d[u] = C::load(at<const T>(p.dout) + (first + row * p.cols));
            });
            each([&](uint32_t row, int u) {
                if (summed) {
                    for (int i = 0; i < C::N; i++) sum[i] += d[u].v[i] * y[u].v[i];
                }
                for (int i = 0; i < C::N; i++) d[u].v[i] *= gate[i];
                if (p.dy) d[u].store(at<T>(p.dy) + (first + row * p.cols));
            });
        });
    }
    if (!summed) return;
    rows.put(sum, sum);
    __syncthreads();
    size_t first = (size_t)(blockIdx.z * p.parts + blockIdx.x) * p.cols + blockIdx.y * p.tile;
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        float of = rows.of(c, tile.chunks, tile.rows).x;
        if (p.sums) at<float>(p.sums)[first + c] = of;
        else if (p.parameter) at<float>(p.dgate)[first + c] = of;
        else from_float(of, at<T>(p.dgate) + (first + c));
    }
}

template <class T> static __device__ __forceinline__ void gate_fwd(const GateFwd &p) {
    if (p.cols % Chunk<T>::N == 0) forward<T, Chunk<T>>(p);
    else forward<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void gate_bwd(const GateBwd &p) {
    if (p.cols % Chunk<T>::N == 0) backward<T, Chunk<T>>(p);
    else backward<T, Single<T>>(p);
}

VF_EXPORT(gate_fwd, GateFwd, CHANNEL_TILE_BOUNDS)
VF_EXPORT(gate_bwd, GateBwd, CHANNEL_TILE_BOUNDS)
