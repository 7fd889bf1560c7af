//! The Fréchet distance between two Gaussians that are fitted to features (Dowson and Landau, 1982; Heusel et al., 2017):
//! ‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2·(C₁C₂)^½), in f64.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};

use super::symmetric::{Eigen, eigen};
use crate::checkpoint::atomic;
use crate::device::mmap::map_file;
use crate::error::{Error, Result};

const METADATA_KEY: &str = "vf_engine";

/// Mean and covariance of features, as they are gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct FrechetStats {
    /// What the features are, for a person: only equal ones can be compared.
    pub features: String,
    dim: usize,
    count: usize,
    /// What is subtracted before anything is summed, so that nothing cancels: the first vector.
    origin: Vec<f64>,
    sum: Vec<f64>,
    /// Σ x·xᵀ, (dim, dim).
    products: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    kind: String,
    features: String,
    count: usize,
}

impl FrechetStats {
    /// Of no vector yet.
    pub fn new(features: impl Into<String>, dim: usize) -> FrechetStats {
        let (origin, sum, products) = (vec![], vec![0.0; dim], vec![0.0; dim * dim]);
        FrechetStats { features: features.into(), dim, count: 0, origin, sum, products }
    }

    /// Vectors so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds vectors, (n, dim).
    pub fn add(&mut self, vectors: &[f32]) {
        assert!(vectors.len().is_multiple_of(self.dim), "vectors of another length");
        if self.origin.is_empty() && !vectors.is_empty() {
            self.origin = vectors[..self.dim].iter().map(|&v| f64::from(v)).collect();
        }
        let centred: Vec<f64> =
            vectors.iter().enumerate().map(|(i, &v)| f64::from(v) - self.origin[i % self.dim]).collect();
        self.count += vectors.len() / self.dim;
        for vector in centred.chunks_exact(self.dim) {
            self.sum.iter_mut().zip(vector).for_each(|(sum, v)| *sum += v);
        }
        self.products.par_chunks_mut(self.dim).enumerate().for_each(|(i, row)| {
            for vector in centred.chunks_exact(self.dim) {
                row.iter_mut().zip(vector).for_each(|(product, v)| *product += vector[i] * v);
            }
        });
    }

    /// The mean.
    pub fn mean(&self) -> Vec<f64> {
        self.origin.iter().zip(&self.sum).map(|(origin, sum)| origin + sum / self.count as f64).collect()
    }

    /// The unbiased covariance, (dim, dim).
    pub fn covariance(&self) -> Vec<f64> {
        let n = self.count as f64;
        let at = |k: usize| (self.products[k] - self.sum[k / self.dim] * self.sum[k % self.dim] / n) / (n - 1.0);
        (0..self.dim * self.dim).map(at).collect()
    }

    /// Writes the statistics, as safetensors with `origin`, `sum` and `products` in F64.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors = [("origin", &self.origin), ("sum", &self.sum), ("products", &self.products)];
        let document =
            Document { kind: "Fréchet statistics".into(), features: self.features.clone(), count: self.count };
        let mut end = 0;
        let infos = tensors.map(|(name, values)| {
            let start = end;
            end += 8 * values.len();
            let shape = if name == "products" { vec![self.dim, self.dim] } else { vec![self.dim] };
            (name.to_owned(), TensorInfo { dtype: Dtype::F64, shape, data_offsets: (start, end) })
        });
        atomic::write(path, |file| {
            let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&document)?)]);
            let header = Metadata::new(Some(metadata), infos.into()).map_err(std::io::Error::other)?;
            let mut header = serde_json::to_vec(&header)?;
            header.resize(header.len().next_multiple_of(8), b' ');
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            let values = tensors.into_iter().flat_map(|(_, values)| values);
            values.into_iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
        })
    }

    /// Reads statistics that [`FrechetStats::save`] wrote.
    pub fn open(path: &Path) -> Result<FrechetStats> {
        let wrong = |what: String| Error::data(format!("{}: {what}", path.display()));
        let map = map_file(path)?;
        let file = SafeTensors::deserialize(&map).map_err(|e| wrong(format!("not a whole file ({e})")))?;
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|e| wrong(e.to_string()))?;
        let document = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let document: Option<Document> = document.and_then(|text| serde_json::from_str(text).ok());
        let document = document.ok_or_else(|| wrong("these are no statistics of features".to_owned()))?;
        let values = |name: &str| -> Result<Vec<f64>> {
            let view = file.tensor(name).map_err(|_| wrong(format!("it has no tensor {name}")))?;
            match view.dtype() {
                Dtype::F64 => Ok(view.data().as_chunks().0.iter().map(|&value| f64::from_le_bytes(value)).collect()),
                other => Err(wrong(format!("{name} holds {other:?}, not F64"))),
            }
        };
        let (origin, sum, products) = (values("origin")?, values("sum")?, values("products")?);
        let dim = sum.len();
        if origin.len() != dim || products.len() != dim * dim {
            return Err(wrong("its tensors do not fit each other".to_owned()));
        }
        Ok(FrechetStats { features: document.features, dim, count: document.count, origin, sum, products })
    }
}

/// The distance between two sets of features.
///
/// With fewer vectors than dimensions a covariance is singular: the distance is still defined, and says less.
///
/// # Errors
/// Features that are not the same, fewer than two vectors, or numbers that are not finite.
pub fn frechet_distance(a: &FrechetStats, b: &FrechetStats) -> Result<f64> {
    if a.features != b.features || a.dim != b.dim {
        return Err(Error::data(format!("features cannot be compared: {} and {}", a.features, b.features)));
    }
    if a.count < 2 || b.count < 2 {
        let message = format!("{} and {} images: at least two on each side have a covariance", a.count, b.count);
        return Err(Error::data(message));
    }
    let (mean_a, mean_b, cov_a, cov_b) = (a.mean(), b.mean(), a.covariance(), b.covariance());
    let n = a.dim;
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |c: &[f64]| (0..n).map(|i| c[i * n + i]).sum::<f64>();
    // (C₁C₂)^½ has the trace of (C₁^½·C₂·C₁^½)^½, which is symmetric: with C₁ = VᵀΛV its eigenvalues are those of
    // Λ^½·V·C₂·Vᵀ·Λ^½. Rounding makes some of those that are 0 negative.
    let not_finite = || Error::NonFinite("the covariance of the features is not finite".to_owned());
    let Eigen { values, vectors } = eigen(&cov_a, n).ok_or_else(not_finite)?;
    let half: Vec<f64> = values.iter().map(|value| value.max(0.0).sqrt()).collect();
    let turned = product(&product(&vectors, &cov_b, n), &transposed(&vectors, n), n);
    let middle: Vec<f64> = (0..n * n).map(|k| half[k / n] * turned[k] * half[k % n]).collect();
    let symmetric: Vec<f64> = (0..n * n).map(|k| 0.5 * (middle[k] + middle[k % n * n + k / n])).collect();
    let roots = eigen(&symmetric, n).ok_or_else(not_finite)?.values;
    let root_trace: f64 = roots.iter().map(|value| value.max(0.0).sqrt()).sum();
    Ok((means + trace(&cov_a) + trace(&cov_b) - 2.0 * root_trace).max(0.0))
}

/// a·b of (n, n) matrices.
fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    out.par_chunks_mut(n).zip(a.par_chunks(n)).for_each(|(out, a)| {
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            out.iter_mut().zip(b).for_each(|(out, b)| *out += a * b);
        }
    });
    out
}

fn transposed(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|k| a[k % n * n + k / n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::philox;

    fn normal(count: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; count * dim];
        philox::normal(seed, 9, &mut values);
        values
    }

    fn stats(vectors: &[f32], dim: usize) -> FrechetStats {
        let mut stats = FrechetStats::new("test", dim);
        // In unequal pieces, whose sizes must not matter.
        let pieces = vectors.chunks(7 * dim);
        pieces.for_each(|piece| stats.add(piece));
        stats
    }

    #[test]
    fn mean_and_covariance_are_the_samples() {
        let vectors: Vec<f32> = normal(50, 3, 1).iter().map(|v| 1000.0 + v).collect();
        let stats = stats(&vectors, 3);
        let mean: Vec<f64> =
            (0..3).map(|i| vectors.iter().skip(i).step_by(3).map(|&v| f64::from(v)).sum::<f64>() / 50.0).collect();
        for i in 0..3 {
            assert!((stats.mean()[i] - mean[i]).abs() < 1e-9);
            for j in 0..3 {
                let products =
                    vectors.chunks_exact(3).map(|v| (f64::from(v[i]) - mean[i]) * (f64::from(v[j]) - mean[j]));
                let expected = products.sum::<f64>() / 49.0;
                assert!((stats.covariance()[3 * i + j] - expected).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn the_distance_of_known_gaussians() {
        // Features A·z + b of the same z: the covariances are A·S·Aᵀ with S that of z. For diagonal A and B the roots
        // commute, so that tr = Σ (aᵢ − bᵢ)²·Sᵢᵢ.
        let (dim, count) = (4, 400);
        let z = normal(count, dim, 2);
        let (a, b, shift) = ([1.0, 2.0, 0.5, 3.0], [2.0, 2.0, 1.0, 0.25], [0.5, -1.0, 0.0, 2.0]);
        // Make S diagonal in effect: use each coordinate's own sign pattern only, by zeroing the others' covariance.
        let independent: Vec<f32> = (0..count * dim)
            .map(|k| {
                let (row, column) = (k / dim, k % dim);
                if row % dim == column { z[k] } else { 0.0 }
            })
            .collect();
        // Paired with its negative, every coordinate has mean 0, and products of two coordinates are all 0.
        let both: Vec<f32> = independent.iter().map(|v| -v).chain(independent.iter().copied()).collect();
        let scaled = |by: &[f32; 4], shift: &[f32; 4]| -> Vec<f32> {
            both.iter().enumerate().map(|(k, v)| v * by[k % dim] + shift[k % dim]).collect()
        };
        let (first, second) = (stats(&scaled(&a, &[0.0; 4]), dim), stats(&scaled(&b, &shift), dim));
        let base = stats(&both, dim).covariance();
        let expected: f64 = (0..dim)
            .map(|i| f64::from(shift[i]).powi(2) + (f64::from(a[i]) - f64::from(b[i])).powi(2) * base[i * dim + i])
            .sum();
        let distance = frechet_distance(&first, &second).unwrap();
        assert!((distance - expected).abs() < 1e-6 * expected, "{distance} {expected}");
        assert!((frechet_distance(&second, &first).unwrap() - distance).abs() < 1e-9);
    }

    #[test]
    fn equal_sets_have_no_distance_and_turning_both_changes_nothing() {
        let dim = 5;
        let (x, y) = (normal(300, dim, 3), normal(300, dim, 4));
        let y: Vec<f32> = y.iter().enumerate().map(|(k, v)| v * (1.0 + (k % dim) as f32)).collect();
        assert!(frechet_distance(&stats(&x, dim), &stats(&x, dim)).unwrap() < 1e-9);
        let distance = frechet_distance(&stats(&x, dim), &stats(&y, dim)).unwrap();
        // A rotation in every plane (i, i + 1).
        let turn = |vectors: &[f32]| -> Vec<f32> {
            let mut vectors = vectors.to_vec();
            for vector in vectors.chunks_exact_mut(dim) {
                for i in 0..dim - 1 {
                    let (a, b) = (vector[i], vector[i + 1]);
                    (vector[i], vector[i + 1]) = (0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b);
                }
            }
            vectors
        };
        let turned = frechet_distance(&stats(&turn(&x), dim), &stats(&turn(&y), dim)).unwrap();
        // The vectors are rotated in f32.
        assert!((turned - distance).abs() < 1e-5 * distance, "{turned} {distance}");
    }

    #[test]
    fn singular_covariances_are_no_trouble() {
        // Three vectors in eight dimensions.
        let (x, y) = (normal(3, 8, 5), normal(3, 8, 6));
        let distance = frechet_distance(&stats(&x, 8), &stats(&y, 8)).unwrap();
        assert!(distance.is_finite() && distance > 0.0);
        assert!(frechet_distance(&stats(&x, 8), &stats(&x, 8)).unwrap() < 1e-7);
        let one = stats(&x[..8], 8);
        assert!(frechet_distance(&one, &one).unwrap_err().to_string().contains("at least two"));
        let other = FrechetStats { features: "others".into(), ..stats(&y, 8) };
        assert!(frechet_distance(&stats(&x, 8), &other).unwrap_err().to_string().contains("cannot be compared"));
    }

    #[test]
    fn statistics_read_back_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.safetensors");
        let stats = stats(&normal(30, 6, 7), 6);
        stats.save(&path).unwrap();
        assert_eq!(FrechetStats::open(&path).unwrap(), stats);
    }
}
