// The linear layer, forward and backward, with bias, activation, SwiGLU and gated residual where its sums still lie on the chip.
//
// Formula   s = x·Wᵀ + b;  a = f(s) or silu(s₁)·s₂;  y = a or residual + gate·a.
//           dx = dy·W, plus what else reaches x; and through what came before: ds = dx·f′(s), or with σ = σ(s₁): ds₁ = dx·s₂·σ(1 + s₁(1 − σ)), ds₂ = dx·s₁·σ.
//           dW = dyᵀ·x,  db = Σ dy.
// Shapes    x (rows, inputs), W (outputs, inputs), y (rows, outputs); s₁ | s₂ = s (rows, 2·outputs).
// Bytes     each operand and each result once; weight gradients also a tile of f32 for each part of a tile that blocks share, once out and
//           once in. What tiles read again comes from L2: neighbouring blocks share rows and columns.
// FLOPs     2·rows·inputs·outputs each. On tensor cores: of the PTX instructions of the main loop, counted as matrix_tile.cuh says, 68 %
//           (forward, dx) and 61 % (dW, with db) are mma in tiles of 128×128 bf16.
// Scratch   weight gradients: at most 2·blocks − 2 tiles.
// Rounding  bf16: products are exact, sums f32. f32: fused multiply-adds, or TF32 where the device has it switched on. s is rounded where
//           it is kept, and y is made from what it was before; gradients of weights and biases stay f32. No atomics: sums have a fixed order.
// Source    pipelines and swizzles as in NVIDIA's "CUTLASS" documentation; work shared among blocks as in Osama et al., "Stream-K"
//           (2023); Shazeer, "GLU variants improve transformer" (2020); Peebles and Xie, "Scalable diffusion models with transformers" (2023).
#include "linear.h"
#include "matrix_cut.cuh"
#include "nonlinear.cuh"

/// What a vector of parameters, or `absent` throughout, has for N columns from `column` + chunk_column<N, COLUMNS>() on, of `columns`. A warp loads
/// it side by side, and its lanes then exchange what they need.
template <uint32_t N, uint32_t COLUMNS, bool ALIGNED>
static __device__ __forceinline__ void load_parameters(float (&v)[N], const float *vector, float absent, uint32_t column, uint32_t columns) {
    if (!vector) {
        for (float &x : v) x = absent;
    } else if constexpr (ALIGNED) {
        uint32_t from = column + threadIdx.x % (COLUMNS / 4) * 4, chunk = threadIdx.x % (COLUMNS / N);
        float4 four = load4_or(from < columns ? vector : nullptr, from, 0.0f);
        for (uint32_t i = 0; i < N; i += 4) {
            uint32_t lane = chunk * (N / 4) + i / 4;
            v[i] = __shfl_sync(0xFFFFFFFFu, four.x, lane), v[i + 1] = __shfl_sync(0xFFFFFFFFu, four.y, lane);
            v[i + 2] = __shfl_sync(0xFFFFFFFFu, four.z, lane), v[i + 3] = __shfl_sync(0xFFFFFFFFu, four.w, lane);
        }
    } else {
        column += chunk_column<N, COLUMNS>();
        for (uint32_t i = 0; i < N; i++) v[i] = column + i < columns ? vector[column + i] : 0.0f;
    }
}

extern __shared__ __align__(128) unsigned char shared[];

/// y from a chunk of a, and what backward needs. `gate` is the parameter, or 1.
template <class T, bool ALIGNED>
static __device__ __forceinline__ void put_output(const LinearFwd &p, float (&a)[Chunk<T>::N], const float (&gate)[Chunk<T>::N], uint32_t row, uint32_t column) {
    size_t at_y = (size_t)row * p.outputs + column;
    uint32_t inside = p.outputs - column;
    if (p.branch) Cells<T, ALIGNED>::store(a, at<T>(p.branch) + at_y, inside);
    if (p.residual) {
        Chunk<T> x = Cells<T, ALIGNED>::load(at<const T>(p.residual) + at_y, inside);
        if (p.gate && !p.parameter) {
            Chunk<T> of_row = Cells<T, ALIGNED>::load(at<const T>(p.gate) + (size_t)(row / p.rows_per_gate) * p.outputs + column, inside);
            for (uint32_t i = 0; i < Chunk<T>::N; i++) a[i] = x.v[i] + of_row.v[i] * a[i];
        } else {
            for (uint32_t i = 0; i < Chunk<T>::N; i++) a[i] = x.v[i] + gate[i] * a[i];
        }
    }
    Cells<T, ALIGNED>::store(a, at<T>(p.y) + at_y, inside);
}

template <class Tile, bool ALIGNED> static __device__ __forceinline__ void forward_tile(const LinearFwd &p, const Rows &rows) {
    using T = typename Tile::T;
    using X = Loader<typename Tile::template RowSlab<true>, ALIGNED>;
    using Weight = Loader<typename Tile::template ColumnSlab<true>, ALIGNED>;
    constexpr uint32_t N = Chunk<T>::N, HALF = Tile::COLUMNS / 2;
    bool swiglu = p.activation == LINEAR_SWIGLU;
    // For SwiGLU half of a tile's columns are gates, the other half their values.
    uint32_t width = swiglu ? HALF : Tile::COLUMNS, columns = swiglu ? 2 * p.outputs : p.outputs;
    TilePlace place = rows.place<Tile>((p.outputs + width - 1) / width);
    if (swiglu) place.column /= 2;
    X x(at<const T>(p.x), p.inputs, p.rows, place.row, 0);
    Weight weight(at<const T>(p.weight), p.inputs, columns, place.column, 0, swiglu ? p.outputs - HALF : 0);
    Product<Tile, X, Weight>::compute(x, weight, p.inputs, shared);

    const float *bias = at<const float>(p.bias), *parameter = p.parameter ? at<const float>(p.gate) : nullptr;
    float gate[N];
    if (swiglu) {
        float bias1[N], bias2[N];
        load_parameters<N, HALF, ALIGNED>(bias1, bias, 0.0f, place.column, p.outputs);
        load_parameters<N, HALF, ALIGNED>(bias2, bias, 0.0f, p.outputs + place.column, columns);
        load_parameters<N, HALF, ALIGNED>(gate, parameter, 1.0f, place.column, p.outputs);
        uint32_t column = place.column + chunk_column<N, HALF>(), inside = p.outputs - column;
        if (column >= p.outputs) return;
        for_each_chunk<Tile, N, HALF>(shared, [&](uint32_t row, uint32_t within, float (&s1)[N]) {
            float s2[N], a[N];
            load_chunk<Tile>(shared, row, within + HALF, s2);
            row += place.row;
            if (row >= p.rows) return;
            for (uint32_t i = 0; i < N; i++) s1[i] += bias1[i], s2[i] += bias2[i];
            if (p.sums) {
                T *sums = at<T>(p.sums) + (size_t)row * columns + column;
                Cells<T, ALIGNED>::store(s1, sums, inside);
                Cells<T, ALIGNED>::store(s2, sums + p.outputs, inside);
            }
            for (uint32_t i = 0; i < N; i++) a[i] = s1[i] * sigmoid(s1[i]) * s2[i];
            put_output<T, ALIGNED>(p, a, gate, row, column);
        });
    } else {
        float of_column[N];
        load_parameters<N, Tile::COLUMNS, ALIGNED>(of_column, bias, 0.0f, place.column, columns);
        load_parameters<N, Tile::COLUMNS, ALIGNED>(gate, parameter, 1.0f, place.column, columns);
        uint32_t column = place.column + chunk_column<N, Tile::COLUMNS>();
        if (column >= p.outputs) return;
        for_each_chunk<Tile, N>(shared, [&](uint32_t row, uint32_t, float (&s)[N]) {
            row += place.row;
            if (row >= p.rows) return;
            for (uint32_t i = 0; i < N; i++) s[i] += of_column[i];
            if (p.sums) Cells<T, ALIGNED>::store(s, at<T>(p.sums) + (size_t)row * columns + column, p.outputs - column);
            for_each_nonlinear(p.activation, s, [&](int i, Nonlinear f) { s[i] = f.value; });
            put_output<T, ALIGNED>(p, s, gate, row, column);
        });
    }
}

template <class Math> static __device__ __forceinline__ void linear_fwd(const LinearFwd &p) {
    Rows rows(p, p.activation == LINEAR_SWIGLU ? 2 * p.outputs : p.outputs);
    MATRIX_TILES(forward_tile, p, rows)
}

template <class Tile, bool ALIGNED> static __device__ __forceinline__ void input_tile(const LinearBwdInput &p, const Rows &rows) {
    using T = typename Tile::T;
    using Dy = Loader<typename Tile::template RowSlab<true>, ALIGNED>;
    using Weight = Loader<typename Tile::template ColumnSlab<false>, ALIGNED>;
    constexpr uint32_t N = Chunk<T>::N;
    TilePlace place = rows.place<Tile>((p.inputs + Tile::COLUMNS - 1) / Tile::COLUMNS);
    Dy dy(at<const T>(p.dy), p.outputs, p.rows, place.row, 0);
    Weight weight(at<const T>(p.weight), p.inputs, p.inputs, place.column, 0);
    Product<Tile, Dy, Weight>::compute(dy, weight, p.outputs, shared);

    bool swiglu = p.activation == LINEAR_SWIGLU;
    uint32_t columns = swiglu ? 2 * p.inputs : p.inputs;
    uint32_t column = place.column + chunk_column<N, Tile::COLUMNS>(), inside = p.inputs - column;
    if (column >= p.inputs) return;
    for_each_chunk<Tile, N>(shared, [&](uint32_t row, uint32_t, float (&d)[N]) {
        row += place.row;
        if (row >= p.rows) return;
        size_t at_s = (size_t)row * columns + column;
        T *dx = at<T>(p.dx) + at_s;
        if (p.dresidual) {
            Chunk<T> more = Cells<T, ALIGNED>::load(at<const T>(p.dresidual) + at_s, inside);
            for (uint32_t i = 0; i < N; i++) d[i] += more.v[i];
        }
        if (!p.sums) return Cells<T, ALIGNED>::store(d, dx, inside);
        Chunk<T> s = Cells<T, ALIGNED>::load(at<const T>(p.sums) + at_s, inside);
        if (swiglu) {
            Chunk<T> s2 = Cells<T, ALIGNED>::load(at<const T>(p.sums) + at_s + p.inputs, inside), d2;
            for (uint32_t i = 0; i < N; i++) {
                Nonlinear f = nonlinear<ACTIVATION_SILU>(s.v[i]);
                d2.v[i] = d[i] * f.value;
                d[i] *= s2.v[i] * f.slope;
            }
            Cells<T, ALIGNED>::store(d2.v, dx + p.inputs, inside);
        } else {
            for_each_nonlinear(p.activation, s.v, [&](int i, Nonlinear f) { d[i] *= f.slope; });
        }
        Cells<T, ALIGNED>::store(d, dx, inside);
    });
}

template <class Math> static __device__ __forceinline__ void linear_bwd_input(const LinearBwdInput &p) {
    Rows rows(p, p.inputs);
    MATRIX_TILES(input_tile, p, rows)
}

/// Stores the sums of a tile as rows of f32, `stride` apart, as far as they lie within `rows` and `columns`.
template <class Tile, bool ALIGNED>
static __device__ __forceinline__ void store_sums(float *to, size_t stride, uint32_t rows, uint32_t columns) {
    for_each_chunk<Tile, 4>(shared, [&](uint32_t row, uint32_t column, float (&v)[4]) {
        if (row < rows && column < columns) Cells<float, ALIGNED>::store(v, to + row * stride + column, columns - column);
    });
}

/// Part of a block's work: `count` slabs of a tile from slab `first` on.
struct Share {
    uint32_t tile, first, count;
};

/// The i-th part of this block's work on `tiles` tiles of `slabs` slabs each; none (a count of 0) after the last.
static __device__ __forceinline__ Share share_of_block(uint32_t i, uint32_t blocks, uint32_t tiles, uint32_t slabs) {
    uint32_t rounds = tiles / blocks, rest = tiles % blocks * slabs, share = (rest + blocks - 1) / blocks;
    if (i < rounds) return {i * blocks + blockIdx.x, 0, slabs};
    uint32_t begin = min(blockIdx.x * share, rest), end = min(begin + share, rest), tile = begin / slabs + i - rounds;
    uint32_t from = max(begin, tile * slabs), to = min(end, (tile + 1) * slabs);
    return {rounds * blocks + tile, from - tile * slabs, from < to ? to - from : 0};
}

template <class Tile, bool ALIGNED> static __device__ __forceinline__ void weight_tiles(const LinearBwdWeight &p) {
    using T = typename Tile::T;
    using Dy = Loader<typename Tile::template RowSlab<false>, ALIGNED>;
    using X = Loader<typename Tile::template ColumnSlab<false>, ALIGNED>;
    for (uint32_t i = 0;; i++) {
        uint32_t tiles_m = (p.outputs + Tile::ROWS - 1) / Tile::ROWS, tiles_n = (p.inputs + Tile::COLUMNS - 1) / Tile::COLUMNS;
        uint32_t slabs = (p.rows + Tile::K - 1) / Tile::K, blocks = p.blocks;
        // Worked out anew for every part, so that it takes no registers in the main loop.
        keep(blocks);
        auto [tile, first, count] = share_of_block(i, blocks, tiles_m * tiles_n, slabs);
        if (count == 0) return;
        TilePlace place = tile_place<Tile>(tile, tiles_m, tiles_n);
        uint32_t k = first * Tile::K;
        Dy dy(at<const T>(p.dy), p.outputs, p.outputs, place.row, k);
        X x(at<const T>(p.x), p.inputs, p.inputs, place.column, k);
        bool biased = p.dbias != 0 && place.column == 0;
        Product<Tile, Dy, X, true>::compute(dy, x, min(count * Tile::K, p.rows - k), shared, biased);

        float *bias = at<float>(p.dbias) + place.row;
        uint32_t rows = p.outputs - place.row, columns = p.inputs - place.column;
        if (count == slabs) {
            store_sums<Tile, ALIGNED>(at<float>(p.dweight) + (size_t)place.row * p.inputs + place.column, p.inputs, rows, columns);
        } else {
            // Blocks and tiles both ascend, and from part to part one of them does.
            uint32_t slot = blockIdx.x + tile - tiles_m * tiles_n / blocks * blocks;
            store_sums<Tile, true>(at<float>(p.partial) + (size_t)slot * Tile::ROWS * Tile::COLUMNS, Tile::COLUMNS, Tile::ROWS, Tile::COLUMNS);
            bias = at<float>(p.partial_bias) + slot * Tile::ROWS;
            rows = Tile::ROWS;
        }
        if (biased && threadIdx.x < min(rows, Tile::ROWS)) bias[threadIdx.x] = row_sum<Tile>(shared, threadIdx.x);
        __syncthreads();
    }
}

/// Work that is shared evenly wants the largest tile. (In TF32, 128×64 spills on sm_100a and sm_120.)
template <class Math> static __device__ __forceinline__ void linear_bwd_weight(const LinearBwdWeight &p) {
    if (p.tile == MATRIX_RAGGED) {
        weight_tiles<Tile<Math, 64, 32, false>, false>(p);
    } else {
        constexpr uint32_t SIDE = sizeof(typename Math::T) == 2 ? 128 : 64;
        weight_tiles<Tile<Math, SIDE, SIDE>, true>(p);
    }
}

static __device__ __forceinline__ void linear_bwd_weight_sum(const LinearBwdWeightSum &p) {
    uint32_t tiles_m = (p.outputs + p.tile_rows - 1) / p.tile_rows, tiles_n = (p.inputs + p.tile_columns - 1) / p.tile_columns;
    uint32_t rest = tiles_m * tiles_n % p.blocks, whole = tiles_m * tiles_n - rest, share = (rest * p.slabs + p.blocks - 1) / p.blocks;
    uint32_t tile = blockIdx.x, first = tile * p.slabs / share, last = (tile * p.slabs + p.slabs - 1) / share;
    if (first == last) return;
    TilePlace place = tile_place(whole + tile, tiles_m, tiles_n, p.tile_rows, p.tile_columns);

    uint32_t at_tile = (blockIdx.y * LINEAR_SUM_THREADS + threadIdx.x) * 4;
    uint32_t row = place.row + at_tile / p.tile_columns, column = place.column + at_tile % p.tile_columns;
    if (row < p.outputs && column < p.inputs) {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (uint32_t block = first; block <= last; block++) {
            size_t slot = (size_t)(block + tile) * p.tile_rows * p.tile_columns;
            float4 part = load4_or(at<const float>(p.partial), slot + at_tile, 0.0f);
            sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
        }
        float *to = at<float>(p.dweight) + (size_t)row * p.inputs + column;
        if (p.inputs % 4 == 0) {
            Cells<float, true>::store(&sum.x, to, 4);
        } else {
            Cells<float, false>::store(&sum.x, to, p.inputs - column);
        }
    }
    row = place.row + threadIdx.x;
    if (p.dbias && place.column == 0 && blockIdx.y == 0 && threadIdx.x < p.tile_rows && row < p.outputs) {
        float sum = 0.0f;
        for (uint32_t block = first; block <= last; block++) sum += at<const float>(p.partial_bias)[(block + tile) * p.tile_rows + threadIdx.x];
        at<float>(p.dbias)[row] = sum;
    }
}

template <class T> static __device__ __forceinline__ void linear_bwd_bias(const LinearBwdBias &p) {
    constexpr uint32_t N = Chunk<T>::N, CHUNKS = LINEAR_BIAS_COLUMNS / N, WARPS = LINEAR_SUM_THREADS / 32;
    // Lines so long that 32 neighbouring columns lie in as many banks.
    __shared__ float sums[WARPS][N][CHUNKS + 32 / N];
    uint32_t chunk = threadIdx.x % CHUNKS, column = blockIdx.x * LINEAR_BIAS_COLUMNS + chunk * N;
    float sum[N] = {};
    for (uint32_t row = threadIdx.x / CHUNKS; row < p.rows && column < p.outputs; row += LINEAR_SUM_THREADS / CHUNKS) {
        const T *from = at<const T>(p.dy) + (size_t)row * p.outputs + column;
        Chunk<T> dy = p.outputs % N == 0 ? Cells<T, true>::load(from, N) : Cells<T, false>::load(from, p.outputs - column);
        for (uint32_t i = 0; i < N; i++) sum[i] += dy.v[i];
    }
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t lane = CHUNKS; lane < 32; lane *= 2) sum[i] += __shfl_xor_sync(0xFFFFFFFFu, sum[i], lane);
        if (threadIdx.x % 32 < CHUNKS) sums[threadIdx.x / 32][i][chunk] = sum[i];
    }
    __syncthreads();
    column = blockIdx.x * LINEAR_BIAS_COLUMNS + threadIdx.x;
    if (threadIdx.x >= LINEAR_BIAS_COLUMNS || column >= p.outputs) return;
    float total = 0.0f;
    for (uint32_t w = 0; w < WARPS; w++) total += sums[w][threadIdx.x % N][threadIdx.x / N];
    at<float>(p.dbias)[column] = total;
}

VF_EXPORT_MATRIX(linear_fwd, LinearFwd)
VF_EXPORT_MATRIX(linear_bwd_input, LinearBwdInput)
VF_EXPORT_MATRIX(linear_bwd_weight, LinearBwdWeight)
VF_EXPORT_F32(linear_bwd_weight_sum, LinearBwdWeightSum, LINEAR_SUM_THREADS)
VF_EXPORT(linear_bwd_bias, LinearBwdBias, LINEAR_SUM_THREADS)
