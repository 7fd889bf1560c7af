//! The oracle: every operation of the engine as plain f64 loops, forward only, written to be obviously right.
//!
//! Nothing here is shared with the engine, so an error cannot hide in both. Backwards need no second implementation:
//! [`directional`] differentiates the forward numerically, and f64 leaves enough digits to judge f32 gradients by it.
//!
//! Layouts are the engine's: images (B, H, W, C), tokens (B, N, C) with N = H·W, heads (B, N, heads, d), convolution
//! weights (O, kh, kw, I). Shapes that do not fit panic: this is a test.
#![allow(dead_code, unused_imports, reason = "every test binary compiles the whole oracle and uses its own part")]

mod attention;
mod conv;
mod loss;
mod norm;
mod optim;
mod pointwise;
mod resize;

pub use attention::*;
pub use conv::*;
pub use loss::*;
pub use norm::*;
pub use optim::*;
pub use pointwise::*;
pub use resize::*;

/// A dense row-major array of f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    /// Panics where `data` does not fill `shape`.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Array {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Array { shape: shape.to_vec(), data }
    }

    pub fn from_f32(shape: &[usize], data: &[f32]) -> Array {
        Array::new(shape, data.iter().map(|&v| f64::from(v)).collect())
    }

    pub fn zeros(shape: &[usize]) -> Array {
        Array::new(shape, vec![0.0; shape.iter().product()])
    }

    /// The array whose entry at each index is `f(index)`: lets an operation read like its formula.
    pub fn build<const N: usize>(shape: [usize; N], f: impl Fn([usize; N]) -> f64) -> Array {
        let numel = shape.iter().product();
        let mut data = Vec::with_capacity(numel);
        let mut index = [0; N];
        for _ in 0..numel {
            data.push(f(index));
            for axis in (0..N).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Array::new(&shape, data)
    }

    pub fn at<const N: usize>(&self, index: [usize; N]) -> f64 {
        let mut flat = 0;
        for (axis, (&i, &size)) in index.iter().zip(self.dims::<N>().iter()).enumerate() {
            assert!(i < size, "index {index:?}, axis {axis}, shape {:?}", self.shape);
            flat = flat * size + i;
        }
        self.data[flat]
    }

    /// The shape, of which the caller expects N axes.
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        match self.shape.as_slice().try_into() {
            Ok(dims) => dims,
            Err(_) => panic!("expected {N} axes, got {:?}", self.shape),
        }
    }

    /// Row `r` of a matrix.
    pub fn row(&self, r: usize) -> &[f64] {
        let [_, columns] = self.dims();
        &self.data[r * columns..(r + 1) * columns]
    }

    pub fn reshape(&self, shape: &[usize]) -> Array {
        Array::new(shape, self.data.clone())
    }

    /// As a matrix (everything but the last axis, last axis).
    pub fn matrix(&self) -> Array {
        let columns = *self.shape.last().expect("at least one axis");
        self.reshape(&[self.data.len() / columns, columns])
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array::new(&self.shape, self.data.iter().map(|&v| f(v)).collect())
    }

    /// Entrywise `f` of two arrays of one shape.
    pub fn zip(&self, other: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
        assert_eq!(self.shape, other.shape);
        let pairs = self.data.iter().zip(&other.data);
        Array::new(&self.shape, pairs.map(|(&a, &b)| f(a, b)).collect())
    }

    /// Entries `from..to` of the last axis.
    pub fn last_axis(&self, from: usize, to: usize) -> Array {
        let rows = self.matrix();
        let [n, _] = rows.dims();
        let mut shape = self.shape.clone();
        *shape.last_mut().expect("at least one axis") = to - from;
        Array::build([n, to - from], |[r, c]| rows.at([r, from + c])).reshape(&shape)
    }

    pub fn sum(&self) -> f64 {
        self.data.iter().sum()
    }

    /// Σ aᵢ bᵢ.
    pub fn dot(&self, other: &Array) -> f64 {
        self.zip(other, |a, b| a * b).sum()
    }

    /// ℓ₂ norm of all entries.
    pub fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }
}

/// Σ f(i) for i in 0..n.
pub fn sum(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    (0..n).map(f).sum()
}

/// Σ aᵢ bᵢ of two rows.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// y = x Wᵀ + b for x (.., I), W (O, I), b (O).
pub fn linear(x: &Array, weight: &Array, bias: Option<&Array>) -> Array {
    let rows = x.matrix();
    let ([n, _], [outputs, _]) = (rows.dims(), weight.dims());
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("at least one axis") = outputs;
    Array::build([n, outputs], |[r, o]| dot(rows.row(r), weight.row(o)) + bias.map_or(0.0, |b| b.at([o])))
        .reshape(&shape)
}

/// a bᵀ of each entry of a batch: a (B, M, K), b (B, N, K) → (B, M, N).
pub fn matmul(a: &Array, b: &Array) -> Array {
    let ([batch, m, k], [_, n, _]) = (a.dims(), b.dims());
    Array::build([batch, m, n], |[e, i, j]| sum(k, |p| a.at([e, i, p]) * b.at([e, j, p])))
}

/// The derivative of `f` at `inputs` along `direction`, by the central difference (f(x + h·d) − f(x − h·d)) / 2h.
///
/// Its error is O(h²) from the third derivative plus about ε·|f|/h from rounding. h = 1e-6 with a direction as large
/// as the inputs balances them for smooth functions; near a kink (margins, clamps) take h = 1e-8.
pub fn directional(f: &dyn Fn(&[Array]) -> f64, inputs: &[Array], direction: &[Array], h: f64) -> f64 {
    assert_eq!(inputs.len(), direction.len());
    let moved = |step: f64| -> f64 {
        let at: Vec<Array> = inputs.iter().zip(direction).map(|(x, d)| x.zip(d, |x, d| x + step * d)).collect();
        f(&at)
    };
    (moved(h) - moved(-h)) / (2.0 * h)
}
