// The gradients of a convolution's weight and bias; and the weights of a convolution of a ×2 upsample.
//
//   conv2d_bwd_weight      dweight[o, (tap, c)] = Σ_pixel dy[pixel, o]·x[pixel's source at tap, c];  dbias[o] = Σ_pixel dy[pixel, o]
//   conv2d_bwd_weight_sum  adds up what blocks with different pixels have found
//   conv2d_phases          the sums of weights that meet the same pixel of x (see conv2d.h)
//
// Shapes   x (B, H, W, I), weight (O, kh, kw, I), y (B, H′, W′, O); channels in multiples of 16 bytes
//          (see conv2d_channels.cu), sides below 2¹⁴.
// Bytes    each of x, dy, dweight and dbias once, and of the partial sums where there are several. Blocks that run at the same time work on
//          the same pixels at different taps, which then come from L2.
// FLOPs    2·B·H′·W′·O·kh·kw·I; of an upsample 4/9 of that, because x is met by sums of dy. On tensor cores: of the main
//          loop's PTX instructions 44 % (1×1) to 33 % (3×3 of small images) are mma in tiles of 128×128 bf16; the rest keeps track of pixels.
// Scratch  `splits` (of an upsample four times as many) partial sums in f32.
// Rounding products of bf16 are exact, sums and results f32, in a fixed order. The sums of an upsample's weights are rounded to T.
// Source   as conv2d.cu.
#include "conv2d.cuh"

/// How K runs over a class of pixels in the weight gradient: a slab is `wide` neighbouring pixels of a row, or of `tall` rows where they are
/// short. (What does not fill a slab is zeros; sides that are multiples of 32, and powers of 2 below, waste nothing.)
template <uint32_t K> struct PixelSlabs {
    uint32_t rows, columns, wide, tall, across, down;

    __device__ __forceinline__ PixelSlabs(uint32_t rows, uint32_t columns)
        : rows(rows), columns(columns), wide(min(columns, K)), tall(K / wide), across(ceil_div(columns, wide)), down(ceil_div(rows, tall)) {}

    __device__ __forceinline__ uint32_t in_image() const { return across * down; }

    /// Whether every slab is full.
    __device__ __forceinline__ bool whole() const { return wide * tall == K && columns % wide == 0 && rows % tall == 0; }
};

/// A place of a PixelSlabs. A's loader moves it, B's follows.
template <uint32_t K> struct PixelSlab {
    PixelSlabs<K> all;
    uint32_t image, row, column;
    /// Whether this slab is the first of a row, and of an image.
    bool new_row = false, new_image = false;

    __device__ __forceinline__ PixelSlab(const PixelSlabs<K> &all, uint32_t index) : all(all) {
        image = index / all.in_image();
        row = index / all.across % all.down * all.tall;
        column = index % all.across * all.wide;
    }

    __device__ __forceinline__ void advance() {
        column += all.wide;
        new_row = column >= all.columns;
        column = new_row ? 0 : column;
        row += new_row ? all.tall : 0;
        new_image = row >= all.rows;
        row = new_image ? 0 : row;
    }

    /// Between the first and the last slab of a row nothing changes in what leaves the image.
    __device__ __forceinline__ bool at_edge() const { return column <= all.wide || column + all.wide >= all.columns; }
};

/// Where a class's pixels lie in an image: (i, j) at (step·i + first_row, step·j + first_column).
struct Lattice {
    uint32_t height, width, channels;
    int32_t step, first_row, first_column;

    __device__ __forceinline__ Lattice shifted(int32_t rows, int32_t columns) const {
        return {height, width, channels, step, first_row + rows, first_column + columns};
    }

    /// Rows and columns from here on are outside of the image, or belong to no pixel of the class.
    __device__ __forceinline__ uint32_t row_end(uint32_t rows) const { return max(0, min((int32_t)height, step * ((int32_t)rows - 1) + first_row + 1)); }
    __device__ __forceinline__ uint32_t column_end(uint32_t columns) const {
        return max(0, min((int32_t)width, step * ((int32_t)columns - 1) + first_column + 1));
    }
};

/// Pixels of an image along K: A's are dy's with their channels along the tile's rows, B's are x's with their channels at one tap along its
/// columns.
template <class Slab_, bool IS_A> struct PixelLoader {
    using Slab = Slab_;
    using T = typename Slab::T;
    static constexpr bool ASYNC = true;
    PixelSlab<Slab::K> &at;
    const uint4 *image;
    uint32_t from[Slab::CHUNKS];
    /// Chunks from slab to slab of a row; from the last of a row to the first of the next, less that; from image to image, less these.
    int32_t across, down, next;
    /// The row (high half) and column of each chunk in a slab: of a pixel of the class (A), or of its source (B).
    int32_t place[Slab::CHUNKS];
    /// A bit for each chunk that is there.
    uint32_t valid = ~0u;
    /// B: of the lattice.
    int32_t step;
    uint32_t row_end, column_end;
    bool inside;

    /// `channel` is the thread's, `lattice` that of its tap. `exists`: the thread's columns of the tile do. `inside`: no slab leaves the image.
    __device__ __forceinline__ PixelLoader(const T *image, const Lattice &l, PixelSlab<Slab::K> &at, uint32_t channel, bool exists, bool inside)
        : at(at), image(reinterpret_cast<const uint4 *>(image)), step(l.step), row_end(exists ? l.row_end(at.all.rows) : 0), column_end(l.column_end(at.all.columns)), inside(inside) {
        const int32_t pixel = l.channels / Slab::N, line = pixel * l.width;
        across = at.all.wide * l.step * pixel;
        down = at.all.tall * l.step * line - at.all.across * across;
        next = l.height * line - at.all.down * at.all.tall * l.step * line;
        for_each<Slab::CHUNKS>([&](auto i) {
            int32_t r = Slab::k(i) / at.all.wide, c = Slab::k(i) % at.all.wide;
            int32_t row = l.step * r + l.first_row, column = l.step * c + l.first_column;
            int32_t y = at.image * l.height + l.step * at.row + row, x = l.step * at.column + column;
            from[i] = y * line + x * pixel + channel / Slab::N;
            place[i] = (r >= at.all.tall ? OUTSIDE : IS_A ? r : row) << 16 | ((IS_A ? c : column) & 0xFFFF);
        });
        if (!inside) check();
    }

    template <uint32_t I, uint32_t SLAB> __device__ __forceinline__ auto source(Constant<I>, Constant<SLAB>) const {
        return OptionalSourceAt<0>{image + from[I], valid & 1 << I};
    }

    template <uint32_t SLAB> __device__ __forceinline__ void advance(Constant<SLAB>) {
        if (IS_A) at.advance();
        int32_t by = across + (at.new_row ? down : 0) + (at.new_image ? next : 0);
        for_each<Slab::CHUNKS>([&](auto i) { from[i] += by; });
        if (!inside && at.at_edge()) check();
    }

  private:
    static constexpr int32_t OUTSIDE = 0x4000;

    __device__ __forceinline__ void check() {
        int32_t y = at.row * (IS_A ? 1 : step), x = at.column * (IS_A ? 1 : step);
        uint32_t rows = IS_A ? at.all.rows : row_end, columns = IS_A ? at.all.columns : column_end;
        valid = 0;
        for_each<Slab::CHUNKS>([&](auto i) {
            // No branch, at which lanes would part.
            uint32_t is_valid = ((uint32_t)(y + (place[i] >> 16)) < rows) & ((uint32_t)(x + (int16_t)place[i]) < columns);
            valid |= is_valid << i.value;
        });
    }
};

template <class Tile> static __device__ __forceinline__ void backward_weight_tile(const Conv2dBwdWeight &p) {
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
    using A = PixelLoader<typename Tile::template RowSlab<false>, true>;
    using B = PixelLoader<typename Tile::template ColumnSlab<false>, false>;
    PixelSlabs<Tile::K> slabs(class_rows, class_columns);
    uint32_t total = p.batch * slabs.in_image(), begin = (uint64_t)total * blockIdx.y / p.splits, end = (uint64_t)total * (blockIdx.y + 1) / p.splits;
    PixelSlab<Tile::K> slab(slabs, begin);
    uint32_t column = n + B::Slab::row(0), tap = column / p.inputs;
    bool inside = slabs.whole() && p.dweight && columns % Tile::COLUMNS == 0 && columns == p.inputs && p.top == 0 && p.left == 0;
    A rows(at<const T>(p.dy), dy, slab, min(m + A::Slab::row(0), p.outputs - A::Slab::N), true, slabs.whole());
    B of_tap(at<const T>(p.x), x.shifted(tap / taps_wide, tap % taps_wide), slab, column % p.inputs, column < columns_there, inside);
    if (begin == end) {
        zero_sums<Tile>(shared);
    } else {
        Product<Tile, A, B, true, true>::compute(rows, of_tap, (end - begin) * Tile::K, shared, sum_rows);
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
template <class T> static __device__ __forceinline__ void conv2d_bwd_weight_sum(const Conv2dBwdWeightSum &p) {
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
    with_tile<Math, Tile<Math, 64, 128>>(p.tile, [&](auto tile) { backward_weight_tile<decltype(tile)>(p); });
}

VF_EXPORT_MATRIX(conv2d_bwd_weight, Conv2dBwdWeight)
VF_EXPORT(conv2d_bwd_weight_sum, Conv2dBwdWeightSum, CONV2D_WEIGHT_THREADS)
VF_EXPORT(conv2d_phases, Conv2dPhases, CONV2D_WEIGHT_THREADS)
