// Batch norm by given statistics, forward and backward, and the tracking of the running ones.
//
// Formula   y = x̂·w + b,  x̂ = (x − mean)·rstd,  rstd = 1 / √(var + eps);  dx = w·rstd·dy,  db = Σ dy,  dw = Σ dy·x̂ over rows;
//           running += momentum·(batch − running).
// Shapes    x, y, dx, dy (rows, channels); all others (channels), f32.
// Bytes     forward: x and y once. backward: x, dy and dx once, and 8 per channel and part of the rows.
// FLOPs     forward 2, backward 5 an element: memory-bound.
// Scratch   backward: two f32 sums per channel and part.
// Rounding  everything in f32, results rounded once. No atomics: sums have a fixed order.
// Source    Ioffe and Szegedy, "Batch normalization" (2015).
#include "batch_norm.h"
#include "channel_tile.cuh"

template <class T, class C> static __device__ __forceinline__ void forward(const BatchNormEvalFwd &p) {
    ChannelTile<C> tile(p.tile);
    uint32_t first_channel = blockIdx.y * p.tile;
    Coefficients<C::N> gains(0, p.tile), offsets(1, p.tile);
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        uint32_t channel = first_channel + c;
        float gain = at<const float>(p.weight)[channel] / sqrtf(at<const float>(p.var)[channel] + p.eps);
        gains.set(c, gain);
        offsets.set(c, at<const float>(p.bias)[channel] - at<const float>(p.mean)[channel] * gain);
    }
    __syncthreads();
    if (tile.row >= tile.rows) return;
    float gain[C::N], offset[C::N];
    gains.get(tile.chunk, gain);
    offsets.get(tile.chunk, offset);

    uint32_t first = first_channel + tile.chunk * C::N;
    constexpr int AT_ONCE = 4;
    batches<AT_ONCE>(Part(blockIdx.x, p.slices, p.rows), tile.row, tile.rows, [&](auto each) {
        C v[AT_ONCE];
        each([&](uint32_t row, int u) { v[u] = C::load(at<const T>(p.x) + (first + row * p.channels)); });
        each([&](uint32_t row, int u) {
            for (int i = 0; i < C::N; i++) v[u].v[i] = v[u].v[i] * gain[i] + offset[i];
            v[u].store(at<T>(p.y) + (first + row * p.channels));
        });
    });
}

template <class T, class C> static __device__ __forceinline__ void backward(const BatchNormEvalBwd &p) {
    __shared__ RowSums<C::N, CHANNEL_TILE_THREADS> rows;
    ChannelTile<C> tile(p.tile);
    uint32_t first_channel = blockIdx.y * p.tile;
    Coefficients<C::N> gains(0, p.tile), means(1, p.tile);
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        uint32_t channel = first_channel + c;
        gains.set(c, at<const float>(p.weight)[channel] / sqrtf(at<const float>(p.var)[channel] + p.eps));
        means.set(c, at<const float>(p.mean)[channel]);
    }
    __syncthreads();
    float sum[C::N] = {}, along[C::N] = {};
    if (tile.row < tile.rows) {
        float gain[C::N], mean[C::N];
        gains.get(tile.chunk, gain);
        means.get(tile.chunk, mean);
        uint32_t first = first_channel + tile.chunk * C::N;
        constexpr int AT_ONCE = 2;
        batches<AT_ONCE>(Part(blockIdx.x, p.parts, p.rows), tile.row, tile.rows, [&](auto each) {
            C x[AT_ONCE], dy[AT_ONCE];
            each([&](uint32_t row, int u) {
                x[u] = C::load(at<const T>(p.x) + (first + row * p.channels));
                dy[u] = C::load(at<const T>(p.dy) + (first + row * p.channels));
            });
            each([&](uint32_t row, int u) {
                for (int i = 0; i < C::N; i++) {
                    sum[i] += dy[u].v[i];
                    along[i] += dy[u].v[i] * (x[u].v[i] - mean[i]);
                    dy[u].v[i] *= gain[i];
                }
                if (p.dx) dy[u].store(at<T>(p.dx) + (first + row * p.channels));
            });
        });
    }
    if (!p.sums) return;
    rows.put(sum, along);
    __syncthreads();
    float *out = at<float>(p.sums) + (size_t)blockIdx.x * 2 * p.channels + first_channel;
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        float2 of = rows.of(c, tile.chunks, tile.rows);
        out[c] = of.x;
        out[p.channels + c] = of.y / sqrtf(at<const float>(p.var)[first_channel + c] + p.eps);
    }
}

template <class T> static __device__ __forceinline__ void batch_norm_eval_fwd(const BatchNormEvalFwd &p) {
    if (p.channels % Chunk<T>::N == 0) forward<T, Chunk<T>>(p);
    else forward<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void batch_norm_eval_bwd(const BatchNormEvalBwd &p) {
    if (p.channels % Chunk<T>::N == 0) backward<T, Chunk<T>>(p);
    else backward<T, Single<T>>(p);
}

static __device__ __forceinline__ void batch_norm_track(const BatchNormTrack &p) {
    uint32_t channel = blockIdx.x * BATCH_NORM_TRACK_THREADS + threadIdx.x;
    if (channel >= p.channels) return;
    float running = at<const float>(p.running)[channel];
    at<float>(p.running)[channel] = running + p.momentum * (at<const float>(p.batch)[channel] - running);
}

VF_EXPORT(batch_norm_eval_fwd, BatchNormEvalFwd, CHANNEL_TILE_BOUNDS)
VF_EXPORT(batch_norm_eval_bwd, BatchNormEvalBwd, CHANNEL_TILE_BOUNDS)
VF_EXPORT_F32(batch_norm_track, BatchNormTrack, BATCH_NORM_TRACK_THREADS)
