// Packed q|k|v columns cut into three tensors, and put together again.
//
// Formula   a, b, c = the thirds of every row of x;  dx = da | db | dc, zeros where one is absent.
// Shapes    x, dx (rows, 3·cols); a, b, c, da, db, dc (rows, cols).
// Bytes     2 elements an element of x.
// FLOPs     none.
// Scratch   none.
// Rounding  none: values are passed on.
// Source    definition.
#include "rows.h"
#include "split.h"
#include "vectors.cuh"

/// One of three addresses, by the third that is this block's.
static __device__ __forceinline__ uint64_t third(uint64_t a, uint64_t b, uint64_t c) {
    return blockIdx.z == 0 ? a : blockIdx.z == 1 ? b : c;
}

template <class T> static __device__ __forceinline__ void split_fwd(const SplitFwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t row = row_of_thread(), col = column_of_thread<N>();
        if (row >= p.rows || col >= p.cols) return;
        float v[N];
        load(at<const T>(p.x) + ((size_t)row * 3 + blockIdx.z) * p.cols + col, v);
        store(v, at<T>(third(p.a, p.b, p.c)) + (size_t)row * p.cols + col);
    });
}

template <class T> static __device__ __forceinline__ void split_bwd(const SplitBwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t row = row_of_thread(), col = column_of_thread<N>();
        if (row >= p.rows || col >= p.cols) return;
        const T *from = at<const T>(third(p.da, p.db, p.dc));
        float v[N] = {};
        if (from) load(from + (size_t)row * p.cols + col, v);
        store(v, at<T>(p.dx) + ((size_t)row * 3 + blockIdx.z) * p.cols + col);
    });
}

VF_EXPORT(split_fwd, SplitFwd, ROWS_THREADS)
VF_EXPORT(split_bwd, SplitBwd, ROWS_THREADS)
