// The loss of a flow, sample by sample: squared error and direction of the velocity, both in one pass, and so their gradient.
//
// Formula   mse = weight·mean (pred − target)²;  cos = mean over rows of 1 − pred·target/(‖pred‖‖target‖), each length at least eps;
//           dpred = dmse·weight·2(pred − target)/(rows·channels) − dcos/rows·(target/(‖pred‖‖target‖) − cos·pred/‖pred‖²).
// Shapes    pred, dpred (batch, rows, channels) of T; target the same, f32; weight, dmse, dcos (batch) f32; mse, cos (batch, parts) f32.
// Bytes     forward: pred and target once. backward: pred, target and dpred once: 6 and 8 an element in bf16, 14 in all. A forward that
//           left the gradient for the backward would write one for each of the two losses, which come with slopes of their own, and
//           the backward would read them: 6 + 4 and 4 + 2, 16 in all.
// FLOPs     9 an element forward, 12 backward: memory-bound.
// Scratch   where a sample is cut into several parts 8 bytes a part, which `part_sums` adds.
// Rounding  everything in f32, 1/√ to 2 units in the last place; dpred is rounded once. Sums have a fixed order: columns, a team, a thread's rows, the block, parts.
// Source    Yao, Yang and Wang, "Reconstruction vs. generation" (CVPR 2025).
#include "columns.cuh"
#include "rows.h"
#include "vectors.cuh"
#include "velocity_loss.h"

/// A block is teams of up to a warp, side by side; a team takes rows, a thread every blockDim.x-th vector of their columns. This is what
/// a thread holds of a row: the vectors that it loaded last, and ‖pred‖², ‖target‖² and pred·target.
template <int N> struct Row {
    float pred[N], target[N];
    float pred_squares = 0.0f, target_squares = 0.0f, dot = 0.0f;

    template <class T, class P> __device__ __forceinline__ void load_at(const P &p, size_t at_element) {
        load(at<const T>(p.pred) + at_element, pred);
        load(at<const float>(p.target) + at_element, target);
    }

    __device__ __forceinline__ void add() {
        for (int i = 0; i < N; i++) {
            pred_squares += pred[i] * pred[i];
            target_squares += target[i] * target[i];
            dot += pred[i] * target[i];
        }
    }

    /// All threads of the warp call it.
    __device__ __forceinline__ void sum_over_team() {
        for (uint32_t distance = blockDim.x / 2; distance > 0; distance /= 2) {
            pred_squares += __shfl_xor_sync(0xFFFFFFFFu, pred_squares, distance);
            target_squares += __shfl_xor_sync(0xFFFFFFFFu, target_squares, distance);
            dot += __shfl_xor_sync(0xFFFFFFFFu, dot, distance);
        }
    }
};

/// 1 over a length, which is at least eps, from its square.
static __device__ __forceinline__ float one_over_length(float squares, float eps) { return rsqrtf(fmaxf(squares, eps * eps)); }

/// The sums over the block of both, in thread (0, 0), in an order that does not change.
static __device__ __forceinline__ float2 block_totals(float a, float b) {
    __shared__ float2 of_warp[ROWS_THREADS / 32];
    uint32_t thread = threadIdx.y * blockDim.x + threadIdx.x;
    float2 sum = make_float2(warp_sum(a), warp_sum(b));
    if (thread % 32 == 0) of_warp[thread / 32] = sum;
    __syncthreads();
    if (thread != 0) return sum;
    for (uint32_t i = 1; i < ROWS_THREADS / 32; i++) sum.x += of_warp[i].x, sum.y += of_warp[i].y;
    return sum;
}

template <class T> static __device__ __forceinline__ void velocity_loss_fwd(const VelocityLossFwd &p) {
    uint32_t sample = blockIdx.y;
    float squares = 0.0f, directions = 0.0f;
    by_fours(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value, R = VELOCITY_LOSS_ROWS;
        Part part(blockIdx.x, p.parts, p.rows);
        for (uint32_t base = part.begin; base < part.end; base += R * blockDim.y) {
            Row<N> row[R];
            for (uint32_t col = threadIdx.x * N; col < p.channels; col += blockDim.x * N) {
#pragma unroll
                for (int r = 0; r < R; r++) {
                    uint32_t at_row = base + r * blockDim.y + threadIdx.y;
                    if (at_row < part.end) row[r].template load_at<T>(p, ((size_t)sample * p.rows + at_row) * p.channels + col);
                }
#pragma unroll
                for (int r = 0; r < R; r++) {
                    if (base + r * blockDim.y + threadIdx.y >= part.end) continue;
                    row[r].add();
                    for (int i = 0; i < N; i++) squares += (row[r].pred[i] - row[r].target[i]) * (row[r].pred[i] - row[r].target[i]);
                }
            }
#pragma unroll
            for (int r = 0; r < R; r++) {
                row[r].sum_over_team();
                float cosine = row[r].dot * one_over_length(row[r].pred_squares, p.eps) * one_over_length(row[r].target_squares, p.eps);
                bool counts = threadIdx.x == 0 && base + r * blockDim.y + threadIdx.y < part.end;
                directions += counts ? 1.0f - cosine : 0.0f;
            }
        }
    });
    float2 sum = block_totals(squares, directions);
    if (threadIdx.x != 0 || threadIdx.y != 0) return;
    float weight = p.weight ? at<const float>(p.weight)[sample] : 1.0f;
    uint32_t to = sample * p.parts + blockIdx.x;
    at<float>(p.mse)[to] = weight * (sum.x / ((float)p.rows * (float)p.channels));
    at<float>(p.cos)[to] = sum.y / (float)p.rows;
}

template <class T> static __device__ __forceinline__ void velocity_loss_bwd(const VelocityLossBwd &p) {
    by_fours(p.channels, [&](auto width) {
        constexpr int N = decltype(width)::value;
        uint32_t at_row = row_of_thread(), sample = min(at_row / p.rows, p.batch - 1), step = blockDim.x * N;
        uint32_t end = at_row < p.batch * p.rows ? p.channels : 0;
        size_t first = (size_t)at_row * p.channels;
        Row<N> row;
        for (uint32_t col = threadIdx.x * N; col < end; col += step) {
            row.template load_at<T>(p, first + col);
            row.add();
        }
        float of_error = 0.0f, of_target = 0.0f, of_pred = 0.0f;
        if (p.dmse) {
            float weight = p.weight ? at<const float>(p.weight)[sample] : 1.0f;
            of_error = 2.0f * at<const float>(p.dmse)[sample] * weight / ((float)p.rows * (float)p.channels);
        }
        if (p.dcos) {
            row.sum_over_team();
            float over_length = one_over_length(row.pred_squares, p.eps);
            of_target = -at<const float>(p.dcos)[sample] / (float)p.rows * over_length * one_over_length(row.target_squares, p.eps);
            of_pred = row.pred_squares > p.eps * p.eps ? of_target * row.dot * over_length * over_length : 0.0f;
        }
        for (uint32_t col = threadIdx.x * N; col < end; col += step) {
            // A thread's only vector is still there.
            if (end > step) row.template load_at<T>(p, first + col);
            float dpred[N];
            for (int i = 0; i < N; i++) {
                dpred[i] = of_error * (row.pred[i] - row.target[i]) + of_target * row.target[i] - of_pred * row.pred[i];
            }
            store(dpred, at<T>(p.dpred) + first + col);
        }
    });
}

VF_EXPORT(velocity_loss_fwd, VelocityLossFwd, ROWS_THREADS)
VF_EXPORT(velocity_loss_bwd, VelocityLossBwd, ROWS_THREADS)
