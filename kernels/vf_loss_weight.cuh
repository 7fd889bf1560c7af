// vf_loss_bwd_weight: a block has 16 of the features' channels by 16 of the latents', and all tokens; each of its eight warps has every
// eighth group of tokens, by copies of its own. So no sum needs a second block.
#pragma once
#include "vf_loss_tile.cuh"

constexpr uint32_t WEIGHT_WARPS = VF_LOSS_WEIGHT_THREADS / 32, WEIGHT_TILE = VF_LOSS_WEIGHT_TILE;
/// Groups that are on their way to a warp.
constexpr uint32_t WEIGHT_STAGES = 4;
static_assert(VF_LOSS_WEIGHT_THREADS == WEIGHT_TILE * WEIGHT_TILE, "a thread for every element of the tile");

/// Tokens in shared memory: lines of 16 channels of the features and 16 of the latents, then a slope for each.
template <class T> struct TokenGroup {
    static constexpr uint32_t LINE = 2 * WEIGHT_TILE * sizeof(T), TOKENS = 2048 / LINE, CHUNKS = LINE / 16;
    static constexpr uint32_t SLOPES = TOKENS * LINE, BYTES = SLOPES + 32 * sizeof(float);

    /// bf16 is read by columns, f32 along lines.
    static __device__ __forceinline__ uint32_t offset(uint32_t line, uint32_t chunk) {
        if constexpr (sizeof(T) == 2) return line_offset<LINE>(line, chunk);
        return line * LINE + chunk * 16;
    }
};

/// Copies group after group, for one warp: a lane has the same chunk of every few lines.
template <class T> class TokenLoader {
    using G = TokenGroup<T>;
    /// Lines between a lane's, and how many it has.
    static constexpr uint32_t APART = 32 / G::CHUNKS, COUNT = G::TOKENS / APART, STEP = G::TOKENS * WEIGHT_WARPS;
    const T *from;
    const float *slope;
    /// Of this lane's chunk: its place, its line, the bytes between its lines. Tokens that are left.
    uint32_t to, line, apart, left;
    bool column;

  public:
    __device__ __forceinline__ TokenLoader(const VfLossBwdWeight &p, uint32_t warp) {
        uint32_t lane = threadIdx.x % 32, chunk = lane % G::CHUNKS, first = warp * G::TOKENS;
        bool features = chunk < G::CHUNKS / 2;
        uint32_t width = features ? p.width : p.channels;
        uint32_t c = (features ? blockIdx.x : blockIdx.y) * WEIGHT_TILE + chunk % (G::CHUNKS / 2) * Chunk<T>::N;
        line = lane / G::CHUNKS;
        from = at<const T>(features ? p.features : p.z) + (size_t)(first + line) * width + c;
        slope = at<const float>(p.slope) + first + lane;
        apart = kept(APART * width * sizeof(T));
        to = kept(G::offset(line, chunk));
        column = c < width;
        left = p.tokens - min(p.tokens, first);
    }

    /// Starts to copy the next group; tokens past the last are zero.
    __device__ __forceinline__ void load(uint32_t group) {
        uint32_t lane = threadIdx.x % 32, lines = group + to;
        const char *chunk = reinterpret_cast<const char *>(from);
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++, chunk += apart) {
            // A lane's chunks lie whole turns of the swizzle apart.
            copy_async_at<0, 0>(lines + i * APART * G::LINE, chunk, column && line + i * APART < left);
        }
        from += (size_t)(STEP / APART) * apart / sizeof(T);
        bool inside = lane < G::TOKENS && lane < left;
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(group + G::SLOPES + 4 * lane), "l"(slope), "r"(inside ? 4 : 0)
                     : "memory");
        slope += STEP;
        left -= min(left, STEP);
    }
};

/// Σ f (slope·z)ᵀ as mma results of two tiles side by side.
template <class T> class TokenSums {
    using G = TokenGroup<T>;
    /// Where this lane reads: features, latents, slopes.
    uint32_t features, latents, slopes;

  public:
    float sum[2][4] = {};

    __device__ __forceinline__ TokenSums() {
        uint32_t lane = threadIdx.x % 32;
        if constexpr (sizeof(T) == 2) {
            features = kept(columns_offset<G::LINE>(0, 0));
            latents = kept(columns_offset<G::LINE>(0, WEIGHT_TILE));
            slopes = kept(G::SLOPES + lane % 4 * 8);
        } else {
            features = kept(lane / 4 * 4);
            latents = kept(WEIGHT_TILE * 4 + lane % 4 * 8);
            slopes = G::SLOPES;
        }
    }

    __device__ __forceinline__ void add(uint32_t group) {
        uint32_t features = group + this->features, latents = group + this->latents, slopes = group + this->slopes;
        if constexpr (sizeof(T) == 2) {
            add_bf16<0>(features, latents, slopes);
            add_bf16<16>(features, latents, slopes);
        } else {
#pragma unroll
            for (uint32_t k = 0; k < G::TOKENS; k++, features += G::LINE, latents += G::LINE, slopes += 4) {
                float slope = load_shared_float<0>(slopes);
                float low = load_shared_float<0>(features) * slope, high = load_shared_float<32>(features) * slope;
                add_outer(sum[0], low, high, load_shared_pair<0>(latents));
                add_outer(sum[1], low, high, load_shared_pair<32>(latents));
            }
        }
    }

  private:
    /// The 16 tokens from K on.
    template <uint32_t K> __device__ __forceinline__ void add_bf16(uint32_t features, uint32_t latents, uint32_t slopes) {
        uint32_t left[4], z[4];
        load_transposed_at<K * G::LINE>(left, features);
        load_transposed_at<K * G::LINE>(z, latents);
        float2 slope[2] = {load_shared_pair<4 * K>(slopes), load_shared_pair<4 * K + 32>(slopes)};
#pragma unroll
        for (uint32_t n = 0; n < 2; n++) {
            Right<2> right;
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) {
                uint32_t pair = z[n + 2 * i];
                right.set(i, slope[i].x * __uint_as_float(pair << 16), slope[i].y * __uint_as_float(pair & 0xFFFF0000u));
            }
            mma_bf16(sum[n], left, right.part[1]);
            mma_bf16(sum[n], left, right.part[0]);
        }
    }
};

/// Shared memory after the tokens.
struct WeightState {
    float4 sums[WEIGHT_WARPS][2][32];
    /// Columns of Σ r zᵀ, and halves of them, with a stride that neither quads of eight rows nor of eight columns conflict at; rows of the
    /// weight.
    float outer[2][VF_LOSS_MAX_CHANNELS][WEIGHT_TILE + 4];
    float weight[WEIGHT_TILE][VF_LOSS_MAX_CHANNELS + 4];
    float tile[WEIGHT_TILE][WEIGHT_TILE + 8];
};

static_assert(WEIGHT_WARPS * WEIGHT_STAGES * TokenGroup<float>::BYTES == VF_LOSS_WEIGHT_SHARED, "what the launch gives");
static_assert(sizeof(WeightState) <= VF_LOSS_WEIGHT_SHARED, "takes the groups' place");

/// The block's columns of Σ r zᵀ, by blocks of 8 × 8: one left of the diagonal is its mirror image, transposed. Two groups of threads add up
/// half of the parts each.
template <class T> static __device__ __forceinline__ void add_outer_parts(const VfLossBwdWeight &p, WeightState &state) {
    constexpr uint32_t GROUP = VF_LOSS_WEIGHT_THREADS / 2;
    uint32_t group = threadIdx.x / GROUP, thread = threadIdx.x % GROUP, across = p.channels / 8, part_size = across * (across + 1) / 2 * 64;
    uint32_t count = (p.parts + 1 - group) / 2;
    // A block of 8 × 8 has 16 quads.
    uint32_t row = thread % 8, column = thread / 8 % 2 * 4, side = thread / 16 % 2, block_column = 2 * blockIdx.y + side;
    if (block_column >= across) return;
    for (uint32_t block_row = thread / 32; block_row < across; block_row += GROUP / 32) {
        bool mirrored = block_row > block_column;
        uint32_t block = mirrored ? pair_index(block_column, block_row, across) : pair_index(block_row, block_column, across);
        const T *outer = at<const T>(p.outer) + (group * part_size + block * 64 + row * 8 + column);
        float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
        for (uint32_t i = 0; i < count; i++) {
            // Without a test in every turn whether there is a tensor.
            const T *quad = outer + i * (2 * part_size);
            __builtin_assume(quad != nullptr);
            float4 v = load4_or(quad, 0, 0.0f);
            total = make_float4(total.x + v.x, total.y + v.y, total.z + v.z, total.w + v.w);
        }
        float(*to)[WEIGHT_TILE + 4] = state.outer[group] + 8 * block_row;
        if (mirrored) {
            to[column][8 * side + row] = total.x;
            to[column + 1][8 * side + row] = total.y;
            to[column + 2][8 * side + row] = total.z;
            to[column + 3][8 * side + row] = total.w;
        } else {
            *reinterpret_cast<float4 *>(to[row] + 8 * side + column) = total;
        }
    }
}

template <class T> static __device__ __forceinline__ void vf_loss_bwd_weight(const VfLossBwdWeight &p) {
    extern __shared__ uint4 dynamic[];
    using G = TokenGroup<T>;
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    TokenSums<T> tokens;
    if (p.dmcos) {
        TokenLoader<T> loader(p, warp);
        uint32_t begin = kept(shared_address(dynamic) + warp * WEIGHT_STAGES * G::BYTES), end = begin + WEIGHT_STAGES * G::BYTES;
        uint32_t count = (p.tokens + G::TOKENS - 1) / G::TOKENS, ahead = warp;
        for (uint32_t s = 0; s < WEIGHT_STAGES - 1; s++, ahead += WEIGHT_WARPS) {
            if (ahead < count) loader.load(begin + s * G::BYTES);
            commit_copies();
        }
        uint32_t now = begin, free = end - G::BYTES;
        for (uint32_t group = warp; group < count; group += WEIGHT_WARPS, ahead += WEIGHT_WARPS) {
            copies_pending<WEIGHT_STAGES - 2>();
            __syncwarp();
            if (ahead < count) loader.load(free);
            commit_copies();
            tokens.add(now);
            free = now;
            now = now + G::BYTES == end ? begin : now + G::BYTES;
        }
        copies_pending<0>();
    }
    __syncthreads();

    WeightState &state = reinterpret_cast<WeightState &>(dynamic);
    for (uint32_t n = 0; n < 2; n++) {
        const float *v = tokens.sum[n];
        state.sums[warp][n][lane] = make_float4(v[0], v[1], v[2], v[3]);
    }
    add_outer_parts<T>(p, state);
    uint32_t first = blockIdx.x * WEIGHT_TILE, rows = min(p.width - first, WEIGHT_TILE);
    uint32_t row = threadIdx.x / WEIGHT_TILE, column = threadIdx.x % WEIGHT_TILE * (VF_LOSS_MAX_CHANNELS / WEIGHT_TILE);
    if (row < rows && column < p.channels) {
        float4 v = load4_or(at<const T>(p.weight) + (size_t)(first + row) * p.channels, column, 0.0f);
        *reinterpret_cast<float4 *>(state.weight[row] + column) = v;
    }
    __syncthreads();
    if (threadIdx.x < 64) {
        float4 total = state.sums[0][warp][lane];
        for (uint32_t w = 1; w < WEIGHT_WARPS; w++) {
            float4 v = state.sums[w][warp][lane];
            total = make_float4(total.x + v.x, total.y + v.y, total.z + v.z, total.w + v.w);
        }
        float *to = &state.tile[lane / 4][8 * warp + lane % 4 * 2];
        store_shared_pair(to, total.x, total.y);
        store_shared_pair(to + 8 * (WEIGHT_TILE + 8), total.z, total.w);
    }
    __syncthreads();
    // A warp has two rows that lie two apart, so that they do not conflict.
    uint32_t k = warp / 2 * 4 + warp % 2 + lane / WEIGHT_TILE * 2, c = lane % WEIGHT_TILE, channel = blockIdx.y * WEIGHT_TILE + c;
    if (k >= rows || channel >= p.channels) return;
    float gradient = state.tile[k][c] * (-upstream(p.dmcos) / (float)p.tokens);
    for (uint32_t m = 0; m < p.channels; m++) gradient = fmaf(state.weight[k][m], state.outer[0][m][c] + state.outer[1][m][c], gradient);
    at<float>(p.dweight)[(size_t)(first + k) * p.channels + channel] = gradient;
}
