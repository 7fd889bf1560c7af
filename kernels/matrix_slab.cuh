// What a matrix kernel's tile is computed from, slab by slab: how a slab of an operand lies in shared memory, and the loaders that say where in
// device memory its chunks come from. How the two are used is told in matrix_tile.cuh.
#pragma once
#include <type_traits>
#include <utility>

#include "common.cuh"
#include "matrix_tile.h"
#include "tensor_core.cuh"

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
