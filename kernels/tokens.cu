// The class token of vision transformers: put before the patches together with the position embedding, and dropped again.
//
// Formula   y = (cls | x) + pos along the tokens;  dx = dy without its first token, dcls = Σ_batch dy[0], dpos = Σ_batch dy.
//           drop: y = x without its first token, dx = dy behind a first token of zeros.
// Shapes    x, dx (batch, tokens, cols), y, dy (batch, tokens + 1, cols), and the other way round for drop; cls, dcls (cols);
//           pos, dpos (tokens + 1, cols). cls, pos and their gradients are f32.
// Bytes     each tensor once.
// FLOPs     one an element.
// Scratch   none.
// Rounding  sums in f32, over the batch in order; each result is rounded once.
// Source    Dosovitskiy et al., "An image is worth 16×16 words" (2021).
#include "rows.h"
#include "tokens.h"
#include "vectors.cuh"

/// Token x of a block's image z, and its columns. Fours, because the parameters are f32.
template <class T> static __device__ __forceinline__ void prepend_token_fwd(const PrependTokenFwd &p) {
    by_fours(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t token = row_of_thread(), col = column_of_thread<N>(), image = blockIdx.z;
        if (token > p.tokens || col >= p.cols) return;
        float v[N], pos[N];
        if (token == 0) load(at<const float>(p.cls) + col, v);
        else load(at<const T>(p.x) + ((size_t)image * p.tokens + token - 1) * p.cols + col, v);
        load(at<const float>(p.pos) + (size_t)token * p.cols + col, pos);
        for (int i = 0; i < N; i++) v[i] += pos[i];
        store(v, at<T>(p.y) + ((size_t)image * (p.tokens + 1) + token) * p.cols + col);
    });
}

/// A thread walks through the batch.
template <class T> static __device__ __forceinline__ void prepend_token_bwd(const PrependTokenBwd &p) {
    by_fours(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t token = row_of_thread(), col = column_of_thread<N>();
        if (token > p.tokens || col >= p.cols) return;
        float sum[N] = {};
        for (uint32_t image = 0; image < p.batch; image++) {
            float v[N];
            load(at<const T>(p.dy) + ((size_t)image * (p.tokens + 1) + token) * p.cols + col, v);
            if (p.dx && token > 0) store(v, at<T>(p.dx) + ((size_t)image * p.tokens + token - 1) * p.cols + col);
            for (int i = 0; i < N; i++) sum[i] += v[i];
        }
        if (p.dcls && token == 0) store(sum, at<float>(p.dcls) + col);
        if (p.dpos) store(sum, at<float>(p.dpos) + (size_t)token * p.cols + col);
    });
}

template <class T> static __device__ __forceinline__ void drop_token_fwd(const DropTokenFwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t token = row_of_thread(), col = column_of_thread<N>(), image = blockIdx.z;
        if (token >= p.tokens || col >= p.cols) return;
        float v[N];
        load(at<const T>(p.x) + ((size_t)image * (p.tokens + 1) + token + 1) * p.cols + col, v);
        store(v, at<T>(p.y) + ((size_t)image * p.tokens + token) * p.cols + col);
    });
}

template <class T> static __device__ __forceinline__ void drop_token_bwd(const DropTokenBwd &p) {
    by_width<T>(p.cols, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t token = row_of_thread(), col = column_of_thread<N>(), image = blockIdx.z;
        if (token > p.tokens || col >= p.cols) return;
        float v[N] = {};
        if (token > 0) load(at<const T>(p.dy) + ((size_t)image * p.tokens + token - 1) * p.cols + col, v);
        store(v, at<T>(p.dx) + ((size_t)image * (p.tokens + 1) + token) * p.cols + col);
    });
}

VF_EXPORT(prepend_token_fwd, PrependTokenFwd, ROWS_THREADS)
VF_EXPORT(prepend_token_bwd, PrependTokenBwd, ROWS_THREADS)
VF_EXPORT(drop_token_fwd, DropTokenFwd, ROWS_THREADS)
VF_EXPORT(drop_token_bwd, DropTokenBwd, ROWS_THREADS)
