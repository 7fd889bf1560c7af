// The main loop of vf_loss_fwd: features and the weight come by in slabs of 128 bytes of K, by asynchronous copies.
//
// A slab is four steps, and each of the first four warps (the row warps) has one: it adds up all 64 × 64 products of the rows of two tiles,
// or the 64 × Cz of a tile with the weight. Each of the other four (the gram warps) does so for its step of M = WᵀW. Steps meet at the end,
// in shared memory. So an ldmatrix serves four mma or more, and bf16 stays ahead of the copies.
#pragma once
#include "vf_loss_tile.cuh"

constexpr uint32_t STEPS = 4;
static_assert(VF_LOSS_FWD_THREADS == 2 * 32 * STEPS, "a row warp and a gram warp for each step");

/// What a block compares: a tile with the weight, with itself, or with another.
enum Role { TOKENS, ONE_TILE, TWO_TILES };

/// The block's tiles.
struct Tiles {
    uint32_t i, j;
    /// Rows that are there.
    uint32_t rows_i, rows_j;
    /// Their first tokens.
    size_t first_i, first_j;
    Role role;

    /// The image's pairs come first, then its tiles.
    __device__ __forceinline__ explicit Tiles(const VfLossFwd &p) {
        uint32_t tiles = (p.positions + TILE - 1) / TILE, rest = blockIdx.x;
        for (i = 0; i < tiles && rest >= tiles - i; i++) rest -= tiles - i;
        role = i == tiles ? TOKENS : rest == 0 ? ONE_TILE : TWO_TILES;
        if (role == TOKENS) i = rest;
        j = role == TWO_TILES ? i + rest : i;
        rows_i = min(p.positions - i * TILE, TILE);
        rows_j = min(p.positions - j * TILE, TILE);
        size_t image = (size_t)blockIdx.y * p.positions;
        first_i = image + i * TILE;
        first_j = image + j * TILE;
    }
};

/// Slabs in shared memory: 64 rows of I, 64 rows of J, lines of the weight.
template <class T, uint32_t CHANNELS> struct Slab {
    static constexpr uint32_t N = Chunk<T>::N, DEPTH = 128 / sizeof(T), STEP = DEPTH / STEPS;
    static constexpr uint32_t ROWS = TILE * 128, LINE = CHANNELS * sizeof(T);
    static constexpr uint32_t ROWS_J = ROWS, WEIGHT = 2 * ROWS, BYTES = WEIGHT + DEPTH * LINE;
    static constexpr uint32_t STAGES = CHANNELS == 32 ? 4 : 3;

    /// bf16 is read by columns, f32 along lines.
    static __device__ __forceinline__ uint32_t weight_offset(uint32_t line, uint32_t chunk) {
        if constexpr (sizeof(T) == 2) return line_offset<LINE>(line, chunk);
        return line * LINE + chunk * 16;
    }
};

/// Copies slab after slab. Rows past a tile's last repeat it, and their results count for nothing; what lies past K is zero.
template <class T, uint32_t CHANNELS, Role ROLE> class Loader {
    using S = Slab<T, CHANNELS>;
    /// A thread's rows and lines lie 4096 bytes apart.
    static constexpr uint32_t APART = VF_LOSS_FWD_THREADS * 16, ROWS = S::ROWS / APART, LINES = S::DEPTH * S::LINE / APART;
    static constexpr uint32_t ROWS_APART = APART / 128, LINES_APART = APART / S::LINE;
    const VfLossFwd &p;
    /// Elements before a thread's chunks: 32 bits do, and leave registers for sums.
    uint32_t rows_i[ROWS], rows_j[ROWS], lines;
    uint32_t row_to, line_to, column, line;
    bool channel;

  public:
    __device__ __forceinline__ Loader(const VfLossFwd &p, const Tiles &tiles) : p(p) {
        uint32_t row = threadIdx.x / 8, chunk = threadIdx.x % 8;
        row_to = kept(line_offset<128>(row, chunk));
        column = chunk * S::N;
        for (uint32_t r = 0; r < ROWS; r++) {
            rows_i[r] = (tiles.first_i + min(row + r * ROWS_APART, tiles.rows_i - 1)) * p.width + column;
            rows_j[r] = (tiles.first_j + min(row + r * ROWS_APART, tiles.rows_j - 1)) * p.width + column;
        }
        line = threadIdx.x / (CHANNELS / S::N);
        chunk = threadIdx.x % (CHANNELS / S::N);
        line_to = kept(S::WEIGHT + S::weight_offset(line, chunk));
        lines = line * p.channels + chunk * S::N;
        channel = p.weight && chunk * S::N < p.channels;
    }

    __device__ __forceinline__ void load(uint32_t stage) {
        const T *features = at<const T>(p.features), *weight = at<const T>(p.weight);
        bool inside = column < p.width;
#pragma unroll
        for (uint32_t r = 0; r < ROWS; r++) {
            copy_async_at<0, 0>(stage + row_to + r * APART, features + rows_i[r], inside);
            if (ROLE == TWO_TILES) copy_async_at<S::ROWS_J, 0>(stage + row_to + r * APART, features + rows_j[r], inside);
            rows_i[r] += S::DEPTH;
            rows_j[r] += S::DEPTH;
        }
#pragma unroll
        for (uint32_t l = 0; l < LINES; l++) {
            const T *from = weight + (lines + l * LINES_APART * p.channels);
            copy_async_at<0, 0>(stage + line_to + l * APART, from, channel && line + l * LINES_APART < p.width);
        }
        lines += S::DEPTH * p.channels;
        column += S::DEPTH;
        line += S::DEPTH;
    }
};

static __device__ __forceinline__ void add_squares(float &sum, uint32_t pair) {
    float low = __uint_as_float(pair << 16), high = __uint_as_float(pair & 0xFFFF0000u);
    sum = fmaf(low, low, fmaf(high, high, sum));
}

/// What a warp adds up over its step of each slab.
template <class T, uint32_t CHANNELS, Role ROLE> struct Sums {
    using S = Slab<T, CHANNELS>;
    /// mma tiles of a matrix with the weight's columns, along rows and columns.
    static constexpr uint32_t GRAM_ROWS = CHANNELS / 16, COLUMNS = ROLE == TOKENS ? CHANNELS / 8 : 8;
    /// Of row warps: rows of I by rows of J or by the weight's columns. Of gram warps: M.
    float sum[4][8][4] = {};
    /// Squares of rows of I and of J. bf16: of row warps, this lane's part of those of row 8·x + lane / 4. f32: of gram warps, those of row
    /// 32·x + lane.
    float squares[2][sizeof(T) == 2 ? 8 : 2] = {};

    __device__ __forceinline__ Sums() {
        uint32_t lane = threadIdx.x % 32;
        if constexpr (sizeof(T) == 2) {
            rows_at = kept(line_offset<128>(lane % 16, 2 * step() + lane / 16));
            columns_at = kept(line_offset<128>(lane / 16 * 8 + lane % 8, 2 * step() + lane / 8 % 2));
            for (uint32_t c = 0; c < GRAM_ROWS; c++) weight_at[c] = kept(S::WEIGHT + columns_offset<S::LINE>(16 * step(), 16 * c));
        }
    }

    __device__ __forceinline__ void add(uint32_t stage, bool weighted) {
        bool rows = threadIdx.x < 32 * STEPS;
        if constexpr (sizeof(T) == 2) {
            if (rows) {
                add_rows_bf16(stage);
            } else if (weighted) {
                add_gram_bf16(stage);
            }
        } else {
            if (rows) return add_rows_f32(stage);
            if (weighted) add_gram_f32(stage);
            add_squares_f32(stage);
        }
    }

    /// Lays this warp's squares down as [step][I, J][row].
    __device__ __forceinline__ void put_squares(float (&to)[STEPS][2][TILE]) const {
        uint32_t lane = threadIdx.x % 32;
        if ((threadIdx.x < 32 * STEPS) != (sizeof(T) == 2)) return;
#pragma unroll
        for (uint32_t t = 0; t < (ROLE == TWO_TILES ? 2 : 1); t++) {
            if constexpr (sizeof(T) == 2) {
#pragma unroll
                for (uint32_t x = 0; x < 8; x++) {
                    float square = row_sum(squares[t][x]);
                    if (lane % 4 == 0) to[step()][t][8 * x + lane / 4] = square;
                }
            } else {
                for (uint32_t x = 0; x < 2; x++) to[step()][t][32 * x + lane] = squares[t][x];
            }
        }
    }

  private:
    /// Where this lane reads a slab of bf16: rows as the left and as the right factor, the weight's columns.
    uint32_t rows_at, columns_at, weight_at[GRAM_ROWS];

    static __device__ __forceinline__ uint32_t step() { return threadIdx.x / 32 % STEPS; }

    __device__ __forceinline__ void add_rows_bf16(uint32_t stage) {
        uint32_t left[4][4], from = stage + rows_at;
        load_matrices_at<0>(left[0], from);
        load_matrices_at<16 * 128>(left[1], from);
        load_matrices_at<32 * 128>(left[2], from);
        load_matrices_at<48 * 128>(left[3], from);
#pragma unroll
        for (uint32_t i = 0; i < 16; i++) add_squares(squares[0][i / 4 * 2 + i % 2], left[i / 4][i % 4]);
        if constexpr (ROLE == TWO_TILES) {
            from = stage + S::ROWS_J + columns_at;
#pragma unroll
            for (uint32_t n = 0; n < 4; n++, from += 16 * 128) {
                uint32_t right[4];
                load_matrices_at<0>(right, from);
#pragma unroll
                for (uint32_t m = 0; m < 4; m++) {
                    mma_bf16(sum[m][2 * n], left[m], right);
                    mma_bf16(sum[m][2 * n + 1], left[m], right + 2);
                }
                for (uint32_t i = 0; i < 4; i++) add_squares(squares[1][2 * n + i / 2], right[i]);
            }
        } else {
            // Rows serve as columns as they are.
            uint32_t right[ROLE == TOKENS ? GRAM_ROWS : 4][4];
            if constexpr (ROLE == TOKENS) load_weight(right, stage);
#pragma unroll
            for (uint32_t n = 0; n < COLUMNS; n++) {
                const uint32_t *of = ROLE == TOKENS ? right[n / 2] : left[n / 2];
                uint32_t column[2] = {of[n % 2], of[n % 2 + 2]};
                for (uint32_t m = 0; m < 4; m++) mma_bf16(sum[m][n], left[m], column);
            }
        }
    }

    __device__ __forceinline__ void add_gram_bf16(uint32_t stage) {
        uint32_t weight[GRAM_ROWS][4];
        load_weight(weight, stage);
#pragma unroll
        for (uint32_t n = 0; n < CHANNELS / 8; n++) {
            uint32_t column[2] = {weight[n / 2][n % 2], weight[n / 2][n % 2 + 2]};
            for (uint32_t m = 0; m < GRAM_ROWS; m++) mma_bf16(sum[m][n], weight[m], column);
        }
    }

    template <uint32_t N> __device__ __forceinline__ void load_weight(uint32_t (&weight)[N][4], uint32_t stage) const {
#pragma unroll
        for (uint32_t c = 0; c < N; c++) load_transposed_at<0>(weight[c], stage + weight_at[c]);
    }

    __device__ __forceinline__ void add_rows_f32(uint32_t stage) {
        uint32_t lane = threadIdx.x % 32;
        // Two k at a time: a lane has not the registers for four.
#pragma unroll 1
        for (uint32_t k = S::STEP * step(), i = 0; i < S::STEP; i += 2, k += 2) {
            float2 left[8];
#pragma unroll
            for (uint32_t x = 0; x < 8; x++) left[x] = load_shared_pair<0>(stage + row_at(8 * x + lane / 4, k));
            if constexpr (ROLE == TOKENS) {
#pragma unroll
                for (uint32_t n = 0; n < COLUMNS; n++) {
                    float2 first = load_shared_pair<0>(stage + line_at(k, 8 * n + lane % 4 * 2));
                    float2 second = load_shared_pair<0>(stage + line_at(k + 1, 8 * n + lane % 4 * 2));
                    for (uint32_t m = 0; m < 4; m++) {
                        add_outer(sum[m][n], left[2 * m].x, left[2 * m + 1].x, first);
                        add_outer(sum[m][n], left[2 * m].y, left[2 * m + 1].y, second);
                    }
                }
            } else {
#pragma unroll
                for (uint32_t column = 0; column < 16; column++) {
                    uint32_t row = column / 2 * 8 + lane % 4 * 2 + column % 2;
                    float2 right = load_shared_pair<0>(stage + (ROLE == TWO_TILES ? S::ROWS_J : 0) + row_at(row, k));
                    for (uint32_t x = 0; x < 8; x++) {
                        float &to = sum[x / 2][column / 2][x % 2 * 2 + column % 2];
                        to = fmaf(left[x].x, right.x, fmaf(left[x].y, right.y, to));
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void add_gram_f32(uint32_t stage) {
#pragma unroll 1
        for (uint32_t k = S::STEP * step(); k < S::STEP * (step() + 1); k++) {
            float left[CHANNELS / 8];
#pragma unroll
            for (uint32_t x = 0; x < CHANNELS / 8; x++) left[x] = load_shared_float<0>(stage + line_at(k, 8 * x + threadIdx.x % 32 / 4));
#pragma unroll
            for (uint32_t n = 0; n < CHANNELS / 8; n++) {
                float2 w = load_shared_pair<0>(stage + line_at(k, 8 * n + threadIdx.x % 4 * 2));
                for (uint32_t m = 0; m < GRAM_ROWS; m++) add_outer(sum[m][n], left[2 * m], left[2 * m + 1], w);
            }
        }
    }

    __device__ __forceinline__ void add_squares_f32(uint32_t stage) {
#pragma unroll
        for (uint32_t i = 0; i < (ROLE == TWO_TILES ? 8 : 4); i++) {
            uint32_t row = 32 * (i % 2) + threadIdx.x % 32, k = S::STEP * step() + i / 2 % 2 * 4;
            float4 v = load_shared<0>(stage + i / 4 * S::ROWS_J + row_at(row, k));
            float &to = squares[i / 4][i % 2];
            to = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, to))));
        }
    }

    /// Where f32 elements lie: k of a row, and a column of the weight's line k.
    static __device__ __forceinline__ uint32_t row_at(uint32_t row, uint32_t k) { return line_offset<128>(row, k / 4) + k % 4 * 4; }
    static __device__ __forceinline__ uint32_t line_at(uint32_t k, uint32_t column) { return S::WEIGHT + k * S::LINE + 4 * column; }
};

/// All slabs. Ends with a barrier. `between` runs while the first ones are on their way.
template <class T, uint32_t CHANNELS, Role ROLE, class F>
static __device__ __forceinline__ void add_slabs(Sums<T, CHANNELS, ROLE> &sums, const VfLossFwd &p, const Tiles &tiles, uint32_t shared,
                                                 F &&between) {
    using S = Slab<T, CHANNELS>;
    Loader<T, CHANNELS, ROLE> loader(p, tiles);
    uint32_t slabs = (p.width + S::DEPTH - 1) / S::DEPTH, end = shared + S::STAGES * S::BYTES;
    for (uint32_t s = 0; s < S::STAGES - 1; s++) {
        if (s < slabs) loader.load(shared + s * S::BYTES);
        commit_copies();
    }
    between();
    uint32_t now = shared, free = end - S::BYTES;
    for (uint32_t s = S::STAGES - 1; s < slabs + S::STAGES - 1; s++) {
        copies_pending<S::STAGES - 2>();
        __syncthreads();
        if (s < slabs) loader.load(free);
        commit_copies();
        sums.add(now, p.weight != 0);
        free = now;
        now = now + S::BYTES == end ? shared : now + S::BYTES;
    }
    copies_pending<0>();
    __syncthreads();
}
