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
//          loop's PTX instructions 60 to 63 % are mma in tiles of 128×128 bf16, if inputs are a multiple of 64.
// Scratch  `splits` (of an upsample four times as many) partial sums in f32.
// Rounding products of bf16 are exact, sums and results f32, in a fixed order. The sums of an upsample's weights are rounded to T.
// Source   as conv2d.cu.
#include "conv2d.cuh"

/// How K runs over a class of pixels in the weight gradient: a slab is `wide` neighbouring pixels of a row, or of `tall` rows where they are
/// short; slabs follow each other down the rows of such a strip, then come the next strip and the next image. (What does not fill a slab is
/// zeros; sides that are multiples of 32, and powers of 2 below, waste nothing. A class without pixels has no slabs.)
template <uint32_t K> struct PixelSlabs {
    uint32_t rows, columns, wide, tall, across, down;

    __device__ __forceinline__ PixelSlabs(uint32_t rows, uint32_t columns)
        : rows(rows), columns(columns), wide(max(min(columns, K), 1)), tall(max(min(K / wide, rows), 1)), across(ceil_div(columns, wide)),
          down(ceil_div(rows, tall)) {}

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
    int32_t height, width, channels, step, first_row, first_column;
};

/// What a chunk of the tile's rows (columns) reads: `channel` of pixels, which are those of the lattice (tap_row, tap_column) further on.
struct RowSource {
    uint32_t channel, tap_row, tap_column;
    bool exists;
};

/// image + chunk. (Of plain C++ nvcc makes two instructions of PTX.)
static __device__ __forceinline__ const uint4 *chunk_of(const uint4 *image, uint32_t chunk) {
    const uint4 *at;
    asm("mad.wide.u32 %0, %1, 16, %2;" : "=l"(at) : "r"(chunk), "l"(image));
    return at;
}

/// Pixels of an image along K: dy's with their channels along the tile's rows, or x's with their channels at one tap along its columns. RUN
/// chunks of a line belong to the same tap and are all there, or none is. KEPT: what the beginning of a strip needs is in registers, and not
/// in shared memory.
template <class Slab_, uint32_t RUN_, bool KEPT> struct Pixels {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr uint32_t RUN = RUN_, RUNS = Slab::CHUNKS / RUN;
    const uint4 *image;
    /// Of each run: the chunk of the image where it lies, or would lie in a row outside; see `outside_unless` for columns. And the first chunk
    /// behind the rows that the class's pixels meet at its tap: there is what lies before that.
    uint32_t from[RUNS], end[RUNS];
    /// Its column in an image's first strip and, in the high half, the one behind those that the class's pixels meet.
    uint32_t places[KEPT ? RUNS : 1], *shared_places;
    /// Chunks from slab to slab down a strip; from the last to the first of the next strip, less that; from a strip behind an image's last one
    /// back to its first.
    int32_t down, across, back;
    uint32_t image_chunks, column_step;

    /// source_of(row): the RowSource of a chunk. `shared_places`: RUNS for each thread, unless KEPT.
    template <class SourceOf>
    __device__ __forceinline__ Pixels(const T *images, const Lattice &l, const PixelSlab<Slab::K> &at, uint32_t *shared_places, SourceOf &&source_of)
        : shared_places(shared_places) {
        const PixelSlabs<Slab::K> &all = at.all;
        const int32_t pixel = l.channels / Slab::N, line = pixel * l.width;
        image_chunks = line * l.height;
        image = reinterpret_cast<const uint4 *>(images) + (size_t)at.image * image_chunks;
        column_step = l.step;
        down = all.tall * l.step * line;
        across = all.wide * l.step * pixel - all.down * down;
        back = -(int32_t)(all.across * all.wide * l.step * pixel);
        // From what the class's first row (column) meets to behind what the last does.
        const int32_t high = l.step * ((int32_t)all.rows - 1) + 1, broad = l.step * ((int32_t)all.columns - 1) + 1;
        for_each<RUNS>([&](auto j) {
            constexpr uint32_t I = j.value * RUN;
            RowSource source = source_of(Slab::row(I));
            int32_t r = Slab::k(I) / all.wide, c = Slab::k(I) % all.wide;
            int32_t first_row = l.first_row + source.tap_row, first_column = l.first_column + source.tap_column;
            int32_t y = l.step * (at.above * all.tall + r) + first_row, column = l.step * c + first_column, x = at.column * l.step + column;
            uint32_t column_end = source.exists && r < all.tall ? max(min(first_column + broad, l.width), 0) : 0;
            from[j] = outside_unless((uint32_t)x < column_end, y * line + x * pixel + source.channel / Slab::N);
            end[j] = max(min(first_row + high, l.height), 0) * line;
            place(j) = column_end * 0x10000 | (column & 0xFFFF);
        });
    }

    __device__ __forceinline__ void advance() {
        for_each<RUNS>([&](auto j) { from[j] += down; });
    }

    __device__ __forceinline__ void begin_strip(uint32_t column, bool new_image) {
        image = chunk_of(image, new_image ? image_chunks : 0);
        int32_t x = column * column_step, by = across + (new_image ? back : 0);
        for_each<RUNS>([&](auto j) {
            uint32_t at = place(j), inside = ((int32_t)(from[j] << 1) >> 1) + by;
            from[j] = outside_unless((uint32_t)(x + (int16_t)at) < at >> 16, inside);
        });
    }

  private:
    /// A chunk of no image, wherever in a strip, unless `inside`. Images and the rows about them that strips run over have less than 2³⁰ chunks,
    /// so that bit 30 tells what bit 31 was.
    static __device__ __forceinline__ uint32_t outside_unless(bool inside, uint32_t chunk) { return inside ? chunk : chunk ^ 0x80000000; }

    __device__ __forceinline__ uint32_t &place(uint32_t j) {
        if constexpr (KEPT) return places[j];
        else return shared_places[j * MATRIX_THREADS + threadIdx.x];
    }
};

/// Both operands' pixels, which move together.
template <class SlabA, class SlabB, uint32_t RUN_A, uint32_t RUN_B, bool KEPT> struct PixelPairs {
    PixelSlab<SlabA::K> at;
    Pixels<SlabA, RUN_A, KEPT> a;
    Pixels<SlabB, RUN_B, KEPT> b;

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
        return OptionalSourceAt<0>{chunk_of(of().image, of().from[J]), of().from[J], of().end[J]};
    }

    template <uint32_t SLAB, uint32_t ROUND> __device__ __forceinline__ void advance(Constant<SLAB>, Constant<ROUND>) {
        if (IS_A) pairs.advance();
    }
};

/// WHOLE_A: all rows of tiles are there. RUN_B neighbouring chunks of a thread's on a line of x belong to one tap and are all there, or none is.
template <class Tile, bool WHOLE_A, uint32_t RUN_B> static __device__ __forceinline__ void backward_weight_tile(const Conv2dBwdWeight &p) {
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
    auto lattice = [](uint32_t height, uint32_t width, uint32_t channels, uint32_t step, int32_t first_row, int32_t first_column) {
        return Lattice{(int32_t)height, (int32_t)width, (int32_t)channels, (int32_t)step, first_row, first_column};
    };
    Lattice dy = lattice(p.out_height, p.out_width, p.outputs, steps, a, b);
    Lattice x = lattice(p.height, p.width, p.inputs, p.stride, p.phased ? phase_first(a, p.top) : -(int32_t)p.top,
                        p.phased ? phase_first(b, p.left) : -(int32_t)p.left);
    using SlabA = typename Tile::template RowSlab<false>;
    using SlabB = typename Tile::template ColumnSlab<false>;
    using Pairs = PixelPairs<SlabA, SlabB, WHOLE_A ? SlabA::ACROSS : 1, RUN_B, WHOLE_A>;
    using A = PixelLoader<Pairs, true>;
    using B = PixelLoader<Pairs, false>;
    PixelSlabs<Tile::K> slabs(class_rows, class_columns);
    uint32_t total = p.batch * slabs.in_image(), begin = (uint64_t)total * blockIdx.y / p.splits, end = (uint64_t)total * (blockIdx.y + 1) / p.splits;
    PixelSlab<Tile::K> slab(slabs, begin);
    auto of_row = [&](uint32_t row) { return RowSource{min(m + row, p.outputs - SlabA::N), 0, 0, true}; };
    auto of_column = [&](uint32_t column) {
        column += n;
        uint32_t tap = column / p.inputs;
        return RowSource{column % p.inputs, tap / taps_wide, tap % taps_wide, column < columns_there};
    };
    constexpr uint32_t SLABS = Tile::STAGES * Tile::STAGE, RUNS_A = decltype(Pairs::a)::RUNS, RUNS_B = decltype(Pairs::b)::RUNS;
    static_assert(WHOLE_A || SLABS + (RUNS_A + RUNS_B) * MATRIX_THREADS * sizeof(uint32_t) <= MATRIX_SHARED, "there is room behind the slabs");
    uint32_t *places = reinterpret_cast<uint32_t *>(shared + SLABS);
    Pairs pairs = {slab, {at<const T>(p.dy), dy, slab, places, of_row}, {at<const T>(p.x), x, slab, places + RUNS_A * MATRIX_THREADS, of_column}};
    if (begin == end) {
        zero_sums<Tile>(shared);
    } else {
        Product<Tile, A, B, true, true, (RUN_B > 1)>::compute(A{pairs}, B{pairs}, (end - begin) * Tile::K, shared, sum_rows);
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
    constexpr uint32_t ACROSS = Large::template ColumnSlab<false>::ACROSS;
    switch (p.tile) {
    case CONV2D_TILE_LARGE: return backward_weight_tile<Large, true, ACROSS>(p);
    case CONV2D_TILE_NARROW:
        if (p.inputs % (Large::COLUMNS / 2) == 0) return backward_weight_tile<Large, true, ACROSS / 2>(p);
        return backward_weight_tile<Large, true, 1>(p);
    default: return backward_weight_tile<Tile<Math, 64, 128>, false, 1>(p);
    }
}

VF_EXPORT_MATRIX(conv2d_bwd_weight, Conv2dBwdWeight)
VF_EXPORT_F32(conv2d_bwd_weight_sum, Conv2dBwdWeightSum, CONV2D_WEIGHT_THREADS)
VF_EXPORT(conv2d_phases, Conv2dPhases, CONV2D_WEIGHT_THREADS)
