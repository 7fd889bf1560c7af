// RMSNorm with an optional weight and an optional adaLN modulation, forward and backward.
//
// Formula   y = x̂·w·(1 + scale) + shift,  x̂ = x·rstd,  rstd = 1 / √(mean(x²) + eps).
//           With d = dy·(1 + scale)·w:  dx = rstd·(d − x̂·mean(d·x̂)),  and over a group's rows A = Σ dy, D = Σ dy·x̂:
//           dscale = w·D,  dshift = A,  dw = Σ over groups of (1 + scale)·D.
//           The joined kernels take x + gate·branch for x, and give dbranch = gate·dx and dgate = Σ dx·branch over a group's rows besides.
// Shapes    x, y, branch, dx, dy (rows, dim); w, dw (dim); scale, shift, gate and their gradients (groups, dim); rstd (rows).
// Bytes     forward: x and y once, and 4 a row for rstd. backward: x, dy and dx once (dresidual too where there is one), and the sums below.
//           joined: branch too, and the sum forward, dbranch backward.
// FLOPs     forward 5, backward 14 an element: memory-bound.
// Scratch   backward: two f32 sums per column, part and group (8·dim·parts·groups bytes), joined three; written once and read once.
// Rounding  everything in f32; each result is rounded once. No atomics: sums have a fixed order.
// Source    Zhang and Sennrich, "Root mean square layer normalization" (2019); Peebles and Xie, "Scalable diffusion models with
//           transformers" (2023) for modulate.
#include "rms_norm.h"
#include "row_norm.cuh"

template <class T, class C, bool JOINED> static __device__ __forceinline__ void forward(const RmsNormFwd &p) {
    RowNorm<T> norm = {at<const float>(p.weight), nullptr, at<const T>(p.scale), at<const T>(p.shift), p.rows, p.dim, p.rows_per_group, p.parts,
                       at<const T>(p.branch), at<const T>(p.gate)};
    row_norm_forward<T, C, false, JOINED>(norm, p.eps, at<const T>(p.x), at<T>(p.joined), at<T>(p.y), nullptr, at<float>(p.rstd));
}

template <class T, class C, bool JOINED> static __device__ __forceinline__ void backward(const RmsNormBwd &p) {
    RowNorm<T> norm = {at<const float>(p.weight), nullptr, at<const T>(p.scale), nullptr, p.rows, p.dim, p.rows_per_group, p.parts,
                       at<const T>(p.branch), at<const T>(p.gate)};
    row_norm_backward<T, C, false, JOINED>(norm, at<const T>(p.x), nullptr, at<const float>(p.rstd), at<const T>(p.dy), at<const T>(p.dresidual),
                                          at<T>(p.dx), at<T>(p.dbranch), at<float>(p.sums));
}

template <class T> static __device__ __forceinline__ void rms_norm_fwd(const RmsNormFwd &p) {
    if (p.dim % Chunk<T>::N == 0) forward<T, Chunk<T>, false>(p);
    else forward<T, Single<T>, false>(p);
}

template <class T> static __device__ __forceinline__ void rms_norm_fwd_joined(const RmsNormFwd &p) {
    if (p.dim % Chunk<T>::N == 0) forward<T, Chunk<T>, true>(p);
    else forward<T, Single<T>, true>(p);
}

template <class T> static __device__ __forceinline__ void rms_norm_bwd(const RmsNormBwd &p) {
    if (p.dim % Chunk<T>::N == 0) backward<T, Chunk<T>, false>(p);
    else backward<T, Single<T>, false>(p);
}

template <class T> static __device__ __forceinline__ void rms_norm_bwd_joined(const RmsNormBwd &p) {
    if (p.dim % Chunk<T>::N == 0) backward<T, Chunk<T>, true>(p);
    else backward<T, Single<T>, true>(p);
}

template <class T> static __device__ __forceinline__ void rms_norm_sums(const RmsNormSums &p) {
    RowNorm<T> norm = {at<const float>(p.weight), nullptr, at<const T>(p.scale), nullptr, 0, p.dim, 0, p.parts};
    row_norm_sums(norm, at<const float>(p.sums), p.values, p.groups, p.modulated, at<float>(p.dweight), nullptr, at<T>(p.dscale), at<T>(p.dshift), at<T>(p.dgate));
}

VF_EXPORT(rms_norm_fwd, RmsNormFwd, ROW_TEAM_BOUNDS)
VF_EXPORT(rms_norm_fwd_joined, RmsNormFwd, ROW_TEAM_BOUNDS)
VF_EXPORT(rms_norm_bwd, RmsNormBwd, ROW_TEAM_BOUNDS)
VF_EXPORT(rms_norm_bwd_joined, RmsNormBwd, ROW_TEAM_BOUNDS)
VF_EXPORT(rms_norm_sums, RmsNormSums, ROW_NORM_SUM_THREADS)
