// Teams of threads that take a row, a chunk of columns each. Teams stand side by side in a block, and every team takes several rows at a
// time, so that many loads are under way and the teams' sums over their rows cost one barrier for all of them.
#pragma once
#include "columns.cuh"
#include "row_team.h"

/// For VF_EXPORT: threads of a block, and blocks that a multiprocessor has room for. Left to itself ptxas spills a word or two to fit one more.
#define ROW_TEAM_BOUNDS ROW_TEAM_THREADS, 1

/// Rows that a team takes at a time.
template <class C> constexpr int ROWS_AT_ONCE = C::N == 8 ? ROW_TEAM_ROWS : 2 * ROW_TEAM_ROWS;

/// Where a thread stands. A team of up to 32 threads is a power of two and lies in one warp; a larger one is whole warps.
template <class C> struct RowTeam {
    uint32_t threads, teams, team, column;
    bool inside;

    __device__ __forceinline__ explicit RowTeam(uint32_t dim) {
        uint32_t chunks = dim / C::N;
        threads = 2;
        while (threads < 32 && threads < chunks) threads *= 2;
        if (chunks > 32) threads = (chunks + 31) / 32 * 32;
        teams = blockDim.x / threads;
        team = threadIdx.x / threads;
        column = threadIdx.x % threads * C::N;
        inside = column < dim;
    }
};

/// The sums over a team of each of `v`, in every thread of it. All threads of the block call it; `turn` counts the calls.
template <int M> static __device__ __forceinline__ void team_sum(float (&v)[M], uint32_t threads, uint32_t team, uint32_t &turn) {
    __shared__ float warps[2][ROW_TEAM_THREADS / 32][M];
    for (uint32_t distance = min(threads, 32u) / 2; distance > 0; distance /= 2) {
        for (int m = 0; m < M; m++) v[m] += __shfl_xor_sync(0xFFFFFFFFu, v[m], distance);
    }
    if (threads <= 32) return;
    // Two turns apart there is a barrier between the last read and the next write.
    auto &of = warps[turn++ % 2];
    if (threadIdx.x % 32 == 0) {
        for (int m = 0; m < M; m++) of[threadIdx.x / 32][m] = v[m];
    }
    __syncthreads();
    uint32_t first = team * (threads / 32);
    for (int m = 0; m < M; m++) v[m] = of[first][m];
    for (uint32_t warp = first + 1; warp < first + threads / 32; warp++) {
        for (int m = 0; m < M; m++) v[m] += of[warp][m];
    }
}
