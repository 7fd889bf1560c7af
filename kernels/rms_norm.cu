// RMSNorm with an optional weight and an optional adaLN modulation, forward and backward.
//
// Formula   y = x̂·w·(1 + scale) + shift,  x̂ = x·rstd,  rstd = 1 / √(mean(x²) + eps).
//           With d = dy·(1 + scale)·w:  dx = rstd·(d − x̂·mean(d·x̂)),  A = Σ dy·x̂ over a group's rows,
//           dscale = w·A,  dshift = Σ dy,  dw = Σ over groups of (1 + scale)·A.
// Shapes    x, y, dx, dy (rows, dim); w, dw (dim); scale, shift and their gradients (groups, dim); rstd (rows).
// Bytes     forward: x and y once, and 4 a row for rstd. backward: x, dy and dx once, and the sums below. A row is read a second time
//           from the L1 cache, where it still lies.
// FLOPs     forward 3 to 5, backward 10 to 14 an element: memory-bound.
// Scratch   backward: two f32 sums per column, part and group (8·dim·parts·groups bytes), written once and read once.
// Rounding  everything in f32; each result is rounded once. No atomics: sums have a fixed order.
// Source    Zhang and Sennrich, "Root mean square layer normalization" (2019); Peebles and Xie, "Scalable diffusion models with
//           transformers" (2023) for modulate.
#include "common.cuh"
#include "rms_norm.h"

static_assert(RMS_NORM_FWD_THREADS % 32 == 0, "the forward gives a row to a whole warp");
static_assert(RMS_NORM_BWD_THREADS == 4 * 32, "32 bytes of shared memory per column are two f32 sums for each of four warps");
static_assert(RMS_NORM_SUMS_THREADS == 8 * 32, "eight groups are summed side by side, 32 threads of four columns each");

template <class T> static __device__ __forceinline__ void rms_norm_fwd(const RmsNormFwd &p) {
    constexpr int N = Chunk<T>::N;
    uint32_t row = (blockIdx.x * RMS_NORM_FWD_THREADS + threadIdx.x) / 32;
    if (row >= p.rows) return;
    uint32_t first = threadIdx.x % 32 * N;
    const T *x = at<const T>(p.x) + (size_t)row * p.dim;

    float squares = 0.0f;
    for (uint32_t c = first; c < p.dim; c += 32 * N) {
        Chunk<T> v = Chunk<T>::load(x + c);
        for (int i = 0; i < N; i++) squares += v.v[i] * v.v[i];
    }
    float rstd = rsqrtf(warp_sum(squares) / (float)p.dim + p.eps);
    if (first == 0) at<float>(p.rstd)[row] = rstd;

    size_t group = (size_t)(row / p.rows_per_group) * p.dim;
    T *y = at<T>(p.y) + (size_t)row * p.dim;
    for (uint32_t c = first; c < p.dim; c += 32 * N) {
        Chunk<T> v = Chunk<T>::load(x + c);
        Chunk<T> weight = Chunk<T>::load_or(at<const T>(p.weight), c, 1.0f);
        Chunk<T> scale = Chunk<T>::load_or(at<const T>(p.scale), group + c, 0.0f);
        Chunk<T> shift = Chunk<T>::load_or(at<const T>(p.shift), group + c, 0.0f);
        for (int i = 0; i < N; i++) v.v[i] = v.v[i] * rstd * weight.v[i] * (1.0f + scale.v[i]) + shift.v[i];
        v.store(y + c);
    }
}

/// A warp's sums per column live in shared memory, as float4. Lane l of step j owns columns (32·j + l)·N …: slots that neither the
/// owner's eight-lane phases nor the final readers' (who take columns in order) make conflict.
template <class T> static __device__ __forceinline__ uint32_t column_slot(uint32_t column) {
    constexpr uint32_t HALVES = Chunk<T>::N / 4;
    uint32_t chunk = column / Chunk<T>::N, half = column / 4 % HALVES;
    uint32_t lane = chunk % 32;
    return (chunk / 32 * HALVES + half) * 32 + (lane ^ half * 4);
}

static __device__ __forceinline__ void accumulate(float4 &sum, const float *x) {
    sum = make_float4(sum.x + x[0], sum.y + x[1], sum.z + x[2], sum.w + x[3]);
}

template <class T> static __device__ __forceinline__ void rms_norm_bwd(const RmsNormBwd &p) {
    constexpr int N = Chunk<T>::N;
    constexpr uint32_t WARPS = RMS_NORM_BWD_THREADS / 32;
    extern __shared__ float4 sums[];
    uint32_t slots = (p.dim + 32 * N - 1) / (32 * N) * (32 * N / 4);
    uint32_t warp = threadIdx.x / 32, first = threadIdx.x % 32 * N;
    float4 *sum_dy_xhat = sums + 2 * warp * slots, *sum_dy = sum_dy_xhat + slots;
    bool keep = p.sum_dy_xhat != 0;
    if (keep) {
        for (uint32_t s = threadIdx.x % 32; s < 2 * slots; s += 32) sum_dy_xhat[s] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        __syncwarp();
    }

    uint32_t group = blockIdx.y, part = blockIdx.x;
    uint32_t rows_per_part = (p.rows_per_group + p.parts - 1) / p.parts;
    uint32_t end_of_group = min((group + 1) * p.rows_per_group, p.rows);
    uint32_t begin = min(group * p.rows_per_group + part * rows_per_part, end_of_group);
    uint32_t end = min(begin + rows_per_part, end_of_group);
    const T *weights = at<const T>(p.weight);
    const T *scales = at<const T>(p.scale);
    if (scales) scales += (size_t)group * p.dim;

    for (uint32_t row = begin + warp; row < end; row += WARPS) {
        const T *x = at<const T>(p.x) + (size_t)row * p.dim, *dy = at<const T>(p.dy) + (size_t)row * p.dim;
        T *dx = at<T>(p.dx) + (size_t)row * p.dim;
        float rstd = at<const float>(p.rstd)[row];
        float dot = 0.0f;
        for (uint32_t c = first; c < p.dim; c += 32 * N) {
            Chunk<T> v = Chunk<T>::load(x + c), g = Chunk<T>::load(dy + c);
            Chunk<T> weight = Chunk<T>::load_or(weights, c, 1.0f), scale = Chunk<T>::load_or(scales, c, 0.0f);
            for (int i = 0; i < N; i++) dot += g.v[i] * (1.0f + scale.v[i]) * weight.v[i] * (v.v[i] * rstd);
        }
        float mean = warp_sum(dot) / (float)p.dim;
        for (uint32_t c = first; c < p.dim; c += 32 * N) {
            Chunk<T> v = Chunk<T>::load(x + c), g = Chunk<T>::load(dy + c), d;
            Chunk<T> weight = Chunk<T>::load_or(weights, c, 1.0f), scale = Chunk<T>::load_or(scales, c, 0.0f);
            for (int i = 0; i < N; i++) {
                float xhat = v.v[i] * rstd;
                d.v[i] = rstd * (g.v[i] * (1.0f + scale.v[i]) * weight.v[i] - xhat * mean);
                v.v[i] = g.v[i] * xhat;
            }
            d.store(dx + c);
            if (keep) {
                for (int i = 0; i < N; i += 4) {
                    uint32_t slot = column_slot<T>(c + i);
                    accumulate(sum_dy_xhat[slot], v.v + i);
                    accumulate(sum_dy[slot], g.v + i);
                }
            }
        }
    }
    if (!keep) return;

    __syncthreads();
    size_t out = ((size_t)group * p.parts + part) * p.dim;
    for (uint32_t c = threadIdx.x * 4; c < p.dim; c += RMS_NORM_BWD_THREADS * 4) {
        uint32_t slot = column_slot<T>(c);
        float4 a = make_float4(0.0f, 0.0f, 0.0f, 0.0f), b = a;
        for (uint32_t w = 0; w < WARPS; w++) {
            accumulate(a, &sums[2 * w * slots + slot].x);
            accumulate(b, &sums[(2 * w + 1) * slots + slot].x);
        }
        *reinterpret_cast<float4 *>(at<float>(p.sum_dy_xhat) + out + c) = a;
        *reinterpret_cast<float4 *>(at<float>(p.sum_dy) + out + c) = b;
    }
}

/// Four values of T where 8 (bf16) or 16 (f32) bytes are aligned.
template <class T> static __device__ __forceinline__ void store4(T *to, const float *v) {
    if constexpr (sizeof(T) == 4) {
        *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
        T rounded[4];
        for (int i = 0; i < 4; i++) from_float(v[i], rounded + i);
        *reinterpret_cast<uint2 *>(to) =
            make_uint2(__bfloat16_as_ushort(rounded[0]) | (uint32_t)__bfloat16_as_ushort(rounded[1]) << 16,
                       __bfloat16_as_ushort(rounded[2]) | (uint32_t)__bfloat16_as_ushort(rounded[3]) << 16);
    }
}

template <class T> static __device__ __forceinline__ void rms_norm_sums(const RmsNormSums &p) {
    constexpr uint32_t SIDE_BY_SIDE = RMS_NORM_SUMS_THREADS / 32;
    __shared__ float4 dweights[SIDE_BY_SIDE][32];
    uint32_t lane = threadIdx.x % 32, first_group = threadIdx.x / 32;
    uint32_t c = blockIdx.x * 128 + lane * 4;
    bool inside = c < p.dim;
    float dweight[4] = {0.0f, 0.0f, 0.0f, 0.0f};

    for (uint32_t group = first_group; inside && group < p.groups; group += SIDE_BY_SIDE) {
        float4 a = make_float4(0.0f, 0.0f, 0.0f, 0.0f), b = a;
        for (uint32_t part = 0; part < p.parts; part++) {
            size_t from = ((size_t)group * p.parts + part) * p.dim + c;
            float4 more = load4_or(at<const float>(p.sum_dy_xhat), from, 0.0f);
            accumulate(a, &more.x);
            more = load4_or(p.dshift ? at<const float>(p.sum_dy) : nullptr, from, 0.0f);
            accumulate(b, &more.x);
        }
        size_t to = (size_t)group * p.dim + c;
        float4 weight = load4_or(at<const T>(p.weight), c, 1.0f), scale = load4_or(at<const T>(p.scale), to, 0.0f);
        float dscale[4] = {weight.x * a.x, weight.y * a.y, weight.z * a.z, weight.w * a.w}, dshift[4] = {b.x, b.y, b.z, b.w};
        float more[4] = {(1.0f + scale.x) * a.x, (1.0f + scale.y) * a.y, (1.0f + scale.z) * a.z, (1.0f + scale.w) * a.w};
        for (int i = 0; i < 4; i++) dweight[i] += more[i];
        if (p.dscale) store4(at<T>(p.dscale) + to, dscale);
        if (p.dshift) store4(at<T>(p.dshift) + to, dshift);
    }

    dweights[first_group][lane] = make_float4(dweight[0], dweight[1], dweight[2], dweight[3]);
    __syncthreads();
    if (first_group != 0 || !inside || !p.dweight) return;
    float4 total = dweights[0][lane];
    for (uint32_t g = 1; g < SIDE_BY_SIDE; g++) accumulate(total, &dweights[g][lane].x);
    *reinterpret_cast<float4 *>(at<float>(p.dweight) + c) = total;
}

VF_EXPORT(rms_norm_fwd, RmsNormFwd, RMS_NORM_FWD_THREADS)
VF_EXPORT(rms_norm_bwd, RmsNormBwd, RMS_NORM_BWD_THREADS)
VF_EXPORT(rms_norm_sums, RmsNormSums, RMS_NORM_SUMS_THREADS)
