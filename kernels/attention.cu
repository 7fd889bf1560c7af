// Softmax attention, forward and backward, without the score matrix in memory.
//
// Formula   out = P·v, P = exp(scale·q·kᵀ − L) per head, L the logsumexp of a row of scores. Backward, with delta = Σ out·dout of
//           a row: dv = Pᵀ·dout, dS = P ∘ (dout·vᵀ − delta)·scale, dq = dS·k, dk = dSᵀ·q.
// Shapes    q, out and their gradients (batch, queries, heads, head_dim); k, v and theirs (batch, keys, heads, head_dim); L and
//           delta (batch, heads, queries) f32.
// Bytes     each tensor once. (Blocks that share a head read its other side again, from the L2 cache. A bf16 row of 72 channels is 4.5
//           sectors and touches 5, of which it shares one with the next head's.)
// FLOPs     forward 4·queries·keys·head_dim a head. Backward 10 times that product; 14 in the wide kernels, where dk and dv's
//           blocks and dq's both make the scores. Heads of 72 channels are not padded to 80 for mma: a product over the channels ends
//           in one mma of depth 8. For 256 tokens a head's forward is 4352 mma of depth 16 and 512 of depth 8, its backward 11008
//           and 1024: 1.00 times the FLOPs, and 1.056 and 1.044 times the instructions of 4608 and 11520 of depth 16.
// Scratch   backward: delta of wide heads; of others with more keys than a block has (bf16: 256, of heads beyond 72 channels 128; f32: 64), dq in
//           f32 for each block of keys.
// Rounding  sums in f32; P and dS are rounded to the dtype as factors of the second products, results once. No atomics: sums have a
//           fixed order.
// Source    Dao, "FlashAttention-2: faster attention with better parallelism and work partitioning" (2023).
#include "attention.h"
#include "attention_narrow.cuh"
#include "attention_narrow_bwd.cuh"
#include "attention_wide.cuh"

extern __shared__ uint4 dynamic[];

namespace attention {
static_assert(ATTENTION_WIDE_BYTES_F32 == WIDE_BYTES<float> && ATTENTION_WIDE_BYTES_BF16 == WIDE_BYTES<bf16>, "attention.h states other sizes");
static_assert(ATTENTION_WIDE_ROWS == OWN && ATTENTION_MAX_HEAD == SLAB * MAX_SLABS && ATTENTION_THREADS == WIDE_THREADS && ATTENTION_DELTA_ROWS == WIDE_THREADS / 32 * 8, "attention.h states others");

/// As narrow_fwd asks.
template <class T> struct ForwardTensors {
    const AttentionFwd &p;
    uint32_t first;

    __device__ __forceinline__ HeadRows<const T> q() const { return head_rows<const T>(p.q, p.queries, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ HeadRows<const T> k() const { return head_rows<const T>(p.k, p.keys, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<const T> v() const { return head_rows<const T>(p.v, p.keys, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<T> out() const { return head_rows<T>(p.out, p.queries, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ float *logsumexp() const { return head_scalars<float>(p.logsumexp, p.queries, p.heads) + first; }
};

/// As narrow_bwd asks.
template <class T> struct BackwardTensors {
    const AttentionBwd &p;
    uint32_t first;

    __device__ __forceinline__ HeadRows<const T> q() const { return head_rows<const T>(p.q, p.queries, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<const T> k() const { return head_rows<const T>(p.k, p.keys, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ HeadRows<const T> v() const { return head_rows<const T>(p.v, p.keys, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ HeadRows<const T> out() const { return head_rows<const T>(p.out, p.queries, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<const T> dout() const { return head_rows<const T>(p.dout, p.queries, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<T> dq() const { return head_rows<T>(p.dq, p.queries, p.heads, p.head_dim); }
    __device__ __forceinline__ HeadRows<T> dk() const { return head_rows<T>(p.dk, p.keys, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ HeadRows<T> dv() const { return head_rows<T>(p.dv, p.keys, p.heads, p.head_dim).from(first); }
    __device__ __forceinline__ HeadRows<float> dq_part() const {
        return head_rows<float>(p.dq_parts, p.queries, p.heads, p.head_dim).batches_later(blockIdx.x * p.batch);
    }
    __device__ __forceinline__ HeadRows<float> dk_part() const { return {}; }
    __device__ __forceinline__ const float *logsumexp() const { return head_scalars<const float>(p.logsumexp, p.queries, p.heads); }
};

template <class T, int D> static __device__ __forceinline__ void forward(const AttentionFwd &p) {
    ForwardTensors<T> of = {p, blockIdx.x * p.block_queries};
    narrow_fwd<T, D, ATTENTION_FWD_THREADS>(of, NoEmbedding(), shared_address(dynamic));
}

template <class T, int D> static __device__ __forceinline__ void backward(const AttentionBwd &p) {
    BackwardTensors<T> of = {p, blockIdx.x * Backward<T, D>::KEYS};
    narrow_bwd<T, D>(of, NoEmbedding(), shared_address(dynamic));
}
} // namespace attention

template <class T> static __device__ __forceinline__ void attention_fwd_64(const AttentionFwd &p) { attention::forward<T, 64>(p); }
template <class T> static __device__ __forceinline__ void attention_fwd_72(const AttentionFwd &p) { attention::forward<T, 72>(p); }
template <class T> static __device__ __forceinline__ void attention_fwd_128(const AttentionFwd &p) { attention::forward<T, 128>(p); }
template <class T> static __device__ __forceinline__ void attention_fwd_wide(const AttentionFwd &p) {
    attention::wide_fwd<T>(p, shared_address(dynamic));
}

template <class T> static __device__ __forceinline__ void attention_bwd_64(const AttentionBwd &p) { attention::backward<T, 64>(p); }
template <class T> static __device__ __forceinline__ void attention_bwd_72(const AttentionBwd &p) { attention::backward<T, 72>(p); }
template <class T> static __device__ __forceinline__ void attention_bwd_128(const AttentionBwd &p) { attention::backward<T, 128>(p); }
template <class T> static __device__ __forceinline__ void attention_bwd_wide(const AttentionBwd &p) {
    uint32_t key_blocks = (p.keys + attention::OWN - 1) / attention::OWN;
    if (blockIdx.x < key_blocks) {
        attention::wide_bwd<T, attention::Role::Keys>(p, shared_address(dynamic), blockIdx.x * attention::OWN);
    } else {
        attention::wide_bwd<T, attention::Role::Queries>(p, shared_address(dynamic), (blockIdx.x - key_blocks) * attention::OWN);
    }
}

template <class T> static __device__ __forceinline__ void attention_bwd_sum(const AttentionBwdSum &p) {
    uint32_t i = (blockIdx.x * ATTENTION_THREADS + threadIdx.x) * 4;
    if (i >= p.elements) return;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (uint32_t part = 0; part < p.parts; part++) {
        float4 more = load4_or(at<const float>(p.dq_parts), (size_t)part * p.elements + i, 0.0f);
        sum = make_float4(sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w);
    }
    T *to = at<T>(p.dq) + i;
    if constexpr (sizeof(T) == 4) {
        *reinterpret_cast<float4 *>(to) = sum;
    } else {
        *reinterpret_cast<uint2 *>(to) = make_uint2(attention::pack(sum.x, sum.y), attention::pack(sum.z, sum.w));
    }
}

/// A warp has eight neighbouring rows, whose sums are a whole sector.
template <class T> static __device__ __forceinline__ void attention_delta(const AttentionDelta &p) {
    uint32_t first = (blockIdx.x * ATTENTION_THREADS + threadIdx.x) / 32 * 8, lane = threadIdx.x % 32;
    float mine = 0.0f;
    for (uint32_t i = 0; i < 8 && first + i < p.queries; i++) {
        size_t row = (((size_t)blockIdx.z * p.queries + first + i) * p.heads + blockIdx.y) * p.head_dim;
        float sum = 0.0f;
        for (uint32_t c = lane * Chunk<T>::N; c < p.head_dim; c += 32 * Chunk<T>::N) {
            Chunk<T> out = Chunk<T>::load(at<const T>(p.out) + row + c), dout = Chunk<T>::load(at<const T>(p.dout) + row + c);
            for (int e = 0; e < Chunk<T>::N; e++) sum = fmaf(out.v[e], dout.v[e], sum);
        }
        sum = warp_sum(sum);
        mine = lane == i ? sum : mine;
    }
    if (lane < 8 && first + lane < p.queries) {
        at<float>(p.delta)[((size_t)blockIdx.z * p.heads + blockIdx.y) * p.queries + first + lane] = mine;
    }
}

// How many blocks are to share a multiprocessor: left to itself, ptxas spills to fit one more.
#define FWD_BOUNDS ATTENTION_FWD_THREADS, 2
#define WIDE_BOUNDS ATTENTION_THREADS, 1
#define BWD_BOUNDS ATTENTION_THREADS, 1

VF_EXPORT(attention_fwd_64, AttentionFwd, FWD_BOUNDS)
VF_EXPORT(attention_fwd_72, AttentionFwd, FWD_BOUNDS)
VF_EXPORT(attention_fwd_128, AttentionFwd, FWD_BOUNDS)
VF_EXPORT(attention_fwd_wide, AttentionFwd, WIDE_BOUNDS)
VF_EXPORT(attention_delta, AttentionDelta, ATTENTION_THREADS)
VF_EXPORT(attention_bwd_64, AttentionBwd, BWD_BOUNDS)
VF_EXPORT(attention_bwd_72, AttentionBwd, BWD_BOUNDS)
VF_EXPORT(attention_bwd_128, AttentionBwd, BWD_BOUNDS)
VF_EXPORT(attention_bwd_wide, AttentionBwd, WIDE_BOUNDS)
VF_EXPORT(attention_bwd_sum, AttentionBwdSum, ATTENTION_THREADS)
