// Group norm over channels-last images, with SiLU fused, forward and backward; and batch norm in training, which is group norm of one
// sample, the whole batch, with a group for each channel.
//
// Formula   y = act(x̂·w + b), x̂ = (x − mean)·rstd, rstd = 1 / √(var + eps), over the positions and channels of a group.
//           With dz = dy·act′(x̂·w + b), S = Σ dz and T = Σ dz·x̂ over positions: db = Σ_batch S, dw = Σ_batch T,
//           dx = rstd·(w·dz − m − x̂·n), m and n the means over the group's elements of w·dz and of w·dz·x̂.
// Shapes    x, y, dx, dy (batch, positions, channels); w, b (channels); mean, rstd (batch, groups).
//           Where x also goes on past the norm, group_norm_bwd adds the gradient that comes back that way, dresidual.
// Bytes     group_norm_stats: x once, or nothing where the convolution that wrote x has left its statistics (conv2d.cu), which may be many:
//           group_norm_merge. group_norm_fwd: x and y once. group_norm_bwd_sums: x and dy once. group_norm_bwd: x, dy, dresidual and dx once.
// FLOPs     forward 5 + 10, backward 15 + 20 an element, of which SiLU and its slope are half: memory-bound.
// Scratch   8 bytes per part and group of a sample forward; that and 8 bytes per part and channel backward. Parts are at most 128.
// Rounding  everything in f32, results rounded once. A channel's sums run over differences from its first value in the part, and parts
//           are merged by their means (Chan, Golub and LeVeque, 1983), so that a large mean costs the variance no digits. No atomics:
//           sums have a fixed order.
// Source    Wu and He, "Group normalization" (2018).
#include "group_stats.cuh"
#include "group_norm.h"

static __device__ __forceinline__ float sigmoid(float z) {
    float s;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(s) : "f"(1.0f + __expf(-z)));
    return s;
}

/// d/dz z·σ(z).
static __device__ __forceinline__ float silu_slope(float z) {
    float s = sigmoid(z);
    return s * (1.0f + z * (1.0f - s));
}

template <class T, class C> static __device__ __forceinline__ void stats(const GroupNormStats &p) {
    __shared__ RowSums<C::N, CHANNEL_TILE_THREADS> sums;
    ChannelTile<C> tile(p.tile);
    Part part(blockIdx.x, p.parts, p.positions);
    uint32_t sample = blockIdx.z, first_channel = blockIdx.y * p.tile;
    const T *x = at<const T>(p.x) + (size_t)sample * p.positions * p.channels + first_channel;

    float sum[C::N] = {}, squares[C::N] = {};
    if (tile.row < tile.rows) {
        const T *mine = x + tile.chunk * C::N;
        C shift = C::load(mine + (size_t)part.begin * p.channels);
#pragma unroll 4
        for (uint32_t position = part.begin + tile.row; position < part.end; position += tile.rows) {
            C v = C::load(mine + (size_t)position * p.channels);
            for (int i = 0; i < C::N; i++) {
                float d = v.v[i] - shift.v[i];
                sum[i] += d;
                squares[i] += d * d;
            }
        }
    }
    sums.put(sum, squares);
    __syncthreads();

    uint32_t size = p.channels / p.groups;
    GroupStats stats = {channel_array(0, p.tile), channel_array(1, p.tile), p.tile, size, part.length()};
    stats.write(
        at<float2>(p.partial) + ((size_t)sample * p.parts + blockIdx.x) * p.groups + first_channel / size,
        [&](uint32_t c) { return sums.of(c, tile.chunks, tile.rows); },
        [&](uint32_t c) { return to_float(x[(size_t)part.begin * p.channels + c]); });
}

template <class T, class C> static __device__ __forceinline__ void forward(const GroupNormFwd &p) {
    ChannelTile<C> tile(p.tile);
    uint32_t sample = blockIdx.z, first_channel = blockIdx.y * p.tile, size = p.channels / p.groups;
    uint32_t first_group = first_channel / size;
    float *means = channel_array(0, p.tile), *rstds = channel_array(1, p.tile);
    const float2 *partial = at<const float2>(p.partial) + (size_t)sample * p.parts * p.groups + first_group;
    float count = (float)size * (float)p.positions, shift = 0.0f;
    sum_parts(
        p.tile / size, p.parts,
        [&](uint32_t group, uint32_t part, float3 &sum) {
            // Sums of means run over differences, too.
            shift = load_pair(partial + group).x;
            float2 of = partial[(size_t)part * p.groups + group];
            float n = (float)(size * min(p.length, p.positions - part * p.length)), d = of.x - shift;
            sum = make_float3(sum.x + n * d, sum.y + n * d * d, sum.z + of.y);
        },
        [&](uint32_t group, float3 sum) {
            float mean = shift + sum.x / count;
            float squares = fmaxf(sum.z + sum.y - sum.x * sum.x / count, 0.0f);
            float rstd = 1.0f / sqrtf(squares / count + p.eps);
            means[group] = mean;
            rstds[group] = rstd;
            if (blockIdx.x == 0) {
                uint32_t to = sample * p.groups + first_group + group;
                at<float>(p.mean)[to] = mean;
                at<float>(p.rstd)[to] = rstd;
                if (p.unbiased) at<float>(p.unbiased)[to] = squares / (count - 1.0f);
            }
        });

    Coefficients<C::N> gains(2, p.tile), offsets(3, p.tile);
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        float gain = rstds[c / size] * at<const float>(p.weight)[first_channel + c];
        gains.set(c, gain);
        offsets.set(c, at<const float>(p.bias)[first_channel + c] - means[c / size] * gain);
    }
    __syncthreads();
    if (tile.row >= tile.rows) return;
    float gain[C::N], offset[C::N];
    gains.get(tile.chunk, gain);
    offsets.get(tile.chunk, offset);

    Part slice(blockIdx.x, p.slices, p.positions);
    uint32_t first = sample * p.positions * p.channels + first_channel + tile.chunk * C::N;
    constexpr int AT_ONCE = C::N == 8 ? 2 : 4;
    batches<AT_ONCE>(slice, tile.row, tile.rows, [&](auto each) {
        C v[AT_ONCE];
        each([&](uint32_t position, int u) { v[u] = C::load(at<const T>(p.x) + (first + position * p.channels)); });
        each([&](uint32_t position, int u) {
            for (int i = 0; i < C::N; i++) v[u].v[i] = v[u].v[i] * gain[i] + offset[i];
            if (p.silu) {
                for (int i = 0; i < C::N; i++) v[u].v[i] *= sigmoid(v[u].v[i]);
            }
            v[u].store(at<T>(p.y) + (first + position * p.channels));
        });
    });
}

template <class T, class C> static __device__ __forceinline__ void backward_sums(const GroupNormBwdSums &p) {
    __shared__ RowSums<C::N, CHANNEL_TILE_THREADS> sums;
    ChannelTile<C> tile(p.tile);
    Part part(blockIdx.x, p.parts, p.positions);
    uint32_t sample = blockIdx.z, first_channel = blockIdx.y * p.tile, size = p.channels / p.groups;
    uint32_t first_group = first_channel / size;
    const float *mean_of = at<const float>(p.mean) + sample * p.groups + first_group;
    const float *rstd_of = at<const float>(p.rstd) + sample * p.groups + first_group;
    const float *weights = at<const float>(p.weight) + first_channel;

    Coefficients<C::N> means(0, p.tile), gains(1, p.tile), biases(2, p.tile);
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        means.set(c, mean_of[c / size]);
        gains.set(c, rstd_of[c / size] * weights[c]);
        biases.set(c, at<const float>(p.bias)[first_channel + c]);
    }
    __syncthreads();
    float s[C::N] = {}, t[C::N] = {};
    if (tile.row < tile.rows) {
        float mean[C::N], gain[C::N], bias[C::N];
        means.get(tile.chunk, mean);
        gains.get(tile.chunk, gain);
        biases.get(tile.chunk, bias);
        uint32_t first = sample * p.positions * p.channels + first_channel + tile.chunk * C::N;
#pragma unroll 2
        for (uint32_t position = part.begin + tile.row; position < part.end; position += tile.rows) {
            uint32_t here = first + position * p.channels;
            C x = C::load(at<const T>(p.x) + here), dz = C::load(at<const T>(p.dy) + here);
            for (int i = 0; i < C::N; i++) x.v[i] -= mean[i];
            if (p.silu) {
                for (int i = 0; i < C::N; i++) dz.v[i] *= silu_slope(x.v[i] * gain[i] + bias[i]);
            }
            for (int i = 0; i < C::N; i++) {
                s[i] += dz.v[i];
                t[i] += dz.v[i] * x.v[i];
            }
        }
    }
    sums.put(s, t);
    __syncthreads();

    float *weighted_s = channel_array(3, p.tile), *weighted_t = channel_array(4, p.tile);
    size_t place = (size_t)sample * p.parts + blockIdx.x;
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        float2 of = sums.of(c, tile.chunks, tile.rows);
        of.y *= rstd_of[c / size];
        if (p.by_channel) {
            float *out = at<float>(p.by_channel) + place * 2 * p.channels + first_channel + c;
            out[0] = of.x;
            out[p.channels] = of.y;
        }
        weighted_s[c] = weights[c] * of.x;
        weighted_t[c] = weights[c] * of.y;
    }
    if (!p.by_group) return;
    __syncthreads();
    float2 *out = at<float2>(p.by_group) + place * p.groups + first_group;
    for (uint32_t group = threadIdx.x; group < p.tile / size; group += blockDim.x) {
        float2 sum = make_float2(0.0f, 0.0f);
        each_of_group(group, size, [&](uint32_t c) { sum.x += weighted_s[c], sum.y += weighted_t[c]; });
        out[group] = sum;
    }
}

/// dweight and dbias of the tile's channels, from the sums of every part of every sample.
static __device__ __forceinline__ void sum_channels(const GroupNormBwd &p, uint32_t first_channel) {
    sum_parts(
        p.tile, p.batch * p.parts,
        [&](uint32_t channel, uint32_t part, float3 &sum) {
            const float *of = at<const float>(p.by_channel) + (size_t)part * 2 * p.channels + first_channel + channel;
            sum.x += of[0];
            sum.y += of[p.channels];
        },
        [&](uint32_t channel, float3 sum) {
            if (p.dbias) at<float>(p.dbias)[first_channel + channel] = sum.x;
            if (p.dweight) at<float>(p.dweight)[first_channel + channel] = sum.y;
        });
}

template <class T, class C> static __device__ __forceinline__ void backward(const GroupNormBwd &p) {
    uint32_t sample = blockIdx.z, first_channel = blockIdx.y * p.tile;
    if (blockIdx.x == 0) {
        if (sample == 0 && p.by_channel) sum_channels(p, first_channel);
        return;
    }
    ChannelTile<C> tile(p.tile);
    uint32_t size = p.channels / p.groups, first_group = first_channel / size;
    const float *mean_of = at<const float>(p.mean) + sample * p.groups + first_group;
    const float *rstd_of = at<const float>(p.rstd) + sample * p.groups + first_group;
    float *levels_of = channel_array(0, p.tile), *leans_of = channel_array(1, p.tile);
    const float2 *by_group = at<const float2>(p.by_group) + (size_t)sample * p.parts * p.groups + first_group;
    sum_parts(
        p.tile / size, p.parts,
        [&](uint32_t group, uint32_t part, float3 &sum) {
            float2 of = by_group[(size_t)part * p.groups + group];
            sum.x += of.x;
            sum.y += of.y;
        },
        [&](uint32_t group, float3 sum) {
            float rstd = rstd_of[group], per_element = rstd / ((float)size * (float)p.positions);
            levels_of[group] = sum.x * per_element;
            leans_of[group] = sum.y * per_element * rstd;
        });

    // z = x·gain + offset, dx = dz·gain − x·lean − level.
    Coefficients<C::N> gains(2, p.tile), offsets(3, p.tile), leans(4, p.tile), levels(5, p.tile);
    for (uint32_t c = threadIdx.x; c < p.tile; c += blockDim.x) {
        uint32_t group = c / size;
        float mean = mean_of[group], gain = rstd_of[group] * at<const float>(p.weight)[first_channel + c], lean = leans_of[group];
        gains.set(c, gain);
        offsets.set(c, at<const float>(p.bias)[first_channel + c] - mean * gain);
        leans.set(c, lean);
        levels.set(c, levels_of[group] - mean * lean);
    }
    __syncthreads();
    if (tile.row >= tile.rows) return;
    float gain[C::N], offset[C::N], lean[C::N], level[C::N];
    gains.get(tile.chunk, gain);
    offsets.get(tile.chunk, offset);
    leans.get(tile.chunk, lean);
    levels.get(tile.chunk, level);

    Part slice(blockIdx.x - 1, p.slices, p.positions);
    uint32_t first = sample * p.positions * p.channels + first_channel + tile.chunk * C::N;
    constexpr int AT_ONCE = 2;
    batches<AT_ONCE>(slice, tile.row, tile.rows, [&](auto each) {
        C x[AT_ONCE], dz[AT_ONCE], residual[AT_ONCE];
        each([&](uint32_t position, int u) {
            uint32_t here = first + position * p.channels;
            x[u] = C::load(at<const T>(p.x) + here);
            dz[u] = C::load(at<const T>(p.dy) + here);
            residual[u] = C::load_or(at<const T>(p.dresidual), here, 0.0f);
        });
        each([&](uint32_t position, int u) {
            if (p.silu) {
                for (int i = 0; i < C::N; i++) dz[u].v[i] *= silu_slope(x[u].v[i] * gain[i] + offset[i]);
            }
            for (int i = 0; i < C::N; i++) dz[u].v[i] = residual[u].v[i] + (dz[u].v[i] * gain[i] - x[u].v[i] * lean[i] - level[i]);
            dz[u].store(at<T>(p.dx) + (first + position * p.channels));
        });
    });
}

template <class T> static __device__ __forceinline__ void group_norm_stats(const GroupNormStats &p) {
    if (p.channels % Chunk<T>::N == 0) stats<T, Chunk<T>>(p);
    else stats<T, Single<T>>(p);
}

/// The statistics of longer parts from those of shorter ones, which are f32 whatever x is.
static __device__ __forceinline__ void group_norm_merge(const GroupNormMerge &p) {
    uint32_t parts = (p.parts + p.fold - 1) / p.fold, index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= p.batch * parts * p.groups) return;
    uint32_t group = index % p.groups, part = index / p.groups % parts, sample = index / p.groups / parts;
    uint32_t count = min(p.fold, p.parts - part * p.fold);
    const float2 *from = at<const float2>(p.partial) + ((size_t)sample * p.parts + part * p.fold) * p.groups + group;
    float shift = load_pair(from).x, sum = 0.0f, squares = 0.0f, within = 0.0f;
#pragma unroll 8
    for (uint32_t i = 0; i < count; i++) {
        float2 of = load_pair(from + i * p.groups);
        float d = of.x - shift;
        sum += d;
        squares += d * d;
        within += of.y;
    }
    float mean = sum / (float)count;
    at<float2>(p.merged)[index] = make_float2(shift + mean, within + (float)p.elements * (squares - sum * mean));
}

template <class T> static __device__ __forceinline__ void group_norm_fwd(const GroupNormFwd &p) {
    if (p.channels % Chunk<T>::N == 0) forward<T, Chunk<T>>(p);
    else forward<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void group_norm_bwd_sums(const GroupNormBwdSums &p) {
    if (p.channels % Chunk<T>::N == 0) backward_sums<T, Chunk<T>>(p);
    else backward_sums<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void group_norm_bwd(const GroupNormBwd &p) {
    if (p.channels % Chunk<T>::N == 0) backward<T, Chunk<T>>(p);
    else backward<T, Single<T>>(p);
}

VF_EXPORT(group_norm_stats, GroupNormStats, CHANNEL_TILE_BOUNDS)
VF_EXPORT_F32(group_norm_merge, GroupNormMerge, CHANNEL_TILE_THREADS)
VF_EXPORT(group_norm_fwd, GroupNormFwd, CHANNEL_TILE_BOUNDS)
VF_EXPORT(group_norm_bwd_sums, GroupNormBwdSums, CHANNEL_TILE_BOUNDS)
VF_EXPORT(group_norm_bwd, GroupNormBwd, CHANNEL_TILE_BOUNDS)
