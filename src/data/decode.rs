//! JPEG, PNG and WebP files to 8-bit RGB, with the values of PIL's `Image.open(path).convert("RGB")`.
//!
//! JPEGs go through `libjpeg-turbo-rs`, whose inverse DCT and chroma upsampling are libjpeg-turbo's bit for bit (PIL's
//! too); `zune-jpeg` and `jpeg-decoder` round differently, by up to 6 levels. As PIL does, alpha is dropped, an EXIF
//! orientation is ignored, and an animation gives its first frame. One difference is meant: 16-bit greyscale gives its
//! high byte, where PIL saturates everything above 255 to white.

use std::fs;
use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat};

use crate::error::{Error, Result};

/// The largest image that is decoded or made by scaling, in pixels: where PIL refuses a "decompression bomb".
pub(super) const MAX_PIXELS: u64 = 178_956_970;

/// An 8-bit RGB image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// (height, width, 3), row by row.
    pub pixels: Vec<u8>,
}

impl Rgb {
    /// Reads a JPEG, PNG or WebP file. Its content says which it is, not its name.
    ///
    /// # Errors
    /// One sentence naming the file, when it cannot be read or is not a whole image of these kinds.
    pub fn open(path: impl AsRef<Path>) -> Result<Rgb> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
        Rgb::decode(&bytes).map_err(|reason| Error::data(format!("{}: {reason}", path.display())))
    }

    /// Decodes the bytes of a JPEG, PNG or WebP file; an error is the reason, to stand after the file's name.
    pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, String> {
        // A decoder that trips over a hostile file must cost that file, not the run.
        panic::catch_unwind(AssertUnwindSafe(|| match image::guess_format(bytes) {
            _ if bytes.is_empty() => Err("the file is empty".to_owned()),
            Ok(ImageFormat::Jpeg) => jpeg(bytes),
            Ok(format @ (ImageFormat::Png | ImageFormat::WebP)) => png_or_webp(bytes, format),
            _ => Err("this is not a JPEG, PNG or WebP image".to_owned()),
        }))
        .unwrap_or_else(|_| Err("the decoder broke down on this image".to_owned()))
    }

    /// Appends the pixels (height, width, 3) to `bytes`, mirrored left to right if asked.
    pub fn append_to(&self, bytes: &mut Vec<u8>, mirrored: bool) {
        if !mirrored {
            return bytes.extend_from_slice(&self.pixels);
        }
        for row in self.pixels.chunks_exact(self.width * 3) {
            row.rchunks_exact(3).for_each(|pixel| bytes.extend_from_slice(pixel));
        }
    }
}

fn jpeg(bytes: &[u8]) -> Result<Rgb, String> {
    let limits = DecodeLimits { max_pixels: MAX_PIXELS, ..DecodeLimits::default() };
    let decoder = Decoder::new_with_limits(bytes, limits).map_err(|error| broken("JPEG", &error))?;
    let image = decoder.with_output_format(PixelFormat::Rgb).decode_image().map_err(|error| broken("JPEG", &error))?;
    Ok(Rgb { width: image.width, height: image.height, pixels: image.data })
}

fn png_or_webp(bytes: &[u8], format: ImageFormat) -> Result<Rgb, String> {
    let name = if format == ImageFormat::Png { "PNG" } else { "WebP" };
    let (width, height) =
        ImageReader::with_format(Cursor::new(bytes), format).into_dimensions().map_err(|error| broken(name, &error))?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width}x{height} pixels are more than this engine decodes ({MAX_PIXELS})"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(16 * MAX_PIXELS); // RGBA at 16 bits, and as much again for the decoder
    reader.limits(limits);
    let image = reader.decode().map_err(|error| broken(name, &error))?;
    Ok(Rgb { width: width as usize, height: height as usize, pixels: to_rgb8(image) })
}

/// RGB without alpha; of 16 bits the high byte, as PIL reads 16-bit RGB.
fn to_rgb8(image: DynamicImage) -> Vec<u8> {
    let sixteen = |image: DynamicImage| image.into_rgb16().into_raw().iter().map(|v| (v >> 8) as u8).collect();
    match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => sixteen(image),
        image => image.into_rgb8().into_raw(),
    }
}

fn broken(kind: &str, error: &dyn std::fmt::Display) -> String {
    format!("this is not a whole {kind} image ({error})")
}
