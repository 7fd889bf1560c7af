// Matrices turned over: convolution weights between (O, I, kh·kw) of files and (O, kh·kw, I) of the engine.
//
// Formula   y[o, c, r] = x[o, r, c].
// Shapes    x (outer, rows, cols); y (outer, cols, rows).
// Bytes     x and y once.
// FLOPs     none.
// Scratch   none; a tile in shared memory.
// Rounding  none: values are passed on.
// Source    definition.
#include "common.cuh"
#include "transpose.h"

/// Tiles that are narrower than TRANSPOSE_TILE, such as the nine places of a 3×3 kernel, lie in one piece in memory, and threads walk
/// through them in its order. Their side in shared memory is odd, so that neither order makes bank conflicts.
template <class T> static __device__ __forceinline__ void transpose(const Transpose &p) {
    __shared__ float tile[TRANSPOSE_TILE * (TRANSPOSE_TILE + 1)];
    uint32_t first_row = blockIdx.x * TRANSPOSE_TILE, first_col = blockIdx.y * TRANSPOSE_TILE;
    uint32_t rows = min(p.rows - first_row, TRANSPOSE_TILE), cols = min(p.cols - first_col, TRANSPOSE_TILE);
    // Along the narrower side: then the other one's walk has the stride.
    bool by_row = rows >= cols;
    uint32_t stride = (by_row ? cols : rows) | 1;
    size_t matrix = (size_t)blockIdx.z * p.rows * p.cols;
    for (uint32_t i = threadIdx.x; i < rows * cols; i += TRANSPOSE_THREADS) {
        uint32_t r = i / cols, c = i % cols;
        T value = at<const T>(p.x)[matrix + (size_t)(first_row + r) * p.cols + first_col + c];
        tile[by_row ? r * stride + c : c * stride + r] = to_float(value);
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < rows * cols; i += TRANSPOSE_THREADS) {
        uint32_t c = i / rows, r = i % rows;
        float value = tile[by_row ? r * stride + c : c * stride + r];
        from_float(value, at<T>(p.y) + matrix + (size_t)(first_col + c) * p.rows + first_row + r);
    }
}

VF_EXPORT(transpose, Transpose, TRANSPOSE_THREADS)
