// Packed columns cut into up to six equal parts, and put together again: q|k|v, and the modulations of adaptive layer norm.
//
// Formula   a, b, … = columns 0 to cols, cols to 2·cols, … of every row of x;  dx = da | db | …, zeros where one is absent.
// Shapes    x, dx (rows, parts·cols); a … f, da … df (rows, cols).
// Bytes     2 elements an element of x; 1 where a gradient is absent.
// FLOPs     none.
// Scratch   none.
// Rounding  none: values are passed on.
// Source    definition.
#include "chunk.h"
#include "rows.h"
#include "vectors.cuh"

/// One of six addresses, by the part that is this block's.
static __device__ __forceinline__ uint64_t part(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    uint32_t i = blockIdx.z;
    return i < 3 ? (i == 0 ? a : i == 1 ? b : c) : (i == 3 ? d : i == 4 ? e : f);
}

template <class T> static __device__ __forceinline__ void chunk_fwd(const ChunkFwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t row = row_of_thread(), col = column_of_thread<N>();
        if (row >= p.rows || col >= p.cols) return;
        float v[N];
        load(at<const T>(p.x) + ((size_t)row * p.parts + blockIdx.z) * p.cols + col, v);
        store(v, at<T>(part(p.a, p.b, p.c, p.d, p.e, p.f)) + (size_t)row * p.cols + col);
    });
}

template <class T> static __device__ __forceinline__ void chunk_bwd(const ChunkBwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t row = row_of_thread(), col = column_of_thread<N>();
        if (row >= p.rows || col >= p.cols) return;
        const T *from = at<const T>(part(p.da, p.db, p.dc, p.dd, p.de, p.df));
        float v[N] = {};
        if (from) load(from + (size_t)row * p.cols + col, v);
        store(v, at<T>(p.dx) + ((size_t)row * p.parts + blockIdx.z) * p.cols + col);
    });
}

VF_EXPORT(chunk_fwd, ChunkFwd, ROWS_THREADS)
VF_EXPORT(chunk_bwd, ChunkBwd, ROWS_THREADS)
