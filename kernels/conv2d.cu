// 2-D convolution of channels-last images as implicit matrix products: nothing but x, weight and y is in device memory.
//
// Formula
//   forward          y[pixel, o]            = Σ_{tap, c} x[pixel's source at tap, c]·weight[o, tap, c] + bias[o] + residual[pixel, o]
//   data gradient    dx[pixel, c]           = Σ_{tap, o} dy[pixel's target at tap, o]·weight[o, tap, c]
//
// Shapes   x (B, H, W, I), weight (O, kh, kw, I), y (B, H′, W′, O); channels in multiples of 16 bytes (see conv2d_channels.cu), and at most
//          32 taps where some of them leave the image.
// Phases   Where a stride or the upsample would make half of all products with zeros, or the same ones four times, pixels are sorted by
//          the parity of their row and column: the data gradient with stride s falls into s² gathers with kh·kw/s² taps each, and the
//          convolution of a ×2 upsample into four of ⌊kh/2 + 1⌋·⌊kw/2 + 1⌋ taps at the size of x (4 taps instead of 9) with weights
//          summed beforehand. Its data gradient is one gather with stride 2 of all four phases' taps (16 instead of 36).
// Bytes    each of x, weight, bias, residual and y (dy, dx, …) once. Blocks that run at the same time work on neighbouring pixels, and a
//          slab's taps follow each other, so that re-reading hits L1 and L2. 8 bytes more for each group in a tile's 128 pixels, where a group
//          norm of y follows and gets its statistics from here instead of reading y.
// FLOPs    2·B·H′·W′·O·kh·kw·I, of an upsample 4/9 of that. On tensor cores: of the PTX instructions of the main loop, counted as
//          matrix_tile.cuh says, 64 % (forward) and 63 % (data gradient) are mma in tiles of 128×128 bf16; four mma for each ldmatrix. Where
//          taps do not fill slabs (few channels), K runs on from tap to tap without a gap, and chunks find their places one by one.
// Scratch  weight gradients: `splits` (times four phases) partial sums in f32. Upsample: 16/9 of the weight.
// Rounding sums in f32; results once to T, weight and bias gradients are f32. The sums of an upsample's weights are rounded to T.
// Source   im2col as in Chetlur et al., "cuDNN", 2014 (arXiv:1410.0759), section 3; phases: Shi et al., "Is the deconvolution layer the
//          same as a convolutional layer?", 2016 (arXiv:1609.07009).
#include "conv2d.cuh"
#include "group_stats.cuh"

/// One position of the kernel.
struct alignas(8) Tap {
    /// Elements from a pixel's first source to this tap's.
    int32_t image;
    /// The element of weight where the tap's matrix begins.
    uint32_t weight;

    __device__ __forceinline__ void store(Tap *to) const { store_shared_pair(shared_address(to), __int_as_float(image), __uint_as_float(weight)); }
};

/// The pixels that a launch writes, or a class of them, and where each finds the pixels of the image that it sums over: pixel (i, j) of
/// the class finds tap (u, v) at (step·i + first_row + direction·u, step·j + first_column + direction·v).
struct Gather {
    uint32_t batch, height, width, channels;  // of the image; zeros lie around it
    uint32_t rows, columns;                   // pixels of the class in one image
    int32_t step, direction, first_row, first_column;
    uint32_t taps_high, taps_wide;
    uint32_t out_height, out_width, out_step, out_row, out_column;  // (i, j) is (out_step·i + out_row, …) of what is written

    __device__ __forceinline__ uint32_t pixels() const { return batch * rows * columns; }
    __device__ __forceinline__ uint32_t taps() const { return taps_high * taps_wide; }

    __device__ __forceinline__ Tap tap(uint32_t index, uint32_t weight) const {
        int32_t row = direction * (int32_t)(index / taps_wide), column = direction * (int32_t)(index % taps_wide);
        return {(row * (int32_t)width + column) * (int32_t)channels, weight};
    }
};

/// A pixel of a Gather.
struct Pixel {
    uint32_t image;
    int32_t row, column;  // of its first source
    uint32_t out;         // its place among the pixels that are written

    __device__ __forceinline__ Pixel(const Gather &g, uint32_t index) {
        uint32_t line = index / g.columns, j = index % g.columns, i = line % g.rows;
        image = line / g.rows;
        row = g.step * (int32_t)i + g.first_row;
        column = g.step * (int32_t)j + g.first_column;
        out = (image * g.out_height + g.out_step * i + g.out_row) * g.out_width + g.out_step * j + g.out_column;
    }

    /// The element of the image where its first source begins, be it outside or not.
    __device__ __forceinline__ int32_t from(const Gather &g) const {
        return (((int32_t)(image * g.height) + row) * (int32_t)g.width + column) * (int32_t)g.channels;
    }

    /// A bit for each tap that lies inside of the image.
    __device__ __forceinline__ uint32_t inside(const Gather &g) const {
        if (g.taps() > 32) return ~0u;  // only of patches, none of which leaves the image
        uint32_t columns = 0, all = 0;
        for (uint32_t v = 0; v < g.taps_wide; v++) {
            if ((uint32_t)(column + g.direction * (int32_t)v) < g.width) columns |= 1u << v;
        }
        for (uint32_t u = 0; u < g.taps_high; u++) {
            if ((uint32_t)(row + g.direction * (int32_t)u) < g.height) all |= columns << u * g.taps_wide;
        }
        return all;
    }
};

/// The kernel's taps, in shared memory, and the channels of each: K runs over the channels of a tap, then over those of the next one.
struct Taps {
    const Tap *taps;
    uint32_t count, channels;
};

/// A k: a channel of a tap, or where K has ended.
struct TapChannel {
    uint32_t tap, channel;

    __device__ __forceinline__ TapChannel() {}
    __device__ __forceinline__ TapChannel(const Taps &taps, uint32_t k) : tap(min(k / taps.channels, taps.count)), channel(k % taps.channels) {}

    __device__ __forceinline__ void skip(const Taps &taps, uint32_t k) {
        tap += k / taps.channels;
        channel += k % taps.channels;
        bool carry = channel >= taps.channels;
        channel -= carry ? taps.channels : 0;
        // Behind the last tap there is one more that may be read.
        tap = min(tap + carry, taps.count);
    }
};

/// Slabs where each has one tap only. The image's loader moves them, and with them the weight's.
struct TapSlabs {
    Taps taps;
    /// Slabs of a tap, and from here to the next tap.
    uint32_t of_tap, left;
    const Tap *tap;
    /// Where the weight's loader, if it is a WeightLoader, finds its first line; bytes from slab to slab; elements from line to line.
    const unsigned char *weight = nullptr;
    size_t weight_step = 0;
    uint32_t weight_line = 0;

    __device__ __forceinline__ TapSlabs(const Taps &taps) : taps(taps) {}

    /// Whether no slab has channels of two taps.
    template <uint32_t K> __device__ __forceinline__ bool whole() const { return taps.channels % K == 0; }

    template <uint32_t K> __device__ __forceinline__ void begin(TapChannel at) {
        of_tap = taps.channels / K;
        left = of_tap - at.channel / K;
        tap = taps.taps + at.tap;
    }

    __device__ __forceinline__ void begin_tap(uint32_t element) {
        left = of_tap;
        tap++;
        weight += (ptrdiff_t)(int32_t)(tap[0].weight - tap[-1].weight - taps.channels * weight_line) * element;
    }
};

/// The sources of a tile's pixels, channels along K.
template <class Slab_> struct ImageLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t RUN = Slab::ACROSS;
    TapSlabs &slabs;
    const T *image;
    /// The k of this thread's chunks.
    TapChannel at[Slab::ACROSS];
    /// What Pixel says of its rows.
    int32_t first[Slab::LINES];
    uint32_t inside[Slab::LINES];
    /// Of whole slabs: where the round's first one lies, and whether its tap is inside.
    const unsigned char *from[Slab::LINES];
    uint32_t bit, valid[Slab::LINES], zero = 0;

    /// `row_from` and `row_inside`: what Pixel says of the tile's rows.
    __device__ __forceinline__ ImageLoader(const T *image, TapSlabs &slabs, const int32_t *row_from, const uint32_t *row_inside)
        : slabs(slabs), image(image) {
        for_each<Slab::ACROSS>([&](auto i) { at[i] = TapChannel(slabs.taps, Slab::k(i)); });
        for_each<Slab::LINES>([&](auto i) {
            uint32_t row = Slab::row(i * Slab::ACROSS);
            first[i] = row_from[row];
            inside[i] = row_inside[row];
        });
    }

    template <uint32_t I> __device__ __forceinline__ Source source(Constant<I>, uint32_t left) const {
        TapChannel k = at[I % Slab::ACROSS];
        uint32_t row = I / Slab::ACROSS;
        return {image + (first[row] + slabs.taps.taps[k.tap].image + (int32_t)k.channel), Slab::k(I) < left && (inside[row] >> k.tap % 32 & 1)};
    }

    __device__ __forceinline__ void advance() {
        for (TapChannel &k : at) k.skip(slabs.taps, Slab::K);
    }

    __device__ __forceinline__ bool whole() const { return slabs.whole<Slab::K>(); }

    __device__ __forceinline__ void begin_whole(uint32_t count) {
        slabs.begin<Slab::K>(at[0]);
        keep(zero);
        bit = 1 << at[0].tap % 32;
        for_each<Slab::LINES>([&](auto i) {
            from[i] = reinterpret_cast<const unsigned char *>(image + (first[i] + slabs.tap->image + (int32_t)at[0].channel));
            valid[i] = inside[i] & bit;
        });
        for (TapChannel &k : at) k.skip(slabs.taps, count * Slab::K);
    }

    template <uint32_t SLAB> __device__ __forceinline__ void end_whole(Constant<SLAB>) {}

    template <uint32_t J, uint32_t SLAB> __device__ __forceinline__ auto run(Constant<J>, Constant<SLAB>) const {
        return OptionalSourceAt<SLAB * Slab::LINE>{from[J], zero, valid[J]};
    }

    template <uint32_t SLAB, uint32_t ROUND> __device__ __forceinline__ void advance(Constant<SLAB>, Constant<ROUND>) {
        slabs.weight += slabs.weight_step;
        if (--slabs.left == 0) {
            slabs.begin_tap(sizeof(T));
            int32_t step = (slabs.tap[0].image - slabs.tap[-1].image - (int32_t)slabs.taps.channels) * (int32_t)sizeof(T);
            bit = bit << 1 | bit >> 31;
            for_each<Slab::LINES>([&](auto i) {
                from[i] += step;
                valid[i] = inside[i] & bit;
            });
        }
        if (SLAB == ROUND - 1) for_each<Slab::LINES>([&](auto i) { from[i] += ROUND * Slab::LINE; });
    }
};

/// The taps' matrices of weight, (channels that are summed over, columns): as MatrixLoader, with a jump between taps. `line` elements from
/// line to line.
template <class Slab_> struct WeightLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t RUN = Slab::ACROSS;
    TapSlabs &slabs;
    /// At this thread's first column; columns from the tile's first on.
    const T *weight;
    uint32_t line, columns;
    TapChannel at[Slab::LINES];

    __device__ __forceinline__ WeightLoader(const T *matrix, uint32_t line, uint32_t columns, uint32_t column, TapSlabs &slabs)
        : slabs(slabs), weight(matrix + min(column + Slab::row(0), columns - Slab::N)), line(line), columns(columns - column) {
        for_each<Slab::LINES>([&](auto i) { at[i] = TapChannel(slabs.taps, Slab::k(i * Slab::ACROSS)); });
    }

    __device__ __forceinline__ const T *place(TapChannel k) const { return weight + (k.channel * line + slabs.taps.taps[k.tap].weight); }

    template <uint32_t I> __device__ __forceinline__ Source source(Constant<I>, uint32_t left) const {
        constexpr uint32_t COLUMN = I % Slab::ACROSS * Slab::LANES * Slab::N;
        return {place(at[I / Slab::ACROSS]) + COLUMN, Slab::k(I) < left && (Slab::ACROSS == 1 || Slab::row(I) < columns)};
    }

    __device__ __forceinline__ void advance() {
        for (TapChannel &k : at) k.skip(slabs.taps, Slab::K);
    }

    __device__ __forceinline__ bool whole() const { return (Slab::ACROSS == 1 || Slab::ROWS <= columns) && slabs.whole<Slab::K>(); }

    __device__ __forceinline__ void begin_whole(uint32_t count) {
        slabs.weight = reinterpret_cast<const unsigned char *>(place(at[0]));
        slabs.weight_step = Slab::K * line * sizeof(T);
        slabs.weight_line = line;
        for (TapChannel &k : at) k.skip(slabs.taps, count * Slab::K);
    }

    template <uint32_t SLAB> __device__ __forceinline__ void end_whole(Constant<SLAB>) {}

    template <uint32_t J, uint32_t SLAB> __device__ __forceinline__ auto run(Constant<J>, Constant<SLAB>) const {
        return SourceAt<0>{slabs.weight + J * Slab::DOWN * line * sizeof(T)};
    }

    template <uint32_t SLAB, uint32_t ROUND> __device__ __forceinline__ void advance(Constant<SLAB>, Constant<ROUND>) {}
};

/// What a gather multiplies and adds, and where it goes.
template <class T> struct Operands {
    const T *image, *weight;
    /// Elements of weight from line to line. Its lines are the channels that are written (forward) or those that are summed over.
    uint32_t line;
    /// May be null.
    const float *bias;
    const T *residual;
    T *to;
    /// Channels that are written.
    uint32_t columns;
    /// Where the statistics of the tile's groups of so many channels go, or null.
    float2 *statistics = nullptr;
    uint32_t group_size = 0;
};

/// A thread's sums for the statistics of its channels.
template <class T> struct ChannelSums {
    static constexpr int N = Chunk<T>::N;
    Chunk<T> shift;
    float sum[N] = {}, squares[N] = {};

    __device__ __forceinline__ void add(const Chunk<T> &value) {
        for (int i = 0; i < N; i++) {
            float d = value.v[i] - shift.v[i];
            sum[i] += d;
            squares[i] += d * d;
        }
    }
};

/// The pixels of `g` from `row` on and channels from `column` on: a tile. `tap_weight`: Tap::weight of a tap's index.
template <class Tile, bool WEIGHT_ROWS, class TapWeight>
static __device__ __forceinline__ void convolve(const Gather &g, const Operands<typename Tile::T> &o, uint32_t row, uint32_t column, TapWeight &&tap_weight) {
    using T = typename Tile::T;
    using A = ImageLoader<typename Tile::template RowSlab<true>>;
    using SlabB = typename Tile::template ColumnSlab<WEIGHT_ROWS>;
    using B = std::conditional_t<WEIGHT_ROWS, MatrixLoader<SlabB>, WeightLoader<SlabB>>;
    extern __shared__ __align__(128) unsigned char shared[];
    // Behind the slabs: for each row the pixel that it writes, and the taps.
    uint32_t *out = reinterpret_cast<uint32_t *>(shared + MATRIX_SHARED);
    Tap *taps = reinterpret_cast<Tap *>(out + Tile::ROWS);
    // Until the loaders have it, in the slabs' place: what is known of each row's pixel.
    int32_t *row_from = reinterpret_cast<int32_t *>(shared);
    uint32_t *row_inside = reinterpret_cast<uint32_t *>(row_from + Tile::ROWS);
    // One tap more, which is never used: the loaders step on to it.
    for (uint32_t t = threadIdx.x; t <= g.taps(); t += MATRIX_THREADS) g.tap(t, tap_weight(t)).store(taps + t);
    if (threadIdx.x < Tile::ROWS) {
        Pixel pixel(g, min(row + threadIdx.x, g.pixels() - 1));
        out[threadIdx.x] = pixel.out;
        row_from[threadIdx.x] = pixel.from(g);
        row_inside[threadIdx.x] = pixel.inside(g);
    }
    __syncthreads();
    if (g.taps() == 0) {
        zero_sums<Tile>(shared);
    } else {
        TapSlabs slabs({taps, g.taps(), g.channels});
        A a(o.image, slabs, row_from, row_inside);
        auto b = [&] {
            // Along a row of weight, taps follow each other as they do along K.
            if constexpr (WEIGHT_ROWS) return B(o.weight + tap_weight(0), o.line, o.columns, column, 0);
            else return B(o.weight, o.line, o.columns, column, slabs);
        }();
        __syncthreads();
        Product<Tile, A, B>::compute(a, b, g.taps() * g.channels, shared);
    }
    constexpr uint32_t N = Chunk<T>::N;
    uint32_t rows = g.pixels() - row, mine = column + chunk_column<N, Tile::COLUMNS>();
    if (mine >= o.columns) return;
    float bias[N];
    for (uint32_t e = 0; e < N; e += 4) {
        float4 b = load4_or(o.bias, mine + e, 0.0f);
        bias[e] = b.x, bias[e + 1] = b.y, bias[e + 2] = b.z, bias[e + 3] = b.w;
    }
    auto place = [&](uint32_t r) { return (size_t)out[r] * o.columns + mine; };
    auto finish = [&](uint32_t r, const float(&v)[N]) {
        Chunk<T> sum = Chunk<T>::load_or(o.residual, place(r), 0.0f);
        for (uint32_t e = 0; e < N; e++) sum.v[e] += v[e] + bias[e];
        return sum;
    };
    bool counts = WEIGHT_ROWS && o.statistics;
    ChannelSums<T> of_column;
    if (counts) {
        float v[N];
        load_chunk<Tile>(shared, 0, chunk_column<N, Tile::COLUMNS>(), v);
        of_column.shift = finish(0, v).rounded();
    }
    for_each_chunk<Tile, N>(shared, [&](uint32_t r, uint32_t, float(&v)[N]) {
        if (r >= rows) return;
        Chunk<T> sum = finish(r, v);
        sum.store(o.to + place(r));
        if (counts) of_column.add(sum.rounded());
    });
    if (!counts) return;
    __syncthreads();
    constexpr uint32_t CHUNKS = Tile::COLUMNS / N;
    auto &sums = *reinterpret_cast<RowSums<N, MATRIX_THREADS> *>(shared);
    sums.put(of_column.sum, of_column.squares);
    __syncthreads();
    float *means = reinterpret_cast<float *>(&sums + 1);
    GroupStats stats = {means, means + Tile::COLUMNS, Tile::COLUMNS, o.group_size, (float)Tile::ROWS};
    stats.write(
        o.statistics, [&](uint32_t c) { return sums.of(c, CHUNKS, MATRIX_THREADS / CHUNKS); },
        [&](uint32_t c) { return to_float(o.to[(size_t)out[0] * o.columns + column + c]); });
}

template <class Tile> static __device__ __forceinline__ void forward_tile(const Conv2dFwd &p) {
    using T = typename Tile::T;
    // With phases a tile's four classes follow each other, because they read the same pixels.
    uint32_t steps = p.phased ? 2 : 1, classes = steps * steps;
    uint32_t most = p.batch * ceil_div(p.out_height, steps) * ceil_div(p.out_width, steps);
    TilePlace place = tile_place<Tile>(blockIdx.x / classes, ceil_div(most, Tile::ROWS), ceil_div(p.outputs, Tile::COLUMNS));
    uint32_t phase = blockIdx.x % classes, a = phase / 2, b = phase % 2;
    Gather g = {.batch = p.batch, .height = p.height, .width = p.width, .channels = p.inputs,
                .rows = (p.out_height - a + steps - 1) / steps, .columns = (p.out_width - b + steps - 1) / steps,
                .step = (int32_t)p.stride, .direction = 1,
                .first_row = p.phased ? phase_first(a, p.top) : -(int32_t)p.top,
                .first_column = p.phased ? phase_first(b, p.left) : -(int32_t)p.left,
                .taps_high = p.phased ? p.kernel_height / 2 + 1 : p.kernel_height,
                .taps_wide = p.phased ? p.kernel_width / 2 + 1 : p.kernel_width,
                .out_height = p.out_height, .out_width = p.out_width, .out_step = steps, .out_row = a, .out_column = b};
    if (place.row >= g.pixels()) return;
    uint32_t line = g.taps() * p.inputs;
    auto tap_weight = [&](uint32_t t) { return phase * p.outputs * line + t * p.inputs; };
    Operands<T> o = {at<const T>(p.x), at<const T>(p.weight), line, at<const float>(p.bias), at<const T>(p.residual), at<T>(p.y), p.outputs};
    if (p.statistics) {
        // A part for each tile of an image, those of a tile's classes one after the other.
        uint32_t pixels = g.rows * g.columns, image = place.row / pixels, part = place.row % pixels / Tile::ROWS * classes + phase;
        o.group_size = p.outputs / p.groups;
        o.statistics = at<float2>(p.statistics) + ((size_t)image * (pixels / Tile::ROWS * classes) + part) * p.groups + place.column / o.group_size;
    }
    convolve<Tile, true>(g, o, place.row, place.column, tap_weight);
}

template <class Tile> static __device__ __forceinline__ void backward_data_tile(const Conv2dBwdData &p) {
    using T = typename Tile::T;
    // The classes of a tile follow each other here, too.
    uint32_t steps = p.phased ? 1 : p.stride, classes = steps * steps;
    uint32_t most = p.batch * ceil_div(p.height, steps) * ceil_div(p.width, steps);
    TilePlace place = tile_place<Tile>(blockIdx.x / classes, ceil_div(most, Tile::ROWS), ceil_div(p.inputs, Tile::COLUMNS));
    uint32_t a = blockIdx.x % classes / steps, b = blockIdx.x % steps;
    // A pixel of class (a, b) has the taps u₀, u₀ + stride, … and v₀, v₀ + stride, …
    uint32_t u0 = (a + p.top) % steps, v0 = (b + p.left) % steps;
    uint32_t phase_high = p.kernel_height / 2 + 1, phase_wide = p.kernel_width / 2 + 1;
    Gather g = {.batch = p.batch, .height = p.out_height, .width = p.out_width, .channels = p.outputs,
                .rows = (p.height - a + steps - 1) / steps, .columns = (p.width - b + steps - 1) / steps,
                .step = p.phased ? 2 : 1, .direction = -1,
                .first_row = (int32_t)(p.phased ? p.top + 1 : (a + p.top) / steps),
                .first_column = (int32_t)(p.phased ? p.left + 1 : (b + p.left) / steps),
                .taps_high = p.phased ? 2 * phase_high : (p.kernel_height + steps - 1 - u0) / steps,
                .taps_wide = p.phased ? 2 * phase_wide : (p.kernel_width + steps - 1 - v0) / steps,
                .out_height = p.height, .out_width = p.width, .out_step = steps, .out_row = a, .out_column = b};
    if (place.row >= g.pixels()) return;
    auto tap_weight = [&](uint32_t t) {
        uint32_t u = t / g.taps_wide, v = t % g.taps_wide;
        if (!p.phased) return ((u0 + steps * u) * p.kernel_width + v0 + steps * v) * p.inputs;
        // Every second tap belongs to the other parity of y's rows.
        uint32_t phase = (u + p.top + 1) % 2 * 2 + (v + p.left + 1) % 2;
        return ((phase * p.outputs * phase_high + u / 2) * phase_wide + v / 2) * p.inputs;
    };
    uint32_t line = (p.phased ? phase_high * phase_wide : p.kernel_height * p.kernel_width) * p.inputs;
    Operands<T> o = {at<const T>(p.dy), at<const T>(p.weight), line, nullptr, nullptr, at<T>(p.dx), p.inputs};
    convolve<Tile, false>(g, o, place.row, place.column, tap_weight);
}

template <class Math> static __device__ __forceinline__ void conv2d_fwd(const Conv2dFwd &p) {
    with_tile<Math, Tile<Math, 128, 32>>(p.tile, [&](auto tile) __attribute__((always_inline)) { forward_tile<decltype(tile)>(p); });
}

template <class Math> static __device__ __forceinline__ void conv2d_bwd_data(const Conv2dBwdData &p) {
    with_tile<Math, Tile<Math, 128, 32>>(p.tile, [&](auto tile) __attribute__((always_inline)) { backward_data_tile<decltype(tile)>(p); });
}

VF_EXPORT_MATRIX(conv2d_fwd, Conv2dFwd)
VF_EXPORT_MATRIX(conv2d_bwd_data, Conv2dBwdData)
