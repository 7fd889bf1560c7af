// Products of small tiles in shared memory by one warp: bf16 on the tensor cores, f32 by fused multiply-adds; f32 sums in both.
//
// Sums lie as mma leaves them, 16 rows by 8 columns to a fragment: a lane has columns 2·(lane % 4) and the next of row fragment_row
// and of the row 8 further on. f32 takes the same layout (its lanes' rows in another order), so that what happens between two
// products is written once. A product's left side is one of
//   Held      rows of a tile, k contiguous, read once and kept in registers (f32: read when needed);
//   Rows      the same, read when needed;
//   Columns   a tile that lies transposed, k rows;
//   Weights   the sums of an earlier product;
// and its right side the rows (by_rows: sum += left·rightᵀ) or the columns (by_columns: sum += left·right) of a tile.
//
// Bank conflicts: a tile's rows are an odd number of 16-byte chunks apart, so that eight rows at one column touch every bank once:
// ldmatrix, 16-byte loads along rows, pairs of a fragment.
#pragma once
#include "common.cuh"
#include "tensor_core.cuh"

namespace attention {

constexpr float LOG2_E = 1.4426950408889634f;

using bf16 = __nv_bfloat16;

/// Rows of `COLUMNS` elements in shared memory, by a 32-bit address.
template <class T, uint32_t COLUMNS> struct Tile {
    /// Elements from a row to the next.
    static constexpr uint32_t STRIDE = (COLUMNS * sizeof(T) / 16 | 1) * (16 / sizeof(T));
    static constexpr uint32_t ROW_BYTES = STRIDE * sizeof(T);
    static_assert(COLUMNS * sizeof(T) % 16 == 0, "rows are copied 16 bytes at a time");

    uint32_t address;

    __device__ __forceinline__ Tile at(uint32_t row, uint32_t column) const {
        return {address + row * ROW_BYTES + column * (uint32_t)sizeof(T)};
    }
};

/// Rows of 64 bytes, where padding would cost a quarter: chunk c of row r lies at c ^ (r / 2 % 4) instead. `at` counts from the start.
template <> struct Tile<__nv_bfloat16, 32> {
    static constexpr uint32_t ROW_BYTES = 64;

    uint32_t address;

    __device__ __forceinline__ Tile at(uint32_t row, uint32_t column) const {
        return {address + row * ROW_BYTES + (column / 8 ^ row / 2 % 4) * 16 + column % 8 * 2};
    }
};

static __device__ __forceinline__ uint32_t lane_id() { return threadIdx.x % 32; }
static __device__ __forceinline__ uint32_t warp_id() { return threadIdx.x / 32; }

/// The first of the two rows of a fragment that a lane has. In f32 a half-warp has every second row: its pairs of 8 bytes then do
/// not conflict.
template <class T> static __device__ __forceinline__ uint32_t fragment_row() {
    return sizeof(T) == 4 ? lane_id() / 4 % 4 * 2 + lane_id() / 16 : lane_id() / 4;
}

/// The first of the two columns of a fragment that a lane has.
static __device__ __forceinline__ uint32_t fragment_column() { return lane_id() % 4 * 2; }

static __device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

/// 2^x to 2 units in the last place; 0 for −∞.
static __device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// Over the four lanes that share a fragment's rows.
static __device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}
static __device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

// Shared memory by 32-bit addresses. Two neighbours of T are stored at once.

static __device__ __forceinline__ void store_pair(float *, uint32_t to, float first, float second) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(first), "f"(second) : "memory");
}
static __device__ __forceinline__ void store_pair(bf16 *, uint32_t to, float first, float second) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(pack(first, second)) : "memory");
}
template <class T, uint32_t COLUMNS>
static __device__ __forceinline__ void store_pair(Tile<T, COLUMNS> to, float first, float second) {
    store_pair((T *)nullptr, to.address, first, second);
}
static __device__ __forceinline__ void store_one(uint32_t to, float v) { asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(v) : "memory"); }
static __device__ __forceinline__ float load_one(uint32_t from) {
    float v;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory");
    return v;
}
static __device__ __forceinline__ float2 load_pair(uint32_t from) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory");
    return v;
}
template <uint32_t COLUMNS> static __device__ __forceinline__ float2 load_pair(Tile<float, COLUMNS> from) { return load_pair(from.address); }
template <uint32_t COLUMNS> static __device__ __forceinline__ float2 load_pair(Tile<bf16, COLUMNS> from) {
    uint32_t both;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(both) : "r"(from.address) : "memory");
    return make_float2(__uint_as_float(both << 16), __uint_as_float(both & 0xFFFF0000u));
}
static __device__ __forceinline__ void load_four(float (&v)[4], uint32_t from) {
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3]) : "r"(from) : "memory");
}
static __device__ __forceinline__ uint4 load_chunk(uint32_t from) {
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(from) : "memory");
    return v;
}

/// Starts copying 16 bytes; with `valid` false it writes zeros and reads nothing, and where `active` is false it does nothing. A predicate,
/// not a branch: the warp stays together.
static __device__ __forceinline__ void copy_chunk(uint32_t to, const void *from, bool valid, bool active = true) {
    asm volatile("{\n.reg .pred active;\nsetp.ne.b32 active, %3, 0;\n@active cp.async.cg.shared.global [%0], [%1], 16, %2;\n}" ::"r"(to), "l"(from),
                 "r"(valid ? 16 : 0), "r"((uint32_t)active)
                 : "memory");
}
/// The same with 4 bytes.
static __device__ __forceinline__ void copy_word(uint32_t to, const void *from, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid ? 4 : 0) : "memory");
}
/// Ends a group of copies.
static __device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `pending` of this thread's groups are under way.
template <int pending> static __device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// One, two or four 8×8 matrices; mma for depths of 16 and 8.

static __device__ __forceinline__ void load_matrices(uint32_t (&m)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(row)
                 : "memory");
}
static __device__ __forceinline__ void load_matrices_transposed(uint32_t (&m)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(row)
                 : "memory");
}
static __device__ __forceinline__ void load_two_matrices(uint32_t *m, uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(m[0]), "=r"(m[1]) : "r"(row) : "memory");
}
static __device__ __forceinline__ void load_two_matrices_transposed(uint32_t *m, uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(m[0]), "=r"(m[1]) : "r"(row) : "memory");
}
static __device__ __forceinline__ void mma_k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t *b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
static __device__ __forceinline__ void mma_k8(float (&d)[4], const uint32_t (&a)[4], uint32_t b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}

/// M·16 rows of K elements of a tile. `get` gives step k of 16 (bf16: mma's registers) or of 4 (f32: two rows' values).
template <class T, int M, int K> struct Rows;

template <int M, int K> struct Rows<bf16, M, K> {
    uint32_t row, half, bytes;

    template <uint32_t COLUMNS>
    __device__ __forceinline__ explicit Rows(Tile<bf16, COLUMNS> tile)
        : row(tile.at(lane_id() % 16, 0).address), half(lane_id() / 16 * 16), bytes(tile.ROW_BYTES) {}

    __device__ __forceinline__ void get(int k, uint32_t (&a)[M][4]) const {
#pragma unroll
        for (int m = 0; m < M; m++) {
            if (16 * k + 8 < K) {
                load_matrices(a[m], row + half + 16 * m * bytes + 32 * k);
            } else {
                // The last 8 of a K such as 72. Nobody reads what lanes 16 and up point to.
                load_two_matrices(a[m], row + 16 * m * bytes + 32 * k);
            }
        }
    }
};

template <int M, int K> struct Rows<float, M, K> {
    uint32_t row, bytes;

    template <uint32_t COLUMNS>
    __device__ __forceinline__ explicit Rows(Tile<float, COLUMNS> tile)
        : row(tile.at(fragment_row<float>(), 0).address), bytes(tile.ROW_BYTES) {}

    __device__ __forceinline__ void get(int k, float (&a)[M][2][4]) const {
#pragma unroll
        for (int i = 0; i < 2 * M; i++) load_four(a[i / 2][i % 2], row + 8 * i * bytes + 16 * k);
    }
};

/// Rows that stay in registers in bf16.
template <class T, int M, int K> struct Held : Rows<T, M, K> {
    using Rows<T, M, K>::Rows;
};

template <int M, int K> struct Held<bf16, M, K> {
    uint32_t r[(K + 15) / 16][M][4];

    template <uint32_t COLUMNS> __device__ __forceinline__ explicit Held(Tile<bf16, COLUMNS> tile) {
        Rows<bf16, M, K> rows(tile);
#pragma unroll
        for (int k = 0; k < (K + 15) / 16; k++) rows.get(k, r[k]);
    }

    __device__ __forceinline__ void get(int k, uint32_t (&a)[M][4]) const {
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int i = 0; i < (16 * k + 8 < K ? 4 : 2); i++) a[m][i] = r[k][m][i];
        }
    }
};

/// 16 columns of a tile (K, ..), from `first` on: the left side is their transpose.
template <class T, int K> struct Columns;

template <int K> struct Columns<bf16, K> {
    uint32_t row, bytes;

    template <uint32_t COLUMNS>
    __device__ __forceinline__ Columns(Tile<bf16, COLUMNS> tile, uint32_t first)
        : row(tile.at(lane_id() / 16 * 8 + lane_id() % 8, first + lane_id() / 8 % 2 * 8).address), bytes(tile.ROW_BYTES) {}

    __device__ __forceinline__ void get(int k, uint32_t (&a)[1][4]) const { load_matrices_transposed(a[0], row + 16 * k * bytes); }
};

template <int K> struct Columns<float, K> {
    uint32_t column, bytes;

    template <uint32_t COLUMNS>
    __device__ __forceinline__ Columns(Tile<float, COLUMNS> tile, uint32_t first)
        : column(tile.at(0, first + fragment_row<float>()).address), bytes(tile.ROW_BYTES) {}

    __device__ __forceinline__ void get(int k, float (&a)[1][2][4]) const {
#pragma unroll
        for (int i = 0; i < 8; i++) a[0][i / 4][i % 4] = load_one(column + (4 * k + i % 4) * bytes + i / 4 * 32);
    }
};

/// Sums (M·16, K) of an earlier product, K columns being the product's depth.
template <class T, int M, int K> struct Weights;

template <int M, int K> struct Weights<bf16, M, K> {
    const float (&sum)[M][K / 8][4];

    __device__ __forceinline__ explicit Weights(const float (&sum)[M][K / 8][4]) : sum(sum) {}

    __device__ __forceinline__ void get(int k, uint32_t (&a)[M][4]) const {
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[m][i] = pack(sum[m][2 * k + i / 2][i % 2 * 2], sum[m][2 * k + i / 2][i % 2 * 2 + 1]);
        }
    }
};

template <int M, int K> struct Weights<float, M, K> {
    const float (&sum)[M][K / 8][4];

    __device__ __forceinline__ explicit Weights(const float (&sum)[M][K / 8][4]) : sum(sum) {}

    /// Four columns of a fragment lie with two neighbouring lanes.
    __device__ __forceinline__ void get(int k, float (&a)[M][2][4]) const {
#pragma unroll
        for (int i = 0; i < 8 * M; i++) {
            uint32_t from = (lane_id() & ~3u) + k % 2 * 2 + i % 4 / 2;
            a[i / 8][i / 4 % 2][i % 4] = __shfl_sync(0xFFFFFFFFu, sum[i / 8][k / 2][i / 4 % 2 * 2 + i % 2], from);
        }
    }
};

/// sum += left·rightᵀ for 8·N rows of `right`.
template <int K, int M, int N, class Left, uint32_t COLUMNS>
static __device__ __forceinline__ void by_rows(float (&sum)[M][N][4], const Left &left, Tile<bf16, COLUMNS> right) {
    static_assert(N % 2 == 0, "one ldmatrix reads the rows of two fragments");
    uint32_t row = right.at(lane_id() / 16 * 8 + lane_id() % 8, lane_id() / 8 % 2 * 8).address;
#pragma unroll
    for (int k = 0; k < K / 16; k++) {
        uint32_t a[M][4];
        left.get(k, a);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b[4];
            load_matrices(b, row + 8 * n * right.ROW_BYTES + 32 * k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_k16(sum[m][n], a[m], b);
                mma_k16(sum[m][n + 1], a[m], b + 2);
            }
        }
    }
    if constexpr (K % 16 != 0) {
        uint32_t a[M][4];
        left.get(K / 16, a);
        row = right.at(lane_id() % 16, K / 16 * 16).address;
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b[2];
            load_two_matrices(b, row + 8 * n * right.ROW_BYTES);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_k8(sum[m][n], a[m], b[0]);
                mma_k8(sum[m][n + 1], a[m], b[1]);
            }
        }
    }
}

/// sum += left·right for 8·N columns of `right`.
template <int K, int M, int N, class Left, uint32_t COLUMNS>
static __device__ __forceinline__ void by_columns(float (&sum)[M][N][4], const Left &left, Tile<bf16, COLUMNS> right) {
    static_assert(K % 16 == 0, "mma takes 16 rows at a time");
    uint32_t row = right.at(lane_id() % 16, lane_id() / 16 * 8).address, last = right.at(lane_id() % 16, 8 * (N - 1)).address;
#pragma unroll
    for (int k = 0; k < K / 16; k++) {
        uint32_t a[M][4];
        left.get(k, a);
#pragma unroll
        for (int n = 0; n + 1 < N; n += 2) {
            uint32_t b[4];
            load_matrices_transposed(b, row + 16 * k * right.ROW_BYTES + 16 * n);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_k16(sum[m][n], a[m], b);
                mma_k16(sum[m][n + 1], a[m], b + 2);
            }
        }
        if constexpr (N % 2 == 1) {
            uint32_t b[2];
            load_two_matrices_transposed(b, last + 16 * k * right.ROW_BYTES);
#pragma unroll
            for (int m = 0; m < M; m++) mma_k16(sum[m][N - 1], a[m], b);
        }
    }
}

template <int K, int M, int N, class Left, uint32_t COLUMNS>
static __device__ __forceinline__ void by_rows(float (&sum)[M][N][4], const Left &left, Tile<float, COLUMNS> right) {
    uint32_t row = right.at(fragment_column(), 0).address;
#pragma unroll 2
    for (int k = 0; k < K / 4; k++) {
        float a[M][2][4];
        left.get(k, a);
#pragma unroll
        for (int n = 0; n < N; n++) {
            float b[2][4];
            load_four(b[0], row + 8 * n * right.ROW_BYTES + 16 * k);
            load_four(b[1], row + (8 * n + 1) * right.ROW_BYTES + 16 * k);
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int i = 0; i < 16; i++) sum[m][n][i / 4] = fmaf(a[m][i / 8][i % 4], b[i / 4 % 2][i % 4], sum[m][n][i / 4]);
            }
        }
    }
}

template <int K, int M, int N, class Left, uint32_t COLUMNS>
static __device__ __forceinline__ void by_columns(float (&sum)[M][N][4], const Left &left, Tile<float, COLUMNS> right) {
    uint32_t row = right.at(0, fragment_column()).address;
#pragma unroll
    for (int k = 0; k < K / 4; k++) {
        float a[M][2][4];
        left.get(k, a);
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int n = 0; n < N; n++) {
                float2 b = load_pair(row + (4 * k + i) * right.ROW_BYTES + 32 * n);
#pragma unroll
                for (int m = 0; m < M; m++) {
                    sum[m][n][0] = fmaf(a[m][0][i], b.x, sum[m][n][0]);
                    sum[m][n][1] = fmaf(a[m][0][i], b.y, sum[m][n][1]);
                    sum[m][n][2] = fmaf(a[m][1][i], b.x, sum[m][n][2]);
                    sum[m][n][3] = fmaf(a[m][1][i], b.y, sum[m][n][3]);
                }
            }
        }
    }
}

} // namespace attention
