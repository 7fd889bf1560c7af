//! How good images are: reconstructions beside their originals, and distances between distributions of features.

mod frechet;
mod images;
pub mod reconstruction;
mod symmetric;

pub use frechet::{FrechetStats, frechet_distance};
pub use images::{ImageFeatures, image_stats};
