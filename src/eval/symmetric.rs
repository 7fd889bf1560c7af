//! Eigenvalues and eigenvectors of symmetric matrices in f64: Householder's reduction to a tridiagonal matrix, then the
//! implicit QL algorithm (Golub and Van Loan, "Matrix Computations", 8.3; Wilkinson's shift).

use rayon::prelude::*;

/// A = Σ values[i]·vectors[i]·vectors[i]ᵀ.
pub(super) struct Eigen {
    /// In no particular order.
    pub values: Vec<f64>,
    /// (n, n), one eigenvector a row.
    pub vectors: Vec<f64>,
}

/// Of a symmetric (n, n) matrix; `None` if the iteration does not settle, which only numbers that are not finite bring about.
pub(super) fn eigen(matrix: &[f64], n: usize) -> Option<Eigen> {
    assert_eq!(matrix.len(), n * n, "a square matrix");
    let (mut diagonal, mut off, mut vectors) = tridiagonal(matrix.to_vec(), n);
    implicit_ql(&mut diagonal, &mut off, &mut vectors, n)?;
    Some(Eigen { values: diagonal, vectors })
}

/// A = QᵀTQ: the diagonal of T, what is beside it (off[i] between i and i + 1), and Q.
fn tridiagonal(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut reflections: Vec<(Vec<f64>, f64)> = vec![];
    let mut off = vec![0.0; n];
    for k in 0..n.saturating_sub(1) {
        // The reflection I − β·v·vᵀ that leaves only the first entry of column k below the diagonal.
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let rest = v[1..].iter().map(|x| x * x).sum::<f64>();
        if rest == 0.0 {
            off[k] = v[0];
            reflections.push((v, 0.0));
            continue;
        }
        let alpha = -norm.copysign(v[0]);
        off[k] = alpha;
        v[0] -= alpha;
        let beta = 2.0 / (v[0] * v[0] + rest);
        // A ← A − v·wᵀ − w·vᵀ with p = β·A·v and w = p − ½·β·(pᵀv)·v.
        let m = n - k - 1;
        let row = |i: usize| (k + 1 + i) * n + k + 1;
        let p: Vec<f64> =
            (0..m).into_par_iter().map(|i| beta * dot(&a[row(i)..row(i) + m], &v)).with_min_len(64).collect();
        let half = 0.5 * beta * dot(&p, &v);
        let w: Vec<f64> = p.iter().zip(&v).map(|(p, v)| p - half * v).collect();
        a[(k + 1) * n..].par_chunks_mut(n).with_min_len(64).enumerate().for_each(|(i, row)| {
            for (a, (v_j, w_j)) in row[k + 1..].iter_mut().zip(v.iter().zip(&w)) {
                *a -= v[i] * w_j + w[i] * v_j;
            }
        });
        reflections.push((v, beta));
    }
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    let mut q = vec![0.0; n * n];
    (0..n).for_each(|i| q[i * n + i] = 1.0);
    // Q = H_last ⋯ H_1; from the last on, each changes the rows behind its own alone, and leaves earlier columns as they are.
    for (k, (v, beta)) in reflections.iter().enumerate().rev() {
        if *beta == 0.0 {
            continue;
        }
        // Q ← Q·H, row by row: rows k + 1 … n and columns k + 1 … n are all that is not the identity.
        q[(k + 1) * n..].par_chunks_mut(n).with_min_len(64).for_each(|row| {
            let row = &mut row[k + 1..];
            let along = beta * dot(row, v);
            row.iter_mut().zip(v).for_each(|(q, v)| *q -= along * v);
        });
    }
    (diagonal, off, q)
}

/// Turns (diagonal, off) into the eigenvalues, and the rows of `q` into their eigenvectors.
fn implicit_ql(diagonal: &mut [f64], off: &mut [f64], q: &mut [f64], n: usize) -> Option<()> {
    for l in 0..n {
        for iteration in 0.. {
            // The first negligible number beside the diagonal, from l on.
            let small = |i: &usize| off[*i].abs() <= f64::EPSILON * (diagonal[*i].abs() + diagonal[*i + 1].abs());
            let m = (l..n - 1).find(small).unwrap_or(n - 1);
            if m == l {
                break;
            }
            if iteration == 60 || !off[l].is_finite() {
                return None;
            }
            // Wilkinson's shift: the eigenvalue of the leading 2×2 block that is nearer to its first entry.
            let mut g = (diagonal[l + 1] - diagonal[l]) / (2.0 * off[l]);
            let r = g.hypot(1.0);
            g = diagonal[m] - diagonal[l] + off[l] / (g + r.copysign(g));
            let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
            let mut rotations = Vec::with_capacity(m - l);
            let mut split = None;
            for i in (l..m).rev() {
                let (f, b) = (sine * off[i], cosine * off[i]);
                let r = f.hypot(g);
                off[i + 1] = r;
                if r == 0.0 {
                    diagonal[i + 1] -= p;
                    off[m] = 0.0;
                    split = Some(i);
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = diagonal[i + 1] - p;
                let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
                p = sine * r;
                diagonal[i + 1] = g + p;
                g = cosine * r - b;
                rotations.push((i, sine, cosine));
            }
            rotate(q, n, &rotations);
            if split.is_none() {
                diagonal[l] -= p;
                off[l] = g;
                off[m] = 0.0;
            }
        }
    }
    Some(())
}

/// Applies rotations of neighbouring rows, in order, by blocks of columns.
fn rotate(q: &mut [f64], n: usize, rotations: &[(usize, f64, f64)]) {
    for &(i, sine, cosine) in rotations {
        let (upper, lower) = q[i * n..(i + 2) * n].split_at_mut(n);
        for (a, b) in upper.iter_mut().zip(lower) {
            (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_symmetric(n: usize) -> Vec<f64> {
        let mut values = vec![0f32; n * n];
        crate::device::philox::normal(3, n as u64, &mut values);
        let at = |i: usize, j: usize| f64::from(values[i.max(j) * n + i.min(j)]);
        (0..n * n).map(|k| at(k / n, k % n)).collect()
    }

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        for n in [1, 2, 3, 10, 75] {
            let a = random_symmetric(n);
            let Eigen { values, vectors } = eigen(&a, n).unwrap();
            for i in 0..n {
                for j in 0..n {
                    let rebuilt: f64 = (0..n).map(|k| values[k] * vectors[k * n + i] * vectors[k * n + j]).sum();
                    assert!((rebuilt - a[i * n + j]).abs() < 1e-12 * n as f64, "{n}: {rebuilt} {}", a[i * n + j]);
                    let product = dot(&vectors[i * n..][..n], &vectors[j * n..][..n]);
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-13 * n as f64);
                }
            }
        }
    }

    #[test]
    fn special_matrices() {
        let mut diagonal = eigen(&[3.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 2.0], 3).unwrap().values;
        diagonal.sort_by(f64::total_cmp);
        assert_eq!(diagonal, [-1.0, 2.0, 3.0]);
        // All ones: one eigenvalue n, the others 0.
        let mut ones = eigen(&[1.0; 36], 6).unwrap().values;
        ones.sort_by(f64::total_cmp);
        assert!(ones[..5].iter().all(|v| v.abs() < 1e-14) && (ones[5] - 6.0).abs() < 1e-13, "{ones:?}");
        assert!(eigen(&[0.0; 16], 4).unwrap().values.iter().all(|&v| v == 0.0));
        assert!(eigen(&[f64::NAN; 16], 4).is_none());
    }
}
