// Products of whole matrices: how blocks cut them into tiles, and how elements are read and written, whether or not rows start at multiples of
// 16 bytes. (Which tiles a launch takes, src/ops/matrix_tile.rs decides.)
#pragma once
#include "matrix_tile.cuh"

/// Up to a chunk's worth of elements of a row; all of them where rows start at multiples of 16 bytes.
template <class T, bool ALIGNED> struct Cells {
    static __device__ __forceinline__ Chunk<T> load(const T *from, uint32_t inside) {
        if constexpr (ALIGNED) {
            return Chunk<T>::load(from);
        } else {
            Chunk<T> c;
            for (uint32_t i = 0; i < Chunk<T>::N; i++) c.v[i] = i < inside ? to_float(from[i]) : 0.0f;
            return c;
        }
    }

    static __device__ __forceinline__ void store(const float *v, T *to, uint32_t inside) {
        if constexpr (ALIGNED) {
            Chunk<T> c;
            for (uint32_t i = 0; i < Chunk<T>::N; i++) c.v[i] = v[i];
            c.store(to);
        } else {
            for (uint32_t i = 0; i < Chunk<T>::N; i++) {
                if (i < inside) from_float(v[i], to + i);
            }
        }
    }
};

template <class Slab, bool ALIGNED> using Loader = std::conditional_t<ALIGNED, MatrixLoader<Slab>, RaggedLoader<Slab>>;

/// Rows [first, end) of the left matrix, which tiles of one shape cut, and the index of this block's tile among those.
struct Rows {
    uint32_t tile, first, end, index;

    /// `columns`: of the product.
    template <class P> __device__ __forceinline__ Rows(const P &p, uint32_t columns) : tile(p.tile), first(0), end(p.rows), index(blockIdx.x) {
        uint32_t large = p.bulk / 128 * ((columns + 127) / 128);
        if (index < large) {
            tile = MATRIX_128X128;
            end = p.bulk;
        } else {
            first = p.bulk;
            index -= large;
        }
    }

    template <class Tile> __device__ __forceinline__ TilePlace place(uint32_t tiles_n) const {
        TilePlace at = tile_place<Tile>(index, (end - first + Tile::ROWS - 1) / Tile::ROWS, tiles_n);
        at.row += first;
        return at;
    }
};

/// f<Tile, ALIGNED>(p, rows) for the tile that `rows` name; matrix_tile.h says which there are.
#define MATRIX_TILES(f, p, rows)                                                              \
    constexpr bool HALF = sizeof(typename Math::T) == 2;                                      \
    switch ((rows).tile) {                                                                    \
    case MATRIX_RAGGED: return f<Tile<Math, 64, 32, false>, false>(p, rows);                  \
    case MATRIX_128X64: return f<Tile<Math, 128, 64>, true>(p, rows);                         \
    case MATRIX_128X128: if constexpr (HALF) return f<Tile<Math, 128, 128>, true>(p, rows);   \
    case MATRIX_64X64: if constexpr (HALF) return f<Tile<Math, 64, 64>, true>(p, rows);       \
    }
