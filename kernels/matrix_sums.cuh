// A warp's sums of a matrix kernel's tile: fragments read from slabs, what is multiplied and added in registers, on tensor cores or exactly, and how
// the sums are laid into shared memory. matrix_tile.cuh tells how they are used.
#pragma once
#include "matrix_slab.cuh"

/// The sums of a warp in shared memory: 64 rows of 256 bytes. Element (row, column), column = 8·block + 4·half + …, lies at chunk
/// 8·half + (block ^ key). Free of conflicts are: stores of 8 bytes from an mma fragment (4 neighbouring rows, or rows 4 apart, of one block);
/// of 16 bytes from two such rows of four blocks; of 4 bytes from four rows of one block; and reads of 4 or 8 neighbouring elements along rows.
struct Staged {
    static constexpr uint32_t BYTES = 64 * 256;

    static __device__ __forceinline__ uint32_t offset(uint32_t row, uint32_t column) {
        uint32_t mixed = row ^ row / 4, half = column / 4 % 2;
        uint32_t key = mixed % 2 * 4 + mixed / 2 % 2 ^ half * 6;
        return row * 256 + (half * 8 + (column / 8 ^ key)) * 16 + column % 4 * 4;
    }
};

/// Reads an operand's fragments from its slab for the tensor cores: ROWS (64 or 32) rows from `row`, at the steps of warp `k`.
template <class Tile, class Slab, bool IS_A> struct FragmentReader {
    static constexpr uint32_t ROWS = IS_A ? Tile::WARP_ROWS : Tile::WARP_COLUMNS;
    /// ldmatrix transposes 16-bit elements only. Where TF32 needs it, float4 loads give a lane four neighbouring rows, and its rows of the
    /// mma are these: row 8·i + g of the mma's is row 32·(i / 4) + 4·g + i % 4 of the operand.
    static constexpr bool IN_FOURS = !Slab::K_CONTIGUOUS && sizeof(typename Slab::T) == 4;
    static constexpr uint32_t ADDRESSES = Slab::K_CONTIGUOUS ? Tile::WARP_STEPS : IN_FOURS ? 1 : ROWS / 16;
    uint32_t address[ADDRESSES];

    __device__ __forceinline__ FragmentReader(uint32_t slab, uint32_t row, uint32_t warp_k) {
        uint32_t lane = threadIdx.x % 32, k = warp_k * Tile::STEP;
        if constexpr (IN_FOURS) {
            address[0] = slab + Slab::offset(row + lane / 4 * 4, k + lane % 4);
            keep(address[0]);
        } else {
            // The second matrix that ldmatrix loads is the mma's for the next rows (A) or the next k (B).
            uint32_t row8 = IS_A ? lane / 8 % 2 : lane / 16, k8 = IS_A ? lane / 16 : lane / 8 % 2;
            uint32_t first = Slab::offset(row + row8 * 8 + (Slab::K_CONTIGUOUS ? lane % 8 : 0),
                                          k + k8 * Slab::N + (Slab::K_CONTIGUOUS ? 0 : lane % 8));
            for_each<ADDRESSES>([&](auto i) {
                address[i] = slab + (first ^ i * 32 * (Slab::K_CONTIGUOUS ? Tile::WARPS_K : 1));
                keep(address[i]);
            });
        }
    }

    /// mma[i]: rows 8·i … of the mma, the first and the second half of the step's k.
    template <uint32_t STAGE, uint32_t STEP> __device__ __forceinline__ void read(uint32_t (&mma)[ROWS / 8][2], uint32_t at) const {
        constexpr uint32_t DEEP = STEP * Tile::WARPS_K * Tile::STEP * Slab::LINE;
        if constexpr (IN_FOURS) {
            for_each<ROWS / 32>([&](auto block) {
                for_each<2>([&](auto half) {
                    float4 v = load_shared<STAGE + DEEP + half.value * 4 * Slab::LINE + block.value * 128>(address[0] + at);
                    mma[4 * block][half] = to_tf32(v.x);
                    mma[4 * block + 1][half] = to_tf32(v.y);
                    mma[4 * block + 2][half] = to_tf32(v.z);
                    mma[4 * block + 3][half] = to_tf32(v.w);
                });
            });
        } else {
            for_each<ROWS / 16>([&](auto i) {
                uint32_t m[4];
                if constexpr (Slab::K_CONTIGUOUS) {
                    load_matrices_at<STAGE + i.value * 16 * Slab::LINE>(m, address[STEP] + at);
                } else {
                    load_transposed_at<STAGE + DEEP>(m, address[i] + at);
                }
                for (uint32_t j = 0; j < 4; j++) {
                    if constexpr (sizeof(typename Slab::T) == 4) m[j] = to_tf32(__uint_as_float(m[j]));
                    mma[2 * i + (IS_A ? j % 2 : j / 2)][IS_A ? j / 2 : j % 2] = m[j];
                }
            });
        }
    }

    /// The operand's row that is row `g` of the mma's i-th eight.
    static __device__ __forceinline__ uint32_t row(uint32_t i, uint32_t g) {
        return IN_FOURS ? i / 4 * 32 + g * 4 + i % 4 : i * 8 + g;
    }
};

/// Where a row's sum lies among those of a tile: lanes write rows 32 apart, 8 neighbours or 8 in steps of 4 (TF32), and must not conflict.
static constexpr __device__ __forceinline__ uint32_t row_sum_place(uint32_t row) { return row + row / 32 * 9; }

/// A warp's sums on the tensor cores, of A·Bᵀ and, if wanted, of A's rows.
template <class Tile, class SlabA, class SlabB> struct TensorSums {
    using Rows = FragmentReader<Tile, SlabA, true>;
    using Columns = FragmentReader<Tile, SlabB, false>;
    using RowSums = float[4];
    Rows a;
    Columns b;
    float sum[Rows::ROWS / 16][Columns::ROWS / 8][4] = {};

    __device__ __forceinline__ TensorSums(uint32_t shared)
        : a(shared, Tile::warp_row(), Tile::warp_k()), b(shared + SlabA::BYTES, Tile::warp_column(), Tile::warp_k()) {}

    template <uint32_t STAGE, bool ROW_SUMS> __device__ __forceinline__ void add(RowSums &row_sum, bool sum_rows, uint32_t at) {
        for_each<Tile::WARP_STEPS>([&](auto step) {
            uint32_t left[Rows::ROWS / 8][2], right[Columns::ROWS / 8][2];
            a.template read<STAGE, step.value>(left, at);
            b.template read<STAGE, step.value>(right, at);
            for (uint32_t i = 0; i < Rows::ROWS / 16; i++) {
                uint32_t m[4] = {left[2 * i][0], left[2 * i + 1][0], left[2 * i][1], left[2 * i + 1][1]};
                for (uint32_t j = 0; j < Columns::ROWS / 8; j++) multiply(sum[i][j], m, right[j]);
            }
            if constexpr (ROW_SUMS) {
                if (sum_rows) add_rows(row_sum, left);
            }
        });
    }

    static __device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        if constexpr (sizeof(typename SlabA::T) == 4) {
            mma_tf32(sum, a, b);
        } else {
            mma_bf16(sum, a, b);
        }
    }

    /// By a product of the i-th 16 rows with ones in column i of eight. (1.0 twice as bf16, once as TF32.)
    static __device__ __forceinline__ void add_rows(RowSums &row_sum, const uint32_t (&left)[Rows::ROWS / 8][2]) {
        constexpr uint32_t ONE = sizeof(typename SlabA::T) == 4 ? 0x3F800000 : 0x3F803F80;
        for (uint32_t i = 0; i < Rows::ROWS / 16; i++) {
            uint32_t m[4] = {left[2 * i][0], left[2 * i + 1][0], left[2 * i][1], left[2 * i + 1][1]};
            uint32_t one = threadIdx.x % 32 / 4 == i ? ONE : 0;
            const uint32_t ones[2] = {one, one};
            multiply(row_sum, m, ones);
        }
    }

    __device__ __forceinline__ void stage(uint32_t warp) const {
        uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        for (uint32_t i = 0; i < Rows::ROWS / 8; i++) {
            uint32_t row = Rows::row(i, g);
            if constexpr (Columns::IN_FOURS) {
                for (uint32_t j = 0; j < Columns::ROWS / 8; j += 4) {
                    for (uint32_t e = 0; e < 2; e++) {
                        const float (*s)[4] = &sum[i / 2][j];
                        uint32_t at = i % 2 * 2 + e;
                        store_shared(warp + Staged::offset(row, Columns::row(j, 2 * t + e)), s[0][at], s[1][at], s[2][at], s[3][at]);
                    }
                }
            } else {
                for (uint32_t j = 0; j < Columns::ROWS / 8; j++) {
                    const float *s = &sum[i / 2][j][i % 2 * 2];
                    store_shared_pair(warp + Staged::offset(row, j * 8 + 2 * t), s[0], s[1]);
                }
            }
        }
    }

    static __device__ __forceinline__ void stage_rows(float *to, const RowSums &row_sum) {
        uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        if (t >= 2) return;
        for (uint32_t i = 0; i < 4; i++) to[row_sum_place(Rows::row(4 * t + 2 * (i % 2) + i / 2, g))] = row_sum[i];
    }
};

/// A warp's sums of exact f32: a lane has 16 rows, every fourth or four times four, and every eighth column or four at a time.
template <class Tile, class SlabA, class SlabB> struct ExactSums {
    static constexpr uint32_t ROWS = Tile::WARP_ROWS / 4, COLUMNS = Tile::WARP_COLUMNS / 8;
    using RowSums = float[ROWS];
    uint32_t a, b;
    float sum[ROWS][COLUMNS] = {};

    __device__ __forceinline__ ExactSums(uint32_t shared) : a(shared), b(shared + SlabA::BYTES) {}

    /// The i-th of the rows (columns) of a lane that is the l-th of `lanes` side by side.
    template <class Slab> static __device__ __forceinline__ uint32_t row(uint32_t lanes, uint32_t l, uint32_t i) {
        return Slab::K_CONTIGUOUS ? l + lanes * i : i / 4 * lanes * 4 + l * 4 + i % 4;
    }

    /// v[i][e]: the FIRST + i-th of a lane's rows, at the e-th of four k. `line` is where the slab begins (K contiguous) or its line of the
    /// first of these k, `first` where in it the first chunk lies. What offset() says of the others, in constants as far as may be.
    template <class Slab, uint32_t AT, uint32_t FIRST, uint32_t LANES>
    static __device__ __forceinline__ void read(float (&v)[4][4], uint32_t line, uint32_t first) {
        for_each<4>([&](auto i) {
            constexpr bool ROWS = Slab::K_CONTIGUOUS;
            constexpr uint32_t R = FIRST + i.value, KEY = Slab::key_of_four(i.value);
            constexpr uint32_t FLIP = ROWS ? R * LANES / 2 % 4 : KEY % LANES;
            constexpr uint32_t TO = ROWS ? R * LANES * Slab::LINE : i.value * Slab::LINE + (FIRST / 4 * LANES ^ KEY / LANES * LANES) * 16;
            float4 c = load_shared<AT + TO>(line + (first ^ FLIP * 16));
            const float e[4] = {c.x, c.y, c.z, c.w};
            for (uint32_t j = 0; j < 4; j++) v[ROWS ? i.value : j][ROWS ? j : i.value] = e[j];
        });
    }

    template <uint32_t AT, bool ROW_SUMS> __device__ __forceinline__ void add(RowSums &row_sum, bool sum_rows, uint32_t at) {
        uint32_t lane = threadIdx.x % 32;
        uint32_t first_a = SlabA::offset(Tile::warp_row() + row<SlabA>(4, lane / 8, 0), 0);
        uint32_t first_b = SlabB::offset(Tile::warp_column() + row<SlabB>(8, lane % 8, 0), 0);
#pragma unroll 1
        for (uint32_t k = Tile::warp_k() * Tile::STEP; k < Tile::K; k += k % 8 == 0 ? 4 : Tile::WARPS_K * Tile::STEP - 4) {
            uint32_t line_a = a + at + (SlabA::K_CONTIGUOUS ? 0 : k * SlabA::LINE), from_a = first_a ^ (SlabA::K_CONTIGUOUS ? k * 4 : 0);
            uint32_t line_b = b + at + (SlabB::K_CONTIGUOUS ? 0 : k * SlabB::LINE), from_b = first_b ^ (SlabB::K_CONTIGUOUS ? k * 4 : 0);
            float right[COLUMNS][4];
            for_each<COLUMNS / 4>([&](auto j) {
                float (&four)[4][4] = *reinterpret_cast<float (*)[4][4]>(&right[4 * j]);
                read<SlabB, AT, 4 * j.value, 8>(four, line_b, from_b);
            });
            for_each<ROWS / 4>([&](auto quad) {
                float left[4][4];
                read<SlabA, AT, 4 * quad.value, 4>(left, line_a, from_a);
                for (uint32_t i = 0; i < 4; i++) {
                    for (uint32_t e = 0; e < 4; e++) {
                        for (uint32_t j = 0; j < COLUMNS; j++) sum[4 * quad + i][j] = fmaf(left[i][e], right[j][e], sum[4 * quad + i][j]);
                    }
                    if constexpr (ROW_SUMS) {
                        if (sum_rows) row_sum[4 * quad + i] += left[i][0] + left[i][1] + left[i][2] + left[i][3];
                    }
                }
            });
        }
    }

    __device__ __forceinline__ void stage(uint32_t warp) const {
        uint32_t lane = threadIdx.x % 32;
        for (uint32_t i = 0; i < ROWS; i++) {
            uint32_t at = row<SlabA>(4, lane / 8, i);
            if constexpr (SlabB::K_CONTIGUOUS) {
                for (uint32_t j = 0; j < COLUMNS; j++) store_shared(warp + Staged::offset(at, row<SlabB>(8, lane % 8, j)), sum[i][j]);
            } else {
                for (uint32_t j = 0; j < COLUMNS; j += 4) {
                    const float *s = &sum[i][j];
                    store_shared(warp + Staged::offset(at, row<SlabB>(8, lane % 8, j)), s[0], s[1], s[2], s[3]);
                }
            }
        }
    }

    static __device__ __forceinline__ void stage_rows(float *to, const RowSums &row_sum) {
        if (threadIdx.x % 8 != 0) return;
        for (uint32_t i = 0; i < ROWS; i++) to[row_sum_place(row<SlabA>(4, threadIdx.x % 32 / 8, i))] = row_sum[i];
    }
};
