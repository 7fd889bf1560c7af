// 2-D convolution of channels-last images as implicit matrix products: nothing but x, weight and y is in device memory.
//
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
//          slab's taps follow each other, so that re-reading hits L1 and L2.
// FLOPs    2·B·H′·W′·O·kh·kw·I, of an upsample 4/9 of that. On tensor cores: of the PTX instructions of the main loop, counted as
//          matrix_tile.cuh says, 53 % (forward) and 48 % (data gradient) are mma in tiles of 128×128 bf16; four mma for each ldmatrix.
// Scratch  weight gradients: `splits` (times four phases) partial sums in f32. Upsample: 16/9 of the weight.
// Rounding sums in f32; results once to T, weight and bias gradients are f32. The sums of an upsample's weights are rounded to T.
// Source   im2col as in Chetlur et al., "cuDNN", 2014 (arXiv:1410.0759), section 3; phases: Shi et al., "Is the deconvolution layer the
//          same as a convolutional layer?", 2016 (arXiv:1609.07009).
#include "conv2d.cuh"

/// One position of the kernel.
struct alignas(16) Tap {
    /// Elements from a pixel's first source to this tap's.
    int32_t image;
    /// The element of weight where the tap's matrix begins.
    uint32_t weight;
    /// Pixels from a pixel's first source to this tap's.
    int32_t row, column;

    __device__ __forceinline__ void store(Tap *to) const {
        store_shared(shared_address(to), make_uint4(image, weight, row, column));
    }
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
        return {(row * (int32_t)width + column) * (int32_t)channels, weight, row, column};
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

/// The order in which K goes by: all channels of a tap, in slabs of which the last may have fewer, then those of the next tap.
template <class Slab> struct TapSteps {
    const Tap *tap;
    uint32_t slabs, left, channels;

    __device__ __forceinline__ TapSteps(const Tap *taps, uint32_t channels)
        : tap(taps), slabs(ceil_div(channels, Slab::K)), left(slabs), channels(channels) {}

    /// On to the next slab; whether it is another tap's.
    __device__ __forceinline__ bool advance() {
        if (--left != 0) return false;
        left = slabs;
        tap++;
        return true;
    }

    /// Whether some of this slab's chunks have no channels any more, and whether the one at `k` is among them.
    __device__ __forceinline__ bool is_partial() const { return left == 1 && channels % Slab::K != 0; }
    __device__ __forceinline__ bool is_cut(uint32_t k) const { return k >= channels % Slab::K; }
};

/// The sources of a tile's pixels, channels along K.
template <class Slab_> struct ImageLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t LINES = Slab::CHUNKS / Slab::HALVES;
    TapSteps<Slab> at;
    /// A slab's chunks lie its number times a line's length further on, so that pointers change with taps and rounds only.
    const unsigned char *from[LINES];
    uint32_t inside[LINES], bit = 1, valid[Slab::CHUNKS];

    /// `row_from` and `row_inside`: what Pixel says of the tile's rows.
    __device__ __forceinline__ ImageLoader(const T *image, const Gather &g, const Tap *taps, const int32_t *row_from, const uint32_t *row_inside)
        : at(taps, g.channels) {
        for_each<LINES>([&](auto i) {
            uint32_t row = Slab::row(i * Slab::HALVES);
            from[i] = reinterpret_cast<const unsigned char *>(image + row_from[row] + taps[0].image + Slab::k(0));
            inside[i] = row_inside[row];
        });
        begin_tap();
    }

    template <uint32_t I, uint32_t SLAB> __device__ __forceinline__ auto source(Constant<I>, Constant<SLAB>) const {
        return OptionalSourceAt<SLAB * Slab::LINE + I % Slab::HALVES * 64>{from[I / Slab::HALVES], valid[I]};
    }

    template <uint32_t SLAB> __device__ __forceinline__ void advance(Constant<SLAB>) {
        if (at.advance()) {
            int32_t step = (at.tap[0].image - at.tap[-1].image) * (int32_t)sizeof(T) - (int32_t)(at.slabs * Slab::LINE);
            for_each<LINES>([&](auto i) { from[i] += step; });
            bit = bit << 1 | bit >> 31;
            begin_tap();
        } else if (at.is_partial()) {
            cut();
        }
        if (SLAB == Slab::ROUND - 1) for_each<LINES>([&](auto i) { from[i] += Slab::ROUND * Slab::LINE; });
    }

  private:
    __device__ __forceinline__ void begin_tap() {
        for_each<Slab::CHUNKS>([&](auto i) { valid[i] = inside[i / Slab::HALVES] & bit; });
        if (at.is_partial()) cut();
    }

    __device__ __forceinline__ void cut() {
        for_each<Slab::CHUNKS>([&](auto i) { valid[i] = at.is_cut(Slab::k(i)) ? 0 : valid[i]; });
    }
};

/// The taps' matrices of weight, the channels that are summed over along K: K contiguous (forward) or not (data gradient). `line` elements
/// from line to line.
template <class Slab_> struct WeightLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t LINES = Slab::CHUNKS / Slab::HALVES;
    /// What a slab's number adds to addresses.
    static constexpr uint32_t AHEAD = Slab::K_CONTIGUOUS ? Slab::LINE : 0;
    TapSteps<Slab> at;
    const unsigned char *from[LINES];
    /// From slab to slab, beyond AHEAD.
    uint32_t step, valid[Slab::K_CONTIGUOUS ? Slab::HALVES : LINES];

    __device__ __forceinline__ WeightLoader(const T *weight, uint32_t line, uint32_t columns, uint32_t column, const Tap *taps, uint32_t channels)
        : at(taps, channels), step(Slab::K_CONTIGUOUS ? 0 : Slab::K * line * sizeof(T)) {
        for_each<LINES>([&](auto i) {
            uint32_t first = Slab::K_CONTIGUOUS ? min(column + Slab::row(i * Slab::HALVES), columns - 1) * line + Slab::k(0)
                                                : Slab::k(i) * line + min(column + Slab::row(0), columns - Slab::N);
            from[i] = reinterpret_cast<const unsigned char *>(weight + taps[0].weight + first);
        });
        begin_tap();
    }

    template <uint32_t I, uint32_t SLAB> __device__ __forceinline__ auto source(Constant<I>, Constant<SLAB>) const {
        return OptionalSourceAt<SLAB * AHEAD + I % Slab::HALVES * 64>{from[I / Slab::HALVES], valid[Slab::K_CONTIGUOUS ? I % Slab::HALVES : I]};
    }

    template <uint32_t SLAB> __device__ __forceinline__ void advance(Constant<SLAB>) {
        bool next = at.advance();
        if (next || !Slab::K_CONTIGUOUS) {
            ptrdiff_t by = step;
            if (next) {
                int32_t between = at.tap[0].weight - at.tap[-1].weight;
                by = (ptrdiff_t)between * (int32_t)sizeof(T) - (ptrdiff_t)(Slab::K_CONTIGUOUS ? at.slabs * AHEAD : (at.slabs - 1) * (size_t)step);
            }
            for_each<LINES>([&](auto i) { from[i] += by; });
        }
        if (next) begin_tap();
        if (!next && at.is_partial()) cut();
        if (AHEAD != 0 && SLAB == Slab::ROUND - 1) for_each<LINES>([&](auto i) { from[i] += Slab::ROUND * AHEAD; });
    }

  private:
    __device__ __forceinline__ void begin_tap() {
        for (uint32_t &v : valid) v = 1;
        if (at.is_partial()) cut();
    }

    __device__ __forceinline__ void cut() {
        for_each<sizeof valid / sizeof *valid>([&](auto i) { valid[i] = !at.is_cut(Slab::k(i)); });
    }
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
};

/// The pixels of `g` from `row` on and channels from `column` on: a tile. `tap_weight`: Tap::weight of a tap's index.
template <class Tile, bool WEIGHT_ROWS, class TapWeight>
static __device__ __forceinline__ void convolve(const Gather &g, const Operands<typename Tile::T> &o, uint32_t row, uint32_t column, TapWeight &&tap_weight) {
    using T = typename Tile::T;
    using A = ImageLoader<typename Tile::template RowSlab<true>>;
    using B = WeightLoader<typename Tile::template ColumnSlab<WEIGHT_ROWS>>;
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
        A a(o.image, g, taps, row_from, row_inside);
        B b(o.weight, o.line, o.columns, column, taps, g.channels);
        __syncthreads();
        Product<Tile, A, B, false, true>::compute(a, b, g.taps() * ceil_div(g.channels, Tile::K) * Tile::K, shared);
    }
    constexpr uint32_t N = Chunk<T>::N;
    uint32_t rows = g.pixels() - row;
    column += chunk_column<N, Tile::COLUMNS>();
    if (column >= o.columns) return;
    float bias[N];
    for (uint32_t e = 0; e < N; e += 4) {
        float4 b = load4_or(o.bias, column + e, 0.0f);
        bias[e] = b.x, bias[e + 1] = b.y, bias[e + 2] = b.z, bias[e + 3] = b.w;
    }
    for_each_chunk<Tile, N>(shared, [&](uint32_t r, uint32_t, float(&v)[N]) {
        if (r >= rows) return;
        size_t place = (size_t)out[r] * o.columns + column;
        Chunk<T> sum = Chunk<T>::load_or(o.residual, place, 0.0f);
        for (uint32_t e = 0; e < N; e++) sum.v[e] += v[e] + bias[e];
        sum.store(o.to + place);
    });
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
    with_tile<Math, Tile<Math, 128, 32>>(p.tile, [&](auto tile) { forward_tile<decltype(tile)>(p); });
}

template <class Math> static __device__ __forceinline__ void conv2d_bwd_data(const Conv2dBwdData &p) {
    with_tile<Math, Tile<Math, 128, 32>>(p.tile, [&](auto tile) { backward_data_tile<decltype(tile)>(p); });
}

VF_EXPORT_MATRIX(conv2d_fwd, Conv2dFwd)
VF_EXPORT_MATRIX(conv2d_bwd_data, Conv2dBwdData)
