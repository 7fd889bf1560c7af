// What happens to queries and keys between the linear layer that makes them and their product: RMS norm of every head, and rotary
// position embedding. Rows are changed where they lie in shared memory, a row by the four lanes that share a fragment's rows.
#pragma once
#include "attention_rows.cuh"

namespace attention {

/// Queries and keys as they are.
struct NoEmbedding {
    static constexpr bool PRESENT = false;
};

/// x to x·rstd·weight, then neighbours (x₀, x₁) to (x₀·cos₀ − x₁·sin₀, x₁·cos₁ + x₀·sin₁). The tables are (positions, head_dim); both
/// steps are optional.
struct Embedding {
    static constexpr bool PRESENT = true;

    const float *q_norm, *k_norm, *cos, *sin;
    float eps;
    uint32_t head_dim;

    /// The first ROWS rows of a tile, of which `rows` exist, at positions from `first` on. They are rounded once.
    template <uint32_t THREADS, uint32_t ROWS, class T, uint32_t D>
    __device__ __forceinline__ void embed(Tile<T, D> tile, const float *weight, uint32_t first, uint32_t rows) const {
#pragma unroll 1
        for (uint32_t r = warp_id() * 8; r < min(rows, ROWS); r += THREADS / 32 * 8) {
            uint32_t row = r + fragment_row<T>(), column = fragment_column();
            bool exists = row < rows;
            float2 x[D / 8];
            float squares = 0.0f;
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                x[i] = load_pair(tile.at(row, 8 * i + column));
                squares += x[i].x * x[i].x + x[i].y * x[i].y;
            }
            float rstd = rsqrtf(quad_sum(squares) / (float)head_dim + eps);
            size_t at = (size_t)(first + row) * head_dim + column;
#pragma unroll
            for (int i = 0; i < D / 8; i++) {
                if (8 * i + column >= head_dim || !exists) continue;
                if (weight) {
                    float2 w = *reinterpret_cast<const float2 *>(weight + 8 * i + column);
                    x[i] = make_float2(x[i].x * rstd * w.x, x[i].y * rstd * w.y);
                }
                if (cos) {
                    float2 c = *reinterpret_cast<const float2 *>(cos + at + 8 * i), s = *reinterpret_cast<const float2 *>(sin + at + 8 * i);
                    x[i] = make_float2(x[i].x * c.x - x[i].y * s.x, x[i].y * c.y + x[i].x * s.y);
                }
                store_pair(tile.at(row, 8 * i + column), x[i].x, x[i].y);
            }
            __syncwarp();
        }
    }

    /// Gradients (M·16, N·8) of turned rows to those of the rows before: `rows` of them, at positions from `first` on, channels from
    /// `column` up to `end`.
    template <class T, int M, int N>
    __device__ __forceinline__ void turn_back(float (&sum)[M][N][4], uint32_t first, uint32_t rows, uint32_t column, uint32_t end) const {
        if (!cos) return;
        column += fragment_column();
#pragma unroll
        for (int i = 0; i < 2 * M; i++) {
            uint32_t row = 8 * i + fragment_row<T>();
            size_t at = (size_t)(first + row) * head_dim + column;
#pragma unroll
            for (int n = 0; n < N; n++) {
                if (row >= rows || column + 8 * n >= end) continue;
                float2 c = *reinterpret_cast<const float2 *>(cos + at + 8 * n), s = *reinterpret_cast<const float2 *>(sin + at + 8 * n);
                float *d = sum[i / 2][n] + i % 2 * 2, d0 = d[0];
                d[0] = d0 * c.x + d[1] * s.y;
                d[1] = d[1] * c.y - d0 * s.x;
            }
        }
    }
};

} // namespace attention
