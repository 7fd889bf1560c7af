//! Loss curves: panels of series over the steps of a run.

use std::path::Path;

use image::{RgbImage, imageops};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::{Shift, ranged1d::Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::font::{self, SUPERSAMPLE};
use super::{Record, save_png, short};
use crate::error::{Error, Result};

/// Pixels of a panel in the finished image.
const PANEL: (i32, i32) = (620, 340);
const COLUMNS: usize = 2;
const LEGEND: &str = "by optimizer step; pale: as logged, strong: smoothed";
const HEADER: i32 = 46;
/// From this many points on, a series is drawn pale under its smoothed self.
const SMOOTH_FROM: usize = 40;
/// The width of the smoothing, in series lengths.
const SMOOTHING: f64 = 1.0 / 60.0;
/// More points than a panel has pixels show nothing more.
const MOST_POINTS: usize = 600;
/// Of an axis, with a logarithmic scale.
const MOST_TICKS: usize = 8;
/// A logarithmic axis is used where the values span more than this factor.
const LOG_FROM: f64 = 10.0;

const INK: RGBColor = RGBColor(45, 49, 56);
const FAINT: RGBColor = RGBColor(110, 117, 128);
const LINES: RGBColor = RGBColor(228, 231, 236);
const COLORS: [RGBColor; 5] = [
    RGBColor(37, 99, 175),
    RGBColor(217, 104, 19),
    RGBColor(36, 135, 80),
    RGBColor(176, 42, 76),
    RGBColor(115, 78, 168),
];

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Points = Vec<(f64, f64)>;

/// A panel of a plot.
pub struct Panel<'a> {
    /// What it shows.
    pub title: &'a str,
    /// The series: the name of a logged value, and what to call it. Values that were never logged are left out.
    pub series: &'a [(&'a str, &'a str)],
    /// Use a logarithmic axis if the values are positive and span more than a factor of ten.
    pub log: bool,
}

/// Plots a run's records as PNG. Panels without any value are left out.
///
/// # Errors
/// [`Error::Data`] if no panel has a value; [`Error::Io`].
pub fn plot_curves(path: &Path, title: &str, records: &[Record], panels: &[Panel]) -> Result<()> {
    let panels: Vec<_> = panels
        .iter()
        .map(|panel| (panel, series_of(panel, records)))
        .filter(|(_, series)| !series.is_empty())
        .collect();
    if panels.is_empty() {
        return Err(Error::Data(format!("{}: nothing to plot, none of the values was logged", path.display())));
    }
    let columns = COLUMNS.min(panels.len());
    let rows = panels.len().div_ceil(columns);
    let (width, height) = (PANEL.0 * columns as i32, HEADER + PANEL.1 * rows as i32);
    let mut canvas = RgbImage::new((width * SUPERSAMPLE) as u32, (height * SUPERSAMPLE) as u32);
    draw(&mut canvas, title, &panels, (rows, columns))
        .map_err(|error| Error::Data(format!("{}: the curves could not be drawn: {error}", path.display())))?;
    save_png(path, &imageops::thumbnail(&canvas, width as u32, height as u32))
}

/// The finite values of each series of a panel, by label.
fn series_of<'a>(panel: &Panel<'a>, records: &[Record]) -> Vec<(&'a str, Points)> {
    let points = |key: &str| -> Points {
        records.iter().filter_map(|record| Some((record.step as f64, (*record.values.get(key)?)?))).collect()
    };
    panel.series.iter().map(|(key, label)| (*label, points(key))).filter(|(_, points)| !points.is_empty()).collect()
}

/// plotters' errors have the backend in their type.
type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn draw(canvas: &mut RgbImage, title: &str, panels: &[(&Panel, Vec<(&str, Points)>)], grid: (usize, usize)) -> Drawn {
    let size = canvas.dimensions();
    let root = BitMapBackend::with_buffer(canvas, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(px(HEADER));
    let style = font::heading(em(19), INK).pos(Pos::new(HPos::Left, VPos::Center));
    header.draw(&Text::new(title, (px(20), px(HEADER / 2 + 4)), style))?;
    let style = font::text(em(13), FAINT).pos(Pos::new(HPos::Right, VPos::Center));
    header.draw(&Text::new(LEGEND, (size.0 as i32 - px(24), px(HEADER / 2 + 4)), style))?;
    for (area, (panel, series)) in body.split_evenly(grid).iter().zip(panels) {
        let (top, chart) = area.split_vertically(px(38));
        draw_heading(&top, panel.title, series)?;
        let (low, high) = bounds(series.iter().flat_map(|(_, points)| points.iter().map(|point| point.1)));
        if panel.log && low > 0.0 && high / low > LOG_FROM {
            let (low, high) = (low / 1.2, high * 1.2);
            draw_chart(&chart, series, (low..high).log_scale().with_key_points(log_ticks(low, high)))?;
        } else {
            // A flat series gets an axis around it all the same.
            let pad = if high > low { 0.06 * (high - low) } else { 0.1 * high.abs().max(1e-3) };
            draw_chart(&chart, series, low - pad..high + pad)?;
        }
    }
    Ok(root.present()?)
}

/// The panel's title and, where there are several series, their colours.
fn draw_heading(area: &Area, title: &str, series: &[(&str, Points)]) -> Drawn {
    let middle = px(24);
    let at = Pos::new(HPos::Left, VPos::Center);
    let style = font::heading(em(16), INK).pos(at);
    let mut x = px(20);
    area.draw(&Text::new(title, (x, middle), style.clone()))?;
    if series.len() == 1 {
        return Ok(());
    }
    x += text_width(area, title, &style)? + px(18);
    for ((label, _), color) in series.iter().zip(COLORS.iter().cycle()) {
        area.draw(&PathElement::new([(x, middle), (x + px(16), middle)], color.stroke_width(px(3) as u32)))?;
        x += px(22);
        let style = font::text(em(14), FAINT).pos(at);
        area.draw(&Text::new(*label, (x, middle), style.clone()))?;
        x += text_width(area, label, &style)? + px(16);
    }
    Ok(())
}

fn text_width(area: &Area, text: &str, style: &TextStyle) -> Drawn<i32> {
    Ok(area.estimate_text_size(text, style)?.0 as i32)
}

fn draw_chart<Y>(area: &Area, series: &[(&str, Points)], y_axis: Y) -> Drawn
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (first, last) = bounds(series.iter().flat_map(|(_, points)| points.iter().map(|point| point.0)));
    let mut chart = ChartBuilder::on(area)
        .margin_left(px(8))
        .margin_right(px(24))
        .margin_bottom(px(6))
        .x_label_area_size(px(26))
        .y_label_area_size(px(58))
        .build_cartesian_2d(first..last.max(first + 1.0), y_axis)?;
    chart
        .configure_mesh()
        .axis_style(LINES)
        .bold_line_style(LINES.stroke_width(px(1) as u32))
        .light_line_style(TRANSPARENT)
        .set_all_tick_mark_size(px(4))
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&|step| tick(*step))
        .y_label_formatter(&|value| tick(*value))
        .label_style(font::text(em(13), FAINT))
        .draw()?;
    for ((_, points), color) in series.iter().zip(COLORS.iter().cycle()) {
        let mut points = thin(points);
        if points.len() >= SMOOTH_FROM {
            chart.draw_series(LineSeries::new(points.iter().copied(), color.mix(0.3).stroke_width(px(1) as u32)))?;
            points = smooth(&points);
        }
        chart.draw_series(points.last().map(|&last| Circle::new(last, px(3), color.filled())))?;
        chart.draw_series(LineSeries::new(points, color.stroke_width(px(2) as u32)))?;
    }
    Ok(())
}

/// At most [`MOST_POINTS`] points: the means of equally many neighbours.
fn thin(points: &[(f64, f64)]) -> Points {
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        (chunk.iter().map(|point| point.0).sum::<f64>() / count, chunk.iter().map(|point| point.1).sum::<f64>() / count)
    };
    points.chunks(points.len().div_ceil(MOST_POINTS)).map(mean).collect()
}

/// A Gaussian average over the neighbours on both sides, which does not lag behind as a running mean does.
fn smooth(points: &[(f64, f64)]) -> Points {
    let sigma = SMOOTHING * points.len() as f64;
    let reach = (3.0 * sigma).ceil() as usize;
    let average = |index: usize| {
        let (mut sum, mut weights) = (0.0, 0.0);
        let from = index.saturating_sub(reach);
        let near = &points[from..points.len().min(index + reach + 1)];
        for (other, point) in (from..).zip(near) {
            let weight = (-0.5 * (other.abs_diff(index) as f64 / sigma).powi(2)).exp();
            sum += weight * point.1;
            weights += weight;
        }
        (points[index].0, sum / weights)
    };
    (0..points.len()).map(average).collect()
}

/// 1, 2 and 5 times the powers of ten from `low` to `high`, or the powers alone where those are many.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let ticks = |factors: &[f64]| -> Vec<f64> {
        let all = decades.clone().flat_map(|exponent| factors.iter().map(move |factor| factor * 10f64.powi(exponent)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    Some(ticks(&[1.0, 2.0, 5.0])).filter(|ticks| ticks.len() <= MOST_TICKS).unwrap_or_else(|| ticks(&[1.0]))
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// A tick's value: as few digits as it has, thousands as k and M.
fn tick(value: f64) -> String {
    let magnitude = value.abs();
    // Ticks are sums of steps: 0.30000000000000004 is 0.3, and 1e-17 is 0.
    let digits = |value: f64| format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned();
    match magnitude {
        m if m < 1e-12 => "0".into(),
        m if m < 1e-3 => format!("{value:.1e}").replace(".0e", "e"),
        m if m < 1e4 => digits(value),
        m if m < 1e6 => digits(value / 1e3) + "k",
        m if m < 1e9 => digits(value / 1e6) + "M",
        _ => short(value as f32),
    }
}

/// Pixels of the finished image.
fn px(pixels: i32) -> i32 {
    pixels * SUPERSAMPLE
}

/// A text height of the finished image.
fn em(pixels: i32) -> f64 {
    f64::from(px(pixels))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn ticks_are_short() {
        let cases = [
            (0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (-1e-17, "0"),
            (2e-6, "2e-6"),
            (5000.0, "5000"),
            (15000.0, "15k"),
            (2.5e6, "2.5M"),
        ];
        for (value, text) in cases {
            assert_eq!(tick(value), text);
        }
        assert_eq!(log_ticks(0.03, 3.0), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(log_ticks(0.9, 2e4), [1.0, 10.0, 100.0, 1e3, 1e4]);
    }

    #[test]
    fn smoothing_keeps_constants_and_ends_and_thinning_keeps_means() {
        let flat: Points = (0..100).map(|i| (f64::from(i), 2.5)).collect();
        assert!(smooth(&flat).iter().all(|point| (point.1 - 2.5).abs() < 1e-12));
        let many: Points = (0..6000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let few = thin(&many);
        assert!(few.len() <= MOST_POINTS && few.iter().all(|point| point.1 == 0.5));
        assert_eq!(thin(&flat), flat);
    }

    #[test]
    fn any_finite_series_can_be_drawn_and_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.png");
        let record = |step, value| Record { step, seconds: 0.0, values: BTreeMap::from([("loss".to_owned(), value)]) };
        let panel = |log| Panel { title: "Loss", series: &[("loss", "loss"), ("absent", "absent")], log };
        let one_point = vec![record(1, Some(0.0)), record(2, None)];
        let flat: Vec<_> = (0..100).map(|step| record(step, Some(-7.0))).collect();
        let wide: Vec<_> = (0..100).map(|step| record(step, Some(10f64.powi(step as i32 - 50)))).collect();
        for records in [one_point, flat, wide] {
            plot_curves(&path, "test", &records, &[panel(true), panel(false), panel(true)]).unwrap();
            assert_eq!(image::image_dimensions(&path).unwrap(), (2 * PANEL.0 as u32, (HEADER + 2 * PANEL.1) as u32));
        }
        let error = plot_curves(&path, "test", &[record(1, None)], &[panel(true)]).unwrap_err().to_string();
        assert_eq!(error, format!("{}: nothing to plot, none of the values was logged", path.display()));
    }
}
