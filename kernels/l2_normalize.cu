// Rows of length one, and the gradient.
//
// Formula   y = x / max(‖x‖, eps);  dx = (dy − y·(y·dy)) / ‖x‖, and dy / eps where ‖x‖ ≤ eps.
// Shapes    x, y, dx, dy (rows, channels).
// Bytes     forward 2, backward 3 elements per element: each tensor once. Rows are read twice, the second time from the cache.
// FLOPs     forward 3, backward 7 per element. Memory-bound.
// Scratch   none.
// Rounding  f32 inside, sums in a fixed order; the result is rounded once.
// Source    definition; torch's normalize.
#include "l2_normalize.h"
#include "rows.h"
#include "vectors.cuh"

template <class T> static __device__ __forceinline__ void l2_normalize_fwd(const L2NormalizeFwd &p) {
    uint32_t row = row_of_warp();
    if (row >= p.rows) return;
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        const T *x = at<const T>(p.x) + (size_t)row * p.channels;
        T *y = at<T>(p.y) + (size_t)row * p.channels;
        float squares = 0.0f, v[N];
        for (uint32_t col = column_of_lane<N>(); col < p.channels; col += 32 * N) {
            load(x + col, v);
            squares += dot(v, v);
        }
        float scale = 1.0f / fmaxf(sqrtf(warp_sum(squares)), p.eps);
        for (uint32_t col = column_of_lane<N>(); col < p.channels; col += 32 * N) {
            load(x + col, v);
            for (float &value : v) value *= scale;
            store(v, y + col);
        }
    });
}

template <class T> static __device__ __forceinline__ void l2_normalize_bwd(const L2NormalizeBwd &p) {
    uint32_t row = row_of_warp();
    if (row >= p.rows) return;
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        const T *x = at<const T>(p.x) + (size_t)row * p.channels, *dy = at<const T>(p.dy) + (size_t)row * p.channels;
        T *dx = at<T>(p.dx) + (size_t)row * p.channels;
        float squares = 0.0f, product = 0.0f, u[N], v[N];
        for (uint32_t col = column_of_lane<N>(); col < p.channels; col += 32 * N) {
            load(x + col, u);
            load(dy + col, v);
            squares += dot(u, u);
            product += dot(u, v);
        }
        squares = warp_sum(squares), product = warp_sum(product);
        float norm = sqrtf(squares), scale = 1.0f / fmaxf(norm, p.eps), along = norm > p.eps ? product / squares : 0.0f;
        for (uint32_t col = column_of_lane<N>(); col < p.channels; col += 32 * N) {
            load(x + col, u);
            load(dy + col, v);
            for (int i = 0; i < N; i++) v[i] = (v[i] - u[i] * along) * scale;
            store(v, dx + col);
        }
    });
}

VF_EXPORT(l2_normalize_fwd, L2NormalizeFwd, ROWS_THREADS)
VF_EXPORT(l2_normalize_bwd, L2NormalizeBwd, ROWS_THREADS)
