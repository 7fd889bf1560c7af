// The two ends of a diffusion transformer: positions for the patches, and images out of them.
//
// Formula   add_positions: y[b] = x[b] + table;  dtable = Σ_b dy[b].
//           unpatchify: y[b, i·p + u, j·p + v, c] = x[b, i, j, u, v, c] for c < channels;  dx the same backwards, 0 in other channels.
// Shapes    x, y, dy (batch, count), table (count) of T, dtable (count) f32;
//           x, dx (batch, grid_h, grid_w, p, p, x_channels), y, dy (batch, grid_h·p, grid_w·p, channels).
// Bytes     each tensor once. Of channels that unpatchify drops it reads what shares a sector with others.
// FLOPs     add_positions one an element, unpatchify none.
// Scratch   none.
// Rounding  sums in f32, over the batch in order; each result is rounded once.
// Source    Peebles and Xie, "Scalable diffusion models with transformers" (2023).
#include "patches.h"
#include "rows.h"
#include "vectors.cuh"

template <class T> static __device__ __forceinline__ void add_positions_fwd(const AddPositionsFwd &p) {
    by_width<T>(p.count, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t image = row_of_block(), col = column_of_block<N>();
        if (col >= p.count) return;
        size_t here = (size_t)image * p.count + col;
        float v[N], position[N];
        load(at<const T>(p.x) + here, v);
        load(at<const T>(p.table) + col, position);
        for (int i = 0; i < N; i++) v[i] += position[i];
        store(v, at<T>(p.y) + here);
    });
}

/// A thread walks through the batch. Fours, because the sum is f32.
template <class T> static __device__ __forceinline__ void add_positions_bwd(const AddPositionsBwd &p) {
    by_fours(p.count, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t col = column_of_block<N>();
        if (col >= p.count) return;
        float sum[N] = {};
#pragma unroll 8
        for (uint32_t image = 0; image < p.batch; image++) {
            float v[N];
            load(at<const T>(p.dy) + (size_t)image * p.count + col, v);
            for (int i = 0; i < N; i++) sum[i] += v[i];
        }
        store(sum, at<float>(p.dtable) + col);
    });
}

/// Calls `body(width)` for the widest vectors, of `MOST` elements, four or one, that rows of `columns` are made of.
template <int MOST, class Body> static __device__ __forceinline__ void by_at_most(uint32_t columns, Body body) {
    if (columns % MOST == 0) return body(std::integral_constant<int, MOST>());
    if constexpr (MOST > 4) {
        if (columns % 4 == 0) return body(std::integral_constant<int, 4>());
    }
    body(std::integral_constant<int, 1>());
}

/// The image's pixel that is number `at` among the patches' pixels.
template <class P> static __device__ __forceinline__ size_t pixel_of_image(const P &p, uint32_t at) {
    uint32_t v = at % p.patch, u = at / p.patch % p.patch, token = at / p.patch / p.patch;
    uint32_t column = token % p.grid_w, line = token / p.grid_w;
    return ((size_t)line * p.patch + u) * p.grid_w * p.patch + column * p.patch + v;
}

/// Calls `body(vector, part, x, y, c)` for each vector of x of which something is kept: the vector's width and that in which the image's
/// pixels can be moved, where it lies in x, where in the image, and its first channel.
template <class T, class P, class Body> static __device__ __forceinline__ void each_vector(const P &p, Body body) {
    by_at_most<Chunk<T>::N>(p.x_channels, [&](auto vector) {
        constexpr int N = decltype(vector)::value;
        uint32_t pixel = row_of_thread(), channel = column_of_thread<N>();
        if (pixel >= p.batch * p.grid_h * p.grid_w * p.patch * p.patch || channel >= p.x_channels) return;
        by_at_most<N>(p.channels, [&](auto part) {
            body(vector, part, (size_t)pixel * p.x_channels + channel, pixel_of_image(p, pixel) * p.channels + channel, channel);
        });
    });
}

template <class T> static __device__ __forceinline__ void unpatchify_fwd(const UnpatchifyFwd &p) {
    each_vector<T>(p, [&](auto vector, auto part, size_t from, size_t to, uint32_t channel) {
        constexpr int N = decltype(vector)::value, M = decltype(part)::value;
        constexpr uint32_t SECTOR = 32 / sizeof(T);
        if (channel - channel % SECTOR >= p.channels) return;
        float v[N];
        load(at<const T>(p.x) + from, v);
        // The sector is read anyway: a request for it that leaves out what is dropped is no smaller.
        asm volatile("" ::"f"(v[0]));
        for (int i = 0; i < N; i += M) {
            float kept[M];
            for (int j = 0; j < M; j++) kept[j] = v[i + j];
            if (channel + i < p.channels) store(kept, at<T>(p.y) + to + i);
        }
    });
}

template <class T> static __device__ __forceinline__ void unpatchify_bwd(const UnpatchifyBwd &p) {
    each_vector<T>(p, [&](auto vector, auto part, size_t to, size_t from, uint32_t channel) {
        constexpr int N = decltype(vector)::value, M = decltype(part)::value;
        float v[N] = {};
        for (int i = 0; i < N; i += M) {
            float kept[M] = {};
            if (channel + i < p.channels) load(at<const T>(p.dy) + from + i, kept);
            for (int j = 0; j < M; j++) v[i + j] = kept[j];
        }
        store(v, at<T>(p.dx) + to);
    });
}

VF_EXPORT(add_positions_fwd, AddPositionsFwd, ROWS_THREADS)
VF_EXPORT(add_positions_bwd, AddPositionsBwd, ROWS_THREADS)
VF_EXPORT(unpatchify_fwd, UnpatchifyFwd, ROWS_THREADS)
VF_EXPORT(unpatchify_bwd, UnpatchifyBwd, ROWS_THREADS)
