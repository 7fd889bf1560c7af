//! The bundled font: a fresh machine has none.

use std::sync::Once;

use image::{RgbImage, imageops};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Drawings are made larger by this factor and then averaged: plotters smooths neither the edges of thick lines nor the
/// distances between letters.
pub(super) const SUPERSAMPLE: i32 = 3;

/// Of a label, in text heights: room for ascenders and descenders.
const LINE_HEIGHT: f64 = 1.4;

const NAME: &str = "vf-engine";

/// Text of the given height in pixels.
pub(super) fn text(size: f64, color: RGBColor) -> TextStyle<'static> {
    style(size, FontStyle::Normal, color)
}

/// The same in a heavier weight.
pub(super) fn heading(size: f64, color: RGBColor) -> TextStyle<'static> {
    style(size, FontStyle::Bold, color)
}

/// A line of text on white, just large enough.
pub(super) fn label(text: &str, size: f64, color: RGBColor) -> Result<RgbImage, Box<dyn std::error::Error>> {
    let size = size * f64::from(SUPERSAMPLE);
    let style = self::text(size, color).pos(Pos::new(HPos::Left, VPos::Center));
    let (width, height) = (style.font.box_size(text)?.0, (LINE_HEIGHT * size) as u32);
    let mut canvas = RgbImage::new(width.max(1), height);
    let area = BitMapBackend::with_buffer(&mut canvas, (width.max(1), height)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(text, (0, height as i32 / 2), style))?;
    drop(area);
    let factor = SUPERSAMPLE as u32;
    Ok(imageops::thumbnail(&canvas, width.div_ceil(factor).max(1), height.div_ceil(factor)))
}

fn style(size: f64, style: FontStyle, color: RGBColor) -> TextStyle<'static> {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        let fonts: [(_, &[u8]); 2] = [
            (FontStyle::Normal, include_bytes!("font/Roboto-Regular.ttf")),
            (FontStyle::Bold, include_bytes!("font/Roboto-Medium.ttf")),
        ];
        for (style, bytes) in fonts {
            assert!(register_font(NAME, style, bytes).is_ok(), "the bundled font is valid");
        }
    });
    FontDesc::new(FontFamily::Name(NAME), size, style).color(&color)
}
