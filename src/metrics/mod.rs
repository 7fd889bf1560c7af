//! What a run tells about itself: `metrics.jsonl`, TensorBoard events, a progress bar, loss curves and sample grids.

mod font;
mod grid;
mod jsonl;
mod npz;
mod plot;
mod progress;
mod tensorboard;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use image::{ImageFormat, RgbImage};

pub use grid::{GridRow, image_grid};
pub use jsonl::{Record, read};
pub use npz::write_npz;
pub use plot::{Panel, plot_curves};
pub use progress::{Progress, note};

use crate::checkpoint::atomic;
use crate::error::Result;

/// The log of a run: one line of `metrics.jsonl` and one TensorBoard event per call.
pub struct Metrics {
    lines: jsonl::Lines,
    events: tensorboard::Events,
    start: Instant,
    /// Seconds of training before this process.
    before: f64,
}

impl Metrics {
    /// Starts the log of a new run in the folder `run`.
    ///
    /// # Errors
    /// [`Error::Data`](crate::error::Error::Data) if the folder holds the log of a run already; [`Error::Io`](crate::error::Error::Io).
    pub fn create(run: &Path) -> Result<Metrics> {
        Ok(Metrics {
            lines: jsonl::Lines::create(run)?,
            events: tensorboard::Events::create(run)?,
            start: Instant::now(),
            before: 0.0,
        })
    }

    /// Goes on with the log of a run after `step`: what was logged of later steps is dropped.
    ///
    /// # Errors
    /// [`Error::Data`](crate::error::Error::Data) if `metrics.jsonl` is damaged; [`Error::Io`](crate::error::Error::Io).
    pub fn resume(run: &Path, step: u64) -> Result<Metrics> {
        let (lines, before) = jsonl::Lines::resume(run, step)?;
        let mut events = tensorboard::Events::create(run)?;
        events.restart(step)?;
        Ok(Metrics { lines, events, start: Instant::now(), before })
    }

    /// Logs the values of a step, in order, with the seconds of training so far. Values that are not finite are null in `metrics.jsonl`.
    pub fn log(&mut self, step: u64, values: &[(&str, f32)]) -> Result<()> {
        self.lines.append(step, self.before + self.start.elapsed().as_secs_f64(), values)?;
        self.events.scalars(step, values)
    }

    /// Logs an image as a TensorBoard event.
    pub fn log_image(&mut self, step: u64, tag: &str, image: &RgbImage) -> Result<()> {
        self.events.image(step, tag, image.dimensions(), &png(image))
    }
}

/// (height, width, 3) about in [−1, 1] → 8 bits, as the reference rounds: clamp(127.5·x + 128, 0, 255), cut off.
///
/// # Panics
/// If `image` has another length.
pub fn to_rgb(image: &[f32], height: usize, width: usize) -> RgbImage {
    let bytes = image.iter().map(|x| (127.5 * x + 128.0).clamp(0.0, 255.0) as u8).collect();
    RgbImage::from_raw(width as u32, height as u32, bytes).expect("as many values as the shape says")
}

/// Writes an image as PNG.
pub fn save_png(path: &Path, image: &RgbImage) -> Result<()> {
    atomic::write(path, |file| file.write_all(&png(image)))
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("an RGB image in memory can always be encoded");
    bytes.into_inner()
}

/// A value as a person reads it: four significant digits.
fn short(value: f32) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() {
        format!("{value}")
    } else if !(1e-3..1e5).contains(&magnitude) {
        format!("{value:.2e}")
    } else {
        let decimals = (3.0 - magnitude.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values() {
        let cases = [
            (0.0, "0"),
            (1.0, "1.000"),
            (-12.345, "-12.35"),
            (12345.6, "12346"),
            (0.0012347, "0.001235"),
            (2e-7, "2.00e-7"),
            (1e5, "1.00e5"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(short(f32::NAN), "NaN");
    }
}
