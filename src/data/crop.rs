//! Squares out of photographs, by the procedure of ADM (Dhariwal & Nichol 2021) that the reference evaluates with.

use crate::error::{Error, Result};

use super::decode::{MAX_PIXELS, Rgb};
use super::resample::{Filter, resize};

impl Rgb {
    /// The image with its shorter side at `size`: halved by a box filter while that leaves at least `size`, then
    /// bicubic; sides are rounded as Python does, halves to even.
    ///
    /// # Errors
    /// [`Error::Data`] for an image so long and thin that it would not fit in memory.
    pub fn scale_shorter_side(self, size: usize) -> Result<Rgb> {
        assert!(size > 0, "a size of 0 pixels");
        let mut image = self;
        while image.width.min(image.height) >= 2 * size {
            image = resize(&image, image.width / 2, image.height / 2, Filter::Box);
        }
        let Rgb { width, height, .. } = image;
        let scale = size as f64 / width.min(height) as f64;
        let scaled = |side: usize| (side as f64 * scale).round_ties_even() as usize;
        if scaled(width) as u64 * scaled(height) as u64 > MAX_PIXELS {
            let message = format!("{width}x{height} pixels are too long and thin to be scaled to {size} pixels");
            return Err(Error::data(message));
        }
        Ok(resize(&image, scaled(width), scaled(height), Filter::Bicubic))
    }

    /// The middle square of `size` pixels after [`scale_shorter_side`](Rgb::scale_shorter_side): ADM's centre crop,
    /// equal to PIL's to the bit.
    ///
    /// # Errors
    /// As [`scale_shorter_side`](Rgb::scale_shorter_side).
    pub fn center_crop(self, size: usize) -> Result<Rgb> {
        let image = self.scale_shorter_side(size)?;
        Ok(image.square((image.width - size) / 2, (image.height - size) / 2, size))
    }

    /// The square of `size` pixels whose top left corner is at column `x`, row `y`.
    ///
    /// # Panics
    /// If it does not lie within the image.
    pub fn square(&self, x: usize, y: usize, size: usize) -> Rgb {
        assert!(x + size <= self.width && y + size <= self.height, "a crop beyond the image");
        let rows = self.pixels.chunks_exact(self.width * 3).skip(y).take(size);
        let pixels = rows.flat_map(|row| &row[x * 3..(x + size) * 3]).copied().collect();
        Rgb { width: size, height: size, pixels }
    }
}
