// vf_loss_bwd: a block of four warps has tile after tile of 64 positions. A warp has 16 of them, and all positions of their image pull at
// these: Σⱼ sᵢⱼ ẑⱼ is a product of signs with ẑ, in parts. (The image comes by in spans that fit shared memory, in most cases whole.)
#pragma once
#include "vf_loss_tile.cuh"

constexpr uint32_t BWD_WARPS = VF_LOSS_BWD_THREADS / 32;
static_assert(BWD_WARPS * 16 == TILE, "a warp has 16 rows of a tile");

template <class T, uint32_t CHANNELS> struct BwdState {
    static constexpr uint32_t Z_PARTS = sizeof(T) == 2 ? 1 : 3, PARTS = sizeof(T) == 2 ? 2 : 3;
    /// Bytes of a position's channels in bf16, and positions of a span.
    static constexpr uint32_t LINE = 2 * CHANNELS, SPAN = 8192 / CHANNELS;
    union {
        /// Parts of ẑ of a span.
        alignas(128) unsigned char zhat[PARTS][SPAN * LINE];
        /// Parts of r and z of the tile.
        struct {
            unsigned char r[PARTS][TILE * LINE], z[Z_PARTS][TILE * LINE];
        } factors;
    };
    uint4 signs[SPAN / TILE][TILE];
    float inverse[SPAN];
    SymmetricRight<CHANNELS, PARTS> gram;
    float z[TILE_FLOATS<CHANNELS>], projected[TILE_FLOATS<CHANNELS>];
};

static_assert(sizeof(BwdState<__nv_bfloat16, 32>) == VF_LOSS_BWD_SHARED_BF16 && sizeof(BwdState<float, 32>) == VF_LOSS_BWD_SHARED_F32 &&
                  sizeof(BwdState<__nv_bfloat16, 64>) == VF_LOSS_BWD_SHARED_WIDE_BF16 && sizeof(BwdState<float, 64>) == VF_LOSS_BWD_SHARED_WIDE_F32,
              "what the launch gives");

/// An upstream gradient; 0 where it is absent.
static __device__ __forceinline__ float upstream(uint64_t address) { return address ? at<const float>(address)[0] : 0.0f; }

/// M split into parts; the identity where there is none.
template <uint32_t CHANNELS, uint32_t PARTS>
static __device__ __forceinline__ void load_gram(SymmetricRight<CHANNELS, PARTS> &to, const float *gram, uint32_t channels) {
#pragma unroll 4
    for (uint32_t tile = threadIdx.x / 32; tile < to.TILES; tile += BWD_WARPS) {
        uint32_t row = tile / (CHANNELS / 8) * 8 + threadIdx.x % 32 / 4, column = tile % (CHANNELS / 8) * 8 + threadIdx.x % 4 * 2;
        float2 v = make_float2(row == column, row == column + 1);
        if (gram) {
            bool inside = row < channels && column < channels;
            v = inside ? reinterpret_cast<const float2 *>(gram)[(row * channels + column) / 2] : make_float2(0.0f, 0.0f);
        }
        to.put(tile, v.x, v.y);
    }
}

/// The signs of a warp's 16 rows of a tile (I) with another's positions (J), 16 at a time, as left factors: ±2, for the two bits of a sign,
/// shifted to the upper end of a bf16, are that number.
class SignRows {
    const uint4 *signs;
    uint4 low, high;
    bool transposed;

  public:
    /// `signs`: 64 rows as vf_loss_fwd wrote them; of J with I if `transposed`.
    __device__ __forceinline__ SignRows(const uint4 *signs, bool transposed) : signs(signs), transposed(transposed) {
        if (transposed) return;
        uint32_t row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
        low = signs[row];
        high = signs[row + 8];
    }

    /// Columns 16·k and following; k is known to the compiler.
    __device__ __forceinline__ void get(uint32_t (&left)[4], uint32_t k) const {
        uint32_t lane = threadIdx.x % 32;
        if (!transposed) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                const uint4 &row = i % 2 ? high : low;
                uint32_t pair = (k == 0 ? row.x : k == 1 ? row.y : k == 2 ? row.z : row.w) >> (lane % 4 * 4 + i / 2 * 16) & 15;
                left[i] = pair * (1u << 14 | 1u << 28) & 0xC000C000u;
            }
            return;
        }
        // Row i of the tile is column i of the rows that k counts.
        const uint32_t *words = reinterpret_cast<const uint32_t *>(signs + 16 * k + lane % 4 * 2) + threadIdx.x / 32;
#pragma unroll
        for (uint32_t half = 0; half < 2; half++, words += 8 * 4) {
            uint32_t first = words[0] >> lane / 4 * 2, second = words[4] >> lane / 4 * 2;
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) left[2 * half + i] = (first >> 16 * i & 3) << 14 | second >> 16 * i << 30;
        }
    }
};

/// The tile that a block has now.
struct BwdTile {
    uint32_t image, index, rows;
    size_t first;

    __device__ __forceinline__ BwdTile(const VfLossBwd &p, uint32_t number) {
        uint32_t tiles = (p.positions + TILE - 1) / TILE;
        image = number / tiles;
        index = number % tiles;
        rows = min(p.positions - index * TILE, TILE);
        first = (size_t)image * p.positions + index * TILE;
    }
};

/// pull[i] += 2·Σⱼ sᵢⱼ ẑⱼ, as mma results. Begins with a barrier.
template <class T, uint32_t CHANNELS>
static __device__ __forceinline__ void add_pull(float (&pull)[CHANNELS / 8][4], const VfLossBwd &p, const BwdTile &tile,
                                                BwdState<T, CHANNELS> &state) {
    using S = BwdState<T, CHANNELS>;
    uint32_t tiles = (p.positions + TILE - 1) / TILE;
    const T *z = at<const T>(p.z) + (size_t)tile.image * p.positions * p.channels;
    const float *norm = at<const float>(p.norm) + (size_t)tile.image * p.positions;
    const uint4 *signs = at<const uint4>(p.signs) + (size_t)tile.image * (tiles * (tiles + 1) / 2) * TILE;
    uint32_t columns[CHANNELS / 16];
    for (uint32_t c = 0; c < CHANNELS / 16; c++) columns[c] = kept(shared_address(state.zhat) + columns_offset<S::LINE>(0, 16 * c));
    for (uint32_t begin = 0; begin < p.positions; begin += S::SPAN) {
        uint32_t count = min((p.positions - begin + TILE - 1) / TILE * TILE, S::SPAN);
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < count; i += VF_LOSS_BWD_THREADS) {
            uint32_t j = begin / TILE + i / TILE, pair = tile.index <= j ? pair_index(tile.index, j, tiles) : pair_index(j, tile.index, tiles);
            state.signs[i / TILE][i % TILE] = signs[(size_t)pair * TILE + i % TILE];
            state.inverse[i] = begin + i < p.positions ? 1.0f / fmaxf(norm[begin + i], VF_LOSS_EPS_DISTMAT) : 0.0f;
        }
        __syncthreads();
        // A thread has the same four channels of every few positions, whole turns of the swizzle apart.
        constexpr uint32_t APART = VF_LOSS_BWD_THREADS / (CHANNELS / 4);
        static_assert(APART % 8 == 0, "lines repeat their swizzle after eight");
        uint32_t c = threadIdx.x % (CHANNELS / 4) * 4, row = threadIdx.x / (CHANNELS / 4);
        uint32_t to = kept(line_offset<S::LINE>(row, c / 8) + c % 8 * 2);
        const T *from = z + (size_t)(begin + row) * p.channels + (c < p.channels ? c : 0);
        float weight = c < p.channels ? 1.0f : 0.0f;
#pragma unroll 4
        for (; row < count; row += APART, to += APART * S::LINE, from += APART * p.channels) {
            // Who has no channels or no position loads others and weighs them with zero, so that no lane goes its own way.
            const T *quad = begin + row < p.positions ? from : z;
            __builtin_assume(quad != nullptr);
            float4 v = load4_or(quad, 0, 0.0f);
            float inverse = state.inverse[row] * weight;
            uint32_t low[S::PARTS], high[S::PARTS];
            split(v.x * inverse, v.y * inverse, low);
            split(v.z * inverse, v.w * inverse, high);
            for (uint32_t part = 0; part < S::PARTS; part++) {
                *reinterpret_cast<uint2 *>(state.zhat[part] + to) = make_uint2(low[part], high[part]);
            }
        }
        __syncthreads();
        for (uint32_t t = 0; t < count / TILE; t++) {
            SignRows rows(state.signs[t], begin / TILE + t < tile.index);
#pragma unroll
            for (uint32_t k = 0; k < TILE / 16; k++) {
                uint32_t left[4];
                rows.get(left, k);
#pragma unroll
                for (uint32_t part = S::PARTS; part-- > 0;) {
#pragma unroll
                    for (uint32_t c = 0; c < CHANNELS / 16; c++) {
                        uint32_t m[4];
                        load_transposed_at<0>(m, columns[c] + (part * S::SPAN + t * TILE + 16 * k) * S::LINE);
                        uint32_t first[2] = {m[0], m[2]}, second[2] = {m[1], m[3]};
                        mma_bf16(pull[2 * c], left, first);
                        mma_bf16(pull[2 * c + 1], left, second);
                    }
                }
            }
        }
    }
}

/// r of a warp's rows in place of their pull. `pulled` becomes what the features' part of dz is weighted with, for both rows of a lane.
template <class T, uint32_t CHANNELS>
static __device__ __forceinline__ void find_residuals(float (&r)[CHANNELS / 8][4], float (&pulled)[2], const VfLossBwd &p, const BwdTile &tile,
                                                      const BwdState<T, CHANNELS> &state) {
    // The pull is twice the sum already.
    float per_token = 1.0f / ((float)p.batch * (float)p.positions);
    float pull_weight = p.mdms_sign * upstream(p.dmdms) * per_token / (float)p.positions;
    float cosine_weight = -upstream(p.dmcos) * per_token;
    uint32_t warp_row = threadIdx.x / 32 * 16, column = threadIdx.x % 4 * 2;
    float q[CHANNELS / 8][4] = {};
    times_gram<BwdState<T, CHANNELS>::Z_PARTS>(q, state.z, warp_row, state.gram);
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
        // Keeps the second turn's loads behind the first: both at once spill.
        __syncwarp();
        uint32_t row = warp_row + threadIdx.x % 32 / 4 + 8 * h;
        bool there = row < tile.rows;
        float norm = there ? at<const float>(p.norm)[tile.first + row] : 0.0f;
        float slope = there ? at<const float>(p.slope)[tile.first + row] : 0.0f;
        float inverse = __frcp_rn(fmaxf(norm, VF_LOSS_EPS_DISTMAT)), along = 0.0f, product = 0.0f;
#pragma unroll
        for (uint32_t n = 0; n < CHANNELS / 8; n++) {
            for (uint32_t e = 2 * h; e < 2 * h + 2; e++) along = fmaf(q[n][e], r[n][e], along);
        }
#pragma unroll 4
        for (uint32_t n = 0; n < CHANNELS / 8; n++) {
            float2 z = *reinterpret_cast<const float2 *>(state.z + row * STRIDE<CHANNELS> + 8 * n + column);
            float2 projected = *reinterpret_cast<const float2 *>(state.projected + row * STRIDE<CHANNELS> + 8 * n + column);
            product = fmaf(z.x, projected.x, fmaf(z.y, projected.y, product));
        }
        // Where a norm is below its bound the bound is a constant, and nothing is lost along z′.
        along = row_sum(along) * (pull_weight * inverse);
        float radial = norm > VF_LOSS_EPS_DISTMAT ? along * inverse : 0.0f;
        // Zero where the slope is.
        float cosine = row_sum(product) * slope;
        radial += norm > VF_LOSS_EPS_COS ? cosine_weight * cosine * inverse : 0.0f;
#pragma unroll
        for (uint32_t n = 0; n < CHANNELS / 8; n++) {
            float2 z = *reinterpret_cast<const float2 *>(state.z + row * STRIDE<CHANNELS> + 8 * n + column);
            r[n][2 * h] = (pull_weight * r[n][2 * h] - radial * z.x) * inverse;
            r[n][2 * h + 1] = (pull_weight * r[n][2 * h + 1] - radial * z.y) * inverse;
        }
        pulled[h] = cosine_weight * slope;
    }
}

/// dz = M r + pulled·p of a warp's rows.
template <class T, uint32_t CHANNELS>
static __device__ __forceinline__ void write_gradient(const float (&r)[CHANNELS / 8][4], const float (&pulled)[2], const VfLossBwd &p,
                                                      const BwdTile &tile, BwdState<T, CHANNELS> &state) {
    float dz[CHANNELS / 8][4] = {};
#pragma unroll
    for (uint32_t k = 0; k < CHANNELS / 16; k++) {
        Left<BwdState<T, CHANNELS>::PARTS> left;
        left.take(r[2 * k], r[2 * k + 1]);
        for (uint32_t n = 0; n < CHANNELS / 8; n++) multiply(dz[n], left, state.gram.get(n, 16 * k));
    }
    uint32_t warp_row = threadIdx.x / 32 * 16;
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
        uint32_t row = warp_row + threadIdx.x % 32 / 4 + 8 * h;
#pragma unroll
        for (uint32_t n = 0; n < CHANNELS / 8; n++) {
            float *at = state.projected + row * STRIDE<CHANNELS> + 8 * n + threadIdx.x % 4 * 2;
            float2 projected = *reinterpret_cast<const float2 *>(at);
            store_shared_pair(at, fmaf(pulled[h], projected.x, dz[n][2 * h]), fmaf(pulled[h], projected.y, dz[n][2 * h + 1]));
        }
    }
    __syncwarp();
    T *to = at<T>(p.dz) + tile.first * p.channels;
    store_rows<CHANNELS, 16, 32>(to, state.projected, warp_row, tile.rows, p.channels, threadIdx.x % 32);
}

/// A warp's share of Σ r zᵀ, in squares of 16 × 16 on and right of the diagonal: those left of it are the same, for s is symmetric, and
/// Σ r zᵀ a sum of sᵢⱼ ẑⱼ ẑᵢᵀ and of multiples of ẑᵢ ẑᵢᵀ. (Not before all tokens are added: a warp's share is not symmetric.)
template <uint32_t CHANNELS> struct Outer {
    static constexpr uint32_t ACROSS = CHANNELS / 16, SQUARES = ACROSS * (ACROSS + 1) / 2, COUNT = (SQUARES + BWD_WARPS - 1) / BWD_WARPS;
    float sum[COUNT][2][4] = {};
    /// Where the squares begin; past the last row where there is none.
    uint32_t row[COUNT], column[COUNT];

    __device__ __forceinline__ Outer() {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t a = 0, rest = threadIdx.x / 32 + i * BWD_WARPS;
            for (; a < ACROSS && rest >= ACROSS - a; a++) rest -= ACROSS - a;
            row[i] = 16 * a;
            column[i] = 16 * (a + rest);
        }
    }

    /// Adds the tile's rows. Begins with a barrier.
    template <class T>
    __device__ __forceinline__ void add(const float (&r)[CHANNELS / 8][4], BwdState<T, CHANNELS> &state) {
        using S = BwdState<T, CHANNELS>;
        __syncthreads();
#pragma unroll
        for (uint32_t h = 0; h < 2; h++) {
            uint32_t token = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h;
#pragma unroll
            for (uint32_t n = 0; n < CHANNELS / 8; n++) {
                uint32_t to = line_offset<S::LINE>(token, n) + threadIdx.x % 4 * 4;
                float2 z = *reinterpret_cast<const float2 *>(state.z + token * STRIDE<CHANNELS> + 8 * n + threadIdx.x % 4 * 2);
                uint32_t r_parts[S::PARTS], z_parts[S::Z_PARTS];
                split(r[n][2 * h], r[n][2 * h + 1], r_parts);
                split(z.x, z.y, z_parts);
                for (uint32_t i = 0; i < S::PARTS; i++) *reinterpret_cast<uint32_t *>(state.factors.r[i] + to) = r_parts[i];
                for (uint32_t i = 0; i < S::Z_PARTS; i++) *reinterpret_cast<uint32_t *>(state.factors.z[i] + to) = z_parts[i];
            }
        }
        __syncthreads();
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) {
            if (row[i] == CHANNELS) continue;
#pragma unroll
            for (uint32_t k = 0; k < TILE; k += 16) {
                Left<S::PARTS> left;
                Right<S::Z_PARTS> right[2];
                for (uint32_t part = 0; part < S::PARTS; part++) {
                    load_columns<S::LINE>(left.part[part], shared_address(state.factors.r[part]), k, row[i]);
                }
                for (uint32_t part = 0; part < S::Z_PARTS; part++) {
                    uint32_t m[4];
                    load_columns<S::LINE>(m, shared_address(state.factors.z[part]), k, column[i]);
                    for (uint32_t n = 0; n < 4; n++) right[n % 2].part[part][n / 2] = m[n];
                }
                for (uint32_t n = 0; n < 2; n++) multiply(sum[i][n], left, right[n]);
            }
        }
    }

    /// As blocks of 8 × 8 of this part, `across` in a row of the whole matrix.
    template <class T> __device__ __forceinline__ void write(T *to, uint32_t across) const {
#pragma unroll
        for (uint32_t i = 0; i < 4 * COUNT; i++) {
            uint32_t r = row[i / 4] / 8 + i % 2, c = column[i / 4] / 8 + i / 2 % 2;
            const float *v = sum[i / 4][i / 2 % 2] + i % 2 * 2;
            if (r <= c && c < across) store_pair(to + pair_index(r, c, across) * 64 + threadIdx.x % 32 * 2, make_float2(v[0], v[1]));
        }
    }
};

template <class T, uint32_t CHANNELS> static __device__ __forceinline__ void backward(const VfLossBwd &p, BwdState<T, CHANNELS> &state) {
    Outer<CHANNELS> outer;
    load_gram(state.gram, at<const float>(p.gram), p.channels);
    uint32_t tiles = (p.positions + TILE - 1) / TILE * p.batch;
    for (uint32_t number = blockIdx.x; number < tiles; number += gridDim.x) {
        BwdTile tile(p, number);
        __syncthreads();
        load_tile<CHANNELS, VF_LOSS_BWD_THREADS>(state.z, at<const T>(p.z) + tile.first * p.channels, tile.rows, p.channels);
        load_tile<CHANNELS, VF_LOSS_BWD_THREADS>(state.projected, at<const T>(p.projected) + tile.first * p.channels, tile.rows, p.channels);
        float r[CHANNELS / 8][4] = {}, pulled[2];
        if (p.dmdms) {
            add_pull(r, p, tile, state);
        } else {
            __syncthreads();
        }
        find_residuals(r, pulled, p, tile, state);
        if (p.dz) write_gradient(r, pulled, p, tile, state);
        if (p.outer) outer.add(r, state);
    }
    uint32_t across = p.channels / 8;
    if (p.outer) outer.write(at<T>(p.outer) + (size_t)blockIdx.x * (across * (across + 1) / 2 * 64), across);
}

template <class T> static __device__ __forceinline__ void vf_loss_bwd(const VfLossBwd &p) {
    extern __shared__ uint4 dynamic[];
    if (p.channels <= VF_LOSS_NARROW_CHANNELS) return backward(p, reinterpret_cast<BwdState<T, 32> &>(dynamic));
    backward(p, reinterpret_cast<BwdState<T, 64> &>(dynamic));
}
