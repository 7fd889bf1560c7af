// Rows of length one, forward and backward.
//
// Formula   y = x / max(‖x‖, eps);  dx = (dy − x·(x·dy)/‖x‖²) / ‖x‖, and dy / eps where ‖x‖ ≤ eps.
// Shapes    x, y, dx, dy (rows, channels).
// Bytes     forward: x and y once. backward: x, dy and dx once.
// FLOPs     forward 3, backward 7 an element: memory-bound.
// Scratch   none.
// Rounding  everything in f32; each result is rounded once. Sums have a fixed order.
// Source    none.
#include "l2_normalize.h"
#include "row_team.cuh"

template <class T, class C> static __device__ __forceinline__ void forward(const L2NormalizeFwd &p) {
    constexpr int R = ROW_TEAM_ROWS;
    RowTeam<C> team(p.channels);
    Part rows(blockIdx.x, p.parts, p.rows);
    uint32_t turn = 0;
    for (uint32_t first = rows.begin + team.team; first - team.team < rows.end; first += R * team.teams) {
        C v[R];
        float squares[R] = {};
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (!team.inside || row >= rows.end) continue;
            v[r] = C::load(at<const T>(p.x) + (row * p.channels + team.column));
            for (int i = 0; i < C::N; i++) squares[r] += v[r].v[i] * v[r].v[i];
        }
        team_sum(squares, team.threads, team.team, turn);
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (!team.inside || row >= rows.end) continue;
            float factor = 1.0f / fmaxf(sqrtf(squares[r]), p.eps);
            for (int i = 0; i < C::N; i++) v[r].v[i] *= factor;
            v[r].store(at<T>(p.y) + (row * p.channels + team.column));
        }
    }
}

template <class T, class C> static __device__ __forceinline__ void backward(const L2NormalizeBwd &p) {
    constexpr int R = ROW_TEAM_ROWS;
    RowTeam<C> team(p.channels);
    Part rows(blockIdx.x, p.parts, p.rows);
    uint32_t turn = 0;
    for (uint32_t first = rows.begin + team.team; first - team.team < rows.end; first += R * team.teams) {
        C v[R], d[R];
        float of[2 * R] = {};  // ‖x‖², then x·dy
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (!team.inside || row >= rows.end) continue;
            v[r] = C::load(at<const T>(p.x) + (row * p.channels + team.column));
            d[r] = C::load(at<const T>(p.dy) + (row * p.channels + team.column));
            for (int i = 0; i < C::N; i++) {
                of[r] += v[r].v[i] * v[r].v[i];
                of[R + r] += v[r].v[i] * d[r].v[i];
            }
        }
        team_sum(of, team.threads, team.team, turn);
        for (int r = 0; r < R; r++) {
            uint32_t row = first + r * team.teams;
            if (!team.inside || row >= rows.end) continue;
            float length = sqrtf(of[r]), factor = 1.0f / fmaxf(length, p.eps);
            float along = length > p.eps ? of[R + r] / of[r] : 0.0f;
            for (int i = 0; i < C::N; i++) d[r].v[i] = (d[r].v[i] - v[r].v[i] * along) * factor;
            d[r].store(at<T>(p.dx) + (row * p.channels + team.column));
        }
    }
}

template <class T> static __device__ __forceinline__ void l2_normalize_fwd(const L2NormalizeFwd &p) {
    if (p.channels % Chunk<T>::N == 0) forward<T, Chunk<T>>(p);
    else forward<T, Single<T>>(p);
}

template <class T> static __device__ __forceinline__ void l2_normalize_bwd(const L2NormalizeBwd &p) {
    if (p.channels % Chunk<T>::N == 0) backward<T, Chunk<T>>(p);
    else backward<T, Single<T>>(p);
}

VF_EXPORT(l2_normalize_fwd, L2NormalizeFwd, ROW_TEAM_BOUNDS)
VF_EXPORT(l2_normalize_bwd, L2NormalizeBwd, ROW_TEAM_BOUNDS)
