// Nearest-neighbour doubling of images.
//
// Formula   y[b, i, j, c] = x[b, i/2, j/2, c];  dx = the sum of dy over each 2×2 square.
// Shapes    x, dx (batch, height, width, channels); y, dy (batch, 2·height, 2·width, channels).
// Bytes     5 elements an element of x.
// FLOPs     forward none, backward 3 an element of x.
// Scratch   none.
// Rounding  forward exact; backward sums in f32, rounded once.
// Source    definition.
#include "rows.h"
#include "upsample.h"
#include "vectors.cuh"

/// Where a vector of pixel `column` of image row `line` lies, and its squares' upper left corner.
struct Doubled {
    size_t single, corner, right, below;
};

static __device__ __forceinline__ Doubled doubled(uint32_t line, uint32_t column, uint32_t channel, uint32_t width, uint32_t channels) {
    size_t row = (size_t)width * channels;
    return {line * row + (size_t)column * channels + channel, 4 * line * row + 2 * (size_t)column * channels + channel, channels,
            2 * row};
}

template <class T> static __device__ __forceinline__ void upsample_fwd(const UpsampleFwd &p) {
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t column = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (column >= p.width || channel >= p.channels) return;
        Doubled here = doubled(blockIdx.x, column, channel, p.width, p.channels);
        float v[N];
        load(at<const T>(p.x) + here.single, v);
        T *y = at<T>(p.y) + here.corner;
        store(v, y);
        store(v, y + here.right);
        store(v, y + here.below);
        store(v, y + here.below + here.right);
    });
}

template <class T> static __device__ __forceinline__ void upsample_bwd(const UpsampleBwd &p) {
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t column = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (column >= p.width || channel >= p.channels) return;
        Doubled here = doubled(blockIdx.x, column, channel, p.width, p.channels);
        const T *dy = at<const T>(p.dy) + here.corner;
        float a[N], b[N], c[N], d[N];
        load(dy, a);
        load(dy + here.right, b);
        load(dy + here.below, c);
        load(dy + here.below + here.right, d);
        for (int i = 0; i < N; i++) a[i] = (a[i] + b[i]) + (c[i] + d[i]);
        store(a, at<T>(p.dx) + here.single);
    });
}

VF_EXPORT(upsample_fwd, UpsampleFwd, ROWS_THREADS)
VF_EXPORT(upsample_bwd, UpsampleBwd, ROWS_THREADS)
