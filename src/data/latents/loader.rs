//! The endless stream of batches of a training run on latents.

use std::sync::Arc;

use super::{LatentFolder, LatentStats};
use crate::data::order::Order;
use crate::data::prefetch::Prefetch;
use crate::error::{Error, Result};

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentLoaderSettings {
    /// Images in a batch, B.
    pub batch_size: usize,
    /// Take the mirror image's latents for every second image, at random.
    pub flip: bool,
    /// Seed of the order and the mirrors.
    pub seed: u64,
    /// Reading threads, each up to two batches ahead.
    pub workers: usize,
}

/// Latents to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentBatch {
    /// (B, h, w, C), normalised.
    pub latents: Vec<f32>,
    /// Each image's class.
    pub labels: Vec<u32>,
    /// Each image's place in the folder.
    pub indices: Vec<usize>,
}

/// Hands out batches in order: batch n holds places n·B … n·B + B − 1 of the run, and every N places are an epoch, a new
/// permutation of the N images, as for images.
pub struct LatentLoader {
    batches: Prefetch<LatentBatch>,
}

impl LatentLoader {
    /// Starts at batch `position`.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch or number of workers of 0.
    pub fn new(
        folder: Arc<LatentFolder>,
        stats: Arc<LatentStats>,
        settings: LatentLoaderSettings,
        position: u64,
    ) -> Result<LatentLoader> {
        let LatentLoaderSettings { batch_size, workers, seed, flip } = settings;
        if batch_size == 0 || workers == 0 {
            return Err(Error::Config("batches and data workers must be 1 or more".to_owned()));
        }
        let start = || {
            let (folder, stats) = (Arc::clone(&folder), Arc::clone(&stats));
            let mut order = Order::new(seed, folder.len());
            move |number: u64| {
                let places = (number * batch_size as u64..).take(batch_size);
                let indices: Vec<usize> = places.clone().filter_map(|place| order.images(place).next()).collect();
                let mirrored: Vec<bool> = places.map(|place| flip && order.placement(place).mirrored).collect();
                Ok(batch(&folder, &stats, indices, &mirrored))
            }
        };
        Ok(LatentLoader { batches: Prefetch::new(workers, position, start)? })
    }

    /// The next batch, once it is ready.
    pub fn next_batch(&mut self) -> Result<LatentBatch> {
        self.batches.next()
    }
}

impl LatentFolder {
    /// The images at `indices`, none of them mirrored.
    pub fn batch(&self, stats: &LatentStats, indices: Vec<usize>) -> LatentBatch {
        let mirrored = vec![false; indices.len()];
        batch(self, stats, indices, &mirrored)
    }
}

fn batch(folder: &LatentFolder, stats: &LatentStats, indices: Vec<usize>, mirrored: &[bool]) -> LatentBatch {
    let per_image: usize = folder.shape().iter().product();
    let mut latents = vec![0.0; indices.len() * per_image];
    for ((&index, &mirrored), out) in indices.iter().zip(mirrored).zip(latents.chunks_exact_mut(per_image)) {
        folder.read(index, mirrored, stats, out);
    }
    let labels = indices.iter().map(|&index| folder.labels()[index]).collect();
    LatentBatch { latents, labels, indices }
}
