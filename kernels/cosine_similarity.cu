// The cosine between the rows of two matrices, forward and backward.
//
// Formula   y = a·b / (‖a‖‖b‖), each length at least eps;  da = dy·(b/(‖a‖‖b‖) − y·a/‖a‖²), its second term only where ‖a‖ > eps; db likewise.
// Shapes    a, b, da, db (rows, channels); y, dy (rows).
// Bytes     forward: a and b once. backward: a, b, da and db once.
// FLOPs     forward 6, backward 12 an element: memory-bound.
// Scratch   none.
// Rounding  everything in f32; each result is rounded once. Sums have a fixed order.
// Source    none.
#include "cosine_similarity.h"
#include "row_team.cuh"

/// The rows that a team takes at a time, of both matrices, and in every thread of the team the sums over each: ‖a‖², ‖b‖² and a·b.
template <class T, class C> struct Rows {
    static constexpr int R = ROW_TEAM_ROWS;
    C a[R], b[R];
    float of[3 * R];

    template <class P>
    __device__ __forceinline__ Rows(const P &p, const RowTeam<C> &team, uint32_t first, uint32_t end, uint32_t &turn) : of{} {
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (!team.inside || row >= end) continue;
            a[r] = C::load(at<const T>(p.a) + (row * p.channels + team.column));
            b[r] = C::load(at<const T>(p.b) + (row * p.channels + team.column));
            for (int i = 0; i < C::N; i++) {
                of[r] += a[r].v[i] * a[r].v[i];
                of[R + r] += b[r].v[i] * b[r].v[i];
                of[2 * R + r] += a[r].v[i] * b[r].v[i];
            }
        }
        team_sum(of, team.threads, team.team, turn);
    }
};

template <class T, class C> static __device__ __forceinline__ void forward(const CosineSimilarityFwd &p) {
    constexpr int R = ROW_TEAM_ROWS;
    RowTeam<C> team(p.channels);
    Part part(blockIdx.x, p.parts, p.rows);
    uint32_t turn = 0;
    for (uint32_t first = part.begin + team.team; first - team.team < part.end; first += R * team.teams) {
        Rows<T, C> rows(p, team, first, part.end, turn);
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (team.column != 0 || row >= part.end) continue;
            float lengths = fmaxf(sqrtf(rows.of[r]), p.eps) * fmaxf(sqrtf(rows.of[R + r]), p.eps);
            from_float(rows.of[2 * R + r] / lengths, at<T>(p.y) + row);
        }
    }
}

/// dx = other·of_other − x·of_x of one row, for x of length² `squares`.
template <class T, class C>
static __device__ __forceinline__ void gradient(const C &x, const C &other, float squares, float other_length, float dot, float dy, float eps, T *to) {
    float length = sqrtf(squares), of_other = dy / (fmaxf(length, eps) * other_length);
    float of_x = length > eps ? of_other * dot / squares : 0.0f;
    C dx;
    for (int i = 0; i < C::N; i++) dx.v[i] = other.v[i] * of_other - x.v[i] * of_x;
    dx.store(to);
}

template <class T, class C> static __device__ __forceinline__ void backward(const CosineSimilarityBwd &p) {
    constexpr int R = ROW_TEAM_ROWS;
    RowTeam<C> team(p.channels);
    Part part(blockIdx.x, p.parts, p.rows);
    uint32_t turn = 0;
    for (uint32_t first = part.begin + team.team; first - team.team < part.end; first += R * team.teams) {
        Rows<T, C> rows(p, team, first, part.end, turn);
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (!team.inside || row >= part.end) continue;
            float dy = to_float(at<const T>(p.dy)[row]), dot = rows.of[2 * R + r];
            float a_length = fmaxf(sqrtf(rows.of[r]), p.eps), b_length = fmaxf(sqrtf(rows.of[R + r]), p.eps);
            uint32_t here = row * p.channels + team.column;
            if (p.da) gradient(rows.a[r], rows.b[r], rows.of[r], b_length, dot, dy, p.eps, at<T>(p.da) + here);
            if (p.db) gradient(rows.b[r], rows.a[r], rows.of[R + r], a_length, dot, dy, p.eps, at<T>(p.db) + here);
        }
    }
}

template <class T> static __device__ __forceinline__ void cosine_similarity_fwd(const CosineSimilarityFwd &p) {
    if (p.channels % Chunk<T>::N == 0) forward<T, Chunk<T>>(p);
    else forward<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void cosine_similarity_bwd(const CosineSimilarityBwd &p) {
    if (p.channels % Chunk<T>::N == 0) backward<T, Chunk<T>>(p);
    else backward<T, Single<T>>(p);
}

VF_EXPORT(cosine_similarity_fwd, CosineSimilarityFwd, ROW_TEAM_BOUNDS)
VF_EXPORT(cosine_similarity_bwd, CosineSimilarityBwd, ROW_TEAM_BOUNDS)
