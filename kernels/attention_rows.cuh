// A head's rows between device memory and tiles of shared memory, 16 bytes at a time.
#pragma once
#include "attention_tile.cuh"

namespace attention {

/// A head's rows in device memory: `rows` of them from `first` on, `stride` elements apart.
template <class T> struct HeadRows {
    T *first;
    uint32_t rows, stride;

    /// The rows from `row` on; none where there are fewer. What is absent stays so.
    __device__ __forceinline__ HeadRows from(uint32_t row) const {
        return {first ? first + (size_t)row * stride : nullptr, rows - min(row, rows), stride};
    }

    /// The same head of a later entry of the batch.
    __device__ __forceinline__ HeadRows batches_later(uint32_t count) const {
        return {first ? first + (size_t)count * rows * stride : nullptr, rows, stride};
    }
};

/// This block's head of a (batch, rows, heads, head_dim) tensor.
template <class T>
static __device__ __forceinline__ HeadRows<T> head_rows(uint64_t address, uint32_t rows, uint32_t heads, uint32_t head_dim) {
    uint32_t stride = heads * head_dim;
    T *first = at<T>(address);
    return {first ? first + (size_t)blockIdx.z * rows * stride + blockIdx.y * head_dim : nullptr, rows, stride};
}

/// This block's head of a (batch, heads, rows) tensor.
template <class T> static __device__ __forceinline__ T *head_scalars(uint64_t address, uint32_t rows, uint32_t heads) {
    return at<T>(address) + ((size_t)blockIdx.z * heads + blockIdx.y) * rows;
}

/// How the threads of a block share rows of D elements: a row's chunks go to neighbouring lanes. A warp has several rows where each is
/// whole sectors, and one where rows end within a sector (72 channels of bf16): then no request touches more sectors than it must.
template <class T, int D> struct RowShare {
    static constexpr uint32_t N = Chunk<T>::N, CHUNKS = D / N, LANES = CHUNKS == 8 || CHUNKS == 16 ? CHUNKS : 32;
    static_assert(D % N == 0 && CHUNKS <= 32, "a warp takes a row at least");

    uint32_t row = threadIdx.x / LANES, column = threadIdx.x % LANES * N;

    __device__ __forceinline__ bool idle() const { return LANES > CHUNKS && column >= D; }
};

/// Starts copying ROWS rows; rows and channels that do not exist become 0.
template <uint32_t THREADS, uint32_t ROWS, class T, uint32_t D>
static __device__ __forceinline__ void copy_rows(Tile<T, D> to, HeadRows<const T> from, uint32_t head_dim) {
    constexpr uint32_t STEP = THREADS / RowShare<T, D>::LANES;
    RowShare<T, D> mine;
    to = to.at(mine.row, mine.column);
    const T *at = from.first + (size_t)mine.row * from.stride + mine.column;
    size_t step = (size_t)STEP * from.stride;
    int32_t left = mine.column < head_dim ? (int32_t)(from.rows - mine.row) : 0;
#pragma unroll
    for (uint32_t row = 0; row < ROWS; row += STEP, at += step) {
        bool active = !mine.idle() && (ROWS % STEP == 0 || mine.row + row < ROWS);
        copy_chunk(to.at(row, 0).address, at, (int32_t)row < left, active);
    }
}

/// Writes ROWS rows of a tile that this warp has made.
template <uint32_t ROWS, class T, uint32_t D>
static __device__ __forceinline__ void write_rows(HeadRows<T> to, Tile<T, D> from, uint32_t head_dim) {
    constexpr uint32_t LANES = RowShare<T, D>::LANES;
    uint32_t column = lane_id() % LANES * Chunk<T>::N;
    __syncwarp();
#pragma unroll 4
    for (uint32_t row = lane_id() / LANES; row < ROWS; row += 32 / LANES) {
        if (row >= to.rows || column >= head_dim) continue;
        __stwb(reinterpret_cast<uint4 *>(to.first + (size_t)row * to.stride + column), load_chunk(from.at(row, column).address));
    }
}

/// Writes sums (M·16, N·8), made from tiles of T, to rows of f32 in device memory, from channel `column` on up to `end`: a quad's pairs are a whole sector.
template <class T, int M, int N>
static __device__ __forceinline__ void write_fragments(HeadRows<float> to, const float (&sum)[M][N][4], uint32_t column, uint32_t end) {
    uint32_t row = fragment_row<T>();
    column += fragment_column();
    float *at = to.first + (size_t)row * to.stride + column;
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
#pragma unroll
        for (int n = 0; n < N; n++) {
            if (row + 8 * i >= to.rows || column + 8 * n >= end) continue;
            // Not an assignment: nvcc 13 splits some of them.
            asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(at + (size_t)(8 * i) * to.stride + 8 * n), "f"(sum[i / 2][n][i % 2 * 2]),
                         "f"(sum[i / 2][n][i % 2 * 2 + 1])
                         : "memory");
        }
    }
}

/// Stores sums (M·16, N·8) to a tile as T.
template <int M, int N, class T, uint32_t D> static __device__ __forceinline__ void store_sums(Tile<T, D> to, const float (&sum)[M][N][4]) {
    to = to.at(fragment_row<T>(), fragment_column());
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
#pragma unroll
        for (int n = 0; n < N; n++) store_pair(to.at(8 * i, 8 * n), sum[i / 2][n][i % 2 * 2], sum[i / 2][n][i % 2 * 2 + 1]);
    }
}

/// Writes a warp's sums to device memory, bf16 by way of rows of a tile that only this warp uses.
template <int M, int N, uint32_t D>
static __device__ __forceinline__ void write_result(HeadRows<float> to, const float (&sum)[M][N][4], Tile<float, D>, uint32_t head_dim) {
    write_fragments<float>(to, sum, 0, head_dim);
}
template <int M, int N, uint32_t D>
static __device__ __forceinline__ void write_result(HeadRows<bf16> to, const float (&sum)[M][N][4], Tile<bf16, D> by, uint32_t head_dim) {
    store_sums(by, sum);
    write_rows<16 * M>(to, by, head_dim);
}

} // namespace attention
