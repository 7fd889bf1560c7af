//! Images: folders of them, decoding, square crops, batches in a reproducible order, cached foundation features, and
//! shards of latents.
//!
//! Everything here hands out plain memory. An image batch is (B, H, W, 3), f32 in [−1, 1]. What a batch holds is a
//! pure function of (folder, settings, batch number): a run that goes on at batch N sees what an unbroken run saw.

mod crop;
mod crops;
mod decode;
mod feature_cache;
mod image_folder;
pub mod latents;
mod loader;
mod order;
mod prefetch;
mod resample;

pub use crops::CropLoader;
pub use decode::Rgb;
pub use feature_cache::{FeatureCache, FeatureSource};
pub use image_folder::{ImageFolder, sha256_of_file};
pub use loader::{Batch, Loader, LoaderSettings};
