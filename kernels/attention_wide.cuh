// Attention for head sizes beyond what a warp's registers hold (the VAE has one head of 512): a block of eight warps owns 32 rows of
// one side (queries, or keys for their gradients) and walks over the other side in tiles of 64 rows. Both stream through shared
// memory in slabs of 64 channels, three stages deep.
//
// For each tile:  phase 0  scores = own0·other0ᵀ           forward  q·kᵀ      queries  q·kᵀ      keys  k·qᵀ
//                 phase 1  dweights = own1·other1ᵀ                                     dout·vᵀ         v·doutᵀ
//                 phase 2  sum1 += weights·other1                   P·v                                Pᵀ·dout = dv
//                 phase 3  sum0 += dweights·other0                            dS·k = dq                dSᵀ·q = dk
// In phases 0 and 1 a warp makes 16 of the 32 rows times 16 of the 64; in 2 and 3 all rows times 8 channels of each slab.
#pragma once
#include "attention_rows.cuh"

namespace attention {

constexpr uint32_t WIDE_THREADS = 256, OWN = 32, OTHER = 64, SLAB = 64, MAX_SLABS = 8, STAGES = 3;

template <class T> using Slab = Tile<T, SLAB>;
/// A stage has 32 rows of the own side, then 64 of the other. Two (32, 64) tiles of weights follow the stages.
template <class T> constexpr uint32_t STAGE_BYTES = (OWN + OTHER) * Slab<T>::ROW_BYTES;
template <class T> constexpr uint32_t WIDE_BYTES = STAGES * STAGE_BYTES<T> + 2 * OWN * Slab<T>::ROW_BYTES;

enum class Role { Forward, Queries, Keys };

/// The slabs of all tiles and phases, in order, through a ring of stages. A thread copies the same chunk of every AT_ONCEth row.
template <class T> struct Ring {
    static constexpr uint32_t CHUNKS = SLAB / Chunk<T>::N, AT_ONCE = WIDE_THREADS / CHUNKS;

    const T *own0, *own1, *other0, *other1;
    uint32_t head_dim, phases; // bit p: phase p takes place
    uint32_t own_step, other_step;
    int32_t own_left, other_left; // rows from this thread's first on
    uint32_t stages, to, read, filled = 0, phase = 0, channel = 0;

    __device__ __forceinline__ Ring(const HeadRows<const T> (&own)[2], const HeadRows<const T> (&other)[2], uint32_t head_dim, uint32_t phases, uint32_t stages)
        : head_dim(head_dim), phases(phases), stages(stages), read(stages) {
        uint32_t row = threadIdx.x / CHUNKS, column = threadIdx.x % CHUNKS * Chunk<T>::N;
        own0 = own[0].first + (size_t)row * own[0].stride + column;
        own1 = own[1].first + (size_t)row * own[0].stride + column;
        other0 = other[0].first + (size_t)row * other[0].stride + column;
        other1 = other[1].first + (size_t)row * other[0].stride + column;
        own_step = AT_ONCE * own[0].stride;
        other_step = AT_ONCE * other[0].stride;
        own_left = own[0].rows - row;
        other_left = other[0].rows - row;
        to = Slab<T>{stages}.at(row, column).address;
        for (uint32_t i = 0; i + 1 < STAGES; i++) fill();
    }

    /// The next stage, there for every thread; until the next call.
    __device__ __forceinline__ Slab<T> next() {
        wait_copies<STAGES - 2>();
        __syncthreads();
        fill();
        Slab<T> stage = {read};
        read = read == stages + (STAGES - 1) * STAGE_BYTES<T> ? stages : read + STAGE_BYTES<T>;
        return stage;
    }

  private:
    __device__ __forceinline__ void fill() {
        uint32_t column = threadIdx.x % CHUNKS * Chunk<T>::N;
        // The row of the whole tile, not of this thread: uniform.
        if (other_left + (int32_t)(threadIdx.x / CHUNKS) > 0) {
            bool inside = channel + column < head_dim;
            uint32_t at = to + filled * STAGE_BYTES<T>;
            if (phase < 2) copy<OWN>(at, (phase == 0 ? own0 : own1) + channel, own_step, inside ? own_left : 0);
            const T *other = phase == 0 || phase == 3 ? other0 : other1;
            copy<OTHER>(at + OWN * Slab<T>::ROW_BYTES, other + channel, other_step, inside ? other_left : 0);
            advance();
        }
        end_copies();
        filled = filled == STAGES - 1 ? 0 : filled + 1;
    }

    template <uint32_t ROWS> static __device__ __forceinline__ void copy(uint32_t at, const T *from, uint32_t step, int32_t left) {
#pragma unroll
        for (uint32_t i = 0; i < ROWS / AT_ONCE; i++) {
            copy_chunk(at + i * AT_ONCE * Slab<T>::ROW_BYTES, from + (size_t)i * step, (int32_t)(i * AT_ONCE) < left);
        }
    }

    __device__ __forceinline__ void advance() {
        channel += SLAB;
        if (channel < head_dim) return;
        channel = 0;
        uint32_t later = phases >> (phase + 1);
        phase = later ? phase + __ffs(later) : 0;
        if (later) return;
        other_left -= OTHER;
        other0 += (size_t)OTHER / AT_ONCE * other_step;
        other1 += (size_t)OTHER / AT_ONCE * other_step;
    }
};

/// Which of the 32 rows and of the 64 a warp has in phases 0 and 1.
static __device__ __forceinline__ uint32_t own_of_warp() { return warp_id() % 2 * 16; }
static __device__ __forceinline__ uint32_t other_of_warp() { return warp_id() / 2 * 16; }

/// score += own·otherᵀ over all slabs.
template <class T> static __device__ __forceinline__ void score_phase(Ring<T> &ring, float (&score)[1][2][4]) {
    for (uint32_t channel = 0; channel < ring.head_dim; channel += SLAB) {
        Slab<T> stage = ring.next();
        by_rows<SLAB>(score, Rows<T, 1, SLAB>(stage.at(own_of_warp(), 0)), stage.at(OWN + other_of_warp(), 0));
    }
}

/// What a warp sums in phases 2 and 3: of each slab 32 rows by 8 channels.
typedef float SlabSums[MAX_SLABS][2][1][4];

/// sum += weights·other. Weights that were written before are there after the first stage's barrier.
template <class T> static __device__ __forceinline__ void sum_phase(Ring<T> &ring, SlabSums &sum, Slab<T> weights) {
    Slab<T> stage = ring.next();
    Held<T, 2, OTHER> left(weights);
#pragma unroll
    for (uint32_t slab = 0; slab < MAX_SLABS; slab++) {
        if (slab * SLAB < ring.head_dim) {
            if (slab > 0) stage = ring.next();
            by_columns<OTHER>(sum[slab], left, stage.at(OWN, warp_id() * 8));
        }
    }
}

template <class T> static __device__ __forceinline__ void store_weights(Slab<T> weights, const float (&score)[1][2][4]) {
    Slab<T> to = weights.at(own_of_warp() + fragment_row<T>(), other_of_warp() + fragment_column());
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) store_pair(to.at(i % 2 * 8, i / 2 * 8), score[0][i / 2][i % 2 * 2], score[0][i / 2][i % 2 * 2 + 1]);
}

/// Writes sum, its rows times `factors` where there are any, by way of shared memory that nothing else uses any more.
template <class T>
static __device__ __forceinline__ void store_sums(Slab<T> shared, SlabSums &sum, const float *factors, HeadRows<T> to, uint32_t head_dim) {
    constexpr uint32_t N = Chunk<T>::N, CHUNKS = SLAB / N;
    static_assert(MAX_SLABS * OWN <= STAGES * (OWN + OTHER), "all slabs of the result must fit where the stages were");
    __syncthreads();
#pragma unroll
    for (uint32_t m = 0; m < 4; m++) {
        uint32_t row = 8 * m + fragment_row<T>();
        float factor = factors ? factors[row] : 1.0f;
        Slab<T> pair = shared.at(row, warp_id() * 8 + fragment_column());
#pragma unroll
        for (uint32_t slab = 0; slab < MAX_SLABS; slab++) {
            const float *s = sum[slab][m / 2][0] + m % 2 * 2;
            store_pair(pair.at(slab * OWN, 0), factor * s[0], factor * s[1]);
        }
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < (head_dim + SLAB - 1) / SLAB * OWN * CHUNKS; i += WIDE_THREADS) {
        uint32_t slab = i / (OWN * CHUNKS), row = i / CHUNKS % OWN, column = i % CHUNKS * N, channel = slab * SLAB + column;
        if (row >= to.rows || channel >= head_dim) continue;
        uint4 chunk = load_chunk(shared.at(slab * OWN + row, column).address);
        __stwb(reinterpret_cast<uint4 *>(to.first + (size_t)row * to.stride + channel), chunk);
    }
}

/// A lane's two rows of running softmax: the largest score and the sum of this lane's weights.
struct Softmax {
    float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
};

/// Scores to weights 2^(scale2·(score − the row's largest so far)). `scratch` has four largest scores per row, and `factors` gets
/// what the rows' earlier sums are to be multiplied by.
template <class T>
static __device__ __forceinline__ void weigh(float (&score)[1][2][4], Softmax &softmax, float scale2, uint32_t keys, float (*scratch)[OWN], float *factors) {
    uint32_t key = other_of_warp() + fragment_column();
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float &s = score[0][i / 4][i % 4];
        s = key + i / 4 * 8 + i % 2 < keys ? s : -INFINITY;
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float *a = score[0][0] + 2 * h, *b = score[0][1] + 2 * h;
        float largest = quad_max(fmaxf(fmaxf(a[0], a[1]), fmaxf(b[0], b[1])));
        if (lane_id() % 4 == 0) scratch[warp_id() / 2][own_of_warp() + fragment_row<T>() + 8 * h] = largest;
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t row = own_of_warp() + fragment_row<T>() + 8 * h;
        float largest = fmaxf(fmaxf(scratch[0][row], scratch[1][row]), fmaxf(scratch[2][row], scratch[3][row]));
        largest = fmaxf(largest, softmax.largest[h]);
        float factor = power_of_two((softmax.largest[h] - largest) * scale2);
        softmax.largest[h] = largest;
        softmax.sum[h] *= factor;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float &s = score[0][i / 2][2 * h + i % 2];
            s = power_of_two(fmaf(s, scale2, -largest * scale2));
            softmax.sum[h] += s;
        }
        if (lane_id() % 4 == 0 && warp_id() < 2) factors[row] = factor;
    }
}

template <class T> static __device__ __forceinline__ void wide_fwd(const AttentionFwd &p, uint32_t shared) {
    Slab<T> weights = {shared + STAGES * STAGE_BYTES<T>};
    __shared__ float scratch[4][OWN], factors[OWN];
    uint32_t first = blockIdx.x * OWN;
    HeadRows<const T> q = head_rows<const T>(p.q, p.queries, p.heads, p.head_dim).from(first);
    HeadRows<const T> k = head_rows<const T>(p.k, p.keys, p.heads, p.head_dim), v = head_rows<const T>(p.v, p.keys, p.heads, p.head_dim);
    Ring<T> ring({q, q}, {k, v}, p.head_dim, 0b0101, shared);

    SlabSums sum = {};
    Softmax softmax;
    float scale2 = p.scale * LOG2_E;
    for (uint32_t tile = 0; tile < p.keys; tile += OTHER) {
        float score[1][2][4] = {};
        score_phase(ring, score);
        weigh<T>(score, softmax, scale2, p.keys - tile, scratch, factors);
        store_weights(weights, score);
        __syncthreads();
#pragma unroll
        for (uint32_t m = 0; m < 4; m++) {
            float factor = factors[8 * m + fragment_row<T>()];
#pragma unroll
            for (uint32_t i = 0; i < 2 * MAX_SLABS; i++) sum[i / 2][m / 2][0][m % 2 * 2 + i % 2] *= factor;
        }
        sum_phase(ring, sum, weights);
    }

    // The rows' sums: over a quad by shuffles, over the four warps of a row by way of `scratch`.
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float total = quad_sum(softmax.sum[h]);
        if (lane_id() % 4 == 0) scratch[warp_id() / 2][own_of_warp() + fragment_row<T>() + 8 * h] = total;
    }
    __syncthreads();
    if (lane_id() % 4 == 0 && warp_id() < 2) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t row = own_of_warp() + fragment_row<T>() + 8 * h;
            float total = (scratch[0][row] + scratch[1][row]) + (scratch[2][row] + scratch[3][row]);
            factors[row] = 1.0f / total;
            float *logsumexp = head_scalars<float>(p.logsumexp, p.queries, p.heads) + first;
            if (row < q.rows) logsumexp[row] = softmax.largest[h] * p.scale + logf(total);
        }
    }
    store_sums({shared}, sum, factors, head_rows<T>(p.out, p.queries, p.heads, p.head_dim).from(first), p.head_dim);
}

template <class T, Role role> static __device__ __forceinline__ void wide_bwd(const AttentionBwd &p, uint32_t shared, uint32_t first) {
    constexpr bool of_keys = role == Role::Keys;
    bool want_second = of_keys && p.dv != 0, want_first = of_keys ? p.dk != 0 : p.dq != 0;
    if (!want_first && !want_second) return;
    HeadRows<const T> q = head_rows<const T>(p.q, p.queries, p.heads, p.head_dim), dout = head_rows<const T>(p.dout, p.queries, p.heads, p.head_dim);
    HeadRows<const T> k = head_rows<const T>(p.k, p.keys, p.heads, p.head_dim), v = head_rows<const T>(p.v, p.keys, p.heads, p.head_dim);
    uint32_t phases = 1 | (want_first ? 0b1010 : 0) | (want_second ? 0b0100 : 0);
    HeadRows<const T> own[2] = {(of_keys ? k : q).from(first), (of_keys ? v : dout).from(first)};
    HeadRows<const T> other[2] = {of_keys ? q : k, of_keys ? dout : v};
    Ring<T> ring(own, other, p.head_dim, phases, shared);
    Slab<T> weights = {shared + STAGES * STAGE_BYTES<T>}, dweights = weights.at(OWN, 0);
    const float *logsumexps = head_scalars<const float>(p.logsumexp, p.queries, p.heads), *deltas = head_scalars<const float>(p.delta, p.queries, p.heads);

    SlabSums dfirst = {}, dsecond = {};
    float scale2 = p.scale * LOG2_E;
    for (uint32_t tile = 0; tile < (of_keys ? p.queries : p.keys); tile += OTHER) {
        float weight[1][2][4] = {}, dweight[1][2][4] = {};
        score_phase(ring, weight);
        if (want_first) score_phase(ring, dweight);
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t row = first + own_of_warp() + fragment_row<T>() + i % 4 / 2 * 8;
            uint32_t column = tile + other_of_warp() + fragment_column() + i / 4 * 8 + i % 2;
            uint32_t query = of_keys ? column : row, key = of_keys ? row : column;
            // Of queries and keys that do not exist the weights are 0.
            bool exists = query < p.queries && key < p.keys;
            float logsumexp = exists ? logsumexps[query] : INFINITY, delta = exists && want_first ? deltas[query] : 0.0f;
            float &w = weight[0][i / 4][i % 4], &dw = dweight[0][i / 4][i % 4];
            w = power_of_two(fmaf(w, scale2, -logsumexp * LOG2_E));
            dw = w * (dw - delta) * p.scale;
        }
        if (want_second) store_weights(weights, weight);
        if (want_first) store_weights(dweights, dweight);
        if (want_second) sum_phase(ring, dsecond, weights);
        if (want_first) sum_phase(ring, dfirst, dweights);
    }
    uint64_t to = of_keys ? p.dk : p.dq;
    uint32_t rows = of_keys ? p.keys : p.queries;
    if (want_second) store_sums({shared}, dsecond, nullptr, head_rows<T>(p.dv, rows, p.heads, p.head_dim).from(first), p.head_dim);
    if (want_first) store_sums({shared}, dfirst, nullptr, head_rows<T>(to, rows, p.heads, p.head_dim).from(first), p.head_dim);
}

} // namespace attention
