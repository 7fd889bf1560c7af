// f32 numbers as sums of bf16 numbers, so that tensor cores multiply them without rounding: a product of two bf16 is exact in f32. Two
// parts hold 16 bits of a number, three all 24. What an mma wants of which lane: see tensor_core.cuh.
#pragma once
#include <type_traits>

#include "common.cuh"
#include "tensor_core.cuh"

/// x as a value that the compiler knows nothing of: it is then kept, and not computed again in each turn of a loop.
static __device__ __forceinline__ uint32_t kept(uint32_t x) {
    asm volatile("" : "+r"(x));
    return x;
}

/// Pairs of bf16 (x low) that add up to (x, y), the largest first.
template <uint32_t PARTS> static __device__ __forceinline__ void split(float x, float y, uint32_t (&part)[PARTS]) {
#pragma unroll
    for (uint32_t i = 0; i < PARTS; i++) {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(part[i]) : "f"(y), "f"(x));
        if (i + 1 == PARTS) break;
        x -= __uint_as_float(part[i] << 16);
        y -= __uint_as_float(part[i] & 0xFFFF0000u);
    }
}

/// A fragment of a left factor (16 rows of 16 k), in parts.
template <uint32_t PARTS> struct Left {
    uint32_t part[PARTS][4];

    __device__ __forceinline__ void set(uint32_t i, float x, float y) {
        uint32_t parts[PARTS];
        split(x, y, parts);
#pragma unroll
        for (uint32_t p = 0; p < PARTS; p++) part[p][i] = parts[p];
    }

    /// From (row, k) of rows of STRIDE floats in shared memory. STRIDE % 32 = 8 avoids conflicts.
    template <uint32_t STRIDE> __device__ __forceinline__ void load(const float *tile, uint32_t row, uint32_t k) {
        const float *from = tile + (row + threadIdx.x % 32 / 4) * STRIDE + k + threadIdx.x % 4 * 2;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            float2 v = *reinterpret_cast<const float2 *>(from + i % 2 * 8 * STRIDE + i / 2 * 8);
            set(i, v.x, v.y);
        }
    }

    /// From two neighbouring mma results, 16 rows by 8 and 8 columns.
    __device__ __forceinline__ void take(const float (&low)[4], const float (&high)[4]) {
        set(0, low[0], low[1]);
        set(1, low[2], low[3]);
        set(2, high[0], high[1]);
        set(3, high[2], high[3]);
    }
};

/// A fragment of a right factor (16 k of 8 columns), in parts.
template <uint32_t PARTS> struct Right {
    uint32_t part[PARTS][2];

    __device__ __forceinline__ void set(uint32_t i, float x, float y) {
        uint32_t parts[PARTS];
        split(x, y, parts);
#pragma unroll
        for (uint32_t p = 0; p < PARTS; p++) part[p][i] = parts[p];
    }

    /// From (column, k), as Left.
    template <uint32_t STRIDE> __device__ __forceinline__ void load(const float *tile, uint32_t column, uint32_t k) {
        const float *from = tile + (column + threadIdx.x % 32 / 4) * STRIDE + k + threadIdx.x % 4 * 2;
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            float2 v = *reinterpret_cast<const float2 *>(from + 8 * i);
            set(i, v.x, v.y);
        }
    }
};

/// d += a·b up to products below the last part of the longer factor; the smallest first.
template <uint32_t A, uint32_t B> static __device__ __forceinline__ void multiply(float (&d)[4], const Left<A> &a, const Right<B> &b) {
    constexpr uint32_t ORDER = A > B ? A : B;
#pragma unroll
    for (uint32_t order = ORDER; order-- > 0;) {
#pragma unroll
        for (uint32_t i = 0; i < A; i++) {
            if (order >= i && order - i < B) mma_bf16(d, a.part[i], b.part[order - i]);
        }
    }
}

/// A symmetric matrix of SIZE columns as the right factor, split once and kept in shared memory in the order in which lanes want it.
template <uint32_t SIZE, uint32_t PARTS> struct SymmetricRight {
    static_assert(PARTS <= 3, "parts fit 16 bytes");
    using Packed = std::conditional_t<(PARTS > 2), uint4, uint2>;
    static constexpr uint32_t TILES = SIZE / 8 * (SIZE / 8);
    Packed tiles[TILES][32];

    /// Takes the elements (row, column) and (row, column + 1) of tile (row / 8, column / 8), which are those of this lane.
    __device__ __forceinline__ void put(uint32_t tile, float x, float y) {
        uint32_t part[PARTS];
        split(x, y, part);
        if constexpr (PARTS == 3) {
            tiles[tile][threadIdx.x % 32] = make_uint4(part[0], part[1], part[2], 0);
        } else {
            tiles[tile][threadIdx.x % 32] = make_uint2(part[0], part[1]);
        }
    }

    /// The fragment of columns 8·n and following at k. (Its columns are the matrix's rows.)
    __device__ __forceinline__ Right<PARTS> get(uint32_t n, uint32_t k) const {
        Right<PARTS> right;
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            Packed packed = tiles[n * (SIZE / 8) + k / 8 + i][threadIdx.x % 32];
            right.part[0][i] = packed.x;
            right.part[1][i] = packed.y;
            if constexpr (PARTS == 3) right.part[2][i] = packed.z;
        }
        return right;
    }
};

/// The byte of a 16-byte chunk of a line of bf16 whose LINE bytes (64 or 128) are read by columns: eight lines of a chunk do not conflict.
template <uint32_t LINE> static __device__ __forceinline__ uint32_t line_offset(uint32_t line, uint32_t chunk) {
    static_assert(LINE == 64 || LINE == 128, "a line of four or eight chunks");
    return line * LINE + (chunk ^ (LINE == 64 ? line / 2 % 4 : line % 8)) * 16;
}

/// Where a lane's line of load_columns lies: of 16 lines from `line` on, which are k, at 16 columns from `column` on.
template <uint32_t LINE> static __device__ __forceinline__ uint32_t columns_offset(uint32_t line, uint32_t column) {
    uint32_t lane = threadIdx.x % 32;
    return line_offset<LINE>(line + lane / 16 * 8 + lane % 8, column / 8 + lane / 8 % 2);
}

/// Two fragments at 16 columns of 16 lines of bf16, which are k: one of a left factor whose rows are the columns, m; or two of a right
/// factor, {m[0], m[2]} and {m[1], m[3]}.
template <uint32_t LINE> static __device__ __forceinline__ void load_columns(uint32_t (&m)[4], uint32_t lines, uint32_t line, uint32_t column) {
    load_transposed_at<0>(m, lines + columns_offset<LINE>(line, column));
}
