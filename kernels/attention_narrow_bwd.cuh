// Attention's gradients for head sizes whose sums a warp can hold. A block owns a head's keys, all of them or a part (256 where a warp
// has 32 keys in registers), and walks over the queries in tiles. Scores are made transposed, (keys, queries): then P and dS are left
// sides of dv and dk as they lie in registers. dS also goes to shared memory, and all warps together make the tile's dq from it. With
// several parts, each writes its dq to dq_parts, which attention_bwd_sum adds up.
//
//   barrier    the tile's q and dout are there
//              delta = Σ out·dout of its rows
//   barrier    S = k·qᵀ, dP = v·doutᵀ, P = exp(scale·S − L), dS = P ∘ (dP − delta); dv += P·dout, dk += dS·q
//   barrier    the next tile's q and dout start on their way
//              dq = dSᵀ·k
//   barrier    bf16's dq to where dS was, and from there, after the first barrier of the next tile, to device memory in whole rows
//
// The factor `scale` of dS is applied to dq and dk.
#pragma once
#include "attention_embedding.cuh"

namespace attention {

template <class T, int D> struct Backward {
    /// Fragments of 16 keys that a warp has, warps of a block, and queries of a tile.
    static constexpr int M = sizeof(T) == 2 && D <= 72 ? 2 : 1;
    static constexpr uint32_t WARPS = sizeof(T) == 2 ? 8 : 4, THREADS = 32 * WARPS;
    static constexpr uint32_t KEYS = WARPS * 16 * M, QUERIES = sizeof(T) == 2 || D <= 72 ? 32 : 16;
    /// dS, and after it a bf16 tile of dq.
    static constexpr uint32_t DSCORES = KEYS * Tile<T, QUERIES>::ROW_BYTES, DQ = sizeof(T) == 2 ? QUERIES * Tile<T, D>::ROW_BYTES : 0;
    static constexpr uint32_t BYTES = 2 * (KEYS + QUERIES) * Tile<T, D>::ROW_BYTES + (DSCORES > DQ ? DSCORES : DQ) + 2 * 4 * QUERIES;
};

/// Σ a·b of 16 bytes each.
static __device__ __forceinline__ float chunk_dot(const float *, uint4 a, uint4 b) {
    float sum = __uint_as_float(a.x) * __uint_as_float(b.x);
    sum = fmaf(__uint_as_float(a.y), __uint_as_float(b.y), sum);
    sum = fmaf(__uint_as_float(a.z), __uint_as_float(b.z), sum);
    return fmaf(__uint_as_float(a.w), __uint_as_float(b.w), sum);
}
static __device__ __forceinline__ float chunk_dot(const bf16 *, uint4 a, uint4 b) {
    uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum = fmaf(__uint_as_float(x[i] << 16), __uint_as_float(y[i] << 16), sum);
        sum = fmaf(__uint_as_float(x[i] & 0xFFFF0000u), __uint_as_float(y[i] & 0xFFFF0000u), sum);
    }
    return sum;
}

/// A thread's chunks of a tile of `out`, on their way long before they are needed.
template <class T, int D> struct OutTile {
    using Share = RowShare<T, D>;
    static constexpr uint32_t STEP = Backward<T, D>::THREADS / Share::LANES, ROUNDS = Backward<T, D>::QUERIES / STEP;
    static_assert(Backward<T, D>::QUERIES % STEP == 0, "each round has all threads");

    uint4 chunk[ROUNDS];

    __device__ __forceinline__ void load(HeadRows<const T> out, uint32_t head_dim) {
        Share mine;
#pragma unroll
        for (uint32_t i = 0; i < ROUNDS; i++) {
            uint32_t row = mine.row + i * STEP;
            chunk[i] = make_uint4(0, 0, 0, 0);
            if (row < out.rows && mine.column < head_dim && !mine.idle()) {
                chunk[i] = *reinterpret_cast<const uint4 *>(out.first + (size_t)row * out.stride + mine.column);
            }
        }
        __syncwarp();
    }

    /// deltas[row] = Σ out·dout.
    __device__ __forceinline__ void dot(Tile<T, D> dout, uint32_t deltas) const {
        Share mine;
#pragma unroll
        for (uint32_t i = 0; i < ROUNDS; i++) {
            uint32_t row = mine.row + i * STEP;
            float sum = chunk_dot((const T *)nullptr, chunk[i], load_chunk(dout.at(row, min(mine.column, D - Share::N)).address));
            sum = mine.idle() ? 0.0f : sum;
#pragma unroll
            for (uint32_t distance = Share::LANES / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
            if (mine.column == 0) store_one(deltas + 4 * row, sum);
        }
    }
};

/// What a warp makes of a tile's dq: 16 queries and FULL or FULL + EXTRA fragments of channels.
template <class T, int D> struct QueriesShare {
    static constexpr uint32_t ROWS = Backward<T, D>::QUERIES / 16, GROUPS = Backward<T, D>::WARPS / ROWS;
    static constexpr int FULL = D / 8 / GROUPS, EXTRA = D / 8 % GROUPS;
    static_assert(EXTRA <= 1, "the first warps of each 16 queries have one fragment more");

    uint32_t row = warp_id() % ROWS * 16, group = warp_id() / ROWS;

    __device__ __forceinline__ bool has_extra() const { return EXTRA && group == 0; }
    __device__ __forceinline__ uint32_t column() const { return 8 * (group * FULL + (group == 0 ? 0 : EXTRA)); }

    /// dq += dscoresᵀ·keys.
    __device__ __forceinline__ void multiply(float (&dq)[1][FULL + EXTRA][4], Tile<T, Backward<T, D>::QUERIES> dscores, Tile<T, D> keys) const {
        constexpr uint32_t KEYS = Backward<T, D>::KEYS;
        Columns<T, KEYS> left(dscores, row);
        if (EXTRA == 0 || has_extra()) {
            by_columns<KEYS>(dq, left, keys.at(0, column()));
        } else {
            by_columns<KEYS>(reinterpret_cast<float(&)[1][FULL][4]>(dq), left, keys.at(0, column()));
        }
    }
};

/// `Of` knows where the tensors are: q(), out() and dout() are this block's head, as are k(), v(), dk() and dv() from key `first` on.
/// dq_part() and dk_part() are f32, in place of dq() and dk(); what is absent has no address.
template <class T, int D, class Of, class Embed>
static __device__ __forceinline__ void narrow_bwd(const Of &of, const Embed &embedding, uint32_t shared) {
    using B = Backward<T, D>;
    constexpr int M = B::M;
    constexpr uint32_t KEYS = B::KEYS, QUERIES = B::QUERIES, THREADS = B::THREADS;
    constexpr bool staging = sizeof(T) == 2;
    Tile<T, D> keys = {shared}, values = keys.at(KEYS, 0), queries = values.at(KEYS, 0), douts = queries.at(QUERIES, 0);
    Tile<T, D> staged = douts.at(QUERIES, 0);
    Tile<T, QUERIES> dscores = {staged.address};
    uint32_t logsumexps = shared + B::BYTES - 8 * QUERIES, deltas = logsumexps + 4 * QUERIES;
    bool want_q = of.dq().first || of.dq_part().first, want_k = of.dk().first || of.dk_part().first, want_v = of.dv().first;
    bool want_dscores = want_q || want_k;

    uint32_t rows = of.q().rows, key_rows = of.k().rows, head_dim = of.p.head_dim;
    auto copy_tile = [&](uint32_t first) {
        copy_rows<THREADS, QUERIES>(queries, of.q().from(first), head_dim);
        copy_rows<THREADS, QUERIES>(douts, of.dout().from(first), head_dim);
        uint32_t query = first + threadIdx.x;
        // A query that does not exist has q = 0, dout = 0, L = 0: it adds 0 to everything.
        if (threadIdx.x < QUERIES) copy_word(logsumexps + 4 * threadIdx.x, of.logsumexp() + query, query < rows);
        end_copies();
    };
    copy_rows<THREADS, KEYS>(keys, of.k(), head_dim);
    copy_rows<THREADS, KEYS>(values, of.v(), head_dim);
    copy_tile(0);
    OutTile<T, D> out;
    if (want_dscores) out.load(of.out(), head_dim);

    uint32_t row = warp_id() * 16 * M, key = row + fragment_row<T>();
    bool idle = row >= key_rows, partial = row + 16 * M > key_rows;
    if (idle) {
#pragma unroll
        for (int i = 0; i < 2 * M; i++) {
#pragma unroll
            for (uint32_t c = 0; c < QUERIES; c += 8) store_pair(dscores.at(key + 8 * i, c + fragment_column()), 0.0f, 0.0f);
        }
    }
    QueriesShare<T, D> share;
    float dk[M][D / 8][4] = {}, dv[M][D / 8][4] = {}, scale2 = of.p.scale * LOG2_E;
    uint32_t first = 0;
    auto write_staged = [&] {
        constexpr uint32_t OWN = QUERIES / B::WARPS;
        write_rows<OWN>(of.dq().from(first - QUERIES + warp_id() * OWN), staged.at(warp_id() * OWN, 0), head_dim);
    };
    for (; first < rows; first += QUERIES) {
        wait_copies<0>();
        __syncthreads();
        if (staging && of.dq().first && first > 0) write_staged();
        if (want_dscores) out.dot(douts, deltas);
        if constexpr (Embed::PRESENT) {
            if (first == 0) embedding.template embed<THREADS, KEYS>(keys, embedding.k_norm, of.first, key_rows);
            embedding.template embed<THREADS, QUERIES>(queries, embedding.q_norm, first, rows - first);
        }
        __syncthreads();

        if (!idle) {
#pragma unroll 1
            for (uint32_t s = 0; s < QUERIES; s += 16) {
                float weight[M][2][4] = {}, dscore[M][2][4] = {};
                by_rows<D>(weight, Rows<T, M, D>(keys.at(row, 0)), queries.at(s, 0));
                if (want_dscores) by_rows<D>(dscore, Rows<T, M, D>(values.at(row, 0)), douts.at(s, 0));
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    uint32_t query = s + 8 * n + fragment_column();
                    float2 logsumexp = load_pair(logsumexps + 4 * query), delta = want_dscores ? load_pair(deltas + 4 * query) : float2();
                    float shift[2] = {logsumexp.x * LOG2_E, logsumexp.y * LOG2_E};
#pragma unroll
                    for (int i = 0; i < 4 * M; i++) {
                        float &w = weight[i / 4][n][i % 4], &d = dscore[i / 4][n][i % 4];
                        w = power_of_two(fmaf(w, scale2, -shift[i % 2]));
                        if (partial && key + i / 2 * 8 >= key_rows) w = 0.0f;
                        d = w * (d - (i % 2 ? delta.y : delta.x));
                    }
                }
                if (want_v) by_columns<16>(dv, Weights<T, M, 16>(weight), douts.at(s, 0));
                if (want_k) by_columns<16>(dk, Weights<T, M, 16>(dscore), queries.at(s, 0));
                if (want_q) {
#pragma unroll
                    for (int i = 0; i < 4 * M; i++) {
                        const float *pair = dscore[i / 4][i % 2] + i / 2 % 2 * 2;
                        store_pair(dscores.at(key + i / 2 * 8, s + i % 2 * 8 + fragment_column()), pair[0], pair[1]);
                    }
                }
            }
        }
        __syncthreads();

        if (first + QUERIES < rows) {
            copy_tile(first + QUERIES);
            if (want_dscores) out.load(of.out().from(first + QUERIES), head_dim);
        }
        if (!want_q) continue;
        constexpr int N = QueriesShare<T, D>::FULL + QueriesShare<T, D>::EXTRA;
        float dq[1][N][4] = {};
        share.multiply(dq, dscores, keys);
        // Fragments of another warp count as channels that do not exist.
        uint32_t channels = min(head_dim, share.column() + 8 * (N - (share.has_extra() ? 0 : QueriesShare<T, D>::EXTRA)));
#pragma unroll
        for (int i = 0; i < 4 * N; i++) dq[0][i / 4][i % 4] *= of.p.scale;
        if constexpr (Embed::PRESENT) {
            uint32_t from = first + share.row;
            embedding.template turn_back<T>(dq, from, rows - min(from, rows), share.column(), channels);
        }
        if (of.dq_part().first) {
            write_fragments<T>(of.dq_part().from(first + share.row), dq, share.column(), channels);
        } else if constexpr (staging) {
            __syncthreads();
            Tile<T, D> to = staged.at(share.row + fragment_row<T>(), share.column() + fragment_column());
#pragma unroll
            for (int i = 0; i < 2 * N; i++) {
                if (share.column() + i / 2 * 8 < channels) store_pair(to.at(i % 2 * 8, i / 2 * 8), dq[0][i / 2][i % 2 * 2], dq[0][i / 2][i % 2 * 2 + 1]);
            }
        } else {
            write_fragments<T>(of.dq().from(first + share.row), dq, share.column(), channels);
        }
    }
    __syncthreads();
    if (staging && of.dq().first) write_staged();
    if (idle) return;
    if (want_v) write_result(of.dv().from(row), dv, values.at(row, 0), head_dim);
#pragma unroll
    for (int i = 0; i < M * D / 2; i++) dk[i / (D / 2)][i / 4 % (D / 8)][i % 4] *= of.p.scale;
    if (!want_k) return;
    if constexpr (Embed::PRESENT) embedding.template turn_back<T>(dk, of.first + row, key_rows - row, 0, head_dim);
    if (of.dk_part().first) {
        write_fragments<T>(of.dk_part().from(row), dk, 0, head_dim);
    } else {
        write_result(of.dk().from(row), dk, keys.at(row, 0), head_dim);
    }
}

} // namespace attention
