// Attention forward for head sizes whose sums a warp can hold: 64, 72 and 128 channels, smaller ones padded with zeros. A warp owns 16
// or 32 queries and walks over the keys in tiles, which its block shares, the next one on its way. A product by 16 queries reads as much
// shared memory as one by 32; but its block of four warps, with a scheduler each, has half the work, which is done sooner where blocks are
// fewer than multiprocessors. A query's bits do not depend on it.
#pragma once
#include "attention.h"
#include "attention_embedding.cuh"
#include <type_traits>

namespace attention {

/// A block whose warps have M fragments of 16 queries each.
template <class T, int D, uint32_t THREADS, int M> struct Forward {
    static constexpr uint32_t QUERIES = THREADS / 32 * 16 * M;
    /// Keys of a tile.
    static constexpr uint32_t KEYS = sizeof(T) == 2 ? 64 : D <= 72 ? 32 : 16;
    /// The queries, and two stages of keys and values.
    static constexpr uint32_t BYTES = (QUERIES + 4 * KEYS) * Tile<T, D>::ROW_BYTES;
};

/// A warp's rows of running softmax: the largest scores and the sums of this lane's weights.
template <int M> struct RunningSoftmax {
    float largest[2 * M], sum[2 * M];

    __device__ __forceinline__ RunningSoftmax() {
#pragma unroll
        for (int i = 0; i < 2 * M; i++) largest[i] = -INFINITY, sum[i] = 0.0f;
    }

    /// Scores to weights 2^(scale2·(score − the row's largest so far)); what was summed before shrinks to match.
    template <int N, int COLUMNS>
    __device__ __forceinline__ void weigh(float (&score)[M][N][4], float (&out)[M][COLUMNS][4], float scale2) {
#pragma unroll
        for (int i = 0; i < 2 * M; i++) {
            int m = i / 2, h = i % 2 * 2;
            float most = score[m][0][h];
#pragma unroll
            for (int n = 0; n < N; n++) most = fmaxf(most, fmaxf(score[m][n][h], score[m][n][h + 1]));
            most = fmaxf(largest[i], quad_max(most));
            float factor = power_of_two((largest[i] - most) * scale2), shift = most * scale2;
            largest[i] = most;
            sum[i] *= factor;
#pragma unroll
            for (int n = 0; n < COLUMNS; n++) out[m][n][h] *= factor, out[m][n][h + 1] *= factor;
#pragma unroll
            for (int n = 0; n < N; n++) {
#pragma unroll
                for (int e = h; e < h + 2; e++) {
                    score[m][n][e] = power_of_two(fmaf(score[m][n][e], scale2, -shift));
                    sum[i] += score[m][n][e];
                }
            }
        }
    }
};

template <class T, int D, uint32_t THREADS, int M, class Of, class Embed>
static __device__ __forceinline__ void forward_block(const Of &of, const Embed &embedding, uint32_t shared) {
    using F = Forward<T, D, THREADS, M>;
    constexpr uint32_t KEYS = F::KEYS;
    Tile<T, D> queries = {shared}, stage = queries.at(F::QUERIES, 0), other = stage.at(2 * KEYS, 0);
    uint32_t rows = of.q().rows, keys = of.k().rows, head_dim = of.p.head_dim;
    // Starts a tile on its way to `stage`, and makes `stage` the tile before it.
    auto copy = [&](uint32_t first) {
        if (first < keys) {
            copy_rows<THREADS, KEYS>(stage, of.k().from(first), head_dim);
            copy_rows<THREADS, KEYS>(stage.at(KEYS, 0), of.v().from(first), head_dim);
        }
        end_copies();
        Tile<T, D> before = other;
        other = stage, stage = before;
    };
    // The tile that was started last, there and embedded.
    auto arrive = [&](uint32_t first) {
        wait_copies<0>();
        __syncthreads();
        if constexpr (Embed::PRESENT) {
            if (first == 0) embedding.template embed<THREADS, F::QUERIES>(queries, embedding.q_norm, of.first, rows);
            embedding.template embed<THREADS, KEYS>(other, embedding.k_norm, first, keys - first);
            __syncthreads();
        }
    };
    copy_rows<THREADS, F::QUERIES>(queries, of.q(), head_dim);
    copy(0);
    arrive(0);

    uint32_t row = warp_id() * 16 * M;
    bool idle = row >= rows;
    // 72 channels of queries beside their sums are more than the registers of some architectures.
    std::conditional_t<D == 72, Rows<T, M, D>, Held<T, M, D>> left(queries.at(row, 0));
    float out[M][D / 8][4] = {}, scale2 = of.p.scale * LOG2_E;
    RunningSoftmax<M> softmax;
    for (uint32_t first = 0;;) {
        copy(first + KEYS);
        if (!idle) {
            float score[M][KEYS / 8][4] = {};
            by_rows<D>(score, left, stage);
            if (first + KEYS > keys) {
                uint32_t left_over = keys - first;
#pragma unroll
                for (int i = 0; i < M * (int)KEYS / 2; i++) {
                    float &s = score[i / (KEYS / 2)][i / 4 % (KEYS / 8)][i % 4];
                    if (i / 4 % (KEYS / 8) * 8 + fragment_column() + i % 2 >= left_over) s = -INFINITY;
                }
            }
            softmax.weigh(score, out, scale2);
            by_columns<KEYS>(out, Weights<T, M, KEYS>(score), stage.at(KEYS, 0));
        }
        first += KEYS;
        if (first >= keys) break;
        arrive(first);
    }
    if (idle) return;

    float total[2 * M];
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
        total[i] = quad_sum(softmax.sum[i]);
        float factor = 1.0f / total[i];
#pragma unroll
        for (int n = 0; n < D / 8; n++) out[i / 2][n][i % 2 * 2] *= factor, out[i / 2][n][i % 2 * 2 + 1] *= factor;
    }
    write_result(of.out().from(row), out, queries.at(row, 0), head_dim);
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
        uint32_t at = row + 8 * i + fragment_row<T>();
        if (lane_id() % 4 == 0 && at < rows) of.logsumexp()[at] = softmax.largest[i] * of.p.scale + logf(total[i]);
    }
}

/// A block has p.block_queries queries: as many as THREADS threads have, or few. `Of` knows where the tensors are: q(), k(), v() and out()
/// are this block's head, q(), out() and logsumexp() from query `first` on.
template <class T, int D, uint32_t THREADS, class Of, class Embed>
static __device__ __forceinline__ void narrow_fwd(const Of &of, const Embed &embedding, uint32_t shared) {
    constexpr int M = D <= 72 ? 2 : 1;
    constexpr uint32_t MANY = Forward<T, D, THREADS, M>::QUERIES, FEW = Forward<T, D, ATTENTION_FWD_THREADS, 1>::QUERIES;
    static_assert(FEW == ATTENTION_FEW_QUERIES, "attention.h states others");
    if (MANY == FEW || of.p.block_queries != FEW) {
        forward_block<T, D, THREADS, M>(of, embedding, shared);
    } else {
        forward_block<T, D, ATTENTION_FWD_THREADS, 1>(of, embedding, shared);
    }
}

} // namespace attention
