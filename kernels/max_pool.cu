// 2×2 max-pool with stride 2; an odd last row or column is dropped.
//
// Formula   y = the largest of each square, NaN being larger than all;  dx = dy at the first largest in row order, 0 elsewhere.
// Shapes    x, dx (batch, height, width, channels); y, dy (batch, ⌊height/2⌋, ⌊width/2⌋, channels).
// Bytes     forward 1¼, backward 2¼ elements an element of x.
// FLOPs     comparisons only.
// Scratch   none.
// Rounding  none: values are passed on.
// Source    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015).
#include "max_pool.h"
#include "rows.h"
#include "vectors.cuh"

/// The first largest of four values, NaN being larger than all, and which it is. Without branches, at which a warp would come apart.
struct Largest {
    float value;
    int which;

    __device__ __forceinline__ Largest(float a, float b, float c, float d) : value(a), which(0) {
        take(b, 1);
        take(c, 2);
        take(d, 3);
    }

  private:
    __device__ __forceinline__ void take(float v, int i) {
        bool larger = (value == value) & !(v <= value);
        value = larger ? v : value;
        which = larger ? i : which;
    }
};

template <class T> static __device__ __forceinline__ void max_pool_fwd(const MaxPoolFwd &p) {
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t column = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (column >= p.width / 2 || channel >= p.channels) return;
        uint32_t image = blockIdx.x / (p.height / 2), line = blockIdx.x % (p.height / 2);
        size_t row = (size_t)p.width * p.channels, out_row = (size_t)(p.width / 2) * p.channels;
        const T *x = at<const T>(p.x) + ((size_t)image * p.height + 2 * line) * row + 2 * (size_t)column * p.channels + channel;
        float a[N], b[N], c[N], d[N];
        load(x, a);
        load(x + p.channels, b);
        load(x + row, c);
        load(x + row + p.channels, d);
        for (int i = 0; i < N; i++) a[i] = Largest(a[i], b[i], c[i], d[i]).value;
        store(a, at<T>(p.y) + blockIdx.x * out_row + (size_t)column * p.channels + channel);
    });
}

/// A thread writes its square whole, or what of it lies within the image: then it was dropped.
template <class T> static __device__ __forceinline__ void max_pool_bwd(const MaxPoolBwd &p) {
    by_width<T>(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t lines = (p.height + 1) / 2;
        uint32_t column = blockIdx.y * blockDim.y + threadIdx.y, channel = (blockIdx.z * blockDim.x + threadIdx.x) * N;
        if (column >= (p.width + 1) / 2 || channel >= p.channels) return;
        uint32_t image = blockIdx.x / lines, line = blockIdx.x % lines;
        size_t row = (size_t)p.width * p.channels;
        size_t corner = ((size_t)image * p.height + 2 * line) * row + 2 * (size_t)column * p.channels + channel;
        bool right = 2 * column + 1 < p.width, below = 2 * line + 1 < p.height;
        float a[N] = {}, b[N] = {}, c[N] = {}, d[N] = {};
        if (right && below) {
            const T *x = at<const T>(p.x) + corner;
            size_t out = (((size_t)image * (p.height / 2) + line) * (p.width / 2) + column) * p.channels + channel;
            float dy[N];
            load(x, a);
            load(x + p.channels, b);
            load(x + row, c);
            load(x + row + p.channels, d);
            load(at<const T>(p.dy) + out, dy);
            for (int i = 0; i < N; i++) {
                int which = Largest(a[i], b[i], c[i], d[i]).which;
                a[i] = which == 0 ? dy[i] : 0.0f;
                b[i] = which == 1 ? dy[i] : 0.0f;
                c[i] = which == 2 ? dy[i] : 0.0f;
                d[i] = which == 3 ? dy[i] : 0.0f;
            }
        }
        T *dx = at<T>(p.dx) + corner;
        store(a, dx);
        if (right) store(b, dx + p.channels);
        if (below) store(c, dx + row);
        if (right && below) store(d, dx + row + p.channels);
    });
}

VF_EXPORT(max_pool_fwd, MaxPoolFwd, ROWS_THREADS)
VF_EXPORT(max_pool_bwd, MaxPoolBwd, ROWS_THREADS)
