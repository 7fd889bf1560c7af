// Products of matrices, one for each entry of a batch; and so are their gradients.
//
// Formula   matmul_nt: y = a·bᵀ, of which with d = dy: da = d·b by matmul_nn, db = dᵀ·a by matmul_tn.
// Shapes    y (batch, rows, columns); a·bᵀ of a (batch, rows, depth) and b (batch, columns, depth), a·b of b (batch, depth, columns) instead,
//           aᵀ·b of that and a (batch, depth, rows).
// Bytes     each operand and the result once. What tiles read again comes from L2: neighbouring blocks have the same entry, and share its
//           rows and columns.
// FLOPs     2·batch·rows·columns·depth each.
// Scratch   none: a block has a tile's whole depth. Entries make blocks enough where a single product would have to be cut along its depth.
// Rounding  bf16: products are exact, sums f32. f32: fused multiply-adds, or TF32 where the device has it switched on. Results are rounded
//           once. Sums have a fixed order.
// Source    as matrix_tile.cuh and linear.cu.
#include "matmul.h"
#include "matrix_cut.cuh"

extern __shared__ __align__(128) unsigned char shared[];

/// A form of the product: whether lines of a, and of b, run along the depth.
template <bool A_ALONG, bool B_ALONG> struct Form {
    template <class Tile, bool ALIGNED> static __device__ __forceinline__ void tile(const Matmul &p, const Rows &rows) {
        using T = typename Tile::T;
        using A = Loader<typename Tile::template RowSlab<A_ALONG>, ALIGNED>;
        using B = Loader<typename Tile::template ColumnSlab<B_ALONG>, ALIGNED>;
        constexpr uint32_t N = Chunk<T>::N;
        TilePlace place = rows.place<Tile>((p.columns + Tile::COLUMNS - 1) / Tile::COLUMNS);
        size_t entry = blockIdx.y;
        A a(at<const T>(p.a) + entry * p.rows * p.depth, A_ALONG ? p.depth : p.rows, p.rows, place.row, 0);
        B b(at<const T>(p.b) + entry * p.columns * p.depth, B_ALONG ? p.depth : p.columns, p.columns, place.column, 0);
        Product<Tile, A, B>::compute(a, b, p.depth, shared);

        T *y = at<T>(p.y) + entry * p.rows * p.columns;
        uint32_t column = place.column + chunk_column<N, Tile::COLUMNS>();
        if (column >= p.columns) return;
        for_each_chunk<Tile, N>(shared, [&](uint32_t row, uint32_t, float (&v)[N]) {
            row += place.row;
            if (row < p.rows) Cells<T, ALIGNED>::store(v, y + (size_t)row * p.columns + column, p.columns - column);
        });
    }
};

template <class Math, class Form> static __device__ __forceinline__ void product(const Matmul &p) {
    Rows rows(p, p.columns);
    MATRIX_TILES(Form::template tile, p, rows)
}

template <class Math> static __device__ __forceinline__ void matmul_nt(const Matmul &p) { product<Math, Form<true, true>>(p); }
template <class Math> static __device__ __forceinline__ void matmul_nn(const Matmul &p) { product<Math, Form<true, false>>(p); }
template <class Math> static __device__ __forceinline__ void matmul_tn(const Matmul &p) { product<Math, Form<false, false>>(p); }

VF_EXPORT_MATRIX(matmul_nt, Matmul)
VF_EXPORT_MATRIX(matmul_nn, Matmul)
VF_EXPORT_MATRIX(matmul_tn, Matmul)
