// Separable resizing of images, bilinear or bicubic with antialias, and the transposed map.
//
// Formula   y[b, i, j] = Σ_u Σ_v rows[i, u]·columns[j, v]·x[b, u, v];  dx[b, u, v] = Σ_i Σ_j rows[i, u]·columns[j, v]·dy[b, i, j].
//           Along an axis of n samples that becomes m, output i reads around (i + ½)·n/m − ½. Bilinear: the tent of its two neighbours,
//           clamped to the border. Bicubic: Keys' kernel with a = −½, wider by max(n/m, 1), cut at the border and normalised.
// Shapes    x, dx (batch, height, width, channels); y, dy (batch, out_height, out_width, channels).
// Bytes     each tensor once; neighbours' samples overlap in the caches.
// FLOPs     forward 2 a tap: 4 taps bilinear, about (4·max(n/m, 1))² bicubic; backward as many for each dy, and the weights.
// Scratch   none: weights are made from integers where they are used, exact up to their last rounding.
// Rounding  f32 inside; the result is rounded once.
// Source    Keys, "Cubic convolution interpolation for digital image processing" (1981); torch's interpolate.
#include "resize.h"
#include "rows.h"
#include "vectors.cuh"

/// Keys' kernel with a = −½.
static __device__ __forceinline__ float keys(float x) {
    x = fabsf(x);
    if (x < 1.0f) return (1.5f * x - 2.5f) * x * x + 1.0f;
    if (x < 2.0f) return ((-0.5f * x + 2.5f) * x - 4.0f) * x + 2.0f;
    return 0.0f;
}

/// The samples [first, last) of an axis.
struct Taps {
    int first, last;
};

/// An axis of `size` samples that becomes `out`. Places are integers in units of 1 / (2·out) samples.
struct Axis {
    int size, out;
    bool bicubic;

    /// Twice the distance that a sample's centre lies before or behind output i's, in samples of out: (2j + 1)·out − (2i + 1)·size.
    __device__ __forceinline__ int apart(int i, int j) const { return (2 * j + 1) * out - (2 * i + 1) * size; }

    /// The samples that output i reads.
    __device__ __forceinline__ Taps taps(int i) const {
        int reach = bicubic ? 4 * max(size, out) : 2 * out, centre = (2 * i + 1) * size;
        // ⌊(centre ± reach)/(2·out) + ½⌋, within the axis.
        int first = max(centre - reach + out, 0) / (2 * out);
        return {min(first, size - 1), max(min((centre + reach + out) / (2 * out), size), 1)};
    }

    /// The outputs that read sample j, and perhaps some that do not.
    __device__ __forceinline__ Taps readers(int j) const {
        int reach = bicubic ? 4 * max(size, out) : 2 * out, centre = (2 * j + 1) * out;
        int first = max(centre - reach - size, 0) / (2 * size);
        return {first, min((centre + reach + size) / (2 * size) + 1, out)};
    }

    /// What output i takes of sample j, before it is normalised.
    __device__ __forceinline__ float weight(int i, int j) const {
        if (bicubic) return keys((float)apart(i, j) / (float)(2 * max(size, out)));
        int place = min(max((2 * i + 1) * size - out, 0), 2 * out * (size - 1));
        return fmaxf((float)(2 * out - abs(2 * out * j - place)), 0.0f) / (float)(2 * out);
    }

    /// One over the sum of output i's weights.
    __device__ __forceinline__ float norm(int i) const {
        if (!bicubic) return 1.0f;
        Taps all = taps(i);
        float sum = 0.0f;
        for (int j = all.first; j < all.last; j++) sum += weight(i, j);
        return 1.0f / sum;
    }
};

template <int N> static __device__ __forceinline__ void add_scaled(float (&sum)[N], float scale, const float (&v)[N]) {
    for (int i = 0; i < N; i++) sum[i] += scale * v[i];
}

template <class T> static __device__ __forceinline__ void resize_fwd(const ResizeFwd &p) {
    by_width<T>(p.channels, [&](auto vector) {
        constexpr int N = decltype(vector)::value;
        uint32_t j = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (j >= p.out_width || channel >= p.channels) return;
        bool bicubic = p.kind == RESIZE_BICUBIC_ANTIALIAS;
        Axis rows{(int)p.height, (int)p.out_height, bicubic}, columns{(int)p.width, (int)p.out_width, bicubic};
        uint32_t image = blockIdx.x / p.out_height, i = blockIdx.x % p.out_height;
        Taps us = rows.taps(i), vs = columns.taps(j);
        float norm = rows.norm(i) * columns.norm(j);
        float y[N] = {};
        for (int u = us.first; u < us.last; u++) {
            const T *x = at<const T>(p.x) + ((size_t)image * p.height + u) * p.width * p.channels + channel;
            float row = norm * rows.weight(i, u);
            for (int v = vs.first; v < vs.last; v++) {
                float sample[N];
                load(x + (size_t)v * p.channels, sample);
                add_scaled(y, row * columns.weight(j, v), sample);
            }
        }
        store(y, at<T>(p.y) + ((size_t)blockIdx.x * p.out_width + j) * p.channels + channel);
    });
}

template <class T> static __device__ __forceinline__ void resize_bwd(const ResizeBwd &p) {
    by_width<T>(p.channels, [&](auto vector) {
        constexpr int N = decltype(vector)::value;
        uint32_t v = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (v >= p.width || channel >= p.channels) return;
        bool bicubic = p.kind == RESIZE_BICUBIC_ANTIALIAS;
        Axis rows{(int)p.height, (int)p.out_height, bicubic}, columns{(int)p.width, (int)p.out_width, bicubic};
        uint32_t image = blockIdx.x / p.height, u = blockIdx.x % p.height;
        Taps is = rows.readers(u), js = columns.readers(v);
        float dx[N] = {};
        for (int j = js.first; j < js.last; j++) {
            float column = columns.weight(j, v);
            if (column == 0.0f) continue;
            column *= columns.norm(j);
            for (int i = is.first; i < is.last; i++) {
                float row = rows.weight(i, u);
                if (row == 0.0f) continue;
                float gradient[N];
                size_t place = (((size_t)image * p.out_height + i) * p.out_width + j) * p.channels + channel;
                load(at<const T>(p.dy) + place, gradient);
                add_scaled(dx, column * row * rows.norm(i), gradient);
            }
        }
        store(dx, at<T>(p.dx) + ((size_t)blockIdx.x * p.width + v) * p.channels + channel);
    });
}

VF_EXPORT(resize_fwd, ResizeFwd, ROWS_THREADS)
VF_EXPORT(resize_bwd, ResizeBwd, ROWS_THREADS)
