//! The endless stream of batches of a training run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::config::Crop;
use crate::error::{Error, Result};

use super::decode::Rgb;
use super::image_folder::ImageFolder;
use super::order::Order;
use super::prefetch::Prefetch;

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderSettings {
    /// Images in a batch, B.
    pub batch_size: usize,
    /// Side of the square crops in pixels, H = W.
    pub size: usize,
    /// Which square of an image is used.
    pub crop: Crop,
    /// Mirror every second image, at random.
    pub flip: bool,
    /// Seed of the order, the crops and the mirrors.
    pub seed: u64,
    /// Decoding threads, each up to two batches ahead.
    pub workers: usize,
    /// Decoded images are kept if all of them fit in this many bytes; 0 keeps none.
    pub memory: usize,
    /// The share of images that may be unreadable before that is an error; one image always may.
    pub max_unreadable: f64,
}

/// Images to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// (B, H, W, 3), as they come out of files.
    pub images: Vec<u8>,
    /// Each image's place in the folder.
    pub indices: Vec<usize>,
    /// Whether each image is mirrored left to right.
    pub flipped: Vec<bool>,
    /// Each image's class; `None` for a flat folder.
    pub labels: Option<Vec<u32>>,
}

/// Hands out batches in order, decoding ahead in threads.
///
/// The run is a line of places: batch n holds places n·B … n·B + B − 1, and every N places are an epoch, a new
/// permutation of the N images. So a batch may reach into the next epoch, and the state is the batch's number alone.
/// Where an image cannot be read, the next one in the epoch's order that can be takes its place; no other place changes.
pub struct Loader {
    batches: Prefetch<Batch>,
    shared: Arc<Shared>,
    position: u64,
}

/// What the threads have in common.
struct Shared {
    folder: ImageFolder,
    settings: LoaderSettings,
    /// Decoded images by index: crops, or for random crops whole scaled images. Empty when they are not kept.
    kept: Vec<OnceLock<Rgb>>,
    kept_bytes: AtomicUsize,
    /// Images that could not be read, and why.
    unreadable: Mutex<BTreeMap<usize, String>>,
}

impl Loader {
    /// Starts at batch `position`: 0 for a new run, the number of batches already taken for one that goes on.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch, size or number of workers of 0.
    pub fn new(folder: &ImageFolder, settings: LoaderSettings, position: u64) -> Result<Loader> {
        let LoaderSettings { batch_size, size, workers, seed, .. } = settings;
        for (what, value) in [("batch size", batch_size), ("image size", size), ("number of data workers", workers)] {
            if value == 0 {
                return Err(Error::Config(format!("the {what} is 0 and must be at least 1")));
            }
        }
        let all = folder.len().saturating_mul(3 * size * size);
        let kept = if all <= settings.memory { folder.len() } else { 0 };
        let shared = Arc::new(Shared {
            kept: (0..kept).map(|_| OnceLock::new()).collect(),
            kept_bytes: AtomicUsize::new(0),
            folder: folder.clone(),
            settings,
            unreadable: Mutex::default(),
        });
        let start = || {
            let (shared, mut order) = (Arc::clone(&shared), Order::new(seed, shared.folder.len()));
            move |number| shared.batch(&mut order, number)
        };
        Ok(Loader { batches: Prefetch::new(workers, position, start)?, shared, position })
    }

    /// The next batch, once it is ready.
    ///
    /// # Errors
    /// [`Error::Data`] when more images are unreadable than the settings allow, or a decoding thread broke down.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let batch = self.batches.next()?;
        self.position += 1;
        Ok(batch)
    }

    /// The number of batches taken, counted from the start of the run: where to go on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The images found unreadable so far by any thread, which may be ahead: their places in the folder.
    pub fn unreadable(&self) -> Vec<usize> {
        self.shared.unreadable().keys().copied().collect()
    }
}

impl Shared {
    fn batch(&self, order: &mut Order, number: u64) -> Result<Batch> {
        let LoaderSettings { batch_size, size, flip, .. } = self.settings;
        let mut batch = Batch {
            images: Vec::with_capacity(batch_size * size * size * 3),
            indices: Vec::with_capacity(batch_size),
            flipped: Vec::with_capacity(batch_size),
            labels: None,
        };
        let first = number * batch_size as u64;
        for place in first..first + batch_size as u64 {
            let placement = order.placement(place);
            let mirrored = flip && placement.mirrored;
            let write = |image: &Rgb| {
                let slack = (image.width - size, image.height - size);
                if slack == (0, 0) {
                    return image.append_to(&mut batch.images, mirrored);
                }
                let (x, y) = placement.corner(slack);
                image.square(x, y, size).append_to(&mut batch.images, mirrored);
            };
            batch.indices.push(self.first_readable(order.images(place), write)?);
            batch.flipped.push(mirrored);
        }
        let labels = self.folder.labels();
        batch.labels = labels.map(|labels| batch.indices.iter().map(|&index| labels[index]).collect());
        Ok(batch)
    }

    /// Gives the first readable of `images` to `take` and returns its index.
    fn first_readable(&self, images: impl Iterator<Item = usize>, take: impl FnOnce(&Rgb)) -> Result<usize> {
        for index in images {
            if self.unreadable().contains_key(&index) {
                continue;
            }
            if let Some(image) = self.kept.get(index).and_then(OnceLock::get) {
                take(image);
                return Ok(index);
            }
            match self.read(index) {
                Ok(image) => {
                    take(&image);
                    self.keep(index, image);
                    return Ok(index);
                }
                Err(error) => self.report(index, &error)?,
            }
        }
        Err(self.too_many_unreadable())
    }

    fn read(&self, index: usize) -> Result<Rgb> {
        match self.settings.crop {
            Crop::Center => self.folder.center_crop(index, self.settings.size),
            Crop::Random => self.folder.scaled(index, self.settings.size),
        }
    }

    fn keep(&self, index: usize, image: Rgb) {
        let Some(slot) = self.kept.get(index) else { return };
        let bytes = image.pixels.len();
        // Scaled images are larger than their squares, so the set may not fit after all; then some are decoded again.
        let all = self.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.settings.memory || slot.set(image).is_err() {
            self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Notes that an image is unreadable, and says so the first time.
    fn report(&self, index: usize, error: &Error) -> Result<()> {
        let count = {
            let mut unreadable = self.unreadable();
            if unreadable.insert(index, error.to_string()).is_none() {
                log::warn!("skipped an unreadable image ({} so far): {error}", unreadable.len());
            }
            unreadable.len()
        };
        let allowed = (self.settings.max_unreadable * self.folder.len() as f64).max(1.0);
        if count as f64 > allowed { Err(self.too_many_unreadable()) } else { Ok(()) }
    }

    fn too_many_unreadable(&self) -> Error {
        let unreadable = self.unreadable();
        let (count, all, root) = (unreadable.len(), self.folder.len(), self.folder.root().display());
        let first = unreadable.values().next().map(String::as_str).unwrap_or_default();
        let what = format!("{count} of the {all} images in {root} are unreadable");
        Error::data(format!("{what}: remove or replace them; one is {first}"))
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        // Insertions are all that happens under the lock: what a panicking thread leaves behind is whole.
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
