//! Winograd's transforms along one axis.

use super::super::gemm::simd::F32x16 as V;

/// An algorithm for one axis: N inputs and 3 kernel elements at P points make O outputs.
pub trait Axis<const N: usize, const P: usize, const O: usize> {
    /// Bᵀ.
    fn inputs(d: [V; N]) -> [V; P];
    /// G.
    fn kernel(g: [V; 3]) -> [V; P];
    /// Aᵀ.
    fn outputs(m: [V; P]) -> [V; O];
}

/// The adjoint of an [`Axis`] in the kernel, for O = 4 outputs.
pub trait Adjoint<const N: usize, const P: usize>: Axis<N, P, 4> {
    /// A.
    fn grads(y: [V; 4]) -> [V; P];
    /// Gᵀ.
    fn kernel_grads(u: [V; P]) -> [V; 3];
}

#[inline(always)]
fn times(x: f32, v: V) -> V {
    V::splat(x) * v
}

/// `x·v + w`
#[inline(always)]
fn fma(x: f32, v: V, w: V) -> V {
    V::splat(x).mul_add(v, w)
}

/// F(4, 3): polynomials by their values at the points 0, ±a, ±b, ∞.
///
/// With N(p) = Π (p − q) over the other finite points q, a row of Bᵀ holds the coefficients of Π (z − q), a row of G is
/// (1, p, p²)/N(p) and a column of Aᵀ is (1, p, p², p³); ∞ takes the highest coefficient.
pub struct Plain;

const A: f32 = 0.75;
const B: f32 = 1.5;
const AA: f32 = A * A;
const BB: f32 = B * B;
/// 1/N of 0, ±a and ±b.
const N0: f32 = 1.0 / (AA * BB);
const NA: f32 = 0.5 / (AA * (AA - BB));
const NB: f32 = 0.5 / (BB * (BB - AA));

impl Axis<6, 6, 4> for Plain {
    #[inline(always)]
    fn inputs(d: [V; 6]) -> [V; 6] {
        let (even_a, odd_a) = (fma(-BB, d[2], d[4]), times(A, fma(-BB, d[1], d[3])));
        let (even_b, odd_b) = (fma(-AA, d[2], d[4]), times(B, fma(-AA, d[1], d[3])));
        [
            fma(AA * BB, d[0], fma(-AA - BB, d[2], d[4])),
            even_a + odd_a,
            even_a - odd_a,
            even_b + odd_b,
            even_b - odd_b,
            fma(AA * BB, d[1], fma(-AA - BB, d[3], d[5])),
        ]
    }

    #[inline(always)]
    fn kernel(g: [V; 3]) -> [V; 6] {
        let (even_a, odd_a) = (fma(AA * NA, g[2], times(NA, g[0])), times(A * NA, g[1]));
        let (even_b, odd_b) = (fma(BB * NB, g[2], times(NB, g[0])), times(B * NB, g[1]));
        [times(N0, g[0]), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g[2]]
    }

    #[inline(always)]
    fn outputs(m: [V; 6]) -> [V; 4] {
        let (sum_a, sum_b) = (m[1] + m[2], m[3] + m[4]);
        let (diff_a, diff_b) = (m[1] - m[2], m[3] - m[4]);
        [
            m[0] + sum_a + sum_b,
            fma(A, diff_a, times(B, diff_b)),
            fma(AA, sum_a, times(BB, sum_b)),
            fma(A * AA, diff_a, fma(B * BB, diff_b, m[5])),
        ]
    }
}

impl Adjoint<6, 6> for Plain {
    #[inline(always)]
    fn grads(y: [V; 4]) -> [V; 6] {
        let (even_a, odd_a) = (fma(AA, y[2], y[0]), times(A, fma(AA, y[3], y[1])));
        let (even_b, odd_b) = (fma(BB, y[2], y[0]), times(B, fma(BB, y[3], y[1])));
        [y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]]
    }

    #[inline(always)]
    fn kernel_grads(u: [V; 6]) -> [V; 3] {
        let (sum_a, sum_b) = (times(NA, u[1] + u[2]), times(NB, u[3] + u[4]));
        let (diff_a, diff_b) = (times(NA, u[1] - u[2]), times(NB, u[3] - u[4]));
        [fma(N0, u[0], sum_a + sum_b), fma(A, diff_a, times(B, diff_b)), fma(AA, sum_a, fma(BB, sum_b, u[5]))]
    }
}

/// Inputs read through a nearest ×2 upsample: of 4 stored pixels a b c d the six are a b b c c d.
///
/// With C = Y·G, the product of the polynomials of (the adjoint of) the outputs and of the kernel, the sum to form is
/// `c₀ a + (c₁ + c₂) b + (c₃ + c₄) c + c₅ d`. C(0), C(∞) and C(1) give c₀, c₅ and (c₁ + c₂) + (c₃ + c₄), and
/// (c₁ + c₂) − (c₃ + c₄) follows from Im C(i) − Re C(i), two real products: five in all, and no constant but ½.
pub struct Upsampled;

impl Axis<4, 5, 4> for Upsampled {
    #[inline(always)]
    fn inputs([a, b, c, d]: [V; 4]) -> [V; 5] {
        [a - c, b + c, b - c, b - c, d - b]
    }

    #[inline(always)]
    fn kernel(g: [V; 3]) -> [V; 5] {
        let half = times(0.5, g[1]);
        [g[0], fma(0.5, g[0] + g[2], half), fma(0.5, g[2] - g[0], half), fma(0.5, g[0] - g[2], half), g[2]]
    }

    #[inline(always)]
    fn outputs(m: [V; 5]) -> [V; 4] {
        [m[0] + m[1] + m[2], m[1] + m[3], m[1] - m[2], m[1] - m[3] + m[4]]
    }
}

impl Adjoint<4, 5> for Upsampled {
    #[inline(always)]
    fn grads(y: [V; 4]) -> [V; 5] {
        [y[0], (y[0] + y[1]) + (y[2] + y[3]), y[0] - y[2], y[1] - y[3], y[3]]
    }

    #[inline(always)]
    fn kernel_grads(u: [V; 5]) -> [V; 3] {
        let (diff, half) = (u[2] - u[3], times(0.5, u[1]));
        [fma(-0.5, diff, u[0] + half), fma(0.5, u[2] + u[3], half), fma(0.5, diff, u[4] + half)]
    }
}

/// Outputs added in pairs, `z₀ = y₀ + y₁` and `z₁ = y₂ + y₃`: the data gradient of [`Upsampled`].
///
/// Pairs see the kernel as h = (g₀, g₀ + g₁, g₁ + g₂, g₂), even inputs by (h₀, h₂) and odd ones by (h₁, h₃). Karatsuba's
/// third product is the same for both, as h₀ + h₂ = h₁ + h₃: five in all.
pub struct Paired;

impl Axis<6, 5, 2> for Paired {
    #[inline(always)]
    fn inputs(d: [V; 6]) -> [V; 5] {
        [d[0] - d[2], d[1] - d[3], d[2] + d[3], d[4] - d[2], d[5] - d[3]]
    }

    #[inline(always)]
    fn kernel(g: [V; 3]) -> [V; 5] {
        let h1 = g[0] + g[1];
        [g[0], h1, h1 + g[2], g[1] + g[2], g[2]]
    }

    #[inline(always)]
    fn outputs(m: [V; 5]) -> [V; 2] {
        [m[0] + m[1] + m[2], m[2] + m[3] + m[4]]
    }
}

/// Applies `axis` to the columns, then to the rows, of an I×I matrix.
#[inline(always)]
pub fn both_axes<const I: usize, const O: usize>(
    load: impl Fn(usize, usize) -> V,
    axis: impl Fn([V; I]) -> [V; O],
    mut store: impl FnMut(usize, usize, V),
) {
    let columns: [[V; O]; I] = std::array::from_fn(|j| axis(std::array::from_fn(|i| load(i, j))));
    let rows: [[V; I]; O] = std::array::from_fn(|i| columns.map(|column| column[i]));
    for (i, row) in rows.into_iter().enumerate() {
        for (j, v) in axis(row).into_iter().enumerate() {
            store(i, j, v);
        }
    }
}
