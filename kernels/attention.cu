// Softmax attention, forward and backward, without the score matrix in memory.
//
// Formula   out = P·v, P = exp(scale·q·kᵀ − L) per head, L the logsumexp of a row of scores. Backward, with delta = Σ out·dout of
//           a row: dv = Pᵀ·dout, dS = P ∘ (dout·vᵀ − delta)·scale, dq = dS·k, dk = dSᵀ·q.
// Shapes    q, out and their gradients (batch, queries, heads, head_dim); k, v and theirs (batch, keys, heads, head_dim); L and
//           delta (batch, heads, queries) f32.
// Bytes     each tensor once. (Blocks that share a head read its other side again, from the L2 cache.)
// FLOPs     forward 4·queries·keys·head_dim a head. Backward 10 times that product; 14 in the wide kernels, where dk and dv's
//           blocks and dq's both make the scores.
// Scratch   none.
// Rounding  sums in f32; P and dS are rounded to the dtype as factors of the second products, results once. No atomics: sums have a
//           fixed order.
// Source    Dao, "FlashAttention-2: faster attention with better parallelism and work partitioning" (2023).
#include "attention.h"
#include "attention_wide.cuh"

namespace attention {
static_assert(ATTENTION_WIDE_BYTES_F32 == WIDE_BYTES<float> && ATTENTION_WIDE_BYTES_BF16 == WIDE_BYTES<bf16>, "attention.h states other sizes");
static_assert(ATTENTION_WIDE_ROWS == OWN && ATTENTION_MAX_HEAD == SLAB * MAX_SLABS && ATTENTION_THREADS == WIDE_THREADS && ATTENTION_DELTA_ROWS == WIDE_THREADS / 32 * 8, "attention.h states others");
} // namespace attention

extern __shared__ uint4 dynamic[];

template <class T> static __device__ __forceinline__ void attention_fwd(const AttentionFwd &p) {
    attention::wide_fwd<T>(p, shared_address(dynamic));
}

template <class T> static __device__ __forceinline__ void attention_bwd(const AttentionBwd &p) {
    uint32_t key_blocks = (p.keys + attention::OWN - 1) / attention::OWN;
    if (blockIdx.x < key_blocks) {
        attention::wide_bwd<T, attention::Role::Keys>(p, shared_address(dynamic), blockIdx.x * attention::OWN);
    } else {
        attention::wide_bwd<T, attention::Role::Queries>(p, shared_address(dynamic), (blockIdx.x - key_blocks) * attention::OWN);
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

// One block to a multiprocessor is enough to say: without, ptxas spills to fit two.
#define ONE_BLOCK ATTENTION_THREADS, 1

VF_EXPORT(attention_fwd, AttentionFwd, ONE_BLOCK)
VF_EXPORT(attention_delta, AttentionDelta, ATTENTION_THREADS)
VF_EXPORT(attention_bwd, AttentionBwd, ONE_BLOCK)
