// Rows normalised by their own statistics, then an affine map per column and a modulation per group of rows, both optional: what layer norm
// (CENTRED) and RMS norm share. A thread keeps its columns' coefficients, and backward their sums over rows, in registers. Where a gated
// branch joins the rows first (JOINED), both directions pass over it while they have the rows.
#pragma once
#include "row_norm.h"
#include "row_team.cuh"

/// A thread's values of an f32 vector over columns. A pair of threads with chunks of eight shares two sectors: each request fills one of
/// them, and halves change hands.
template <int N> static __device__ __forceinline__ void load_vector(const float *from, uint32_t column, uint32_t dim, float (&v)[N]) {
    if constexpr (N == 1) {
        if (column < dim) v[0] = from[column];
    } else if constexpr (N == 4) {
        if (column < dim) load4(from + column, v);
    } else {
        bool odd = threadIdx.x % 2;
        uint32_t pair = column - (odd ? 8 : 0), half = odd ? 4 : 0;
        float first[4] = {}, second[4] = {};
        if (pair < dim) load4(from + pair + half, first);
        if (pair + 8 < dim) load4(from + pair + 8 + half, second);
        for (int i = 0; i < 4; i++) {
            float got = __shfl_xor_sync(0xFFFFFFFFu, odd ? first[i] : second[i], 1);
            v[i] = odd ? got : first[i];
            v[4 + i] = odd ? second[i] : got;
        }
    }
}

/// The parameters that forward and backward read; absent ones are null.
template <class T> struct RowNorm {
    const float *weight, *bias;  // (dim)
    const T *scale, *shift;      // (groups, dim)
    uint32_t rows, dim, rows_per_group, parts;
    /// A gated branch, if JOINED: (rows, dim) and (groups, dim).
    const T *branch = nullptr, *gate = nullptr;

    /// gain = weight·(1 + scale) and offset = bias·(1 + scale) + shift of a thread's columns.
    template <class C> __device__ __forceinline__ void affine(uint32_t group, uint32_t column, float (&gain)[C::N], float (&offset)[C::N]) const {
        for (int i = 0; i < C::N; i++) gain[i] = 1.0f, offset[i] = 0.0f;
        if (weight) load_vector(weight, column, dim, gain);
        if (bias) load_vector(bias, column, dim, offset);
        if (column >= dim) return;
        if (scale) {
            C factor = C::load(scale + (group * dim + column));
            for (int i = 0; i < C::N; i++) gain[i] *= 1.0f + factor.v[i], offset[i] *= 1.0f + factor.v[i];
        }
        if (shift) {
            C more = C::load(shift + (group * dim + column));
            for (int i = 0; i < C::N; i++) offset[i] += more.v[i];
        }
    }

    /// The rows of this block.
    __device__ __forceinline__ Part block_rows() const {
        uint32_t first = blockIdx.y * rows_per_group;
        Part part(blockIdx.x, parts, min(rows_per_group, rows - first));
        part.begin += first;
        part.end += first;
        return part;
    }
};

/// y = (x − mean)·rstd·gain + offset, and the statistics of every row; if JOINED of x + gate·branch, which is
/// rounded only where it is written, to `joined`.
template <class T, class C, bool CENTRED, bool JOINED>
static __device__ __forceinline__ void row_norm_forward(const RowNorm<T> &norm, float eps, const T *x, T *joined, T *y, float *mean, float *rstd) {
    constexpr int R = ROWS_AT_ONCE<C>;
    RowTeam<C> at(norm.dim);
    float gain[C::N], offset[C::N];
    norm.template affine<C>(blockIdx.y, at.column, gain, offset);
    C gate = {};
    if constexpr (JOINED) {
        if (at.inside) gate = C::load(norm.gate + (blockIdx.y * norm.dim + at.column));
    }
    Part rows = norm.block_rows();
    uint32_t turn = 0;
    for (uint32_t first = rows.begin + at.team; first - at.team < rows.end; first += R * at.teams) {
        C v[R];
        float centre[R], square[R];
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * at.teams;
            for (int i = 0; i < C::N; i++) v[r].v[i] = 0.0f;
            if (at.inside && row < rows.end) v[r] = C::load(x + (row * norm.dim + at.column));
        }
        if constexpr (JOINED) {
            C more[R];
            for (int r = 0; r < R; r++) {
                uint32_t row = first + r * at.teams;
                if (at.inside && row < rows.end) more[r] = C::load(norm.branch + (row * norm.dim + at.column));
            }
            for (int r = 0; r < R; r++) {
                uint32_t row = first + r * at.teams;
                if (!at.inside || row >= rows.end) continue;
                for (int i = 0; i < C::N; i++) v[r].v[i] += gate.v[i] * more[r].v[i];
                v[r].store(joined + (row * norm.dim + at.column));
            }
        }
        for (int r = 0; r < R; r++) centre[r] = 0.0f;
        if constexpr (CENTRED) {
            for (int r = 0; r < R; r++) {
                for (int i = 0; i < C::N; i++) centre[r] += v[r].v[i];
            }
            team_sum(centre, at.threads, at.team, turn);
            for (int r = 0; r < R; r++) centre[r] /= (float)norm.dim;
        }
        for (int r = 0; r < R; r++) {
            square[r] = 0.0f;
            for (int i = 0; i < C::N; i++) {
                v[r].v[i] -= centre[r];
                square[r] += at.inside ? v[r].v[i] * v[r].v[i] : 0.0f;
            }
        }
        team_sum(square, at.threads, at.team, turn);
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * at.teams;
            if (row >= rows.end) continue;
            float inverse = 1.0f / sqrtf(square[r] / (float)norm.dim + eps);
            if (at.column == 0) {
                rstd[row] = inverse;
                if constexpr (CENTRED) mean[row] = centre[r];
            }
            if (!at.inside) continue;
            for (int i = 0; i < C::N; i++) v[r].v[i] = v[r].v[i] * inverse * gain[i] + offset[i];
            v[r].store(y + (row * norm.dim + at.column));
        }
    }
}

/// With x̂ = (x − mean)·rstd and d = dy·gain: dx = rstd·(d − mean(d) − x̂·mean(d·x̂)) + dresidual, without its second term where not CENTRED;
/// and the sums over the block's rows of dy and of dy·x̂. If JOINED also dbranch = gate·dx and the sums of dx·branch; dx is there.
template <class T, class C, bool CENTRED, bool JOINED>
static __device__ __forceinline__ void row_norm_backward(const RowNorm<T> &norm, const T *x, const float *mean, const float *rstd, const T *dy,
                                                         const T *dresidual, T *dx, T *dbranch, float *sums) {
    constexpr int R = ROWS_AT_ONCE<C>, MEANS = CENTRED ? 2 : 1, VALUES = JOINED ? 3 : 2;
    __shared__ RowSums<C::N, ROW_TEAM_THREADS> teams;
    RowTeam<C> at(norm.dim);
    float gain[C::N], unused[C::N];
    norm.template affine<C>(blockIdx.y, at.column, gain, unused);
    Part rows = norm.block_rows();
    uint32_t turn = 0;
    float sum_dy[C::N] = {}, sum_dy_x[C::N] = {};
    C gate = {};
    float sum_dx_branch[JOINED ? C::N : 1] = {};
    if constexpr (JOINED) {
        if (at.inside) gate = C::load(norm.gate + (blockIdx.y * norm.dim + at.column));
    }
    for (uint32_t first = rows.begin + at.team; first - at.team < rows.end; first += R * at.teams) {
        C v[R], d[R];
        float inverse[R], of[MEANS * R];
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * at.teams;
            for (int i = 0; i < C::N; i++) v[r].v[i] = d[r].v[i] = 0.0f;
            inverse[r] = 0.0f;
            if (row >= rows.end) continue;
            inverse[r] = rstd[row];
            float centre = 0.0f;
            if constexpr (CENTRED) centre = mean[row];
            if (!at.inside) continue;
            v[r] = C::load(x + (row * norm.dim + at.column));
            d[r] = C::load(dy + (row * norm.dim + at.column));
            for (int i = 0; i < C::N; i++) v[r].v[i] = (v[r].v[i] - centre) * inverse[r];
        }
        if (sums) {
            for (int r = 0; r < R; r++) {
                for (int i = 0; i < C::N; i++) {
                    sum_dy[i] += d[r].v[i];
                    sum_dy_x[i] += d[r].v[i] * v[r].v[i];
                }
            }
        }
        if (!dx) continue;
        for (int m = 0; m < MEANS * R; m++) of[m] = 0.0f;
        for (int r = 0; r < R; r++) {
            for (int i = 0; i < C::N; i++) {
                d[r].v[i] *= gain[i];
                of[r] += d[r].v[i] * v[r].v[i];
                if constexpr (CENTRED) of[R + r] += d[r].v[i];
            }
        }
        team_sum(of, at.threads, at.team, turn);
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * at.teams;
            if (!at.inside || row >= rows.end) continue;
            float along = of[r] / (float)norm.dim, level = CENTRED ? of[(MEANS - 1) * R + r] / (float)norm.dim : 0.0f;
            for (int i = 0; i < C::N; i++) d[r].v[i] = inverse[r] * (d[r].v[i] - level - v[r].v[i] * along);
            uint32_t here = row * norm.dim + at.column;
            if (dresidual) {
                C more = C::load(dresidual + here);
                for (int i = 0; i < C::N; i++) d[r].v[i] += more.v[i];
            }
            d[r].store(dx + here);
            if constexpr (JOINED) {
                C branch = C::load(norm.branch + here);
                for (int i = 0; i < C::N; i++) {
                    sum_dx_branch[i] += d[r].v[i] * branch.v[i];
                    d[r].v[i] *= gate.v[i];
                }
                d[r].store(dbranch + here);
            }
        }
    }
    if (!sums) return;
    teams.put(sum_dy, sum_dy_x);
    __syncthreads();
    float *out = sums + ((size_t)blockIdx.y * norm.parts + blockIdx.x) * VALUES * norm.dim;
    for (uint32_t c = threadIdx.x; c < norm.dim; c += blockDim.x) {
        float2 sum = teams.of(c, at.threads, at.teams);
        out[c] = sum.x;
        out[norm.dim + c] = sum.y;
    }
    if constexpr (JOINED) {
        __syncthreads();
        teams.put(sum_dx_branch, sum_dx_branch);
        __syncthreads();
        for (uint32_t c = threadIdx.x; c < norm.dim; c += blockDim.x) out[2 * norm.dim + c] = teams.of(c, at.threads, at.teams).x;
    }
}

/// From the sums A of dy and D of dy·x̂ over each group's rows: dshift = A, dscale = D·weight + A·bias, and over all groups
/// dweight = Σ (1 + scale)·D, dbias = Σ (1 + scale)·A; and where there is a third of `values`, dgate is that. Blocks y < modulated write a
/// group's gradients, those after them the others.
template <class T>
static __device__ __forceinline__ void row_norm_sums(const RowNorm<T> &norm, const float *sums, uint32_t values, uint32_t groups, uint32_t modulated,
                                                     float *dweight, float *dbias, T *dscale, T *dshift, T *dgate) {
    uint32_t first = blockIdx.x * ROW_NORM_SUM_COLUMNS, columns = min(ROW_NORM_SUM_COLUMNS, norm.dim - first);
    if (blockIdx.y < modulated) {
        uint32_t group = blockIdx.y;
        sum_parts(
            columns, norm.parts,
            [&](uint32_t c, uint32_t part, float3 &sum) {
                const float *of = sums + ((size_t)group * norm.parts + part) * values * norm.dim + first + c;
                sum.x += of[0];
                sum.y += of[norm.dim];
                if (dgate) sum.z += of[2 * norm.dim];
            },
            [&](uint32_t c, float3 sum) {
                size_t to = (size_t)group * norm.dim + first + c;
                float weight = norm.weight ? norm.weight[first + c] : 1.0f, bias = norm.bias ? norm.bias[first + c] : 0.0f;
                if (dshift) from_float(sum.x, dshift + to);
                if (dscale) from_float(sum.y * weight + sum.x * bias, dscale + to);
                if (dgate) from_float(sum.z, dgate + to);
            });
    } else {
        sum_parts(
            columns, groups * norm.parts,
            [&](uint32_t c, uint32_t part, float3 &sum) {
                const float *of = sums + (size_t)part * values * norm.dim + first + c;
                float factor = norm.scale ? 1.0f + to_float(norm.scale[(size_t)(part / norm.parts) * norm.dim + first + c]) : 1.0f;
                sum.x += factor * of[0];
                sum.y += factor * of[norm.dim];
            },
            [&](uint32_t c, float3 sum) {
                if (dbias) dbias[first + c] = sum.x;
                if (dweight) dweight[first + c] = sum.y;
            });
    }
}
