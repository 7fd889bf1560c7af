// vf_loss_fwd: a block of eight warps compares two tiles of an image, 64 × 64 pairs of positions, or has one tile's positions, and needs
// no other block's results: M and norms it makes itself.
#pragma once
#include "vf_loss_slabs.cuh"

constexpr uint32_t FWD_WARPS = VF_LOSS_FWD_THREADS / 32;

/// Partial mma results (16 × 8) of TILES tiles from the four steps, in shared memory as lanes hold them.
template <uint32_t TILES> struct Exchange {
    float4 sums[STEPS][TILES][32];

    __device__ __forceinline__ void put(uint32_t tile, const float (&v)[4]) {
        sums[threadIdx.x / 32 % STEPS][tile][threadIdx.x % 32] = make_float4(v[0], v[1], v[2], v[3]);
    }

    __device__ __forceinline__ float4 total(uint32_t tile) const {
        float4 sum = sums[0][tile][threadIdx.x % 32];
        for (uint32_t step = 1; step < STEPS; step++) {
            float4 v = sums[step][tile][threadIdx.x % 32];
            sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
        }
        return sum;
    }
};

/// M z of the tile I as left factors, in parts.
template <uint32_t CHANNELS> struct LeftTiles {
    uint4 fragments[TILE / 16][CHANNELS / 16][3][32];

    __device__ __forceinline__ void put(uint32_t m, uint32_t k, const Left<3> &left) {
        for (uint32_t p = 0; p < 3; p++) {
            const uint32_t *v = left.part[p];
            fragments[m][k][p][threadIdx.x % 32] = make_uint4(v[0], v[1], v[2], v[3]);
        }
    }

    __device__ __forceinline__ Left<3> get(uint32_t m, uint32_t k) const {
        Left<3> left;
        for (uint32_t p = 0; p < 3; p++) {
            uint4 v = fragments[m][k][p][threadIdx.x % 32];
            for (uint32_t i = 0; i < 4; i++) left.part[p][i] = i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
        }
        return left;
    }
};

/// Shared memory once the slabs are through with it.
template <uint32_t CHANNELS> union FwdScratch {
    Exchange<CHANNELS / 16 * (CHANNELS / 8)> of_gram;
    Exchange<TILE / 16 * 8> of_rows;
};

/// And what lies beside them.
template <uint32_t CHANNELS> struct FwdState {
    /// Of tiles I and J; Wᵀf of the tile I takes J's place where a block has only positions.
    float z[2][TILE_FLOATS<CHANNELS>];
    /// M, then q = M z of the tile I.
    union {
        SymmetricRight<CHANNELS, 3> gram;
        LeftTiles<CHANNELS> q;
    };
    float squares[STEPS][2][TILE];
    /// Norms of f and of z′, and the reciprocals of the greater of them and ε.
    float feature_norm[2][TILE], feature_inverse[2][TILE], norm[2][TILE], inverse[2][TILE];
    alignas(16) uint32_t signs[TILE][4];
    float sums[2][FWD_WARPS];
    uint32_t last;
};

template <class T, uint32_t CHANNELS> constexpr uint32_t SLABS_BYTES = Slab<T, CHANNELS>::STAGES * Slab<T, CHANNELS>::BYTES;
template <uint32_t CHANNELS> constexpr uint32_t FWD_SHARED = SLABS_BYTES<float, CHANNELS> + sizeof(FwdState<CHANNELS>);
static_assert(FWD_SHARED<32> == VF_LOSS_FWD_SHARED && FWD_SHARED<64> == VF_LOSS_FWD_SHARED_WIDE, "what the launch gives");
static_assert(SLABS_BYTES<float, 32> == SLABS_BYTES<__nv_bfloat16, 32>, "slabs are as many bytes for f32 as for bf16");
static_assert(sizeof(FwdScratch<32>) <= SLABS_BYTES<float, 32> && sizeof(FwdScratch<64>) <= SLABS_BYTES<float, 64>, "takes their place");

/// Keeps NaN, which fmaxf would not.
static __device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }

/// 0 for rows that are not there: their pairs then have neither loss nor sign.
static __device__ __forceinline__ float inverse_norm(float norm, bool there) { return there ? 1.0f / fmaxf(norm, VF_LOSS_EPS_DISTMAT) : 0.0f; }

/// The sum over the block, in every thread.
static __device__ __forceinline__ float block_sum(float x, float (&sums)[FWD_WARPS]) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0.0f;
    for (uint32_t w = 0; w < FWD_WARPS; w++) total += sums[w];
    return total;
}

/// Blocks of this launch that are done: the last one wraps it back to zero.
static __device__ uint32_t vf_loss_blocks_done;

/// Writes this block's sum; the block that comes last adds up all of them, in order. Begins with a barrier.
template <uint32_t CHANNELS>
static __device__ __forceinline__ void finish_losses(const VfLossFwd &p, FwdState<CHANNELS> &state, float sum) {
    float *partial = at<float>(p.partial);
    uint32_t blocks = gridDim.x * gridDim.y, tiles = (p.positions + TILE - 1) / TILE, pairs = gridDim.x - tiles;
    sum = block_sum(sum, state.sums[0]);
    if (threadIdx.x == 0) {
        partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
        __threadfence();
        state.last = atomicInc(&vf_loss_blocks_done, blocks - 1) == blocks - 1;
    }
    __syncthreads();
    if (!state.last) return;
    __threadfence();
    float mdms = 0.0f, mcos = 0.0f;
    for (uint32_t i = threadIdx.x; i < blocks; i += VF_LOSS_FWD_THREADS) (i % gridDim.x < pairs ? mdms : mcos) += __ldcg(partial + i);
    mdms = block_sum(mdms, state.sums[0]);
    mcos = block_sum(mcos, state.sums[1]);
    if (threadIdx.x != 0) return;
    float tokens = (float)p.batch * (float)p.positions;
    at<float>(p.mdms)[0] = mdms / (tokens * (float)p.positions);
    at<float>(p.mcos)[0] = mcos / tokens;
}

/// M from the gram warps' sums; written by one block.
template <uint32_t CHANNELS>
static __device__ __forceinline__ void finish_gram(const VfLossFwd &p, SymmetricRight<CHANNELS, 3> &gram,
                                                   const Exchange<CHANNELS / 16 * (CHANNELS / 8)> &exchange) {
    bool write = p.gram && blockIdx.x == 0 && blockIdx.y == 0;
#pragma unroll
    for (uint32_t tile = threadIdx.x / 32; tile < CHANNELS / 16 * (CHANNELS / 8); tile += FWD_WARPS) {
        uint32_t m = tile / (CHANNELS / 8), n = tile % (CHANNELS / 8);
        uint32_t row = 16 * m + threadIdx.x % 32 / 4, column = 8 * n + threadIdx.x % 4 * 2;
        float4 sum = make_float4(row == column, row == column + 1, row + 8 == column, row + 8 == column + 1);
        if (p.weight) sum = exchange.total(tile);
        gram.put(2 * m * (CHANNELS / 8) + n, sum.x, sum.y);
        gram.put((2 * m + 1) * (CHANNELS / 8) + n, sum.z, sum.w);
        if (!write || column >= p.channels) continue;
        float2 *to = at<float2>(p.gram) + column / 2;
        if (row < p.channels) to[row * (p.channels / 2)] = make_float2(sum.x, sum.y);
        if (row + 8 < p.channels) to[(row + 8) * (p.channels / 2)] = make_float2(sum.z, sum.w);
    }
}

/// Norms of features.
template <uint32_t TILES, uint32_t CHANNELS>
static __device__ __forceinline__ void finish_feature_norms(FwdState<CHANNELS> &state, const Tiles &tiles) {
    uint32_t t = threadIdx.x / TILE, row = threadIdx.x % TILE;
    if (t >= TILES) return;
    float square = 0.0f;
    for (uint32_t step = 0; step < STEPS; step++) square += state.squares[step][t][row];
    state.feature_norm[t][row] = sqrtf(square);
    state.feature_inverse[t][row] = inverse_norm(sqrtf(square), row < (t == 0 ? tiles.rows_i : tiles.rows_j));
}

/// q = M z of 16 rows for each warp, and their ‖z′‖ = √(z·q).
template <uint32_t Z_PARTS, uint32_t CHANNELS>
static __device__ __forceinline__ void project_latents(float (&q)[CHANNELS / 8][4], FwdState<CHANNELS> &state, const Tiles &tiles) {
    uint32_t warp = threadIdx.x / 32, t = warp / 4, row = warp % 4 * 16 + threadIdx.x % 32 / 4;
    times_gram<Z_PARTS>(q, state.z[t], warp % 4 * 16, state.gram);
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
        float square = 0.0f;
#pragma unroll
        for (uint32_t n = 0; n < CHANNELS / 8; n++) {
            float2 z = *reinterpret_cast<const float2 *>(state.z[t] + (row + 8 * h) * STRIDE<CHANNELS> + 8 * n + threadIdx.x % 4 * 2);
            square = fmaf(z.x, q[n][2 * h], fmaf(z.y, q[n][2 * h + 1], square));
        }
        // zᵀMz cannot be negative, but its rounding can.
        float norm = sqrtf(relu(row_sum(square)));
        if (threadIdx.x % 4 != 0) continue;
        state.norm[t][row + 8 * h] = norm;
        state.inverse[t][row + 8 * h] = inverse_norm(norm, row + 8 * h < (t == 0 ? tiles.rows_i : tiles.rows_j));
    }
}

/// The positions' own loss and what backward needs of them.
template <class T, uint32_t CHANNELS>
static __device__ __forceinline__ float compare_positions(const VfLossFwd &p, const Tiles &tiles, FwdState<CHANNELS> &state,
                                                          const FwdScratch<CHANNELS> &scratch) {
    float *projected = state.z[1];
    if (p.weight) {
        uint32_t lane = threadIdx.x % 32;
#pragma unroll
        for (uint32_t tile = threadIdx.x / 32; tile < TILE / 16 * (CHANNELS / 8); tile += FWD_WARPS) {
            uint32_t m = tile / (CHANNELS / 8), n = tile % (CHANNELS / 8);
            float4 sum = scratch.of_rows.total(8 * m + n);
            float *to = projected + (16 * m + lane / 4) * STRIDE<CHANNELS> + 8 * n + lane % 4 * 2;
            store_shared_pair(to, sum.x, sum.y);
            store_shared_pair(to + 8 * STRIDE<CHANNELS>, sum.z, sum.w);
        }
    } else {
        const T *features = at<const T>(p.features) + tiles.first_i * p.channels;
        load_tile<CHANNELS, VF_LOSS_FWD_THREADS>(projected, features, tiles.rows_i, p.channels);
    }
    __syncthreads();
    if (p.projected) {
        T *to = at<T>(p.projected) + tiles.first_i * p.channels;
        store_rows<CHANNELS, TILE, VF_LOSS_FWD_THREADS>(to, projected, 0, tiles.rows_i, p.channels, threadIdx.x);
    }

    uint32_t row = threadIdx.x / 4;
    float product = 0.0f;
    for (uint32_t c = threadIdx.x % 4 * 2; c < CHANNELS; c += 8) {
        float2 z = *reinterpret_cast<const float2 *>(state.z[0] + row * STRIDE<CHANNELS> + c);
        float2 f = *reinterpret_cast<const float2 *>(projected + row * STRIDE<CHANNELS> + c);
        product = fmaf(z.x, f.x, fmaf(z.y, f.y, product));
    }
    product = row_sum(product);
    if (threadIdx.x % 4 != 0 || row >= tiles.rows_i) return 0.0f;
    float norm = state.norm[0][row], feature_norm = state.feature_norm[0][row];
    float norms = fmaxf(norm, VF_LOSS_EPS_COS) * fmaxf(feature_norm, VF_LOSS_EPS_COS);
    float cosine = product / norms, beyond = 1.0f - p.cos_margin - cosine;
    size_t token = tiles.first_i + row;
    at<float>(p.norm)[token] = norm;
    if (p.feature_norm) at<float>(p.feature_norm)[token] = feature_norm;
    at<float>(p.slope)[token] = beyond > 0.0f ? 1.0f / norms : 0.0f;
    return relu(beyond);
}

/// The pairs' loss and signs. Of the 64 × 64 differences a warp has 16 rows and 32 columns.
template <class T, uint32_t CHANNELS, Role ROLE>
static __device__ __forceinline__ float compare_pairs(float margin, FwdState<CHANNELS> &state,
                                                      const FwdScratch<CHANNELS> &scratch) {
    constexpr uint32_t J = ROLE == TWO_TILES ? 1 : 0, Z_PARTS = sizeof(T) == 2 ? 1 : 3;
    uint32_t lane = threadIdx.x % 32, m = threadIdx.x / 32 % 4, half = threadIdx.x / 32 / 4;
    float apart[4][4] = {};
#pragma unroll
    for (uint32_t k = 0; k < CHANNELS / 16; k++) {
        Left<3> left = state.q.get(m, k);
#pragma unroll
        for (uint32_t n = 0; n < 4; n++) {
            Right<Z_PARTS> right;
            right.template load<STRIDE<CHANNELS>>(state.z[J], 32 * half + 8 * n, 16 * k);
            multiply(apart[n], left, right);
        }
    }

    float loss = 0.0f;
    uint32_t row = 16 * m + lane / 4, column = 32 * half + lane % 4 * 2;
    float inverse[2] = {state.inverse[0][row], state.inverse[0][row + 8]};
    float feature_inverse[2] = {state.feature_inverse[0][row], state.feature_inverse[0][row + 8]};
    // Of the two rows, 16 columns each: two bits for a sign.
    uint32_t signs[2][2] = {};
#pragma unroll
    for (uint32_t n = 0; n < 4; n++) {
        float4 total = scratch.of_rows.total(8 * m + 4 * half + n);
        float products[4] = {total.x, total.y, total.z, total.w};
        float2 inverse_j = *reinterpret_cast<const float2 *>(state.inverse[J] + column + 8 * n);
        float2 feature_inverse_j = *reinterpret_cast<const float2 *>(state.feature_inverse[J] + column + 8 * n);
#pragma unroll
        for (uint32_t e = 0; e < 4; e++) {
            uint32_t h = e / 2;
            float d = apart[n][e] * inverse[h] * (e % 2 ? inverse_j.y : inverse_j.x) -
                      products[e] * feature_inverse[h] * (e % 2 ? feature_inverse_j.y : feature_inverse_j.x);
            float beyond = fabsf(d) - margin;
            loss += relu(beyond);
            uint32_t sign = d < 0.0f ? 3 : 1;
            if (beyond > 0.0f) signs[h][n / 2] |= sign << (n % 2 * 16 + e % 2 * 2);
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t word = signs[i / 2][i % 2] << lane % 4 * 4;
        word |= __shfl_xor_sync(0xFFFFFFFFu, word, 1);
        word |= __shfl_xor_sync(0xFFFFFFFFu, word, 2);
        if (lane % 4 == 0) state.signs[row + i / 2 * 8][2 * half + i % 2] = word;
    }
    return ROLE == TWO_TILES ? 2.0f * loss : loss;
}

template <class T, uint32_t CHANNELS, Role ROLE>
static __device__ __forceinline__ void compare(const VfLossFwd &p, const Tiles &tiles, unsigned char *shared) {
    constexpr uint32_t COUNT = ROLE == TWO_TILES ? 2 : 1;
    FwdScratch<CHANNELS> &scratch = *reinterpret_cast<FwdScratch<CHANNELS> *>(shared);
    FwdState<CHANNELS> &state = *reinterpret_cast<FwdState<CHANNELS> *>(shared + SLABS_BYTES<T, CHANNELS>);
    uint32_t warp = threadIdx.x / 32;

    Sums<T, CHANNELS, ROLE> sums;
    add_slabs(sums, p, tiles, shared_address(shared), [&] {
        const T *z = at<const T>(p.z);
        load_tile<CHANNELS, VF_LOSS_FWD_THREADS>(state.z[0], z + tiles.first_i * p.channels, tiles.rows_i, p.channels);
        if (COUNT < 2) return;
        load_tile<CHANNELS, VF_LOSS_FWD_THREADS>(state.z[1], z + tiles.first_j * p.channels, tiles.rows_j, p.channels);
    });

    if (warp >= STEPS) {
#pragma unroll
        for (uint32_t m = 0; m < CHANNELS / 16; m++) {
            for (uint32_t n = 0; n < CHANNELS / 8; n++) scratch.of_gram.put(m * (CHANNELS / 8) + n, sums.sum[m][n]);
        }
    }
    sums.put_squares(state.squares);
    __syncthreads();
    finish_gram(p, state.gram, scratch.of_gram);
    finish_feature_norms<COUNT>(state, tiles);
    __syncthreads();
    if (warp < STEPS) {
#pragma unroll
        for (uint32_t m = 0; m < TILE / 16; m++) {
            for (uint32_t n = 0; n < sums.COLUMNS; n++) scratch.of_rows.put(8 * m + n, sums.sum[m][n]);
        }
    }
    float q[CHANNELS / 8][4] = {};
    if (warp < 4 * COUNT) project_latents<(sizeof(T) == 2 ? 1 : 3)>(q, state, tiles);
    __syncthreads();
    if constexpr (ROLE == TOKENS) {
        finish_losses(p, state, compare_positions<T>(p, tiles, state, scratch));
    } else {
        if (warp < 4) {
#pragma unroll
            for (uint32_t k = 0; k < CHANNELS / 16; k++) {
                Left<3> left;
                left.take(q[2 * k], q[2 * k + 1]);
                state.q.put(warp, k, left);
            }
        }
        __syncthreads();
        finish_losses(p, state, compare_pairs<T, CHANNELS, ROLE>(p.distmat_margin, state, scratch));
        // Its first barrier has made the signs visible.
        if (threadIdx.x >= TILE) return;
        uint32_t n = (p.positions + TILE - 1) / TILE;
        size_t pair = (size_t)blockIdx.y * (n * (n + 1) / 2) + blockIdx.x;
        at<uint4>(p.signs)[pair * TILE + threadIdx.x] = *reinterpret_cast<const uint4 *>(state.signs[threadIdx.x]);
    }
}

template <class T, uint32_t CHANNELS>
static __device__ __forceinline__ void compare(const VfLossFwd &p, const Tiles &tiles, unsigned char *shared) {
    if (tiles.role == TWO_TILES) return compare<T, CHANNELS, TWO_TILES>(p, tiles, shared);
    if (tiles.role == ONE_TILE) return compare<T, CHANNELS, ONE_TILE>(p, tiles, shared);
    compare<T, CHANNELS, TOKENS>(p, tiles, shared);
}

template <class T> static __device__ __forceinline__ void vf_loss_fwd(const VfLossFwd &p) {
    extern __shared__ uint4 dynamic[];
    unsigned char *shared = reinterpret_cast<unsigned char *>(dynamic);
    Tiles tiles(p);
    if (p.channels <= VF_LOSS_NARROW_CHANNELS) return compare<T, 32>(p, tiles, shared);
    compare<T, 64>(p, tiles, shared);
}
