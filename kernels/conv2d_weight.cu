// The gradients of a convolution's weight and bias; and the weights of a convolution of a ×2 upsample.
//
// Formula
//   conv2d_bwd_weight      dweight[o, (tap, c)] = Σ_pixel dy[pixel, o]·x[pixel's source at tap, c];  dbias[o] = Σ_pixel dy[pixel, o]
//   conv2d_bwd_weight_sum  adds up what blocks with different pixels have found
//   conv2d_phases          the sums of weights that meet the same pixel of x (see conv2d.h)
//
// Shapes   x (B, H, W, I), weight (O, kh, kw, I), y (B, H′, W′, O); channels in multiples of 16 bytes
//          (see conv2d_channels.cu), sides below 2¹⁴.
// Bytes    each of x, dy, dweight and dbias once, and of the partial sums where there are several. Blocks that run at the same time work on
//          the same pixels at different taps, which then come from L2.
// FLOPs    2·B·H′·W′·O·kh·kw·I; of an upsample 4/9 of that, because x is met by sums of dy. On tensor cores: of the main
//          loop's PTX instructions 60 % are mma in tiles of 128×128 bf16, 51 % where a tile's columns belong to several taps.
// Scratch  `splits` (of an upsample four times as many) partial sums in f32.
// Rounding products of bf16 are exact, sums and results f32, in a fixed order. The sums of an upsample's weights are rounded to T.
// Source   as conv2d.cu.
#include "conv2d.cuh"

/// How K runs over a class of pixels in the weight gradient: a slab is `wide` neighbouring pixels of a row, or of `tall` rows where they are
/// short; slabs follow each other down the rows of such a strip, then come the next strip and the next image. (What does not fill a slab is
/// zeros; sides that are multiples of 32, and powers of 2 below, waste nothing.)
template <uint32_t K> struct PixelSlabs {
    uint32_t rows, columns, wide, tall, across, down;

    __device__ __forceinline__ PixelSlabs(uint32_t rows, uint32_t columns)
        : rows(rows), columns(columns), wide(min(columns, K)), tall(K / wide), across(ceil_div(columns, wide)), down(ceil_div(rows, tall)) {}

    __device__ __forceinline__ uint32_t in_image() const { return across * down; }
};

/// A place of a PixelSlabs.
template <uint32_t K> struct PixelSlab {
    PixelSlabs<K> all;
    uint32_t image, column;
    /// Slabs above the first one in its strip; from the present one to the strip's end.
    uint32_t above, left;

    __device__ __forceinline__ PixelSlab(const PixelSlabs<K> &all, uint32_t index) : all(all) {
        image = index / all.in_image();
        column = index / all.down % all.across * all.wide;
        above = index % all.down;
        left = all.down - above;
    }

    /// On to the next strip; whether it is the first of an image.
    __device__ __forceinline__ bool begin_strip() {
        left = all.down;
        column += all.wide;
        bool new_image = column >= all.columns;
        column = new_image ? 0 : column;
        return new_image;
    }
};

/// Where a class's pixels lie in an image: (i, j) at (step·i + first_row, step·j + first_column).
struct Lattice {
    uint32_t height, width, channels;
    int32_t step, first_row, first_column;
};

/// What a chunk of the tile's rows (columns) reads: `channel` of pixels, which are those of the lattice (tap_row, tap_column) further on.
struct RowSource {
    uint32_t channel, tap_row, tap_column;
    bool exists;
};

/// Pixels of an image along K: A's are dy's with their channels along the tile's rows, B's are x's with their channels at one tap along its
/// columns. RUN chunks of a line belong to the same tap and are all there, or none is. KEPT: what the beginning of a strip needs is in
/// registers, and not in shared memory.
template <class Slab_, bool IS_A, uint32_t RUN_, bool KEPT> struct Pixels {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr uint32_t RUN = RUN_, RUNS = Slab::CHUNKS / RUN;
    const uint4 *image;
    /// Of each run: the chunk of the image where it lies; its row of the image (B) or of the class (A), past the end where its column is.
    uint32_t from[RUNS], row[RUNS];
    /// That row in the first slab of a strip (high half) and the column.
    int32_t places[KEPT ? RUNS : 1], *shared_places;
    /// Chunks from slab to slab down a strip; from the last to the first of the next strip, less that; from image to image, less these.
    int32_t down, across, next;
    uint32_t row_end, column_end, row_step, column_step;

    /// source_of(row): the RowSource of a chunk. `shared_places`: RUNS for each thread, unless KEPT.
    template <class SourceOf>
    __device__ __forceinline__ Pixels(const T *image, const Lattice &l, const PixelSlab<Slab::K> &at, int32_t *shared_places, SourceOf &&source_of)
        : image(reinterpret_cast<const uint4 *>(image)), shared_places(shared_places) {
        const PixelSlabs<Slab::K> &all = at.all;
        const int32_t pixel = l.channels / Slab::N, line = pixel * l.width;
        row_step = all.tall * (IS_A ? 1 : l.step);
        column_step = IS_A ? 1 : l.step;
        // Where a pixel is none of the class B need not be zero, because A is.
        row_end = IS_A ? all.rows : l.height;
        column_end = IS_A ? all.columns : l.width;
        down = all.tall * l.step * line;
        across = all.wide * l.step * pixel - all.down * down;
        next = l.height * line - all.across * all.wide * l.step * pixel;
        for_each<RUNS>([&](auto j) {
            constexpr uint32_t I = j.value * RUN;
            RowSource source = source_of(Slab::row(I));
            int32_t r = Slab::k(I) / all.wide, c = Slab::k(I) % all.wide;
            int32_t row = l.step * r + l.first_row + source.tap_row, column = l.step * c + l.first_column + source.tap_column;
            int32_t y = at.image * l.height + l.step * at.above * all.tall + row, x = l.step * at.column + column;
            from[j] = y * line + x * pixel + source.channel / Slab::N;
            place(j) = (!source.exists || r >= all.tall ? OUTSIDE : IS_A ? r : row) * 0x10000 | ((IS_A ? c : column) & 0xFFFF);
        });
        begin_rows(at.column, at.above * row_step);
    }

    __device__ __forceinline__ void advance() {
        for_each<RUNS>([&](auto j) {
            from[j] += down;
            row[j] += row_step;
        });
    }

    __device__ __forceinline__ void begin_strip(uint32_t column, bool new_image) {
        int32_t by = across + (new_image ? next : 0);
        for_each<RUNS>([&](auto j) { from[j] += by; });
        begin_rows(column, 0);
    }

  private:
    __device__ __forceinline__ int32_t &place(uint32_t j) {
        if constexpr (KEPT) return places[j];
        else return shared_places[j * MATRIX_THREADS + threadIdx.x];
    }

    /// No row, wherever a strip ends.
    static constexpr int32_t OUTSIDE = 0x4000;

    __device__ __forceinline__ void begin_rows(uint32_t column, uint32_t rows) {
        int32_t x = column * column_step;
        for_each<RUNS>([&](auto j) {
            int32_t at = place(j);
            row[j] = (uint32_t)(x + (int16_t)at) < column_end ? (at >> 16) + rows : OUTSIDE;
        });
    }
};

/// Both operands' pixels, which move together.
template <class SlabA, class SlabB, bool WHOLE_A, bool WHOLE_B> struct PixelPairs {
    static constexpr bool KEPT = WHOLE_A;
    PixelSlab<SlabA::K> at;
    Pixels<SlabA, true, WHOLE_A ? SlabA::ACROSS : 1, KEPT> a;
    Pixels<SlabB, false, WHOLE_B ? SlabB::ACROSS : 1, KEPT> b;

    __device__ __forceinline__ void advance() {
        a.advance();
        b.advance();
        if (--at.left == 0) {
            bool new_image = at.begin_strip();
            a.begin_strip(at.column, new_image);
            b.begin_strip(at.column, new_image);
        }
    }
};

/// One of the two. A's moves both.
template <class Pairs, bool IS_A> struct PixelLoader {
    Pairs &pairs;
    using Of = std::conditional_t<IS_A, decltype(Pairs::a), decltype(Pairs::b)>;
    using Slab = typename Of::Slab;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t RUN = Of::RUN;

    __device__ __forceinline__ const Of &of() const {
        if constexpr (IS_A) return pairs.a;
        else return pairs.b;
    }

    template <uint32_t J, uint32_t SLAB> __device__ __forceinline__ auto run(Constant<J>, Constant<SLAB>) const {
        return OptionalSourceAt<0>{of().image + of().from[J], of().row[J], of().row_end};
    }

    template <uint32_t SLAB, uint32_t ROUND> __device__ __forceinline__ void advance(Constant<SLAB>, Constant<ROUND>) {
        if (IS_A) pairs.advance();
    }
};

/// WHOLE_A: all rows of tiles are there. WHOLE_B: all columns, and a tile's belong to one tap.
template <class Tile, bool WHOLE_A, bool WHOLE_B> static __device__ __forceinline__ void backward_weight_tile(const Conv2dBwdWeight &p) {
    using T = typename Tile::T;
    extern __shared__ __align__(128) unsigned char shared[];
    uint32_t steps = p.phased ? 2 : 1, classes = steps * steps;
    uint32_t taps_high = p.phased ? p.kernel_height / 2 + 1 : p.kernel_height, taps_wide = p.phased ? p.kernel_width / 2 + 1 : p.kernel_width;
    uint32_t columns = taps_high * taps_wide * p.inputs;
    uint32_t tiles_m = ceil_div(p.outputs, Tile::ROWS), tiles_n = ceil_div(columns, Tile::COLUMNS);
    uint32_t phase = blockIdx.x / (tiles_m * tiles_n), a = phase / 2, b = phase % 2, part = blockIdx.y * classes + phase;
    uint32_t m = blockIdx.x % tiles_m * Tile::ROWS, n = blockIdx.x / tiles_m % tiles_n * Tile::COLUMNS;
    // A weight gradient that nobody asked for is neither computed nor is x read for it.
    bool sum_rows = p.dbias && n == 0;
    if (!p.dweight && !sum_rows) return;
    uint32_t columns_there = p.dweight ? columns : 0;
    float *dweight = at<float>(p.dweight) + (size_t)part * p.outputs * columns, *dbias = at<float>(p.dbias) + part * p.outputs;

    uint32_t class_rows = (p.out_height - a + steps - 1) / steps, class_columns = (p.out_width - b + steps - 1) / steps;
    Lattice dy = {p.out_height, p.out_width, p.outputs, (int32_t)steps, (int32_t)a, (int32_t)b};
    Lattice x = {p.height, p.width, p.inputs, (int32_t)p.stride, p.phased ? phase_first(a, p.top) : -(int32_t)p.top,
                 p.phased ? phase_first(b, p.left) : -(int32_t)p.left};
    using Pairs = PixelPairs<typename Tile::template RowSlab<false>, typename Tile::template ColumnSlab<false>, WHOLE_A, WHOLE_B>;
    using A = PixelLoader<Pairs, true>;
    using B = PixelLoader<Pairs, false>;
    PixelSlabs<Tile::K> slabs(class_rows, class_columns);
    uint32_t total = p.batch * slabs.in_image(), begin = (uint64_t)total * blockIdx.y / p.splits, end = (uint64_t)total * (blockIdx.y + 1) / p.splits;
    PixelSlab<Tile::K> slab(slabs, begin);
    auto of_row = [&](uint32_t row) { return RowSource{min(m + row, p.outputs - A::Slab::N), 0, 0, true}; };
    auto of_column = [&](uint32_t column) {
        column += n;
        uint32_t tap = column / p.inputs;
        return RowSource{column % p.inputs, tap / taps_wide, tap % taps_wide, column < columns_there};
    };
    constexpr uint32_t SLABS = Tile::STAGES * Tile::STAGE, RUNS_A = decltype(Pairs::a)::RUNS, RUNS_B = decltype(Pairs::b)::RUNS;
    static_assert(Pairs::KEPT || SLABS + (RUNS_A + RUNS_B) * MATRIX_THREADS * sizeof(int32_t) <= MATRIX_SHARED, "there is room behind the slabs");
    int32_t *places = reinterpret_cast<int32_t *>(shared + SLABS);
    Pairs pairs = {slab, {at<const T>(p.dy), dy, slab, places, of_row}, {at<const T>(p.x), x, slab, places + RUNS_A * MATRIX_THREADS, of_column}};
    if (begin == end) {
        zero_sums<Tile>(shared);
    } else {
        Product<Tile, A, B, true, true, WHOLE_B>::compute(A{pairs}, B{pairs}, (end - begin) * Tile::K, shared, sum_rows);
    }
    if (sum_rows && threadIdx.x < Tile::ROWS && m + threadIdx.x < p.outputs) dbias[m + threadIdx.x] = row_sum<Tile>(shared, threadIdx.x);
    n += chunk_column<4, Tile::COLUMNS>();
    if (n >= columns_there) return;
    for_each_chunk<Tile, 4>(shared, [&](uint32_t r, uint32_t, float(&v)[4]) {
        if (m + r < p.outputs) Chunk<float>{v[0], v[1], v[2], v[3]}.store(dweight + (size_t)(m + r) * columns + n);
    });
}

/// The tap of its phase `a` that a tap of the kernel, before which there are `pad` rows, belongs to.
static __device__ __forceinline__ uint32_t phase_tap(uint32_t a, uint32_t pad, uint32_t tap) { return ((a + pad) % 2 + tap) / 2; }

/// f(phase, tap of the phase) for the four phases of tap (u, v).
template <class F> static __device__ __forceinline__ void for_each_phase(uint32_t u, uint32_t v, uint32_t top, uint32_t left, uint32_t taps_wide, F &&f) {
    for (uint32_t phase = 0; phase < 4; phase++) f(phase, phase_tap(phase / 2, top, u) * taps_wide + phase_tap(phase % 2, left, v));
}

/// Four neighbouring elements of dweight by each thread, then an element of dbias by each. Partial sums are f32 whatever T is.
static __device__ __forceinline__ void conv2d_bwd_weight_sum(const Conv2dBwdWeightSum &p) {
    uint32_t index = blockIdx.x * CONV2D_WEIGHT_THREADS + threadIdx.x;
    uint32_t threads = p.outputs * p.kernel_height * p.kernel_width * p.inputs / 4, phases = p.phased ? 4 : 1;
    if (index >= threads) {
        uint32_t o = index - threads;
        if (!p.dbias || o >= p.outputs) return;
        float sum = 0.0f;
        for (uint32_t part = 0; part < p.splits * phases; part++) sum += at<const float>(p.bias_parts)[part * p.outputs + o];
        at<float>(p.dbias)[o] = sum;
        return;
    }
    if (!p.dweight) return;
    uint32_t at_weight = index * 4, i = at_weight % p.inputs, tap = at_weight / p.inputs % (p.kernel_height * p.kernel_width);
    uint32_t o = at_weight / p.inputs / (p.kernel_height * p.kernel_width);
    uint32_t taps_wide = p.kernel_width / 2 + 1, taps = (p.kernel_height / 2 + 1) * taps_wide;
    Chunk<float> sum = {};
    auto add = [&](size_t from) {
        Chunk<float> part = Chunk<float>::load(at<const float>(p.parts) + from);
        for (uint32_t e = 0; e < 4; e++) sum.v[e] += part.v[e];
    };
    for (uint32_t split = 0; split < p.splits; split++) {
        if (!p.phased) {
            add((size_t)split * threads * 4 + at_weight);
        } else {
            for_each_phase(tap / p.kernel_width, tap % p.kernel_width, p.top, p.left, taps_wide, [&](uint32_t phase, uint32_t of_phase) {
                add((((size_t)split * 4 + phase) * p.outputs * taps + o * taps + of_phase) * p.inputs + i);
            });
        }
    }
    sum.store(at<float>(p.dweight) + at_weight);
}

/// A chunk of phases by each thread.
template <class T> static __device__ __forceinline__ void conv2d_phases(const Conv2dPhases &p) {
    constexpr uint32_t N = Chunk<T>::N;
    uint32_t taps_high = p.kernel_height / 2 + 1, taps_wide = p.kernel_width / 2 + 1;
    uint32_t at_phases = (blockIdx.x * CONV2D_WEIGHT_THREADS + threadIdx.x) * N, i = at_phases % p.inputs;
    uint32_t tap = at_phases / p.inputs % (taps_high * taps_wide), o = at_phases / p.inputs / (taps_high * taps_wide), phase = o / p.outputs;
    if (phase >= 4) return;
    o %= p.outputs;
    Chunk<T> sum = {};
    for (uint32_t u = 0; u < p.kernel_height; u++) {
        if (phase_tap(phase / 2, p.top, u) != tap / taps_wide) continue;
        for (uint32_t v = 0; v < p.kernel_width; v++) {
            if (phase_tap(phase % 2, p.left, v) != tap % taps_wide) continue;
            Chunk<T> w = Chunk<T>::load(at<const T>(p.weight) + ((o * p.kernel_height + u) * p.kernel_width + v) * p.inputs + i);
            for (uint32_t e = 0; e < N; e++) sum.v[e] += w.v[e];
        }
    }
    sum.store(at<T>(p.phases) + at_phases);
}

/// Tiles are outputs by (tap, channel).
template <class Math> static __device__ __forceinline__ void conv2d_bwd_weight(const Conv2dBwdWeight &p) {
    using Large = Tile<Math, 128, Math::TENSOR ? 128 : 64>;
    switch (p.tile) {
    case CONV2D_TILE_LARGE: return backward_weight_tile<Large, true, true>(p);
    case CONV2D_TILE_NARROW: return backward_weight_tile<Large, true, false>(p);
    default: return backward_weight_tile<Tile<Math, 64, 128>, false, false>(p);
    }
}

VF_EXPORT_MATRIX(conv2d_bwd_weight, Conv2dBwdWeight)
VF_EXPORT_F32(conv2d_bwd_weight_sum, Conv2dBwdWeightSum, CONV2D_WEIGHT_THREADS)
VF_EXPORT(conv2d_phases, Conv2dPhases, CONV2D_WEIGHT_THREADS)
