//! The charts, as SVG inside the page. Colours are the page's own, by name, so that they follow its light and its dark;
//! no text from outside is drawn.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::clock::Timestamp;

use super::series::Band;

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// Every chart over time has this width and these margins: one time is one place on the page.
const WIDTH: u32 = 960;
const HEIGHT: u32 = 200;
const LEFT: u32 = 64;
const BELOW: u32 = 26;
const MARGIN: u32 = 8;
const BAND_HEIGHT: u32 = 18;

/// Colours by which the page's are named: none of them is ever seen. `plotters` writes them as `#000001` and so on.
const fn name(number: u8) -> RGBColor {
    RGBColor(0, 0, number)
}
const INK: RGBColor = name(1);
const LINE: RGBColor = name(2);

/// What a line or an area means, and so its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Hue {
    Ink,
    Line,
    Taken,
    Delivered,
    Retried,
    Dead,
    Parked,
    Pending,
    Open,
    Throttled,
    Probing,
    Unauthorized,
    Rejecting,
    Paused,
}

impl Hue {
    const fn mark(self) -> RGBColor {
        name(self as u8 + 1)
    }
}

/// A line over time; where it has no value it is broken.
#[derive(Debug, Clone)]
pub struct Line {
    pub hue: Hue,
    pub is_filled: bool,
    pub values: Vec<(Timestamp, Option<f64>)>,
}

/// The time that all charts show.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    from: Timestamp,
    to: Timestamp,
    /// What a unit of the axis is, in milliseconds: round numbers of it are round times.
    unit_ms: i64,
}

impl Axis {
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        const HOUR: i64 = 3_600_000;
        let unit_ms = match to.millis() - from.millis() {
            ..10_800_001 => 60_000,
            10_800_001..259_200_001 => HOUR,
            _ => 24 * HOUR,
        };
        Self { from, to, unit_ms }
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
    fn place(&self, at: Timestamp) -> f64 {
        (at.millis() - self.midnight()) as f64 / self.unit_ms as f64
    }

    /// Of the day on which it begins.
    fn midnight(&self) -> i64 {
        self.from.millis() - self.from.millis().rem_euclid(86_400_000)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "milliseconds far below 2^52"
    )]
    fn label(&self, place: f64) -> String {
        let at = Timestamp::from_millis(self.midnight() + (place * self.unit_ms as f64).round() as i64);
        // 2026-11-23T10:00:00.000Z
        let text = at.to_string();
        let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
        if self.unit_ms >= 86_400_000 || at.millis().rem_euclid(86_400_000) == 0 {
            part(5..10)
        } else {
            part(11..16)
        }
    }
}

/// Lines over time, with what `unit` makes of a value on the axis beside them.
pub fn over_time(axis: Axis, lines: &[Line], unit: &dyn Fn(f64) -> String) -> Drawn<String> {
    let values = lines
        .iter()
        .flat_map(|line| &line.values)
        .filter_map(|(_, value)| *value);
    let top = values.fold(0.0_f64, f64::max).max(1.0) * 1.05;
    draw(HEIGHT, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(MARGIN)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(axis.place(axis.from)..axis.place(axis.to), 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .x_labels(10)
            .y_labels(5)
            .label_style(("sans-serif", 12, &INK))
            .x_label_formatter(&|place| axis.label(*place))
            .y_label_formatter(&|value| unit(*value))
            .draw()?;
        for line in lines {
            let colour = line.hue.mark();
            for piece in line
                .values
                .split(|(_, value)| value.is_none())
                .filter(|piece| !piece.is_empty())
            {
                let points: Vec<(f64, f64)> = piece
                    .iter()
                    .map(|(at, value)| (axis.place(*at), value.unwrap_or_default()))
                    .collect();
                if line.is_filled {
                    chart.draw_series(AreaSeries::new(points.clone(), 0.0, colour.mix(0.18)))?;
                }
                // A line of one point is none.
                if let [only] = points[..] {
                    chart.draw_series([Circle::new(only, 2, colour.filled())])?;
                }
                chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            }
        }
        Ok(())
    })
}

/// What the gates went through, a band a node, under the same axis as the lines.
pub fn bands(axis: Axis, bands: &[Band]) -> Drawn<String> {
    let rows = u32::try_from(bands.len().max(1)).unwrap_or(1);
    draw(2 * MARGIN + BELOW + rows * BAND_HEIGHT, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(MARGIN)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(axis.place(axis.from)..axis.place(axis.to), 0.0..f64::from(rows))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(LINE)
            .x_labels(10)
            .y_labels(0)
            .label_style(("sans-serif", 12, &INK))
            .x_label_formatter(&|place| axis.label(*place))
            .draw()?;
        for (row, band) in (0_u32..rows).rev().zip(bands) {
            let (low, high) = (f64::from(row) + 0.12, f64::from(row) + 0.88);
            for episode in &band.episodes {
                let hue = Hue::of_gate(episode.gate);
                let corners = [(axis.place(episode.from), low), (axis.place(episode.to), high)];
                chart.draw_series([Rectangle::new(corners, hue.mark().filled())])?;
            }
        }
        Ok(())
    })
}

/// Bars side by side, each with its label below it.
pub fn bars(hue: Hue, values: &[(String, u64)]) -> Drawn<String> {
    let top = values.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let top = top as f64 * 1.05;
    let count = u32::try_from(values.len().max(1)).unwrap_or(1);
    draw(HEIGHT, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(MARGIN)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d((0..count).into_segmented(), 0.0..top)?;
        let label = |place: &SegmentValue<u32>| match place {
            SegmentValue::CenterOf(place) => usize::try_from(*place)
                .ok()
                .and_then(|place| values.get(place))
                .map_or_else(String::new, |(label, _)| label.clone()),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .x_labels(values.len() + 1)
            .y_labels(5)
            .label_style(("sans-serif", 11, &INK))
            .x_label_formatter(&label)
            .y_label_formatter(&|value| whole(*value))
            .draw()?;
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let bars = (0..count).zip(values).map(|(place, (_, value))| {
            let corners = [
                (SegmentValue::Exact(place), 0.0),
                (SegmentValue::Exact(place + 1), *value as f64),
            ];
            let mut bar = Rectangle::new(corners, hue.mark().filled());
            bar.set_margin(0, 0, 3, 3);
            bar
        });
        chart.draw_series(bars)?;
        Ok(())
    })
}

impl Hue {
    pub const fn of_gate(gate: crate::policy::gate::GateName) -> Self {
        use crate::policy::gate::GateName;
        match gate {
            GateName::Open => Self::Open,
            GateName::Throttled => Self::Throttled,
            GateName::Probing => Self::Probing,
            GateName::Unauthorized => Self::Unauthorized,
            GateName::Rejecting => Self::Rejecting,
            GateName::Paused => Self::Paused,
        }
    }
}

/// A number on an axis: 1200, 35k, 4M.
pub fn whole(value: f64) -> String {
    match value {
        ..10.0 if value.fract() > 0.001 => format!("{value:.1}"),
        ..10_000.0 => format!("{value:.0}"),
        ..10_000_000.0 => format!("{:.0}k", value / 1000.0),
        _ => format!("{:.0}M", value / 1_000_000.0),
    }
}

/// Draws, and gives the result the page's colours and its width.
fn draw(height: u32, paint: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawn<()>) -> Drawn<String> {
    use strum::VariantArray as _;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        paint(&root)?;
        root.present()?;
    }
    for hue in Hue::VARIANTS {
        let mark = hue.mark();
        let written = format!("#{:02X}{:02X}{:02X}", mark.0, mark.1, mark.2);
        svg = svg.replace(&written, &format!("var(--{})", hue.into_str()));
    }
    Ok(svg.replacen(&format!("width=\"{WIDTH}\" height=\"{height}\""), "class=\"chart\"", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray as _;

    fn axis() -> Axis {
        Axis::new(Timestamp::from_millis(0), Timestamp::from_millis(86_400_000))
    }

    #[test]
    fn every_colour_is_the_pages_and_none_is_fixed() {
        let lines: Vec<Line> = Hue::VARIANTS
            .iter()
            .map(|hue| Line {
                hue: *hue,
                is_filled: true,
                values: vec![
                    (Timestamp::from_millis(0), Some(1.0)),
                    (Timestamp::from_millis(3_600_000), None),
                    (Timestamp::from_millis(7_200_000), Some(f64::from(u32::MAX))),
                ],
            })
            .collect();
        let svg = over_time(axis(), &lines, &whole).unwrap();
        for hue in Hue::VARIANTS {
            assert!(svg.contains(&format!("var(--{})", hue.into_str())), "{hue:?}");
        }
        assert!(!svg.contains("=\"#"), "{svg}");
        assert!(svg.starts_with("<svg class=\"chart\" viewBox"), "{svg}");
    }

    #[test]
    fn times_are_round_and_a_day_begins_with_its_date() {
        assert_eq!(
            (axis().label(10.0), axis().label(24.0)),
            ("10:00".to_owned(), "01-02".to_owned())
        );
        let month = Axis::new(Timestamp::from_millis(0), Timestamp::from_millis(30 * 86_400_000));
        assert_eq!(month.label(3.0), "01-04");
    }

    #[test]
    fn nothing_at_all_is_drawn_too() {
        over_time(axis(), &[], &whole).unwrap();
        bands(axis(), &[]).unwrap();
        bars(Hue::Delivered, &[]).unwrap();
    }
}
