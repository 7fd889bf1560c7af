//! How good generated images are: distances between distributions of features.

mod frechet;
mod images;
mod symmetric;

pub use frechet::{FrechetStats, frechet_distance};
pub use images::{ImageFeatures, image_stats};
