//! Latents on disk, as the reference lays them out: shards `latents_rank{RR}_shard{SSS}.safetensors` with
//!
//! | tensor | dtype, shape | what |
//! |---|---|---|
//! | `latents` | F32 (N, C, h, w) | of the images |
//! | `latents_flip` | F32 (N, C, h, w) | of their mirror images |
//! | `labels` | I64 (N) | their classes |
//!
//! and the statistics of all of them beside the shards, `latents_stats.safetensors`: `mean` and `std`, (1, C, 1, 1). That
//! file has the shards' tensors too, with no image in them, because the reference takes every safetensors file in the
//! folder for a shard. The metadata's `vf_engine` is a JSON document that says which tokenizer made them.

mod loader;
mod shards;
mod stats;
mod write;

use serde::{Deserialize, Serialize};

pub use loader::{LatentBatch, LatentLoader, LatentLoaderSettings};
pub use shards::LatentFolder;
pub use stats::{LatentStats, STATS_FILE, STATS_IMAGES};
pub use write::{ShardWriter, shard_name};

/// The metadata key under which the document stands, as in checkpoints.
const METADATA_KEY: &str = "vf_engine";

/// Version of the documents; a reader refuses others.
const FORMAT: u32 = 1;

/// What latents come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentSource {
    /// SHA-256 of the tokenizer's weights ([`crate::vae::Tokenizer::hash`]).
    pub tokenizer_sha256: String,
    /// Side of the centre crops in pixels.
    pub size: usize,
    /// `sample` of the posterior, or its `mean`.
    pub posterior: Posterior,
    /// Seed of the samples.
    pub seed: u64,
    /// Images in the folder, and SHA-256 of their names in order, each ended by a 0 byte.
    pub images: usize,
    /// See `images`.
    pub names_sha256: String,
}

/// What of the posterior is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Posterior {
    /// mean + e^(logvar/2)·noise, as the reference stores it.
    Sample,
    /// The mean alone.
    Mean,
}

/// What a shard says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ShardDocument {
    kind: String,
    format: u32,
    #[serde(flatten)]
    source: LatentSource,
    /// The images are those at `first`, `first` + `stride`, … of the folder, `count` of them, but for those left out.
    first: usize,
    stride: usize,
    count: usize,
    /// Images that could not be read.
    left_out: Vec<usize>,
}

/// What statistics say about themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StatsDocument {
    kind: String,
    format: u32,
    /// Of the tokenizer; unknown for latents that were not made by this engine.
    tokenizer_sha256: Option<String>,
    /// Images that the statistics were computed over.
    images: usize,
}
