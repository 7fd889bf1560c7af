// The path between noise and data and its velocity, both in one pass over the two.
//
// Formula   with (α, σ, α′, σ′) of each sample: xt = α·x1 + σ·x0, ut = α′·x1 + σ′·x0;  dx0 = σ·dxt + σ′·dut, dx1 = α·dxt + α′·dut.
// Shapes    x0, x1, xt, ut and their gradients (batch, count); coefficients (batch, 4) f32.
// Bytes     4 elements per element, forward and backward; less by those gradients that are absent.
// FLOPs     6 per element. Memory-bound.
// Scratch   none.
// Rounding  in f32, rounded once.
// Source    Albergo et al., "Stochastic interpolants" (2023).
#include "interpolate.h"
#include "rows.h"
#include "vectors.cuh"

/// α, σ, α′, σ′ of a sample.
struct Coefficients {
    float alpha, sigma, dalpha, dsigma;

    __device__ __forceinline__ Coefficients(uint64_t coefficients, uint32_t sample) {
        float4 four = at<const float4>(coefficients)[sample];
        alpha = four.x, sigma = four.y, dalpha = four.z, dsigma = four.w;
    }
};

template <class T> static __device__ __forceinline__ void interpolate_fwd(const InterpolateFwd &p) {
    by_width<T>(p.count, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t sample = row_of_block(), col = column_of_block<N>();
        if (col >= p.count) return;
        Coefficients c(p.coefficients, sample);
        size_t here = (size_t)sample * p.count + col;
        float x0[N], x1[N], xt[N], ut[N];
        load(at<const T>(p.x0) + here, x0);
        load(at<const T>(p.x1) + here, x1);
        for (int i = 0; i < N; i++) {
            xt[i] = c.alpha * x1[i] + c.sigma * x0[i];
            ut[i] = c.dalpha * x1[i] + c.dsigma * x0[i];
        }
        store(xt, at<T>(p.xt) + here);
        store(ut, at<T>(p.ut) + here);
    });
}

template <class T> static __device__ __forceinline__ void interpolate_bwd(const InterpolateBwd &p) {
    by_width<T>(p.count, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t sample = row_of_block(), col = column_of_block<N>();
        if (col >= p.count) return;
        Coefficients c(p.coefficients, sample);
        size_t here = (size_t)sample * p.count + col;
        float dxt[N] = {}, dut[N] = {}, dx[N];
        if (p.dxt) load(at<const T>(p.dxt) + here, dxt);
        if (p.dut) load(at<const T>(p.dut) + here, dut);
        if (p.dx0) {
            for (int i = 0; i < N; i++) dx[i] = c.sigma * dxt[i] + c.dsigma * dut[i];
            store(dx, at<T>(p.dx0) + here);
        }
        if (p.dx1) {
            for (int i = 0; i < N; i++) dx[i] = c.alpha * dxt[i] + c.dalpha * dut[i];
            store(dx, at<T>(p.dx1) + here);
        }
    });
}

VF_EXPORT(interpolate_fwd, InterpolateFwd, ROWS_THREADS)
VF_EXPORT(interpolate_bwd, InterpolateBwd, ROWS_THREADS)
