// Layer norm with optional weight and bias and an optional adaLN modulation, forward and backward.
//
// Formula   y = (x̂·w + b)·(1 + scale) + shift,  x̂ = (x − mean)·rstd,  rstd = 1 / √(var + eps).
//           With d = dy·(1 + scale)·w:  dx = rstd·(d − mean(d) − x̂·mean(d·x̂)),  and over a group's rows A = Σ dy, D = Σ dy·x̂:
//           dscale = w·D + b·A,  dshift = A,  dw = Σ over groups of (1 + scale)·D,  db = Σ over groups of (1 + scale)·A.
//           The joined kernels take x + gate·branch for x, and give dbranch = gate·dx and dgate = Σ dx·branch over a group's rows besides.
// Shapes    x, y, branch, dx, dy (rows, dim); w, b (dim); scale, shift, gate and their gradients (groups, dim); mean, rstd (rows).
// Bytes     forward: x and y once, and 8 a row for the statistics. backward: x, dy and dx once (dresidual too where there is one), and the
//           sums below. joined: branch too, and the sum forward, dbranch backward.
// FLOPs     forward 8, backward 17 an element: memory-bound.
// Scratch   backward: two f32 sums per column, part and group (8·dim·parts·groups bytes), joined three; written once and read once.
// Rounding  everything in f32; each result is rounded once. The variance is that of differences from the mean, from registers. No atomics:
//           sums have a fixed order.
// Source    Ba, Kiros and Hinton, "Layer normalization" (2016); Peebles and Xie, "Scalable diffusion models with transformers" (2023) for
//           modulate.
#include "layer_norm.h"
#include "row_norm.cuh"

template <class T, class C, bool JOINED> static __device__ __forceinline__ void forward(const LayerNormFwd &p) {
    RowNorm<T> norm = {at<const float>(p.weight), at<const float>(p.bias), at<const T>(p.scale), at<const T>(p.shift), p.rows, p.dim,
                       p.rows_per_group, p.parts, at<const T>(p.branch), at<const T>(p.gate)};
    row_norm_forward<T, C, true, JOINED>(norm, p.eps, at<const T>(p.x), at<T>(p.joined), at<T>(p.y), at<float>(p.mean), at<float>(p.rstd));
}

template <class T, class C, bool JOINED> static __device__ __forceinline__ void backward(const LayerNormBwd &p) {
    RowNorm<T> norm = {at<const float>(p.weight), nullptr, at<const T>(p.scale), nullptr, p.rows, p.dim, p.rows_per_group, p.parts,
                       at<const T>(p.branch), at<const T>(p.gate)};
    row_norm_backward<T, C, true, JOINED>(norm, at<const T>(p.x), at<const float>(p.mean), at<const float>(p.rstd), at<const T>(p.dy),
                                          at<const T>(p.dresidual), at<T>(p.dx), at<T>(p.dbranch), at<float>(p.sums));
}

template <class T> static __device__ __forceinline__ void layer_norm_fwd(const LayerNormFwd &p) {
    if (p.dim % Chunk<T>::N == 0) forward<T, Chunk<T>, false>(p);
    else forward<T, Single<T>, false>(p);
}

template <class T> static __device__ __forceinline__ void layer_norm_fwd_joined(const LayerNormFwd &p) {
    if (p.dim % Chunk<T>::N == 0) forward<T, Chunk<T>, true>(p);
    else forward<T, Single<T>, true>(p);
}

template <class T> static __device__ __forceinline__ void layer_norm_bwd(const LayerNormBwd &p) {
    if (p.dim % Chunk<T>::N == 0) backward<T, Chunk<T>, false>(p);
    else backward<T, Single<T>, false>(p);
}

template <class T> static __device__ __forceinline__ void layer_norm_bwd_joined(const LayerNormBwd &p) {
    if (p.dim % Chunk<T>::N == 0) backward<T, Chunk<T>, true>(p);
    else backward<T, Single<T>, true>(p);
}

template <class T> static __device__ __forceinline__ void layer_norm_sums(const LayerNormSums &p) {
    RowNorm<T> norm = {at<const float>(p.weight), at<const float>(p.bias), at<const T>(p.scale), nullptr, 0, p.dim, 0, p.parts};
    row_norm_sums(norm, at<const float>(p.sums), p.values, p.groups, p.modulated, at<float>(p.dweight), at<float>(p.dbias), at<T>(p.dscale),
                  at<T>(p.dshift), at<T>(p.dgate));
}

VF_EXPORT(layer_norm_fwd, LayerNormFwd, ROW_TEAM_BOUNDS)
VF_EXPORT(layer_norm_fwd_joined, LayerNormFwd, ROW_TEAM_BOUNDS)
VF_EXPORT(layer_norm_bwd, LayerNormBwd, ROW_TEAM_BOUNDS)
VF_EXPORT(layer_norm_bwd_joined, LayerNormBwd, ROW_TEAM_BOUNDS)
VF_EXPORT(layer_norm_sums, LayerNormSums, ROW_NORM_SUM_THREADS)
