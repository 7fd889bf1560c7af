// A 64×64 tile of A·Bᵀ by a block of 256 threads, A and B row-major with K contiguous: bf16 on the tensor cores, f32 by fused
// multiply-adds; f32 sums in both.
//
// K runs in slabs of 128 bytes a row, double-buffered by asynchronous copies. The 16-byte chunks of row r lie at chunk ^ (r % 8), so
// that neither the copies, nor ldmatrix (8 rows of one chunk), nor the f32 loads (one row, or 8 rows of one chunk) conflict.
#pragma once
#include "common.cuh"
#include "tensor_core.cuh"

constexpr uint32_t TILE = 64;
constexpr uint32_t TILE_THREADS = 256;
constexpr uint32_t SLAB_BYTES = TILE * 128;
/// Shared memory of tile_product: A's and B's slab, twice. The finished tile takes its place.
constexpr uint32_t TILE_SHARED = 4 * SLAB_BYTES;
/// Floats from a row of the finished tile to the next: 8 more than it holds, so that eight rows of an mma fragment do not conflict.
constexpr uint32_t TILE_STRIDE = TILE + 8;

static_assert(TILE * TILE_STRIDE * sizeof(float) <= TILE_SHARED, "the finished tile must fit where the slabs were");

/// Rows of a matrix: `rows` of at most 64 exist, the others count as zero.
template <class T> struct Rows {
    const T *first;
    uint32_t rows;
};

static __device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk) { return row * 128 + (chunk ^ row % 8) * 16; }

template <class T>
static __device__ __forceinline__ void load_slab(unsigned char *slab, Rows<T> matrix, uint32_t k, uint32_t width) {
    for (uint32_t i = threadIdx.x; i < TILE * 8; i += TILE_THREADS) {
        uint32_t row = i / 8, column = k + i % 8 * Chunk<T>::N;
        bool valid = row < matrix.rows && column < width;
        const T *from = valid ? matrix.first + (size_t)row * width + column : matrix.first;
        copy_async(slab + swizzled(row, i % 8), from, valid);
    }
}

/// A thread's part of the tile.
template <class T> struct Fragment;

/// A warp has 16 rows and 32 columns: four mma tiles side by side.
template <> struct Fragment<__nv_bfloat16> {
    float sum[4][4] = {};

    __device__ __forceinline__ void add(const unsigned char *a, const unsigned char *b) {
        uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        uint32_t a_row = warp % 4 * 16 + lane % 16, b_row = warp / 4 * 32 + lane / 16 * 8 + lane % 8;
#pragma unroll
        for (uint32_t step = 0; step < 4; step++) {
            uint32_t left[4], right[4];
            load_matrices(left, a + swizzled(a_row, 2 * step + lane / 16));
#pragma unroll
            for (uint32_t pair = 0; pair < 2; pair++) {
                load_matrices(right, b + swizzled(b_row + 16 * pair, 2 * step + lane / 8 % 2));
                mma_bf16(sum[2 * pair], left, right);
                mma_bf16(sum[2 * pair + 1], left, right + 2);
            }
        }
    }

    __device__ __forceinline__ void store(float *tile) const {
        uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        float *to = tile + (warp % 4 * 16 + lane / 4) * TILE_STRIDE + warp / 4 * 32 + lane % 4 * 2;
        for (uint32_t n = 0; n < 4; n++, to += 8) {
            store_shared_pair(to, sum[n][0], sum[n][1]);
            store_shared_pair(to + 8 * TILE_STRIDE, sum[n][2], sum[n][3]);
        }
    }
};

/// A warp has every eighth row, a lane two columns 32 apart.
template <> struct Fragment<float> {
    float sum[8][2] = {};

    __device__ __forceinline__ void add(const unsigned char *a, const unsigned char *b) {
        uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (uint32_t chunk = 0; chunk < 8; chunk++) {
            float4 right[2];
            for (uint32_t j = 0; j < 2; j++) right[j] = *reinterpret_cast<const float4 *>(b + swizzled(lane + 32 * j, chunk));
#pragma unroll
            for (uint32_t i = 0; i < 8; i++) {
                float4 left = *reinterpret_cast<const float4 *>(a + swizzled(warp + 8 * i, chunk));
                for (uint32_t j = 0; j < 2; j++) add_dot(sum[i][j], left, right[j]);
            }
        }
    }

    static __device__ __forceinline__ void add_dot(float &sum, float4 a, float4 b) {
        sum = fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
    }

    __device__ __forceinline__ void store(float *tile) const {
        uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (uint32_t i = 0; i < 8; i++) {
            for (uint32_t j = 0; j < 2; j++) tile[(warp + 8 * i) * TILE_STRIDE + lane + 32 * j] = sum[i][j];
        }
    }
};

/// The tile of A·Bᵀ, as (64, TILE_STRIDE) floats at the start of `shared` (TILE_SHARED bytes), ready for every thread.
/// Returns the sum of squares of row threadIdx.x / 4 of A, the same in its four threads.
template <class T>
static __device__ __forceinline__ float tile_product(Rows<T> a, Rows<T> b, uint32_t width, unsigned char *shared) {
    constexpr uint32_t STEP = 128 / sizeof(T);
    Fragment<T> fragment;
    float squares = 0.0f;
    load_slab(shared, a, 0, width);
    load_slab(shared + SLAB_BYTES, b, 0, width);
    for (uint32_t k = 0, half = 0; k < width; k += STEP, half ^= 1) {
        copies_done();
        __syncthreads();
        unsigned char *now = shared + 2 * SLAB_BYTES * half, *next = shared + 2 * SLAB_BYTES * (half ^ 1);
        if (k + STEP < width) {
            load_slab(next, a, k + STEP, width);
            load_slab(next + SLAB_BYTES, b, k + STEP, width);
        }
        fragment.add(now, now + SLAB_BYTES);
        for (uint32_t i = 0; i < 2; i++) {
            Chunk<T> c = Chunk<T>::load(reinterpret_cast<const T *>(now + swizzled(threadIdx.x / 4, threadIdx.x % 4 * 2 + i)));
            for (int e = 0; e < Chunk<T>::N; e++) squares += c.v[e] * c.v[e];
        }
    }
    __syncthreads();
    fragment.store(reinterpret_cast<float *>(shared));
    __syncthreads();
    squares += __shfl_xor_sync(0xFFFFFFFFu, squares, 1);
    return squares + __shfl_xor_sync(0xFFFFFFFFu, squares, 2);
}
