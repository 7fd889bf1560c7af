// 2-D convolution of channels-last images as implicit matrix products: nothing but x, weight and y is in device memory.
//
//   forward          y[pixel, o]            = Σ_{tap, c} x[pixel's source at tap, c]·weight[o, tap, c] + bias[o] + residual[pixel, o]
//   data gradient    dx[pixel, c]           = Σ_{tap, o} dy[pixel's target at tap, o]·weight[o, tap, c]
//   weight gradient  dweight[o, (tap, c)]   = Σ_pixel dy[pixel, o]·x[pixel's source at tap, c];  dbias[o] = Σ_pixel dy[pixel, o]
//
// Shapes   x (B, H, W, I), weight (O, kh, kw, I), y (B, H′, W′, O); any sizes. Channels in multiples of 16 bytes and at most 32 taps take
//          the fast way, all others gather element by element.
// Phases   Where a stride or the upsample would make half of all products with zeros, or the same ones four times, pixels are sorted by
//          the parity of their row and column: the data gradient with stride s falls into s² gathers with kh·kw/s² taps each, and the
//          convolution of a ×2 upsample into four of ⌊kh/2 + 1⌋·⌊kw/2 + 1⌋ taps at the size of x (4 taps instead of 9) with weights
//          summed beforehand. Its data gradient is one gather with stride 2 of all four phases' taps (16 instead of 36).
// Bytes    each of x, weight, bias, residual and y (dy, dx, …) once. Blocks that run at the same time work on neighbouring pixels, and a
//          slab's taps follow each other, so that re-reading hits L1 and L2.
// FLOPs    2·B·H′·W′·O·kh·kw·I, of an upsample 4/9 of that.
// Scratch  weight gradients: `splits` (times four phases) partial sums in f32. Upsample: 16/9 of the weight.
// Rounding sums in f32; results once to T, weight and bias gradients are f32. The sums of an upsample's weights are rounded to T.
// Source   im2col as in Chetlur et al., "cuDNN", 2014 (arXiv:1410.0759), section 3; phases: Shi et al., "Is the deconvolution layer the
//          same as a convolutional layer?", 2016 (arXiv:1609.07009).
#include "conv2d.h"
#include "matrix_tile.cuh"

static __device__ __forceinline__ uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/// One position of the kernel.
struct alignas(16) Tap {
    /// Elements from a pixel's first source to this tap's.
    int32_t image;
    /// The element of weight where the tap's matrix begins.
    uint32_t weight;
    /// Pixels from a pixel's first source to this tap's.
    int16_t row, column;
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
        return {(row * (int32_t)width + column) * (int32_t)channels, weight, (int16_t)row, (int16_t)column};
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

/// What a block keeps in shared memory behind the slabs: for each of its rows the pixel that it writes, and the taps.
template <class Tile> struct Scratch {
    uint32_t *out;
    Tap *taps;

    __device__ __forceinline__ Scratch(unsigned char *shared)
        : out(reinterpret_cast<uint32_t *>(shared + MATRIX_SHARED)), taps(reinterpret_cast<Tap *>(out + Tile::ROWS)) {}
};

/// The order in which K goes by: a slab of channels at one tap after the other, then the next channels. `left` channels are there from the
/// slab's first on.
template <class Slab> struct TapSteps {
    const Tap *taps;
    uint32_t tap = 0, count, channel = 0, left;

    __device__ __forceinline__ TapSteps(const Tap *taps, uint32_t count, uint32_t channels)
        : taps(taps), count(count), left(channels) {}

    __device__ __forceinline__ void advance() {
        if (++tap < count) return;
        tap = 0;
        channel += Slab::K;
        left = left > Slab::K ? left - Slab::K : 0;
    }
};

/// The sources of a tile's pixels, channels along K.
template <class Slab_> struct ImageLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t LINES = Slab::CHUNKS / Slab::HALVES;
    const T *image;
    TapSteps<Slab> at;
    int32_t from[LINES], offset;
    uint32_t inside[LINES], bit = 1;

    /// `row_from` and `row_inside`: what Pixel says of the tile's rows.
    __device__ __forceinline__ ImageLoader(const T *image, const Gather &g, const Tap *taps, const int32_t *row_from, const uint32_t *row_inside)
        : image(image + Slab::k(0)), at(taps, g.taps(), g.channels) {
        for_each<LINES>([&](auto i) {
            from[i] = row_from[Slab::row(i * Slab::HALVES)];
            inside[i] = row_inside[Slab::row(i * Slab::HALVES)];
        });
        offset = taps[0].image;
    }

    template <uint32_t I, uint32_t SLAB> __device__ __forceinline__ Source source(Constant<I>, Constant<SLAB>) const {
        constexpr uint32_t LINE = I / Slab::HALVES, AHEAD = I % Slab::HALVES * 4 * Slab::N;
        return {image + (from[LINE] + offset) + AHEAD, (inside[LINE] & bit) != 0 && Slab::k(I) < at.left};
    }

    template <uint32_t SLAB> __device__ __forceinline__ void advance(Constant<SLAB>) {
        at.advance();
        offset = at.taps[at.tap].image + (int32_t)at.channel;
        bit = 1u << at.tap;
    }
};

/// The taps' matrices of weight, channels along K: K contiguous (forward) or not (data gradient); `line` elements from line to line.
template <class Slab_> struct WeightLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    static constexpr uint32_t LINES = Slab::CHUNKS / Slab::HALVES;
    const T *weight;
    TapSteps<Slab> at;
    uint32_t line, from[LINES], offset;

    __device__ __forceinline__ WeightLoader(const T *weight, uint32_t line, uint32_t columns, uint32_t column, const Tap *taps, uint32_t count,
                                            uint32_t channels)
        : weight(weight), at(taps, count, channels), line(line) {
        for_each<LINES>([&](auto i) {
            if constexpr (Slab::K_CONTIGUOUS) {
                from[i] = min(column + Slab::row(i * Slab::HALVES), columns - 1) * line + Slab::k(0);
            } else {
                from[i] = Slab::k(i) * line + min(column + Slab::row(0), columns - Slab::N);
            }
        });
        offset = taps[0].weight;
    }

    template <uint32_t I, uint32_t SLAB> __device__ __forceinline__ Source source(Constant<I>, Constant<SLAB>) const {
        constexpr uint32_t AHEAD = I % Slab::HALVES * 4 * Slab::N;
        return {weight + (from[I / Slab::HALVES] + offset) + AHEAD, Slab::k(I) < at.left};
    }

    template <uint32_t SLAB> __device__ __forceinline__ void advance(Constant<SLAB>) {
        at.advance();
        offset = at.taps[at.tap].weight + at.channel * (Slab::K_CONTIGUOUS ? 1 : line);
    }
};

/// A chunk of elements that are not 16-byte aligned: of(e) is the e-th.
template <class T, class F> static __device__ __forceinline__ uint4 gather_elements(F &&of) {
    constexpr uint32_t N = 16 / sizeof(T);
    uint32_t word[4] = {};
    for (uint32_t e = 0; e < N; e++) {
        if constexpr (N == 4) {
            word[e] = __float_as_uint(of(e));
        } else {
            word[e / 2] |= (uint32_t)__bfloat16_as_ushort(of(e)) << e % 2 * 16;
        }
    }
    return make_uint4(word[0], word[1], word[2], word[3]);
}

/// A place in K where it is not cut into slabs of one tap: all channels of a tap, then the next tap.
struct FlatK {
    uint32_t tap, channel, channels;

    __device__ __forceinline__ FlatK(uint32_t k, uint32_t channels) : tap(k / channels), channel(k % channels), channels(channels) {}

    __device__ __forceinline__ void next() {
        if (++channel < channels) return;
        channel = 0;
        tap++;
    }
};

/// ImageLoader for any number of channels and taps.
template <class Slab_> struct RaggedImageLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = false;
    const T *image;
    const Gather &g;
    const Tap *taps;
    uint32_t row, k = 0;

    __device__ __forceinline__ RaggedImageLoader(const T *image, const Gather &g, const Tap *taps, uint32_t row)
        : image(image), g(g), taps(taps), row(row) {}

    __device__ __forceinline__ uint4 gather(uint32_t i, uint32_t left) const {
        Pixel pixel(g, min(row + Slab::row(i), g.pixels() - 1));
        FlatK at(k + Slab::k(i), g.channels);
        return gather_elements<T>([&](uint32_t e) {
            T value = T(0.0f);
            if (Slab::k(i) + e < left) {
                const Tap &tap = taps[at.tap];
                bool inside = (uint32_t)(pixel.row + tap.row) < g.height && (uint32_t)(pixel.column + tap.column) < g.width;
                if (inside) value = image[pixel.from(g) + tap.image + (int32_t)at.channel];
            }
            at.next();
            return value;
        });
    }

    __device__ __forceinline__ void advance(uint32_t) {
        k += Slab::K;
        __syncwarp();  // Lanes went different ways.
    }
};

/// WeightLoader for any number of channels and taps.
template <class Slab_> struct RaggedWeightLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = false;
    const T *weight;
    uint32_t line, columns, column, channels, k = 0;
    const Tap *taps;

    __device__ __forceinline__ RaggedWeightLoader(const T *weight, uint32_t line, uint32_t columns, uint32_t column, const Tap *taps, uint32_t,
                                                  uint32_t channels)
        : weight(weight), line(line), columns(columns), column(column), channels(channels), taps(taps) {}

    __device__ __forceinline__ uint4 gather(uint32_t i, uint32_t left) const {
        FlatK at(k + Slab::k(i), channels);
        return gather_elements<T>([&](uint32_t e) {
            uint32_t n = column + Slab::row(i) + (Slab::K_CONTIGUOUS ? 0 : e), deep = Slab::k(i) + (Slab::K_CONTIGUOUS ? e : 0);
            T value = T(0.0f);
            if (n < columns && deep < left) {
                value = weight[taps[at.tap].weight + (Slab::K_CONTIGUOUS ? n * line + at.channel : at.channel * line + n)];
            }
            if (Slab::K_CONTIGUOUS) at.next();
            return value;
        });
    }

    __device__ __forceinline__ void advance(uint32_t) {
        k += Slab::K;
        __syncwarp();  // Lanes went different ways.
    }
};

/// Writes a tile of `columns` channels: what it holds, plus the bias and the residual where they are there.
template <class Tile, bool RAGGED>
static __device__ __forceinline__ void write_tile(unsigned char *shared, const uint32_t *out, uint32_t rows, uint32_t columns, uint32_t column,
                                                  const float *bias, const typename Tile::T *residual, typename Tile::T *to) {
    using T = typename Tile::T;
    constexpr uint32_t N = Chunk<T>::N;
    for_each_chunk<Tile, N>(shared, [&](uint32_t row, uint32_t at, float(&v)[N]) {
        uint32_t n = column + at;
        if (row >= rows || n >= columns) return;
        size_t place = (size_t)out[row] * columns + n;
        if constexpr (RAGGED) {
            for (uint32_t e = 0; e < N; e++) {
                if (n + e >= columns) continue;
                float sum = v[e] + (bias ? bias[n + e] : 0.0f) + (residual ? to_float(residual[place + e]) : 0.0f);
                from_float(sum, to + place + e);
            }
        } else {
            Chunk<T> sum = Chunk<T>::load_or(residual, place, 0.0f);
            for (uint32_t e = 0; e < N; e += 4) {
                float4 b = load4_or(bias, n + e, 0.0f);
                sum.v[e] += v[e] + b.x, sum.v[e + 1] += v[e + 1] + b.y, sum.v[e + 2] += v[e + 2] + b.z, sum.v[e + 3] += v[e + 3] + b.w;
            }
            sum.store(to + place);
        }
    });
}

/// Instead of a product over nothing.
static __device__ __forceinline__ void zero_sums(unsigned char *shared) {
    for (uint32_t at = threadIdx.x * 16; at < 4 * Staged::BYTES; at += MATRIX_THREADS * 16) store_shared(shared_address(shared) + at, make_uint4(0, 0, 0, 0));
    __syncthreads();
}

/// The pixels of `g` from `row` on and channels from `column` of `columns` on: a tile.
/// `tap_weight`: Tap::weight of a tap's index. WEIGHT_ROWS: weight's lines are the written channels, not those summed over.
template <class Tile, bool RAGGED, bool WEIGHT_ROWS, class TapWeight>
static __device__ __forceinline__ void convolve(const Gather &g, TapWeight &&tap_weight, uint32_t row, uint32_t column, uint32_t columns, uint32_t line,
                                                const typename Tile::T *image, const typename Tile::T *weight, const float *bias,
                                                const typename Tile::T *residual, typename Tile::T *to) {
    using SlabA = typename Tile::template RowSlab<true>;
    using SlabB = typename Tile::template ColumnSlab<WEIGHT_ROWS>;
    using B = std::conditional_t<RAGGED, RaggedWeightLoader<SlabB>, WeightLoader<SlabB>>;
    extern __shared__ __align__(128) unsigned char shared[];
    Scratch<Tile> scratch(shared);
    int32_t *row_from = reinterpret_cast<int32_t *>(shared);
    uint32_t *row_inside = reinterpret_cast<uint32_t *>(row_from + Tile::ROWS);
    for (uint32_t t = threadIdx.x; t < g.taps(); t += MATRIX_THREADS) scratch.taps[t] = g.tap(t, tap_weight(t));
    if (threadIdx.x < Tile::ROWS) {
        Pixel pixel(g, min(row + threadIdx.x, g.pixels() - 1));
        scratch.out[threadIdx.x] = pixel.out;
        if constexpr (!RAGGED) {
            row_from[threadIdx.x] = pixel.from(g);
            row_inside[threadIdx.x] = pixel.inside(g);
        }
    }
    __syncthreads();
    if (g.taps() == 0) {
        zero_sums(shared);
    } else {
        B b(weight, line, columns, column, scratch.taps, g.taps(), g.channels);
        if constexpr (RAGGED) {
            RaggedImageLoader<SlabA> a(image, g, scratch.taps, row);
            Product<Tile, RaggedImageLoader<SlabA>, B>::compute(a, b, g.taps() * g.channels, shared);
        } else {
            ImageLoader<SlabA> a(image, g, scratch.taps, row_from, row_inside);
            __syncthreads();
            Product<Tile, ImageLoader<SlabA>, B>::compute(a, b, g.taps() * ceil_div(g.channels, Tile::K) * Tile::K, shared);
        }
    }
    write_tile<Tile, RAGGED>(shared, scratch.out, g.pixels() - row, columns, column, bias, residual, to);
}

/// ⌊(a − pad)/2⌋
static __device__ __forceinline__ int32_t phase_first(uint32_t a, uint32_t pad) { return ((int32_t)a - (int32_t)pad) >> 1; }

template <class Tile, bool RAGGED> static __device__ __forceinline__ void forward_tile(const Conv2dFwd &p) {
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
    convolve<Tile, RAGGED, true>(g, tap_weight, place.row, place.column, p.outputs, line, at<const T>(p.x), at<const T>(p.weight),
                                 at<const float>(p.bias), at<const T>(p.residual), at<T>(p.y));
}

template <class Tile, bool RAGGED> static __device__ __forceinline__ void backward_data_tile(const Conv2dBwdData &p) {
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
    convolve<Tile, RAGGED, false>(g, tap_weight, place.row, place.column, p.inputs, line, at<const T>(p.dy), at<const T>(p.weight), nullptr,
                                  nullptr, at<T>(p.dx));
}

template <class Math> static __device__ __forceinline__ void conv2d_fwd(const Conv2dFwd &p) {
    switch (p.tile) {
    case CONV2D_TILE_LARGE: return forward_tile<Tile<Math, 128, Math::TENSOR ? 128 : 64>, false>(p);
    case CONV2D_TILE_NARROW: return forward_tile<Tile<Math, 128, 64>, false>(p);
    case CONV2D_TILE_SMALL: return forward_tile<Tile<Math, 64, 64>, false>(p);
    default: return forward_tile<Tile<Math, 64, 64>, true>(p);
    }
}

template <class Math> static __device__ __forceinline__ void conv2d_bwd_data(const Conv2dBwdData &p) {
    switch (p.tile) {
    case CONV2D_TILE_LARGE: return backward_data_tile<Tile<Math, 128, Math::TENSOR ? 128 : 64>, false>(p);
    case CONV2D_TILE_NARROW: return backward_data_tile<Tile<Math, 128, 64>, false>(p);
    case CONV2D_TILE_SMALL: return backward_data_tile<Tile<Math, 64, 64>, false>(p);
    default: return backward_data_tile<Tile<Math, 64, 64>, true>(p);
    }
}

VF_EXPORT_MATRIX(conv2d_fwd, Conv2dFwd)
VF_EXPORT_MATRIX(conv2d_bwd_data, Conv2dBwdData)
