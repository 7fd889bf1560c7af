// The VF loss, forward and backward, with z′ = W z and the distance matrices on chip only.
//
// Formula   nᵢ = max(‖z′ᵢ‖, ε), ẑ = z/n, q̂ = M z/n, M = WᵀW:  cᵢⱼ = cos(z′ᵢ, z′ⱼ) = q̂ᵢ·ẑⱼ,  d = c − cos(fᵢ, fⱼ),
//           cosᵢ = zᵢ·pᵢ / (‖fᵢ‖ ‖z′ᵢ‖) with p = Wᵀf.
//           mdms has the gradient gᵢⱼ = sᵢⱼ/(B N²), s = sign(d) where |d| > margin, by cᵢⱼ; g is symmetric, so
//             ∂/∂z′ᵢ = (1/nᵢ) Σⱼ 2gᵢⱼ ẑ′ⱼ − (Σⱼ 2gᵢⱼ cᵢⱼ) z′ᵢ/nᵢ² = W rᵢ,  rᵢ = (Dᵢ − (q̂ᵢ·Dᵢ) ẑᵢ)/nᵢ,  Dᵢ = 2/(B N²) Σⱼ sᵢⱼ ẑⱼ.
//           mcos, with hᵢ = −1/(B N) where 1 − cos_margin − cosᵢ > 0, else 0:
//             ∂/∂z′ᵢ = hᵢ fᵢ/(‖fᵢ‖‖z′ᵢ‖) − hᵢ cosᵢ z′ᵢ/‖z′ᵢ‖²: the second part joins r, the first gives eᵢ = hᵢ zᵢ/(‖fᵢ‖‖z′ᵢ‖).
//           With the upstream gradients in g and h:  dz = M r + h p/(‖f‖‖z′‖),  dW = Σ f eᵀ + W Σ r zᵀ.
//           Where a norm is below its ε it is a constant and has no gradient.
// Shapes    z (B, N, Cz), f (B, N, Cf), W (Cf, Cz), Cz ≤ 64; T = ⌈N/64⌉ tiles.
// Bytes     project and bwd_weight read f once; pairs reads each image's f T + 1 times, from L2 where an image fits there. The rest is
//           f32 of (B, N, Cz): nine arrays written once and read once or twice, pull T times as large.
// FLOPs     project 2·B·N·Cf·64; pairs B·T(T+1)/2·2·64²·(Cf + 3·Cz), by symmetry half of the full matrix; bwd_weight 2·B·N·Cf·Cz.
// Scratch   as the headers's structures list: about 4·B·N·Cz·(6 + T) + 4·splits·(Cf + Cz)·Cz bytes.
// Rounding  products of f with f and with W take T exactly (tensor cores for bf16) and sum in f32; everything else is f32; dz is
//           rounded once. No atomics: all sums have a fixed order.
// Source    Yao, Yang, Wang, "Reconstruction vs. generation" (CVPR 2025), section 3; the reference's contperceptual.py.
#include "common.cuh"
#include "tile_product.cuh"
#include "vf_loss.h"

static_assert(VF_LOSS_TILE == TILE && VF_LOSS_THREADS == TILE_THREADS, "the pairs are those of one tile product");
static_assert(VF_LOSS_MAX_CHANNELS <= TILE, "W's columns must fit into one tile product");
static_assert(VF_LOSS_PAIRS_BYTES == TILE_SHARED + (2 * TILE + 8) * sizeof(float), "slabs, two sets of norms and a sum per warp");
static_assert(VF_LOSS_PAIRS_BYTES_PER_CHANNEL == 3 * TILE * sizeof(float), "three arrays of a tile's positions");

constexpr uint32_t WARPS = VF_LOSS_THREADS / 32;

/// The sum over the block, in thread 0. `sums` holds a float per warp.
static __device__ __forceinline__ float block_sum(float x, float *sums) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
    for (uint32_t w = 0; w < WARPS; w++) total += sums[w];
    return total;
}

static __device__ __forceinline__ float4 load_float4(const float *p) { return *reinterpret_cast<const float4 *>(p); }
static __device__ __forceinline__ void store_float4(float *p, float4 v) { *reinterpret_cast<float4 *>(p) = v; }
/// To device memory: nvcc 13 splits some plain assignments into four stores of 4 bytes.
static __device__ __forceinline__ void store_global_float4(float *p, float4 v) { __stwb(reinterpret_cast<float4 *>(p), v); }

static __device__ __forceinline__ void add_scaled(float4 &sum, float scale, float4 v) {
    sum = make_float4(fmaf(scale, v.x, sum.x), fmaf(scale, v.y, sum.y), fmaf(scale, v.z, sum.z), fmaf(scale, v.w, sum.w));
}

template <class T> static __device__ __forceinline__ void vf_loss_transpose(const VfLossTranspose &p) {
    __shared__ T square[32][sizeof(T) == 2 ? 34 : 33];
    uint32_t row = blockIdx.x * 32, column = blockIdx.y * 32, lane = threadIdx.x % 32;
    for (uint32_t i = threadIdx.x / 32; i < 32; i += WARPS) {
        bool inside = row + i < p.width && column + lane < p.channels;
        if (inside) square[i][lane] = at<const T>(p.weight)[(size_t)(row + i) * p.channels + column + lane];
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x / 32; i < 32; i += WARPS) {
        bool inside = column + i < p.channels && row + lane < p.width;
        if (inside) at<T>(p.weight_t)[(size_t)(column + i) * p.width + row + lane] = square[lane][i];
    }
}

template <class T> static __device__ __forceinline__ void vf_loss_project(const VfLossProject &p) {
    __shared__ alignas(16) unsigned char shared[TILE_SHARED];
    Rows<T> weight = {at<const T>(p.weight_t), p.channels};
    bool gram = blockIdx.x == gridDim.x - 1;
    uint32_t token = blockIdx.x * TILE;
    Rows<T> left = weight;
    if (!gram) left = {at<const T>(p.features) + (size_t)token * p.width, min(p.tokens - token, TILE)};
    float squares = tile_product(left, weight, p.width, shared);

    const float *tile = reinterpret_cast<const float *>(shared);
    float *out = gram ? at<float>(p.gram) : at<float>(p.projected) + (size_t)token * p.channels;
    uint32_t per_row = p.channels / 4;
    for (uint32_t i = threadIdx.x; i < left.rows * per_row; i += VF_LOSS_THREADS) {
        store_float4(out + 4 * i, load_float4(tile + i / per_row * TILE_STRIDE + i % per_row * 4));
    }
    uint32_t row = threadIdx.x / 4;
    if (!gram && threadIdx.x % 4 == 0 && row < left.rows) at<float>(p.feature_norm)[token + row] = sqrtf(squares);
}

/// A lane's two of a token's channels: `lane` and `lane + 32`; those past the last are zero.
struct Pair {
    float low, high;
};

static __device__ __forceinline__ float dot(Pair a, Pair b) { return warp_sum(a.low * b.low + a.high * b.high); }

template <class T> static __device__ __forceinline__ Pair load_pair(const T *row, uint32_t channels) {
    uint32_t lane = threadIdx.x % 32;
    return {lane < channels ? to_float(row[lane]) : 0.0f, lane + 32 < channels ? to_float(row[lane + 32]) : 0.0f};
}

template <class T> static __device__ __forceinline__ void store_pair(T *row, uint32_t channels, Pair v) {
    uint32_t lane = threadIdx.x % 32;
    if (lane < channels) from_float(v.low, row + lane);
    if (lane + 32 < channels) from_float(v.high, row + lane + 32);
}

/// M with rows of 64 floats, zeros past the last channel.
static __device__ __forceinline__ void load_gram(float *shared, const float *gram, uint32_t channels) {
    for (uint32_t i = threadIdx.x; i < TILE * TILE; i += VF_LOSS_THREADS) {
        uint32_t row = i / TILE, column = i % TILE;
        shared[i] = row < channels && column < channels ? gram[row * channels + column] : 0.0f;
    }
    __syncthreads();
}

/// M v. M is symmetric, so that lanes may read along its rows.
static __device__ __forceinline__ Pair times_gram(const float *gram, Pair v, uint32_t channels) {
    uint32_t lane = threadIdx.x % 32;
    Pair sum = {0.0f, 0.0f};
    for (uint32_t k = 0; k < channels; k++) {
        float x = __shfl_sync(0xFFFFFFFFu, k < 32 ? v.low : v.high, k % 32);
        sum.low = fmaf(x, gram[k * TILE + lane], sum.low);
        sum.high = fmaf(x, gram[k * TILE + lane + 32], sum.high);
    }
    return sum;
}

static __device__ __forceinline__ Pair scaled(float s, Pair v) { return {s * v.low, s * v.high}; }

template <class T> static __device__ __forceinline__ void vf_loss_normalize(const VfLossNormalize &p) {
    __shared__ float gram[TILE * TILE];
    load_gram(gram, at<const float>(p.gram), p.channels);
    uint32_t end = min((blockIdx.x + 1) * TILE, p.tokens);
    for (uint32_t token = blockIdx.x * TILE + threadIdx.x / 32; token < end; token += WARPS) {
        size_t row = (size_t)token * p.channels;
        Pair z = load_pair(at<const T>(p.z) + row, p.channels);
        Pair q = times_gram(gram, z, p.channels);
        float norm = sqrtf(fmaxf(dot(z, q), 0.0f));
        float inverse = 1.0f / fmaxf(norm, VF_LOSS_EPS_DISTMAT);
        store_pair(at<float>(p.zhat) + row, p.channels, scaled(inverse, z));
        store_pair(at<float>(p.qhat) + row, p.channels, scaled(inverse, q));
        if (threadIdx.x % 32 == 0) at<float>(p.norm)[token] = norm;
    }
}

/// A tile's rows of a (positions, channels) array; rows past the end are zero. `stride` is channels + 4, an odd number of 16 bytes.
static __device__ __forceinline__ void load_rows(float *shared, const float *from, uint32_t rows, uint32_t channels) {
    uint32_t per_row = channels / 4;
    for (uint32_t i = threadIdx.x; i < TILE * per_row; i += VF_LOSS_THREADS) {
        uint32_t row = i / per_row;
        float4 v = row < rows ? load_float4(from + 4 * i) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        store_float4(shared + row * (channels + 4) + i % per_row * 4, v);
    }
}

/// For the `rows` first rows r: out[r] = Σ over k of signs[r, k]·zhat[k], or of signs[k, r] with `transposed`.
template <bool transposed>
static __device__ __forceinline__ void write_pull(float *out, const float *signs, const float *zhat, uint32_t rows, uint32_t channels) {
    uint32_t per_row = channels / 4;
    for (uint32_t i = threadIdx.x; i < rows * per_row; i += VF_LOSS_THREADS) {
        const float *s = signs + i / per_row * (transposed ? 1 : TILE_STRIDE);
        const float *z = zhat + i % per_row * 4;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
        for (uint32_t k = 0; k < TILE; k++) {
            add_scaled(sum, s[k * (transposed ? TILE_STRIDE : 1)], load_float4(z + k * (channels + 4)));
        }
        store_float4(out + 4 * i, sum);
    }
}

template <class T> static __device__ __forceinline__ void vf_loss_pairs(const VfLossPairs &p) {
    extern __shared__ uint4 dynamic[];
    unsigned char *shared = reinterpret_cast<unsigned char *>(dynamic);
    uint32_t stride = p.channels + 4;
    float *tile = reinterpret_cast<float *>(shared);
    float *qhat_i = reinterpret_cast<float *>(shared + TILE_SHARED);
    float *zhat_i = qhat_i + TILE * stride, *zhat_j = zhat_i + TILE * stride;
    float *inverse_i = zhat_j + TILE * stride, *inverse_j = inverse_i + TILE, *sums = inverse_j + TILE;

    uint32_t tiles = (p.positions + TILE - 1) / TILE, tile_i = 0, rest = blockIdx.x;
    for (; rest >= tiles - tile_i; tile_i++) rest -= tiles - tile_i;
    uint32_t tile_j = tile_i + rest;
    uint32_t rows_i = min(p.positions - tile_i * TILE, TILE), rows_j = min(p.positions - tile_j * TILE, TILE);
    size_t image = (size_t)blockIdx.y * p.positions, i0 = image + tile_i * TILE, j0 = image + tile_j * TILE;

    load_rows(qhat_i, at<const float>(p.qhat) + i0 * p.channels, rows_i, p.channels);
    load_rows(zhat_i, at<const float>(p.zhat) + i0 * p.channels, rows_i, p.channels);
    load_rows(zhat_j, at<const float>(p.zhat) + j0 * p.channels, rows_j, p.channels);
    if (threadIdx.x < 2 * TILE) {
        bool of_i = threadIdx.x < TILE;
        uint32_t row = threadIdx.x % TILE;
        const float *norm = at<const float>(p.feature_norm) + (of_i ? i0 : j0);
        inverse_i[threadIdx.x] = row < (of_i ? rows_i : rows_j) ? 1.0f / fmaxf(norm[row], VF_LOSS_EPS_DISTMAT) : 0.0f;
    }
    Rows<T> left = {at<const T>(p.features) + i0 * p.width, rows_i}, right = {at<const T>(p.features) + j0 * p.width, rows_j};
    tile_product(left, right, p.width, shared);

    // A warp has every eighth i, a lane two j 32 apart. Each thread turns its own elements of the tile into signs.
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float loss = 0.0f;
    for (uint32_t i = warp; i < TILE; i += WARPS) {
        float cosine[2] = {0.0f, 0.0f};
        for (uint32_t k = 0; k < p.channels; k += 4) {
            float4 q = load_float4(qhat_i + i * stride + k);
            for (uint32_t h = 0; h < 2; h++) Fragment<float>::add_dot(cosine[h], q, load_float4(zhat_j + (lane + 32 * h) * stride + k));
        }
        for (uint32_t h = 0; h < 2; h++) {
            uint32_t j = lane + 32 * h;
            float *element = tile + i * TILE_STRIDE + j;
            float d = cosine[h] - *element * inverse_i[i] * inverse_j[j];
            float beyond = i < rows_i && j < rows_j ? fabsf(d) - p.distmat_margin : 0.0f;
            *element = beyond > 0.0f ? copysignf(1.0f, d) : 0.0f;
            loss += fmaxf(beyond, 0.0f);
        }
    }
    loss = block_sum(loss, sums);
    if (threadIdx.x == 0) {
        at<float>(p.pair_loss)[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = tile_i == tile_j ? loss : 2.0f * loss;
    }

    // block_sum's barrier has made the signs visible.
    float *pull = at<float>(p.pull) + image * tiles * p.channels;
    write_pull<false>(pull + ((size_t)tile_j * p.positions + tile_i * TILE) * p.channels, tile, zhat_j, rows_i, p.channels);
    if (tile_i == tile_j) return;
    write_pull<true>(pull + ((size_t)tile_i * p.positions + tile_j * TILE) * p.channels, tile, zhat_i, rows_j, p.channels);
}

/// An upstream gradient; 0 where it is absent.
static __device__ __forceinline__ float upstream(uint64_t address) { return address ? at<const float>(address)[0] : 0.0f; }

template <class T> static __device__ __forceinline__ void vf_loss_tokens(const VfLossTokens &p) {
    __shared__ float gram[TILE * TILE], sums[WARPS];
    bool backward = p.dz != 0;
    if (backward) load_gram(gram, at<const float>(p.gram), p.channels);
    uint32_t tokens = p.batch * p.positions, tiles = (p.positions + TILE - 1) / TILE;
    uint32_t end = min((blockIdx.x + 1) * TILE, tokens);
    float per_token = 1.0f / (float)tokens, loss = 0.0f;
    float pull_weight = 2.0f * upstream(p.dmdms) * per_token / (float)p.positions;
    float cosine_weight = -upstream(p.dmcos) * per_token;

    for (uint32_t token = blockIdx.x * TILE + threadIdx.x / 32; token < end; token += WARPS) {
        size_t row = (size_t)token * p.channels;
        Pair z = load_pair(at<const T>(p.z) + row, p.channels);
        Pair projected = load_pair(at<const float>(p.projected) + row, p.channels);
        float norm = at<const float>(p.norm)[token], n = fmaxf(norm, VF_LOSS_EPS_DISTMAT);
        float norms = fmaxf(norm, VF_LOSS_EPS_COS) * fmaxf(at<const float>(p.feature_norm)[token], VF_LOSS_EPS_COS);
        float cosine = dot(z, projected) / norms;
        float beyond = 1.0f - p.cos_margin - cosine;
        loss += fmaxf(beyond, 0.0f);
        if (!backward) continue;

        // The distance matrices' part of r.
        uint32_t image = token / p.positions, position = token % p.positions;
        Pair pull = {0.0f, 0.0f};
        for (uint32_t t = 0; t < tiles; t++) {
            size_t slot = ((size_t)(image * tiles + t) * p.positions + position) * p.channels;
            Pair part = load_pair(at<const float>(p.pull) + slot, p.channels);
            pull = {pull.low + part.low, pull.high + part.high};
        }
        Pair qhat = load_pair(at<const float>(p.qhat) + row, p.channels), zhat = scaled(1.0f / n, z);
        Pair d = scaled(pull_weight, pull);
        float along = norm > VF_LOSS_EPS_DISTMAT ? dot(qhat, d) : 0.0f;
        Pair r = {(d.low - along * zhat.low) / n, (d.high - along * zhat.high) / n};

        // The cosine's part.
        float h = beyond > 0.0f ? cosine_weight : 0.0f;
        if (norm > VF_LOSS_EPS_COS) {
            float radial = h * cosine / norm;
            r = {r.low - radial * zhat.low, r.high - radial * zhat.high};
        }

        Pair dz = times_gram(gram, r, p.channels);
        float pulled = h / norms;
        store_pair(at<T>(p.dz) + row, p.channels, {dz.low + pulled * projected.low, dz.high + pulled * projected.high});
        store_pair(at<float>(p.toward) + row, p.channels, scaled(pulled, z));
        // residualᵀ·ẑ is to be Σ r zᵀ, and z = n ẑ.
        store_pair(at<float>(p.residual) + row, p.channels, scaled(n, r));
    }
    if (backward) return;
    // Every lane of a warp has the warp's sum.
    loss = block_sum(threadIdx.x % 32 == 0 ? loss : 0.0f, sums);
    if (threadIdx.x == 0) at<float>(p.token_loss)[blockIdx.x] = loss;
}

template <class T> static __device__ __forceinline__ void vf_loss_sum(const VfLossSum &p) {
    __shared__ float pair_sums[WARPS], token_sums[WARPS];
    float pairs = 0.0f, tokens = 0.0f;
    for (uint32_t i = threadIdx.x; i < p.pairs; i += VF_LOSS_THREADS) pairs += at<const float>(p.pair_loss)[i];
    for (uint32_t i = threadIdx.x; i < p.token_blocks; i += VF_LOSS_THREADS) tokens += at<const float>(p.token_loss)[i];
    float count = (float)p.batch * (float)p.positions;
    float mdms = block_sum(pairs, pair_sums) / (count * (float)p.positions), mcos = block_sum(tokens, token_sums) / count;
    if (threadIdx.x != 0) return;
    at<float>(p.mdms)[0] = mdms;
    at<float>(p.mcos)[0] = mcos;
}

/// Tokens that vf_loss_bwd_weight has in shared memory at once.
constexpr uint32_t STRIP = 32;

/// Where the four columns `group` of a strip's 64 lie: those that a 16-byte chunk of T fills at once are half a row apart.
template <class T> static __device__ __forceinline__ uint32_t strip_slot(uint32_t group) {
    return Chunk<T>::N == 8 ? group % 2 * 8 + group / 2 : group;
}

/// (STRIP, 64) of rows of `width`, from `column`, in f32; zeros beyond the last row and column.
template <class T>
static __device__ __forceinline__ void load_strip(float4 *strip, Rows<T> matrix, uint32_t column, uint32_t width) {
    constexpr uint32_t N = Chunk<T>::N;
    for (uint32_t i = threadIdx.x; i < STRIP * TILE / N; i += VF_LOSS_THREADS) {
        uint32_t row = i / (TILE / N), c = i % (TILE / N) * N;
        bool inside = row < matrix.rows && column + c < width;
        Chunk<T> chunk = Chunk<T>::load_or(inside ? matrix.first : nullptr, (size_t)row * width + column + c, 0.0f);
        for (uint32_t e = 0; e < N; e += 4) {
            strip[row * 16 + strip_slot<T>((c + e) / 4)] = make_float4(chunk.v[e], chunk.v[e + 1], chunk.v[e + 2], chunk.v[e + 3]);
        }
    }
}

/// out[k, c] = Σ over tokens of left[token, column + k]·right[token, c], for 64 k. A thread has every 16th k and four neighbouring c.
template <class T>
static __device__ __forceinline__ void outer_product(const T *left, uint32_t column, uint32_t width, const float *right, uint32_t channels,
                                                     uint32_t begin, uint32_t end, float *out) {
    __shared__ float4 left_strip[STRIP * 16], right_strip[STRIP * 16];
    uint32_t c = threadIdx.x % 16 * 4, k0 = threadIdx.x / 16;
    float4 sum[4] = {};
    for (uint32_t token = begin; token < end; token += STRIP) {
        uint32_t rows = min(end - token, STRIP);
        __syncthreads();
        load_strip<T>(left_strip, {left + (size_t)token * width, rows}, column, width);
        load_strip<float>(right_strip, {right + (size_t)token * channels, rows}, 0, channels);
        __syncthreads();
        for (uint32_t t = 0; t < STRIP; t++) {
            float4 r = right_strip[t * 16 + c / 4];
            const float *l = reinterpret_cast<const float *>(left_strip + t * 16);
#pragma unroll
            for (uint32_t n = 0; n < 4; n++) add_scaled(sum[n], l[4 * strip_slot<T>(k0 / 4 + 4 * n) + k0 % 4], r);
        }
    }
#pragma unroll
    for (uint32_t n = 0; n < 4; n++) {
        uint32_t k = column + k0 + 16 * n;
        if (c < channels && k < width) store_global_float4(out + (size_t)k * channels + c, sum[n]);
    }
}

template <class T> static __device__ __forceinline__ void vf_loss_bwd_weight(const VfLossBwdWeight &p) {
    uint32_t share = (p.tokens + p.splits - 1) / p.splits;
    uint32_t begin = min(blockIdx.y * share, p.tokens), end = min(begin + share, p.tokens);
    float *partial = at<float>(p.partial) + (size_t)blockIdx.y * (p.width + p.channels) * p.channels;
    if (blockIdx.x < gridDim.x - 1) {
        outer_product<T>(at<const T>(p.features), blockIdx.x * TILE, p.width, at<const float>(p.toward), p.channels, begin, end, partial);
    } else {
        float *out = partial + (size_t)p.width * p.channels;
        outer_product<float>(at<const float>(p.residual), 0, p.channels, at<const float>(p.zhat), p.channels, begin, end, out);
    }
}

template <class T> static __device__ __forceinline__ void vf_loss_bwd_weight_sum(const VfLossBwdWeightSum &p) {
    __shared__ float a[TILE * TILE];
    size_t split = (size_t)(p.width + p.channels) * p.channels, first_a = (size_t)p.width * p.channels;
    for (uint32_t i = threadIdx.x; i < p.channels * p.channels; i += VF_LOSS_THREADS) {
        float sum = 0.0f;
        for (uint32_t s = 0; s < p.splits; s++) sum += at<const float>(p.partial)[s * split + first_a + i];
        a[i] = sum;
    }
    __syncthreads();
    uint32_t rows = min(p.width - blockIdx.x * TILE, TILE);
    for (uint32_t i = threadIdx.x; i < rows * p.channels; i += VF_LOSS_THREADS) {
        uint32_t k = blockIdx.x * TILE + i / p.channels, c = i % p.channels;
        size_t element = (size_t)k * p.channels + c;
        float sum = 0.0f;
        for (uint32_t s = 0; s < p.splits; s++) sum += at<const float>(p.partial)[s * split + element];
        for (uint32_t m = 0; m < p.channels; m++) sum = fmaf(to_float(at<const T>(p.weight)[(size_t)k * p.channels + m]), a[m * p.channels + c], sum);
        at<float>(p.dweight)[element] = sum;
    }
}

VF_EXPORT(vf_loss_transpose, VfLossTranspose, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_project, VfLossProject, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_normalize, VfLossNormalize, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_pairs, VfLossPairs, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_tokens, VfLossTokens, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_sum, VfLossSum, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_bwd_weight, VfLossBwdWeight, VF_LOSS_THREADS)
VF_EXPORT(vf_loss_bwd_weight_sum, VfLossBwdWeightSum, VF_LOSS_THREADS)
