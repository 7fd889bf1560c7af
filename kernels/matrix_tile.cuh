// The main loop of every matrix kernel: a tile of A·Bᵀ by a block of four warps. A has the tile's rows, B its columns, both run along K.
// bf16 and TF32 on the tensor cores, f32 exactly by fused multiply-adds; f32 sums in all three.
//
// How to use it
//   1. Choose a `Tile<Math, ROWS, COLUMNS>`: 128×128 (not in exact f32), 128×64, 64×128, 64×64, 128×32 or 64×32; Math is F32, Tf32 or Bf16.
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
//      Rows that do not exist may hold anything: they end up in rows of the tile that nobody stores. `MatrixLoader` in matrix_slab.cuh,
//      for plain matrices, is the one to imitate.
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

#include "matrix_slab.cuh"
#include "matrix_sums.cuh"

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
