// The optimizer: the norm of all gradients, and the update of all parameters, each in one launch over a list of tensors; between them one
// block makes of the norm what the update needs.
//
// Formula   adamw.h. The host knows neither the norm nor the number of updates: a step that is recorded once can run again.
// Shapes    every tensor of the list has its own count; parts (blocks); state (ADAMW_STATE); lr (1).
// Bytes     norm: 4 per parameter. update: 28 per parameter (grad, and param, exp_avg, exp_avg_sq read and written), 8 more with a moving
//           average, 2 more with a bf16 copy: 38.
// FLOPs     norm 2, update about 15 per parameter. Memory-bound.
// Scratch   4 bytes for each 4096 elements.
// Rounding  f32; 1 − βᵗ in f64. The bf16 copy is the new parameter rounded once. No atomics: parts are added in a fixed order.
// Source    Kingma and Ba, "Adam" (2015); Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).
#include "adamw.h"
#include "elementwise.cuh"

static_assert(ADAMW_THREADS == ELEMENTWISE_THREADS, "block_total adds up the threads of such a block");
static_assert(sizeof(AdamW) <= 32764, "a kernel's parameters may have so many bytes");

/// The tensor of the list that this block works on: the last whose first block is not after it.
template <class Params> static __device__ __forceinline__ uint32_t tensor_of(const Params &p, uint32_t block) {
    uint32_t low = 0, high = p.tensors;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (p.first_block[middle] <= block) low = middle;
        else high = middle;
    }
    return low;
}

/// Calls `work(first, end)` for this thread's runs of four elements in the block's share of a tensor of `count`.
template <class Work> static __device__ __forceinline__ void runs_of_four(uint32_t block, uint32_t count, Work work) {
    uint32_t start = block * ADAMW_BLOCK_ELEMENTS;
    for (uint32_t i = 4 * threadIdx.x; i < ADAMW_BLOCK_ELEMENTS && start + i < count; i += 4 * ADAMW_THREADS) work(start + i);
}

static __device__ __forceinline__ void adamw_norm(const AdamWNorm &p) {
    uint32_t tensor = tensor_of(p, blockIdx.x), count = p.count[tensor];
    const float *grad = at<const float>(p.grad[tensor]);
    float sum = 0.0f;
    runs_of_four(blockIdx.x - p.first_block[tensor], count, [&](uint32_t first) {
        Chunk<float> g = load_part(grad, first, count);
        for (int i = 0; i < 4; i++) sum += g.v[i] * g.v[i];
    });
    sum = block_total(sum);
    if (threadIdx.x == 0) at<float>(p.parts)[p.first_part + blockIdx.x] = sum;
}

/// 1 − βᵗ, exact also where β is near 1.
static __device__ __forceinline__ double correction(float beta, float updates) {
    return beta == 0.0f ? 1.0 : -expm1((double)updates * log((double)beta));
}

static __device__ __forceinline__ void adamw_prepare(const AdamWPrepare &p) {
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < p.count; i += ADAMW_THREADS) sum += at<const float>(p.parts)[i];
    sum = block_total(sum);
    if (threadIdx.x != 0) return;
    float *state = at<float>(p.state);
    float norm = sqrtf(sum) * p.scale;
    bool finite = norm < INFINITY;
    state[ADAMW_NORM] = norm;
    state[ADAMW_APPLY] = finite ? 1.0f : 0.0f;
    if (!finite) {
        state[ADAMW_SKIPPED] += 1.0f;
        return;
    }
    float updates = state[ADAMW_UPDATES] + 1.0f, lr = at<const float>(p.lr)[0];
    state[ADAMW_UPDATES] = updates;
    state[ADAMW_FACTOR] = p.max_norm > 0.0f && norm > p.max_norm ? p.scale * (p.max_norm / norm) : p.scale;
    state[ADAMW_STEP_SIZE] = (float)((double)lr / correction(p.beta1, updates));
    state[ADAMW_RSQRT_CORRECTION2] = (float)(1.0 / sqrt(correction(p.beta2, updates)));
    state[ADAMW_DECAY] = p.decoupled ? lr * p.weight_decay : p.weight_decay;
}

static __device__ __forceinline__ void adamw(const AdamW &p) {
    const float *state = at<const float>(p.state);
    if (state[ADAMW_APPLY] == 0.0f) return;
    float factor = state[ADAMW_FACTOR], step_size = state[ADAMW_STEP_SIZE], correction = state[ADAMW_RSQRT_CORRECTION2];
    float coupled = p.decoupled ? 0.0f : state[ADAMW_DECAY], shrink = p.decoupled ? 1.0f - state[ADAMW_DECAY] : 1.0f;

    uint32_t tensor = tensor_of(p, blockIdx.x), count = p.count[tensor];
    const float *grads = at<const float>(p.grad[tensor]);
    float *params = at<float>(p.param[tensor]), *averages = at<float>(p.ema[tensor]);
    float *ms = at<float>(p.exp_avg[tensor]), *vs = at<float>(p.exp_avg_sq[tensor]);
    __nv_bfloat16 *rounded = at<__nv_bfloat16>(p.rounded[tensor]);
    runs_of_four(blockIdx.x - p.first_block[tensor], count, [&](uint32_t first) {
        Chunk<float> grad = load_part(grads, first, count), param = load_part<float>(params, first, count);
        Chunk<float> m = load_part<float>(ms, first, count), v = load_part<float>(vs, first, count);
        for (int i = 0; i < 4; i++) {
            float g = factor * grad.v[i] + coupled * param.v[i];
            m.v[i] += (1.0f - p.beta1) * (g - m.v[i]);
            v.v[i] = p.beta2 * v.v[i] + (1.0f - p.beta2) * g * g;
            param.v[i] = param.v[i] * shrink - step_size * m.v[i] / (sqrtf(v.v[i]) * correction + p.eps);
        }
        store_part(param, params, first, count);
        store_part(m, ms, first, count);
        store_part(v, vs, first, count);
        if (averages) {
            Chunk<float> average = load_part<float>(averages, first, count);
            for (int i = 0; i < 4; i++) average.v[i] = p.ema_decay * average.v[i] + (1.0f - p.ema_decay) * param.v[i];
            store_part(average, averages, first, count);
        }
        if (rounded) store4_part(param, rounded, first, count);
    });
}

VF_EXPORT_F32(adamw_norm, AdamWNorm, ADAMW_THREADS)
VF_EXPORT_F32(adamw_prepare, AdamWPrepare, ADAMW_THREADS)
VF_EXPORT_F32(adamw, AdamW, ADAMW_THREADS)
