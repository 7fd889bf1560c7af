//! Centre crops of given images, decoded ahead in threads.

use super::decode::Rgb;
use super::image_folder::ImageFolder;
use super::prefetch::Prefetch;
use crate::error::Result;

/// Hands out centre crops of a list of images, batch by batch.
pub struct CropLoader {
    batches: Prefetch<Vec<(usize, Result<Rgb>)>>,
}

impl CropLoader {
    /// Crops of `size` pixels of the folder's `images`, `batch` at a time, in `workers` threads.
    pub fn new(
        folder: &ImageFolder,
        images: Vec<usize>,
        size: usize,
        batch: usize,
        workers: usize,
    ) -> Result<CropLoader> {
        let start = || {
            let (folder, images) = (folder.clone(), images.clone());
            move |number: u64| {
                let batch = images.chunks(batch).nth(number as usize).unwrap_or_default();
                Ok(batch.iter().map(|&image| (image, folder.center_crop(image, size))).collect())
            }
        };
        Ok(CropLoader { batches: Prefetch::new(workers, 0, start)? })
    }

    /// The next images and their crops, or why there is none; nothing after the last.
    pub fn next_batch(&mut self) -> Result<Vec<(usize, Result<Rgb>)>> {
        self.batches.next()
    }
}
