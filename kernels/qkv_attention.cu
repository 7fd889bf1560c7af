// Softmax attention straight from the packed q, k and v of a linear layer, with QK norm and rotary position embedding.
//
// Formula   q̂ and k̂ are rows of q and k times rstd·weight (rstd = 1 / √(mean(x²) + eps)), then neighbours turned to
//           (x₀·cos₀ − x₁·sin₀, x₁·cos₁ + x₀·sin₁); both steps are optional. out = P·v, P = exp(scale·q̂·k̂ᵀ − L). Backward as in
//           attention.cu, then turned back, then through the norm: dx = rstd·(w·d − x̂·mean(w·d·x̂)), dw = Σ d·x̂.
// Shapes    qkv, dqkv (batch, tokens, 3, heads, head_dim); out, dout (batch, tokens, heads, head_dim); cos, sin (tokens, head_dim)
//           f32; weights (head_dim) f32; L (batch, heads, tokens) f32.
// Bytes     each tensor once. In bf16 a block has all the queries of up to 256 tokens, so that their keys too are embedded once, unless so
//           few blocks would leave multiprocessors idle.
// FLOPs     4·tokens²·head_dim a head forward, 10 backward. For 72 channels the tensor cores do no more: attention.cu counts mma.
// Scratch   with a norm, or more keys than a block's registers hold (256; 128 of 128 channels; 64 in f32): dq f32, of every part of
//           the keys, and with a norm dk f32; and two f32 sums per channel and 128 rows.
// Rounding  as attention.cu; q̂ and k̂ are rounded once, after both steps. No atomics.
// Source    Dao, "FlashAttention-2" (2023); Su et al., "RoFormer" (2021); Henry et al., "Query-key normalization for transformers" (2020).
#include "attention_narrow.cuh"
#include "attention_narrow_bwd.cuh"
#include "qkv_attention.h"

extern __shared__ uint4 dynamic[];

namespace attention {

/// One of the three tensors that are packed.
template <class T, class Params> static __device__ __forceinline__ HeadRows<T> packed_rows(const Params &p, uint64_t address, uint32_t which) {
    HeadRows<T> rows = head_rows<T>(address, p.tokens, 3 * p.heads, p.head_dim);
    if (rows.first) rows.first += which * p.heads * p.head_dim;
    return rows;
}

/// As narrow_fwd asks.
template <class T> struct ForwardTensors {
    const QkvAttentionFwd &p;
    uint32_t first;

    __device__ __forceinline__ HeadRows<const T> q() const { return packed_rows<const T>(p, p.qkv, 0).from(first); }
    __device__ __forceinline__ HeadRows<const T> k() const { return packed_rows<const T>(p, p.qkv, 1); }
    __device__ __forceinline__ HeadRows<const T> v() const { return packed_rows<const T>(p, p.qkv, 2); }
    __device__ __forceinline__ HeadRows<T> out() const { return head_rows<T>(p.out, p.tokens, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ float *logsumexp() const { return head_scalars<float>(p.logsumexp, p.tokens, p.heads) + first; }
};

/// As narrow_bwd asks.
template <class T> struct BackwardTensors {
    const QkvAttentionBwd &p;
    uint32_t first;

    __device__ __forceinline__ HeadRows<const T> q() const { return packed_rows<const T>(p, p.qkv, 0); }
    __device__ __forceinline__ HeadRows<const T> k() const { return packed_rows<const T>(p, p.qkv, 1).from(first); }
    __device__ __forceinline__ HeadRows<const T> v() const { return packed_rows<const T>(p, p.qkv, 2).from(first); }
    __device__ __forceinline__ HeadRows<const T> out() const { return head_rows<const T>(p.out, p.tokens, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<const T> dout() const { return head_rows<const T>(p.dout, p.tokens, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<T> dq() const { return p.dq_parts ? HeadRows<T>{} : packed_rows<T>(p, p.dqkv, 0); }
    __device__ __forceinline__ HeadRows<T> dk() const { return packed_rows<T>(p, p.dqkv, 1).from(first); }
    __device__ __forceinline__ HeadRows<T> dv() const { return packed_rows<T>(p, p.dqkv, 2).from(first); }
    __device__ __forceinline__ HeadRows<float> dq_part() const {
        return head_rows<float>(p.dq_parts, p.tokens, p.heads, p.head_dim).batches_later(blockIdx.x * p.batch);
    }
    __device__ __forceinline__ HeadRows<float> dk_part() const { return head_rows<float>(p.dk_normed, p.tokens, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ const float *logsumexp() const { return head_scalars<const float>(p.logsumexp, p.tokens, p.heads); }
};

template <class Params> static __device__ __forceinline__ Embedding embedding_of(const Params &p) {
    return {at<const float>(p.q_norm), at<const float>(p.k_norm), at<const float>(p.cos), at<const float>(p.sin), p.eps, p.head_dim};
}

template <class T, int D> static __device__ __forceinline__ void forward(const QkvAttentionFwd &p) {
    constexpr uint32_t THREADS = sizeof(T) == 2 ? QKV_ATTENTION_THREADS : QKV_ATTENTION_FWD_THREADS_F32;
    ForwardTensors<T> of = {p, blockIdx.x * p.block_queries};
    narrow_fwd<T, D, THREADS>(of, embedding_of(p), shared_address(dynamic));
}

template <class T, int D> static __device__ __forceinline__ void backward(const QkvAttentionBwd &p) {
    BackwardTensors<T> of = {p, blockIdx.x * Backward<T, D>::KEYS};
    narrow_bwd<T, D>(of, embedding_of(p), shared_address(dynamic));
}

} // namespace attention

template <class T> static __device__ __forceinline__ void qkv_attention_fwd_64(const QkvAttentionFwd &p) { attention::forward<T, 64>(p); }
template <class T> static __device__ __forceinline__ void qkv_attention_fwd_72(const QkvAttentionFwd &p) { attention::forward<T, 72>(p); }
template <class T> static __device__ __forceinline__ void qkv_attention_fwd_128(const QkvAttentionFwd &p) { attention::forward<T, 128>(p); }
template <class T> static __device__ __forceinline__ void qkv_attention_bwd_64(const QkvAttentionBwd &p) { attention::backward<T, 64>(p); }
template <class T> static __device__ __forceinline__ void qkv_attention_bwd_72(const QkvAttentionBwd &p) { attention::backward<T, 72>(p); }
template <class T> static __device__ __forceinline__ void qkv_attention_bwd_128(const QkvAttentionBwd &p) { attention::backward<T, 128>(p); }

static __device__ __forceinline__ float4 sum_of(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

static __device__ __forceinline__ void store_four(float *to, float4 v) { *reinterpret_cast<float4 *>(to) = v; }
static __device__ __forceinline__ void store_four(__nv_bfloat16 *to, float4 v) {
    *reinterpret_cast<uint2 *>(to) = make_uint2(attention::pack(v.x, v.y), attention::pack(v.z, v.w));
}

/// A head's row is four channels to a lane, of 16 or of 32 lanes: so a request touches whole sectors of f32 rows, and of one bf16 row
/// no more than it must. Blocks of y = 0 have q, of y = 1 k.
template <class T> static __device__ __forceinline__ void qkv_attention_bwd_embedding(const QkvAttentionBwdEmbedding &p) {
    uint32_t lanes = p.head_dim <= 64 ? 16 : 32, column = threadIdx.x % lanes * 4, which = blockIdx.y;
    uint32_t step = QKV_ATTENTION_THREADS / lanes, end = min((blockIdx.x + 1) * QKV_ATTENTION_ROWS_PER_BLOCK, p.rows * p.heads);
    bool inside = column < p.head_dim;
    size_t part = (size_t)p.rows * p.heads * p.head_dim;
    uint32_t parts = which == 0 ? p.parts : 1;
    const float *norm = at<const float>(which == 0 ? p.q_norm : p.k_norm), *from = at<const float>(which == 0 ? p.dq_parts : p.dk_normed);
    float4 weight = load4_or(inside ? norm : nullptr, column, 0.0f), dweight = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    // All lanes of a warp take part in the shuffles, whether their row exists or not.
    for (uint32_t first = blockIdx.x * QKV_ATTENTION_ROWS_PER_BLOCK; first < end; first += step) {
        uint32_t row = first + threadIdx.x / lanes;
        bool exists = inside && row < end;
        size_t flat = (size_t)row * p.head_dim + column;
        size_t packed = ((size_t)(row / p.heads * 3 + which) * p.heads + row % p.heads) * p.head_dim + column;
        float4 d = load4_or(exists ? from : nullptr, flat, 0.0f);
        for (uint32_t i = 1; i < parts; i++) d = sum_of(d, load4_or(exists ? from : nullptr, i * part + flat, 0.0f));
        if (norm) {
            float4 x = load4_or(exists ? at<const T>(p.qkv) : nullptr, packed, 0.0f);
            float squares = x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
            float4 wd = make_float4(weight.x * d.x, weight.y * d.y, weight.z * d.z, weight.w * d.w);
            float dot = wd.x * x.x + wd.y * x.y + wd.z * x.z + wd.w * x.w;
            for (uint32_t distance = lanes / 2; distance > 0; distance /= 2) {
                squares += __shfl_xor_sync(0xFFFFFFFFu, squares, distance);
                dot += __shfl_xor_sync(0xFFFFFFFFu, dot, distance);
            }
            float rstd = rsqrtf(squares / (float)p.head_dim + p.eps), mean = dot * rstd / (float)p.head_dim;
            float4 xhat = make_float4(x.x * rstd, x.y * rstd, x.z * rstd, x.w * rstd);
            dweight = sum_of(dweight, make_float4(d.x * xhat.x, d.y * xhat.y, d.z * xhat.z, d.w * xhat.w));
            d = make_float4(rstd * (wd.x - xhat.x * mean), rstd * (wd.y - xhat.y * mean), rstd * (wd.z - xhat.z * mean), rstd * (wd.w - xhat.w * mean));
        }
        if (exists && p.dqkv) store_four(at<T>(p.dqkv) + packed, d);
    }
    if (!p.weight_sums) return;

    // The threads of a channel, in order.
    __shared__ float4 sums[QKV_ATTENTION_THREADS];
    sums[threadIdx.x] = dweight;
    __syncthreads();
    if (threadIdx.x >= lanes || !inside) return;
    for (uint32_t i = 1; i < step; i++) dweight = sum_of(dweight, sums[i * lanes + threadIdx.x]);
    store_four(at<float>(p.weight_sums) + ((size_t)blockIdx.x * 2 + which) * p.head_dim + column, dweight);
}

// One block to a multiprocessor is enough: left to itself, ptxas spills to fit two.
#define ONE_BLOCK QKV_ATTENTION_THREADS, 1

VF_EXPORT(qkv_attention_fwd_64, QkvAttentionFwd, ONE_BLOCK)
VF_EXPORT(qkv_attention_fwd_72, QkvAttentionFwd, ONE_BLOCK)
VF_EXPORT(qkv_attention_fwd_128, QkvAttentionFwd, ONE_BLOCK)
VF_EXPORT(qkv_attention_bwd_64, QkvAttentionBwd, ONE_BLOCK)
VF_EXPORT(qkv_attention_bwd_72, QkvAttentionBwd, ONE_BLOCK)
VF_EXPORT(qkv_attention_bwd_128, QkvAttentionBwd, ONE_BLOCK)
VF_EXPORT(qkv_attention_bwd_embedding, QkvAttentionBwdEmbedding, QKV_ATTENTION_THREADS)
