// The second half of sums over rows: the blocks' partial sums, added up in a fixed order.
//
// Formula   first[g, c] = Σ_part sums[g, part, 0, c],  second[g, c] = Σ_part sums[g, part, 1, c].
// Shapes    sums (groups, parts, values, columns) f32; first, second (groups, columns).
// Bytes     sums once, the results once.
// FLOPs     one addition per value of sums.
// Scratch   none.
// Rounding  everything in f32; each result is rounded once. No atomics.
// Source    none.
#include "columns.cuh"
#include "part_sums.h"

static_assert(PART_SUMS_BLOCK <= PART_SUM_THREADS, "sum_parts keeps a value of every thread");

template <class T> static __device__ __forceinline__ void part_sums(const PartSums &p) {
    uint32_t first = blockIdx.x * PART_SUMS_COLUMNS;
    size_t group = blockIdx.y;
    sum_parts(
        min(PART_SUMS_COLUMNS, p.columns - first), p.parts,
        [&](uint32_t column, uint32_t part, float3 &sum) {
            const float *of = at<const float>(p.sums) + (group * p.parts + part) * p.values * p.columns + first + column;
            sum.x += of[0];
            if (p.values > 1) sum.y += of[p.columns];
        },
        [&](uint32_t column, float3 sum) {
            size_t to = group * p.columns + first + column;
            if (p.first) from_float(sum.x, at<T>(p.first) + to);
            if (p.second) from_float(sum.y, at<T>(p.second) + to);
        });
}

VF_EXPORT(part_sums, PartSums, PART_SUMS_BLOCK)
