//! Images: folders of them, decoding, square crops, batches in a reproducible order, and cached foundation features.
//!
//! Everything here hands out plain memory. An image batch is (B, H, W, 3), f32 in [−1, 1]. What a batch holds is a
//! pure function of (folder, settings, batch number): a run that goes on at batch N sees what an unbroken run saw.

mod crop;
mod decode;
mod feature_cache;
mod image_folder;
mod loader;
mod order;
mod prefetch;
mod resample;

pub use decode::Rgb;
pub use feature_cache::{FeatureCache, FeatureSource};
pub use image_folder::{ImageFolder, sha256_of_file};
pub use loader::{Batch, Loader, LoaderSettings};
