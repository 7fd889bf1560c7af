// The modulation of adaptive layer norm, forward and backward.
//
// Formula   y = x·(1 + scale) + shift;  dx = dy·(1 + scale), dscale = Σ dy·x and dshift = Σ dy over a group's rows.
// Shapes    x, y, dx, dy (groups, rows_per_group, cols); scale, shift and their gradients (groups, cols).
// Bytes     forward: x and y once. backward: x, dy and dx once; scale, shift and the sums below.
// FLOPs     forward 2, backward 4 an element: memory-bound.
// Scratch   backward, where groups are so few that their rows are cut: two f32 sums per column, part and group, which part_sums adds up.
// Rounding  everything in f32; each result is rounded once. No atomics: sums have a fixed order.
// Source    Peebles and Xie, "Scalable diffusion models with transformers" (2023).
#include "channel_tile.cuh"
#include "modulate.h"

template <class T, class C> static __device__ __forceinline__ void forward(const ModulateFwd &p) {
    ChannelTile<C> tile(p.tile);
    if (tile.row >= tile.rows) return;
    uint32_t column = blockIdx.y * p.tile + tile.chunk * C::N, group = blockIdx.z;
    C scale = C::load(at<const T>(p.scale) + (group * p.cols + column)), shift;
    for (int i = 0; i < C::N; i++) shift.v[i] = 0.0f;
    if (p.shift) shift = C::load(at<const T>(p.shift) + (group * p.cols + column));
    for (int i = 0; i < C::N; i++) scale.v[i] += 1.0f;

    uint32_t first = group * p.rows_per_group * p.cols + column;
    constexpr int AT_ONCE = 4;
    batches<AT_ONCE>(Part(blockIdx.x, p.slices, p.rows_per_group), tile.row, tile.rows, [&](auto each) {
        C v[AT_ONCE];
        each([&](uint32_t row, int u) { v[u] = C::load(at<const T>(p.x) + (first + row * p.cols)); });
        each([&](uint32_t row, int u) {
            for (int i = 0; i < C::N; i++) v[u].v[i] = v[u].v[i] * scale.v[i] + shift.v[i];
            v[u].store(at<T>(p.y) + (first + row * p.cols));
        });
    });
}

template <class T, class C> static __device__ __forceinline__ void backward(const ModulateBwd &p) {
    __shared__ RowSums<C::N, CHANNEL_TILE_THREADS> rows;
    ChannelTile<C> tile(p.tile);
    uint32_t column = blockIdx.y * p.tile + tile.chunk * C::N, group = blockIdx.z;
    bool summed = p.sums || p.dscale || p.dshift;
    float sum[C::N] = {}, along[C::N] = {};
    if (tile.row < tile.rows) {
        C scale = C::load(at<const T>(p.scale) + (group * p.cols + column));
        for (int i = 0; i < C::N; i++) scale.v[i] += 1.0f;
        uint32_t first = group * p.rows_per_group * p.cols + column;
        constexpr int AT_ONCE = 2;
        batches<AT_ONCE>(Part(blockIdx.x, p.parts, p.rows_per_group), tile.row, tile.rows, [&](auto each) {
            C x[AT_ONCE], dy[AT_ONCE];
            each([&](uint32_t row, int u) {
                if (summed) x[u] = C::load(at<const T>(p.x) + (first + row * p.cols));
                dy[u] = C::load(at<const T>(p.dy) + (first + row * p.cols));
            });
            each([&](uint32_t row, int u) {
                if (summed) {
                    for (int i = 0; i < C::N; i++) sum[i] += dy[u].v[i], along[i] += dy[u].v[i] * x[u].v[i];
                }
                for (int i = 0; i < C::N; i++) dy[u].v[i] *= scale.v[i];
                if (p.dx) dy[u].store(at<T>(p.dx) + (first + row * p.cols));
            });
        });
    }
    if (!summed) return;
    rows.put(sum, along);
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        float2 of = rows.of(c, tile.chunks, tile.rows);
        size_t to = (size_t)group * p.cols + blockIdx.y * p.tile + c;
        if (p.sums) {
            float *sums = at<float>(p.sums) + (size_t)(group * p.parts + blockIdx.x) * 2 * p.cols + blockIdx.y * p.tile + c;
            sums[0] = of.x;
            sums[p.cols] = of.y;
        } else {
            if (p.dshift) from_float(of.x, at<T>(p.dshift) + to);
            if (p.dscale) from_float(of.y, at<T>(p.dscale) + to);
        }
    }
}

template <class T> static __device__ __forceinline__ void modulate_fwd(const ModulateFwd &p) {
    if (p.cols % Chunk<T>::N == 0) forward<T, Chunk<T>>(p);
    else forward<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void modulate_bwd(const ModulateBwd &p) {
    if (p.cols % Chunk<T>::N == 0) backward<T, Chunk<T>>(p);
    else backward<T, Single<T>>(p);
}

VF_EXPORT(modulate_fwd, ModulateFwd, CHANNEL_TILE_BOUNDS)
VF_EXPORT(modulate_bwd, ModulateBwd, CHANNEL_TILE_BOUNDS)
