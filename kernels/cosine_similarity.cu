// The cosine between the rows of two matrices, and its gradients.
//
// Formula   y = a·b / (max(‖a‖, eps)·max(‖b‖, eps));  da = dy·(b/(‖a‖‖b‖) − y·a/‖a‖²), the second term only where ‖a‖ > eps; db likewise.
// Shapes    a, b, da, db (rows, channels); y, dy (rows).
// Bytes     forward 2, backward 4 elements per element: each tensor once. Backward, rows are read twice, the second time from the cache.
// FLOPs     forward 6, backward 12 per element. Memory-bound.
// Scratch   none.
// Rounding  f32 inside, sums in a fixed order; the result is rounded once.
// Source    definition; torch's cosine_similarity.
#include "cosine_similarity.h"
#include "rows.h"
#include "vectors.cuh"

/// What cosines are made of, of a warp's row.
struct Products {
    float aa, ab, bb;

    template <int N, class T> static __device__ __forceinline__ Products of(const T *a, const T *b, uint32_t channels) {
        float aa = 0.0f, ab = 0.0f, bb = 0.0f, u[N], v[N];
        for (uint32_t col = column_of_lane<N>(); col < channels; col += 32 * N) {
            load(a + col, u);
            load(b + col, v);
            aa += dot(u, u);
            ab += dot(u, v);
            bb += dot(v, v);
        }
        return {warp_sum(aa), warp_sum(ab), warp_sum(bb)};
    }

    /// One over the divisor.
    __device__ __forceinline__ float scale(float eps) const { return 1.0f / (fmaxf(sqrtf(aa), eps) * fmaxf(sqrtf(bb), eps)); }
};

template <class T> static __device__ __forceinline__ void cosine_similarity_fwd(const CosineSimilarityFwd &p) {
    uint32_t row = row_of_warp();
    if (row >= p.rows) return;
    by_width<T>(p.channels, [&](auto width) {
        size_t first = (size_t)row * p.channels;
        Products sums = Products::of<decltype(width)::value>(at<const T>(p.a) + first, at<const T>(p.b) + first, p.channels);
        if (threadIdx.x % 32 == 0) from_float(sums.ab * sums.scale(p.eps), at<T>(p.y) + row);
    });
}

template <class T> static __device__ __forceinline__ void cosine_similarity_bwd(const CosineSimilarityBwd &p) {
    uint32_t row = row_of_warp();
    if (row >= p.rows) return;
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        size_t first = (size_t)row * p.channels;
        Products sums = Products::of<N>(at<const T>(p.a) + first, at<const T>(p.b) + first, p.channels);
        float scale = sums.scale(p.eps) * to_float(at<const T>(p.dy)[row]);
        float of_a = sqrtf(sums.aa) > p.eps ? scale * sums.ab / sums.aa : 0.0f;
        float of_b = sqrtf(sums.bb) > p.eps ? scale * sums.ab / sums.bb : 0.0f;
        for (uint32_t col = column_of_lane<N>(); col < p.channels; col += 32 * N) {
            float a[N], b[N], gradient[N];
            load(at<const T>(p.a) + first + col, a);
            load(at<const T>(p.b) + first + col, b);
            if (p.da) {
                for (int i = 0; i < N; i++) gradient[i] = scale * b[i] - of_a * a[i];
                store(gradient, at<T>(p.da) + first + col);
            }
            if (p.db) {
                for (int i = 0; i < N; i++) gradient[i] = scale * a[i] - of_b * b[i];
                store(gradient, at<T>(p.db) + first + col);
            }
        }
    });
}

VF_EXPORT(cosine_similarity_fwd, CosineSimilarityFwd, ROWS_THREADS)
VF_EXPORT(cosine_similarity_bwd, CosineSimilarityBwd, ROWS_THREADS)
