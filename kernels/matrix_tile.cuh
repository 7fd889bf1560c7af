// The main loop of every matrix kernel: a tile of A·Bᵀ by a block of four warps. A has the tile's rows, B its columns, both run along K.
// bf16 and TF32 on the tensor cores, f32 exactly by fused multiply-adds; f32 sums in all three.
//
// How to use it
//   1. Choose a `Tile<Math, ROWS, COLUMNS>`: 128×128 (not in exact f32), 128×64, 64×128, 64×64 or 128×32; Math is F32, Tf32 or Bf16.
//   2. Give each operand a *loader*, which knows where in device memory the slabs come from. K goes by in slabs of Tile::K; of each slab
//      a thread copies the 16-byte chunks i < Slab::CHUNKS, at Slab::row(i) and Slab::k(i) (functions of i and threadIdx.x). K_CONTIGUOUS: a
//      chunk is 16 bytes along K of one row; otherwise along the rows (the columns, for B) at one k. Slab::ACROSS chunks in a row lie on one
//      line, 16·Slab::LANES bytes apart.
//          struct Loader {
//              using Slab = …;                     // Tile::RowSlab<K_CONTIGUOUS> for A, Tile::ColumnSlab<K_CONTIGUOUS> for B
//              static constexpr bool ASYNC = true;
//              Source source(i, left);             // where chunk i of the current slab lies, or that it is zero, as it is at k ≥ left
//              void advance();                     // on to the next slab
//              // The same for slabs that are all there, in rounds of one or several:
//              static constexpr uint32_t RUN = …;  // neighbouring chunks of a line that share a source: Slab::ACROSS or 1
//              bool whole();                       // whether the tile has such slabs: not needed where all are
//              void begin_whole(slabs);            // so many follow, before any other: nor is this
//              Source run(j, slab);                // where run j of the round's current slab lies
//              void advance(slab, round);          // on from this slab of a round of so many
//              void end_whole(slab);               // the round ended before this slab, and another follows
//          };
//      i, j, slab and round are `Constant`s (which convert to uint32_t). A's loader goes first, but both copy before either advances. Where 16
//      bytes are not aligned, ASYNC is false and `uint4 gather(i, left)` gives the elements themselves, zeros at k ≥ left.
//      Rows that do not exist may hold anything: they end up in rows of the tile that nobody stores. `MatrixLoader` below, for plain
//      matrices, is the one to imitate.
//   3. `Product<Tile, A, B>::compute(a, b, depth, shared)` sums A·Bᵀ over the next `depth` k and lays the sums into `shared`: MATRIX_SHARED
//      bytes of dynamic shared memory, aligned to 128.
//   4. `for_each_chunk<Tile, N>(shared, f)` calls f(row, column, float (&v)[N]) for every N (4 or 8) neighbouring sums, so that warps
//      store whole sectors. A thread's column is always the same one, so that f may keep per-column values (bias) or sums (statistics) in
//      registers. `load_chunk` reads any chunk, for epilogues that combine columns.
//   5. Launch `VF_EXPORT_MATRIX(kernel, Params)` with MATRIX_THREADS threads.
//
// How it works
//   Warps    each has 64×64 sums (64×32 in exact f32 and in tiles of 32 columns): 32 mma for 8 ldmatrix.x4. Where a tile has fewer than
//            four of these, warps take turns along K, and `load_chunk` adds their sums in a fixed order.
//   Slabs    3 to 5 stages of cp.async; one barrier a slab. Rounds of as many slabs as there are stages are unrolled, so that addresses in
//            shared memory are a register and a constant, and so are those in device memory along lines: whole rounds in a loop without
//            conditions, then what is left in one that has them.
//   Swizzle  see Slab::offset and Staged::offset: neither the copies, nor ldmatrix, nor the loads and stores of f32 conflict.
//   TF32     factors are rounded to nearest, ties away.
//   Count    of the PTX instructions that a warp executes for more of K, mma are 68 % (A·Bᵀ with K contiguous, or in A only) in tiles of
//            128×128 bf16. (The count of a long K less that of a short one.)
#pragma once
#include <type_traits>
#include <utility>

#include "common.cuh"
#include "matrix_tile.h"
#include "tensor_core.cuh"

/// What a kernel computes in: the last part of its entry's name.
struct F32 {
    using T = float;
    static constexpr bool TENSOR = false;
};
struct Tf32 {
    using T = float;
    static constexpr bool TENSOR = true;
};
struct Bf16 {
    using T = __nv_bfloat16;
    static constexpr bool TENSOR = true;
};

/// Exports the template `kernel<Math>(Params)` as `<kernel>_f32`, `<kernel>_tf32` and `<kernel>_bf16`; two blocks fit a multiprocessor.
#define VF_EXPORT_MATRIX(kernel, Params)                                                                                            \
    extern "C" __global__ void __launch_bounds__(MATRIX_THREADS, 2) kernel##_f32(const __grid_constant__ Params p) { kernel<F32>(p); } \
    extern "C" __global__ void __launch_bounds__(MATRIX_THREADS, 2) kernel##_tf32(const __grid_constant__ Params p) {               \
        kernel<Tf32>(p);                                                                                                            \
    }                                                                                                                               \
    extern "C" __global__ void __launch_bounds__(MATRIX_THREADS, 2) kernel##_bf16(const __grid_constant__ Params p) {               \
        kernel<Bf16>(p);                                                                                                            \
    }

/// Tells the compiler to keep a value in a register, and not to compute it again where it is used.
static __device__ __forceinline__ void keep(uint32_t &x) { asm volatile("" : "+r"(x)); }
static __device__ __forceinline__ void keep(size_t &x) { asm volatile("" : "+l"(x)); }

/// A number that inline assembly may use as an immediate.
template <uint32_t V> struct Constant {
    static constexpr uint32_t value = V;
    __device__ constexpr operator uint32_t() const { return V; }
};

template <class F, size_t... I> static __device__ __forceinline__ bool all_of(F &&f, std::index_sequence<I...>) {
    return (f(Constant<I>()) && ...);
}

/// f of 0, 1, … N − 1 as constants, as long as it returns true. Whether it always did.
template <uint32_t N, class F> static __device__ __forceinline__ bool while_true(F &&f) {
    return all_of(f, std::make_index_sequence<N>());
}

template <class F, size_t... I> static __device__ __forceinline__ void each_of(F &&f, std::index_sequence<I...>) {
    (f(Constant<I>()), ...);
}

/// f of 0, 1, … N − 1 as constants.
template <uint32_t N, class F> static __device__ __forceinline__ void for_each(F &&f) { each_of(f, std::make_index_sequence<N>()); }

/// Where a chunk comes from; zero where it is not `valid` (`from` is not read then).
struct Source {
    const void *from;
    bool valid;
};

/// Chunks that are always there, from AT bytes beyond `from` on.
template <uint32_t AT> struct SourceAt {
    const void *from;
};

/// Chunks from AT bytes beyond `from` on, or zeros where not at < end.
template <uint32_t AT> struct OptionalSourceAt {
    const void *from;
    uint32_t at, end;
};

/// A slab of an operand in shared memory: ROWS rows (columns, for B) by K. K_CONTIGUOUS: lines [row][k], otherwise [k][row].
template <class T_, uint32_t ROWS_, uint32_t K_, bool K_CONTIGUOUS_> struct Slab {
    using T = T_;
    static constexpr uint32_t ROWS = ROWS_, K = K_;
    static constexpr bool K_CONTIGUOUS = K_CONTIGUOUS_;
    /// Elements of a chunk.
    static constexpr uint32_t N = 16 / sizeof(T);
    static constexpr uint32_t LINE = (K_CONTIGUOUS ? K : ROWS) * sizeof(T);
    static constexpr uint32_t BYTES = ROWS * K * sizeof(T);
    /// Chunks that a thread copies.
    static constexpr uint32_t CHUNKS = BYTES / 16 / MATRIX_THREADS;
    static_assert(!K_CONTIGUOUS || LINE == 64 || LINE == 128, "the swizzle of rows knows lines of 64 and of 128 bytes");
    static_assert(K_CONTIGUOUS || LINE >= 64 && LINE <= 512, "the swizzle of columns permutes 4 or 8 chunks");

    /// Threads side by side on a line copy 64 bytes of it, or 128 where lines are few, then the next: a thread's chunks share few addresses.
    static constexpr uint32_t LANES = !K_CONTIGUOUS && K < MATRIX_THREADS / 4 ? 8 : 4;
    /// Chunks of a thread on one line, and its lines, which are `DOWN` apart.
    static constexpr uint32_t ACROSS = LINE / 16 / LANES, LINES = CHUNKS / ACROSS, DOWN = MATRIX_THREADS / LANES;
    /// Of ACROSS places on a line those that the swizzle tells apart; the others are 128 bytes from one of them.
    static constexpr uint32_t ADDRESSES = ACROSS < 8 / LANES ? ACROSS : 8 / LANES;
    static_assert(ACROSS * LINES == CHUNKS && LINES * DOWN == (K_CONTIGUOUS ? ROWS : K), "threads share a slab evenly");

    /// The row of this thread's i-th chunk, or the first of its N rows.
    static __device__ __forceinline__ uint32_t row(uint32_t i) { return K_CONTIGUOUS ? line(i) : across(i); }

    /// The k of this thread's i-th chunk, or the first of its N.
    static __device__ __forceinline__ uint32_t k(uint32_t i) { return K_CONTIGUOUS ? across(i) : line(i); }

    static __device__ __forceinline__ uint32_t line(uint32_t i) { return threadIdx.x / LANES + i / ACROSS * DOWN; }
    static __device__ __forceinline__ uint32_t across(uint32_t i) { return (threadIdx.x % LANES + i % ACROSS * LANES) * N; }

    /// The byte at which the chunk of (row, k) lies. Free of conflicts are: eight rows of one chunk and two rows of four (K contiguous);
    /// eight neighbouring chunks of a k, four of two k, the same chunk of eight k (bf16) and two neighbouring chunks of four k (f32).
    static __device__ __forceinline__ uint32_t offset(uint32_t row, uint32_t k) {
        if constexpr (K_CONTIGUOUS) {
            uint32_t key = LINE == 64 ? row / 2 % 4 : row % 2 * 4 + row / 2 % 4;
            return row * LINE + (k / N ^ key) * 16;
        } else {
            uint32_t key = sizeof(T) == 4 ? key_of_four(k % 4) : LINE == 64 ? k / 2 % 4 : k % 2 * 4 + k / 2 % 4;
            return k * LINE + (row / N ^ key) * 16;
        }
    }

    /// What permutes the chunks of the k-th of four lines of f32.
    static constexpr __device__ __forceinline__ uint32_t key_of_four(uint32_t k) { return k % 2 * 4 + k / 2 * 2; }

    /// How far this thread's i-th chunk lies from its chunk i % ADDRESSES.
    static __device__ constexpr uint32_t step(uint32_t i) { return i / ACROSS * DOWN * LINE + i % ACROSS / ADDRESSES * 128; }
};

/// The shape of a block's tile and of its pipeline. UNROLLED: the loop over K is, over the stages; where it matters less, as in exact f32, it
/// makes a kernel slow to compile.
template <class Math_, uint32_t ROWS_, uint32_t COLUMNS_, bool UNROLLED = Math_::TENSOR> struct Tile {
    using Math = Math_;
    using T = typename Math::T;
    static constexpr uint32_t ROWS = ROWS_, COLUMNS = COLUMNS_;
    static constexpr uint32_t WARP_ROWS = 64, WARP_COLUMNS = COLUMNS < 64 || !Math::TENSOR ? 32 : 64;
    /// Warps along the rows, the columns and K.
    static constexpr uint32_t WARPS_M = ROWS / WARP_ROWS, WARPS_N = COLUMNS / WARP_COLUMNS, WARPS_K = 4 / (WARPS_M * WARPS_N);
    static_assert(WARPS_M * WARPS_N * WARPS_K == 4, "a block has four warps");
    static_assert(COLUMNS % WARP_COLUMNS == 0, "a warp has 64 columns or 32");

    /// Bytes of K in a slab: as many as leave room for three slabs.
    static constexpr uint32_t K_BYTES = ROWS + COLUMNS < 256 ? 128 : 64;
    static constexpr uint32_t K = K_BYTES / sizeof(T);
    static constexpr uint32_t STAGE = (ROWS + COLUMNS) * K_BYTES;
    static constexpr uint32_t STAGES = MATRIX_SHARED / STAGE < 5 ? MATRIX_SHARED / STAGE : 5;
    static_assert(STAGES >= 3, "two slabs must be on their way while one is computed with");
    static constexpr bool HAS_ROUNDS = UNROLLED;

    template <bool K_CONTIGUOUS> using RowSlab = Slab<T, ROWS, K, K_CONTIGUOUS>;
    template <bool K_CONTIGUOUS> using ColumnSlab = Slab<T, COLUMNS, K, K_CONTIGUOUS>;

    /// A step: 16 k of bf16, 8 of f32.
    static constexpr uint32_t STEP = 32 / sizeof(T);
    static constexpr uint32_t WARP_STEPS = K / STEP / WARPS_K;

    static __device__ __forceinline__ uint32_t warp_row() { return threadIdx.x / 32 % WARPS_M * WARP_ROWS; }
    static __device__ __forceinline__ uint32_t warp_column() { return threadIdx.x / 32 / WARPS_M % WARPS_N * WARP_COLUMNS; }
    static __device__ __forceinline__ uint32_t warp_k() { return threadIdx.x / 32 / (WARPS_M * WARPS_N); }
};

/// The loader for a matrix in device memory: (rows, k) with K contiguous, or (k, rows). `stride` elements from line to line; 16-byte
/// aligned.
template <class Slab_> struct MatrixLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t RUN = Slab::ACROSS;
    const unsigned char *from[Slab::LINES];
    size_t step;
    /// From the tile's first row on.
    uint32_t rows;

    /// The slab at (row, k) of a matrix of `rows` rows. Rows past the last repeat it or are zero. Where K is contiguous, the slab's second half
    /// may come from `apart` rows further on.
    __device__ __forceinline__ MatrixLoader(const T *matrix, size_t stride, uint32_t rows, uint32_t row, uint32_t k, uint32_t apart = 0)
        : step(Slab::K_CONTIGUOUS ? Slab::LINE : Slab::K * stride * sizeof(T)), rows(rows - row) {
        if (!Slab::K_CONTIGUOUS) keep(step);
        for_each<Slab::LINES>([&](auto i) {
            uint32_t line = Slab::line(i * Slab::ACROSS);
            const T *at = Slab::K_CONTIGUOUS ? matrix + min(row + line + (line < Slab::ROWS / 2 ? 0 : apart), rows - 1) * stride + k + Slab::k(0)
                                             : matrix + (k + line) * stride + min(row + Slab::row(0), rows - Slab::N);
            from[i] = reinterpret_cast<const unsigned char *>(at);
        });
    }

    template <uint32_t I> __device__ __forceinline__ Source source(Constant<I>, uint32_t left) const {
        constexpr uint32_t ACROSS = I % Slab::ACROSS * Slab::LANES;
        bool exists = Slab::K_CONTIGUOUS || Slab::ACROSS == 1 || Slab::row(I) < rows;
        return {from[I / Slab::ACROSS] + ACROSS * 16, Slab::k(I) < left && exists};
    }

    __device__ __forceinline__ void advance() { for_each<Slab::LINES>([&](auto i) { from[i] += step; }); }

    __device__ __forceinline__ bool whole() const { return Slab::K_CONTIGUOUS || Slab::ACROSS == 1 || Slab::ROWS <= rows; }
    __device__ __forceinline__ void begin_whole(uint32_t) {}

    template <uint32_t SLAB> __device__ __forceinline__ void end_whole(Constant<SLAB>) {
        if (Slab::K_CONTIGUOUS) for_each<Slab::LINES>([&](auto i) { from[i] += SLAB * Slab::LINE; });
    }

    template <uint32_t J, uint32_t SLAB> __device__ __forceinline__ auto run(Constant<J>, Constant<SLAB>) const {
        return SourceAt<Slab::K_CONTIGUOUS ? SLAB * Slab::LINE : 0>{from[J]};
    }

    template <uint32_t SLAB, uint32_t ROUND> __device__ __forceinline__ void advance(Constant<SLAB>, Constant<ROUND>) {
        if (!Slab::K_CONTIGUOUS) {
            advance();
        } else if (SLAB == ROUND - 1) {
            for_each<Slab::LINES>([&](auto i) { from[i] += ROUND * Slab::LINE; });
        }
    }
};

/// An element, or 0 outside: without a branch, at which a warp would come apart that is to multiply together.
static __device__ __forceinline__ float load_if(const float *from, bool inside) {
    float x;
    asm("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %2, 0;\n\tmov.f32 %0, 0f00000000;\n\t@p ld.f32 %0, [%1];\n\t}"
        : "=f"(x)
        : "l"(from), "r"((uint32_t)inside));
    return x;
}

static __device__ __forceinline__ __nv_bfloat16 load_if(const __nv_bfloat16 *from, bool inside) {
    uint16_t x;
    asm("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %2, 0;\n\tmov.u16 %0, 0;\n\t@p ld.u16 %0, [%1];\n\t}"
        : "=h"(x)
        : "l"(from), "r"((uint32_t)inside));
    return __ushort_as_bfloat16(x);
}

/// The same as `MatrixLoader` for lines that are not 16-byte aligned: element by element, and therefore slower.
template <class Slab_> struct RaggedLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = false;
    const T *matrix;
    size_t stride;
    uint32_t rows, row, k, apart;

    __device__ __forceinline__ RaggedLoader(const T *matrix, size_t stride, uint32_t rows, uint32_t row, uint32_t k, uint32_t apart = 0)
        : matrix(matrix), stride(stride), rows(rows), row(row), k(k), apart(apart) {}

    __device__ __forceinline__ uint4 gather(uint32_t i, uint32_t left) const {
        alignas(16) T chunk[Slab::N];
        for (uint32_t e = 0; e < Slab::N; e++) {
            uint32_t r = Slab::row(i) + (Slab::K_CONTIGUOUS ? 0 : e), deep = Slab::k(i) + (Slab::K_CONTIGUOUS ? e : 0);
            r += row + (Slab::K_CONTIGUOUS && r >= Slab::ROWS / 2 ? apart : 0);
            size_t at = Slab::K_CONTIGUOUS ? r * stride + k + deep : (k + deep) * stride + r;
            chunk[e] = load_if(matrix + at, r < rows && deep < left);
        }
        return *reinterpret_cast<const uint4 *>(chunk);
    }

    __device__ __forceinline__ void advance() { k += Slab::K; }
};

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

/// Where the sums of A's rows lie in shared memory, a tile's for each warp along K.
static __device__ __forceinline__ float *row_sums_at(unsigned char *shared) { return reinterpret_cast<float *>(shared + 4 * Staged::BYTES); }

/// A tile of A·Bᵀ: the pipeline over K. With ROW_SUMS it can also sum A's rows. ALL_WHOLE: every slab is. LONG: rounds that do not end have a
/// loop of their own, for which registers must suffice.
template <class Tile, class A, class B, bool ROW_SUMS = false, bool ALL_WHOLE = false, bool LONG = !ROW_SUMS> struct Product {
    using SlabA = typename A::Slab;
    using SlabB = typename B::Slab;
    using Sums = std::conditional_t<Tile::Math::TENSOR, TensorSums<Tile, SlabA, SlabB>, ExactSums<Tile, SlabA, SlabB>>;
    static_assert(SlabA::ROWS == Tile::ROWS && SlabB::ROWS == Tile::COLUMNS, "A's slab has the tile's rows, B's its columns");
    static_assert(4 * Staged::BYTES + Tile::WARPS_K * row_sum_place(Tile::ROWS) * sizeof(float) <= MATRIX_SHARED, "the sums take the slabs' place");

    /// The sums over the k < depth that come next from `a` and `b`, laid into `shared` for `load_chunk` and `row_sum`. Nobody may
    /// still be reading `shared`.
    static __device__ __forceinline__ void compute(A a, B b, uint32_t depth, unsigned char *shared, bool sum_rows = false) {
        constexpr uint32_t AHEAD = Tile::STAGES - 1;
        constexpr bool ASYNC = A::ASYNC && B::ASYNC;
        uint32_t base = shared_address(shared), to_a[SlabA::ADDRESSES], to_b[SlabB::ADDRESSES];
        for_each<SlabA::ADDRESSES>([&](auto i) { to_a[i] = base + SlabA::offset(SlabA::row(i), SlabA::k(i)); });
        for_each<SlabB::ADDRESSES>([&](auto i) { to_b[i] = base + SlabA::BYTES + SlabB::offset(SlabB::row(i), SlabB::k(i)); });
        for (uint32_t &to : to_a) keep(to);
        for (uint32_t &to : to_b) keep(to);
        // Slabs that are still to be used. The last `parts` are not copied as whole ones: one with less than K, or all.
        uint32_t slabs = (depth + Tile::K - 1) / Tile::K, parts = ALL_WHOLE ? 0 : slabs, last = depth - (slabs - 1) * Tile::K;
        if constexpr (ASYNC && !ALL_WHOLE) {
            if (a.whole() && b.whole()) {
                parts = last != Tile::K;
                a.begin_whole(slabs - parts);
                b.begin_whole(slabs - parts);
            }
        }
        // The slab that is to be used AHEAD − sooner slabs from here, the `slab`-th of a round, goes to stage `stage`, `at` bytes on.
        auto fetch = [&](auto stage, auto slab, auto round, uint32_t sooner, uint32_t at) {
            constexpr uint32_t STAGE = stage.value * Tile::STAGE;
            uint32_t left = slabs + sooner;
            if (ASYNC && left > AHEAD + parts) {
                if constexpr (ASYNC) fetch_whole<STAGE>(a, b, slab, round, to_a, to_b, at);
            } else if (!ALL_WHOLE && left > AHEAD) {
                if constexpr (ASYNC && !ALL_WHOLE) {
                    // (Where it is the only one, `slab` is 0.)
                    if (parts == 1) {
                        a.end_whole(slab);
                        b.end_whole(slab);
                    }
                }
                if constexpr (!ALL_WHOLE) fetch_part<STAGE>(a, b, to_a, to_b, at, left == Tile::STAGES ? last : Tile::K);
            }
            commit_copies();
        };
        // The next slab to be used has arrived, and the one before it has been used, whose place is free.
        auto arrived = [] {
            copies_pending<Tile::STAGES - 2>();
            __syncthreads();
        };
        typename Sums::RowSums rows = {};
        if constexpr (Tile::HAS_ROUNDS && ASYNC) {
            for_each<AHEAD>([&](auto stage) { fetch(stage, stage, Constant<AHEAD>(), AHEAD - stage, 0); });
            Sums sums(base);
            if constexpr (LONG) {
#pragma unroll 1
                for (; slabs >= AHEAD + Tile::STAGES + parts; slabs -= Tile::STAGES) {
                    for_each<Tile::STAGES>([&](auto slab) {
                        arrived();
                        fetch_whole<(slab.value + AHEAD) % Tile::STAGES * Tile::STAGE>(a, b, slab, Constant<Tile::STAGES>(), to_a, to_b, 0);
                        commit_copies();
                        sums.template add<slab.value * Tile::STAGE, ROW_SUMS>(rows, sum_rows, 0);
                    });
                }
            }
            while (while_true<Tile::STAGES>([&](auto slab) {
                arrived();
                fetch(Constant<(slab.value + AHEAD) % Tile::STAGES>(), slab, Constant<Tile::STAGES>(), 0, 0);
                sums.template add<slab.value * Tile::STAGE, ROW_SUMS>(rows, sum_rows, 0);
                return --slabs != 0;
            })) {
            }
            lay(sums, rows, shared, sum_rows);
        } else {
#pragma unroll 1
            for (uint32_t stage = 0; stage < AHEAD; stage++) fetch(Constant<0>(), Constant<0>(), Constant<1>(), AHEAD - stage, stage * Tile::STAGE);
            Sums sums(base);
            uint32_t used = 0, fetched = AHEAD * Tile::STAGE;
#pragma unroll 1
            for (; slabs != 0; slabs--) {
                arrived();
                fetch(Constant<0>(), Constant<0>(), Constant<1>(), 0, fetched);
                sums.template add<0, ROW_SUMS>(rows, sum_rows, used);
                fetched = used;
                used = used + Tile::STAGE < Tile::STAGES * Tile::STAGE ? used + Tile::STAGE : 0;
            }
            lay(sums, rows, shared, sum_rows);
        }
    }

  private:
    /// Lays a warp's sums into `shared`.
    static __device__ __forceinline__ void lay(const Sums &sums, const typename Sums::RowSums &rows, unsigned char *shared, bool sum_rows) {
        __syncthreads();
        sums.stage(shared_address(shared) + threadIdx.x / 32 * Staged::BYTES);
        if (ROW_SUMS && sum_rows && Tile::warp_column() == 0) {
            Sums::stage_rows(row_sums_at(shared) + Tile::warp_k() * row_sum_place(Tile::ROWS) + row_sum_place(Tile::warp_row()), rows);
        }
        __syncthreads();
    }

    /// The next slab, of which `left` k are there.
    template <uint32_t STAGE> static __device__ __forceinline__ void fetch_part(A &a, B &b, const uint32_t *to_a, const uint32_t *to_b, uint32_t at, uint32_t left) {
        copy<STAGE>(a, to_a, at, left);
        copy<STAGE>(b, to_b, at, left);
        a.advance();
        b.advance();
    }

    template <uint32_t STAGE, class Loader>
    static __device__ __forceinline__ void copy(Loader &loader, const uint32_t *to, uint32_t at, uint32_t left) {
        using Slab = typename Loader::Slab;
        for_each<Slab::CHUNKS>([&](auto i) {
            constexpr uint32_t TO = STAGE + Slab::step(i.value);
            if constexpr (Loader::ASYNC) {
                Source source = loader.source(i, left);
                copy_async_at<TO, 0>(to[i % Slab::ADDRESSES] + at, source.from, source.valid);
            } else {
                store_shared(to[i % Slab::ADDRESSES] + at + TO, loader.gather(i, left));
            }
        });
    }

    /// The next slab, which is whole.
    template <uint32_t STAGE, class Number, class Round>
    static __device__ __forceinline__ void fetch_whole(A &a, B &b, Number slab, Round round, const uint32_t *to_a, const uint32_t *to_b, uint32_t at) {
        for_each<SlabA::CHUNKS / A::RUN>([&](auto j) { copy_run<SlabA, STAGE, j.value * A::RUN, A::RUN>(a.run(j, slab), to_a, at); });
        for_each<SlabB::CHUNKS / B::RUN>([&](auto j) { copy_run<SlabB, STAGE, j.value * B::RUN, B::RUN>(b.run(j, slab), to_b, at); });
        a.advance(slab, round);
        b.advance(slab, round);
    }

    /// The RUN chunks of a line from FIRST on.
    template <class Slab, uint32_t STAGE, uint32_t FIRST, uint32_t RUN, uint32_t AT>
    static __device__ __forceinline__ void copy_run(SourceAt<AT> source, const uint32_t *to, uint32_t at) {
        for_each<RUN>([&](auto i) {
            constexpr uint32_t TO = STAGE + Slab::step(FIRST + i.value);
            copy_async_at<TO, AT + i.value * Slab::LANES * 16>(to[(FIRST + i) % Slab::ADDRESSES] + at, source.from);
        });
    }

    template <class Slab, uint32_t STAGE, uint32_t FIRST, uint32_t RUN, uint32_t AT>
    static __device__ __forceinline__ void copy_run(OptionalSourceAt<AT> source, const uint32_t *to, uint32_t at) {
        constexpr uint32_t GROUP = RUN < 4 ? RUN : 4;
        for_each<RUN / GROUP>([&](auto i) {
            constexpr uint32_t I = i.value * GROUP, APART = Slab::LANES * 16;
            auto place = [&](uint32_t e) { return to[(FIRST + I + e) % Slab::ADDRESSES] + at; };
            if constexpr (GROUP == 1) {
                copy_async_below<STAGE + Slab::step(FIRST + I), AT + I * APART>(place(0), source.from, source.at, source.end);
            } else if constexpr (GROUP == 2) {
                copy_two_below<STAGE + Slab::step(FIRST + I), STAGE + Slab::step(FIRST + I + 1), AT + I * APART, APART>(place(0), place(1), source.from, source.at,
                                                                                                           source.end);
            } else {
                copy_four_below<STAGE + Slab::step(FIRST + I), STAGE + Slab::step(FIRST + I + 1), Slab::step(2) - Slab::step(0), AT + I * APART, APART>(
                    place(0), place(1), source.from, source.at, source.end);
            }
        });
    }
};

/// N (4 or 8) neighbouring sums of the tile.
template <class Tile, uint32_t N> static __device__ __forceinline__ void load_chunk(unsigned char *shared, uint32_t row, uint32_t column, float (&v)[N]) {
    uint32_t warp = row / 64 + column / Tile::WARP_COLUMNS * Tile::WARPS_M;
    uint32_t at = shared_address(shared) + warp * Staged::BYTES;
    for (uint32_t i = 0; i < N; i += 4) {
        uint32_t from = at + Staged::offset(row % 64, column % Tile::WARP_COLUMNS + i);
        float4 sum = load_shared<0>(from);
        for_each<Tile::WARPS_K - 1>([&](auto k) {
            float4 more = load_shared<(k.value + 1) * Tile::WARPS_M * Tile::WARPS_N * Staged::BYTES>(from);
            sum = make_float4(sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w);
        });
        v[i] = sum.x, v[i + 1] = sum.y, v[i + 2] = sum.z, v[i + 3] = sum.w;
    }
}

/// The column of a thread's chunks in `for_each_chunk`.
template <uint32_t N, uint32_t COLUMNS> static __device__ __forceinline__ uint32_t chunk_column() { return threadIdx.x % (COLUMNS / N) * N; }

/// f(row, column, v) for every N neighbouring sums of the tile's first COLUMNS columns, v a float[N]. A thread's column, which
/// `chunk_column` tells, does not change.
template <class Tile, uint32_t N, uint32_t COLUMNS = Tile::COLUMNS, class F>
static __device__ __forceinline__ void for_each_chunk(unsigned char *shared, F &&f) {
    constexpr uint32_t PER_ROW = COLUMNS / N;
    for (uint32_t row = threadIdx.x / PER_ROW; row < Tile::ROWS; row += MATRIX_THREADS / PER_ROW) {
        float v[N];
        load_chunk<Tile>(shared, row, chunk_column<N, COLUMNS>(), v);
        f(row, chunk_column<N, COLUMNS>(), v);
    }
}

/// Σ over k of A's row, where `compute` summed them.
template <class Tile> static __device__ __forceinline__ float row_sum(unsigned char *shared, uint32_t row) {
    float sum = 0.0f;
    for (uint32_t k = 0; k < Tile::WARPS_K; k++) sum += row_sums_at(shared)[k * row_sum_place(Tile::ROWS) + row_sum_place(row)];
    return sum;
}

/// A block's tile. Blocks that run at the same time share rows and columns, which then come from L2: eight tiles down, then one across.
struct TilePlace {
    uint32_t row, column;
};

/// The place of the tile with this index, as first row and first column; `tiles_m` by `tiles_n` tiles.
static __device__ __forceinline__ TilePlace tile_place(uint32_t index, uint32_t tiles_m, uint32_t tiles_n, uint32_t rows, uint32_t columns) {
    constexpr uint32_t BAND = 8;
    uint32_t band = index / (BAND * tiles_n), within = index % (BAND * tiles_n), height = min(tiles_m - band * BAND, BAND);
    return {(band * BAND + within % height) * rows, within / height * columns};
}

template <class Tile> static __device__ __forceinline__ TilePlace tile_place(uint32_t index, uint32_t tiles_m, uint32_t tiles_n) {
    return tile_place(index, tiles_m, tiles_n, Tile::ROWS, Tile::COLUMNS);
}
