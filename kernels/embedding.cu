// Rows of a table by index, and the gradient, which adds up over equal indices.
//
// Formula   y[i] = table[indices[i]], NaN where an index lies outside;  dtable[k] = Σ_{i: indices[i] = k} dy[i].
// Shapes    table (entries, cols); indices (count) u32; y, dy (count, cols); dtable (entries, cols) f32.
// Bytes     forward: the rows that are asked for, and y. backward: dy and dtable once, indices once.
// FLOPs     backward: one an element of dy.
// Scratch   none; backward 128 bytes of shared memory.
// Rounding  forward exact; backward sums in f32 in ascending order of i.
// Source    definition.
#include "embedding.h"
#include "rows.h"
#include "vectors.cuh"

template <class T> static __device__ __forceinline__ void embedding_fwd(const EmbeddingFwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t row = row_of_thread(), col = column_of_thread<N>();
        if (row >= p.count || col >= p.cols) return;
        uint32_t index = at<const uint32_t>(p.indices)[row];
        float v[N];
        for (float &value : v) value = __uint_as_float(0x7FC00000u);
        if (index < p.entries) load(at<const T>(p.table) + (size_t)index * p.cols + col, v);
        store(v, at<T>(p.y) + (size_t)row * p.cols + col);
    });
}

/// A block owns some columns of an entry. It looks for the entry among a thousand indices at a time, a bit for each, and adds up the rows
/// whose bits are set. Fours of columns, because the sum is f32.
template <int N, class T> static __device__ __forceinline__ void add_up_entry(const EmbeddingBwd &p) {
    __shared__ uint32_t found[EMBEDDING_INDICES / 32];
    uint32_t entry = blockIdx.x, col = column_of_thread<N>();
    float sum[N] = {};
    for (uint32_t base = 0; base < p.count; base += EMBEDDING_INDICES) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < EMBEDDING_INDICES; i += blockDim.x) {
            bool hit = base + i < p.count && at<const uint32_t>(p.indices)[base + i] == entry;
            uint32_t hits = __ballot_sync(0xFFFFFFFFu, hit);
            if (i % 32 == 0) found[i / 32] = hits;
        }
        __syncthreads();
        for (uint32_t word = 0; word < EMBEDDING_INDICES / 32; word++) {
            for (uint32_t hits = found[word]; hits != 0; hits &= hits - 1) {
                size_t row = base + word * 32 + __ffs(hits) - 1;
                float v[N];
                if (col >= p.cols) continue;
                load(at<const T>(p.dy) + row * p.cols + col, v);
                for (int i = 0; i < N; i++) sum[i] += v[i];
            }
        }
    }
    if (col < p.cols) store(sum, at<float>(p.dtable) + (size_t)entry * p.cols + col);
}

template <class T> static __device__ __forceinline__ void embedding_bwd(const EmbeddingBwd &p) {
    by_fours(p.cols, [&](auto width) { add_up_entry<decltype(width)::value, T>(p); });
}

VF_EXPORT(embedding_fwd, EmbeddingFwd, ROWS_THREADS)
VF_EXPORT(embedding_bwd, EmbeddingBwd, EMBEDDING_BWD_THREADS)
