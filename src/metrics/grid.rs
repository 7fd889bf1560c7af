//! Sample grids: rows of images under each other, labelled.

use image::{Rgb, RgbImage, imageops};
use plotters::style::RGBColor;

use super::font;
use crate::error::{Error, Result};

/// Smaller images are enlarged, by whole factors, until they are this wide.
const CELL: usize = 128;
/// Rows wrap to stay within this width.
const WIDTH: usize = 1800;
const MARGIN: usize = 16;
const GAP: usize = 4;
const BAND_GAP: usize = 20;
const LABEL_GAP: usize = 12;
const TEXT: f64 = 17.0;
const INK: RGBColor = RGBColor(45, 49, 56);

/// A row of a sample grid.
pub struct GridRow<'a> {
    /// What the row shows, e.g. "input".
    pub label: &'a str,
    /// The images, (B, H, W, 3) in [−1, 1].
    pub images: &'a [f32],
}

/// Draws `rows` of `height` × `width` images under a caption: image i of each row in one column. Wide grids wrap.
///
/// # Errors
/// [`Error::Data`] if the rows do not hold equally many images of this size.
pub fn image_grid(caption: &str, height: usize, width: usize, rows: &[GridRow]) -> Result<RgbImage> {
    let image_len = height * width * 3;
    let count = rows.first().map_or(0, |row| row.images.len() / image_len.max(1));
    if count == 0 || rows.iter().any(|row| row.images.len() != count * image_len) {
        let lengths: Vec<_> = rows.iter().map(|row| row.images.len()).collect();
        return Err(Error::Data(format!(
            "a sample grid needs rows of equally many {height}x{width} images, not {lengths:?} values"
        )));
    }
    let caption = label(caption)?;
    let labels = rows.iter().map(|row| label(row.label)).collect::<Result<Vec<_>>>()?;
    let zoom = CELL.div_ceil(width);
    let (cell_height, cell_width) = (height * zoom, width * zoom);
    let left = MARGIN + labels.iter().map(|label| label.width() as usize).max().unwrap_or(0) + LABEL_GAP;
    let most = (WIDTH.saturating_sub(left + MARGIN) / (cell_width + GAP)).max(1);
    let bands = count.div_ceil(most);
    let columns = count.div_ceil(bands);
    let top = MARGIN + caption.height() as usize + LABEL_GAP;
    let band_height = rows.len() * (cell_height + GAP) - GAP + BAND_GAP;
    let total_width = (left + columns * (cell_width + GAP) - GAP).max(MARGIN + caption.width() as usize) + MARGIN;
    let total_height = top + bands * band_height - BAND_GAP + MARGIN;

    let mut canvas = RgbImage::from_pixel(total_width as u32, total_height as u32, Rgb([255; 3]));
    imageops::replace(&mut canvas, &caption, MARGIN as i64, MARGIN as i64);
    for band in 0..bands {
        for (r, (row, label)) in rows.iter().zip(&labels).enumerate() {
            let y = top + band * band_height + r * (cell_height + GAP);
            let (label_x, label_y) = (
                left - LABEL_GAP - label.width() as usize,
                (y + cell_height / 2).saturating_sub(label.height() as usize / 2),
            );
            imageops::replace(&mut canvas, label, label_x as i64, label_y as i64);
            let images = row.images.chunks_exact(image_len).skip(band * columns).take(columns);
            for (column, image) in images.enumerate() {
                paste(&mut canvas, image, width, zoom, left + column * (cell_width + GAP), y);
            }
        }
    }
    Ok(canvas)
}

fn label(text: &str) -> Result<RgbImage> {
    font::label(text, TEXT, INK).map_err(|error| Error::Data(format!("the sample grid could not be labelled: {error}")))
}

/// Copies an (H, W, 3) image to (x, y), each pixel as a square of `zoom`.
fn paste(canvas: &mut RgbImage, image: &[f32], width: usize, zoom: usize, x: usize, y: usize) {
    for (index, pixel) in image.as_chunks::<3>().0.iter().enumerate() {
        let color = Rgb(pixel.map(|value| ((value + 1.0) * 127.5).round() as u8));
        let (left, up) = (x + index % width * zoom, y + index / width * zoom);
        for dy in 0..zoom {
            for dx in 0..zoom {
                canvas.put_pixel((left + dx) as u32, (up + dy) as u32, color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_land_where_they_belong() {
        let black = vec![-1.0; 2 * 128 * 128 * 3];
        let mut white = vec![1.0; 2 * 128 * 128 * 3];
        white[..3].copy_from_slice(&[0.0, 7.0, f32::NAN]); // out of range is clamped
        let rows = [GridRow { label: "", images: &white }, GridRow { label: "", images: &black }];
        let grid = image_grid("", 128, 128, &rows).unwrap();
        let (x, y) = (grid.width() - (2 * 128 + GAP + MARGIN) as u32, grid.height() - (2 * 128 + GAP + MARGIN) as u32);
        assert_eq!(grid.get_pixel(x, y).0, [128, 255, 0]);
        assert_eq!(grid.get_pixel(x + 1, y).0, [255; 3]);
        let second = (128 + GAP) as u32;
        assert_eq!(grid.get_pixel(x, y + second).0, [0; 3]);
        assert_eq!(grid.get_pixel(x + second + 127, y + second + 127).0, [0; 3]);
        assert_eq!(grid.get_pixel(x + 128, y + second).0, [255; 3], "the gap");
    }

    #[test]
    fn many_images_wrap_and_small_ones_grow() {
        let images = vec![0.0; 40 * 64 * 64 * 3];
        let grid = image_grid("caption", 64, 64, &[GridRow { label: "input", images: &images }]).unwrap();
        assert!(grid.width() as usize <= WIDTH && grid.height() as usize > 4 * CELL);
    }

    #[test]
    fn uneven_rows_are_refused() {
        let rows = [GridRow { label: "a", images: &[0.0; 12] }, GridRow { label: "b", images: &[0.0; 24] }];
        let error = image_grid("", 2, 2, &rows).unwrap_err().to_string();
        assert_eq!(error, "a sample grid needs rows of equally many 2x2 images, not [12, 24] values");
        assert!(image_grid("", 2, 2, &[]).is_err());
    }
}
