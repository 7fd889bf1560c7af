// SwiGLU, forward and backward.
//
// Formula   y = silu(a)·b for [a | b] = x;  da = dy·b·silu′(a),  db = dy·silu(a).
// Shapes    x, dx (rows, 2·hidden); y, dy (rows, hidden).
// Bytes     forward 3, backward 5 elements per output element: each input once, each output once.
// FLOPs     forward about 6, backward about 12 per output element. Memory-bound.
// Scratch   none.
// Rounding  f32 inside; the result is rounded once. e⁻ᵃ is the approximate one (2 ulp near 0, relative 2⁻²² · |a|); for a ≪ 0 it is
//           +∞ and silu −0, its limit.
// Source    Shazeer, "GLU variants improve transformer" (2020); the MLP of LightningDiT (swiglu_ffn).
#include "common.cuh"
#include "swiglu.h"

/// Where a thread's 16 bytes lie. `gate` counts in x, `out` in y; the value is `hidden` beyond the gate.
struct SwigluPlace {
    size_t gate, out;
    bool inside;
};

template <class T> static __device__ __forceinline__ SwigluPlace place(uint32_t rows, uint32_t hidden) {
    uint32_t chunk = blockIdx.x * SWIGLU_THREADS + threadIdx.x;
    uint32_t chunks_per_row = hidden / Chunk<T>::N;
    uint32_t row = chunk / chunks_per_row;
    size_t out = (size_t)chunk * Chunk<T>::N;
    return {out + (size_t)row * hidden, out, row < rows};
}

static __device__ __forceinline__ float sigmoid(float a) { return __frcp_rn(1.0f + __expf(-a)); }

template <class T> static __device__ __forceinline__ void swiglu_fwd(const SwigluFwd &p) {
    SwigluPlace here = place<T>(p.rows, p.hidden);
    if (!here.inside) return;
    const T *x = at<const T>(p.x) + here.gate;
    Chunk<T> a = Chunk<T>::load(x), b = Chunk<T>::load(x + p.hidden), y;
    for (int i = 0; i < Chunk<T>::N; i++) y.v[i] = a.v[i] * sigmoid(a.v[i]) * b.v[i];
    y.store(at<T>(p.y) + here.out);
}

template <class T> static __device__ __forceinline__ void swiglu_bwd(const SwigluBwd &p) {
    SwigluPlace here = place<T>(p.rows, p.hidden);
    if (!here.inside) return;
    const T *x = at<const T>(p.x) + here.gate;
    Chunk<T> a = Chunk<T>::load(x), b = Chunk<T>::load(x + p.hidden), dy = Chunk<T>::load(at<const T>(p.dy) + here.out);
    Chunk<T> da, db;
    for (int i = 0; i < Chunk<T>::N; i++) {
        float s = sigmoid(a.v[i]);
        da.v[i] = dy.v[i] * b.v[i] * s * (1.0f + a.v[i] * (1.0f - s));
        db.v[i] = dy.v[i] * a.v[i] * s;
    }
    da.store(at<T>(p.dx) + here.gate);
    db.store(at<T>(p.dx) + here.gate + p.hidden);
}

VF_EXPORT(swiglu_fwd, SwigluFwd, SWIGLU_THREADS)
VF_EXPORT(swiglu_bwd, SwigluBwd, SWIGLU_THREADS)
