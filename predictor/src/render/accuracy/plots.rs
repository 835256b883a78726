//! The pictures of the scoreboard, as inline SVG.

use std::fmt::Write;

use crate::accuracy::{ErrorBand, Point, RankBin, Reliability};

/// A picture's size, and the space around what is drawn.
const SIDE: f64 = 360.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Maps values to places in a picture.
struct Frame {
    width: f64,
    svg: String,
}

/// Returns the place of a value, upwards; every picture has the same height.
fn y(share: f64) -> f64 {
    SIDE - BOTTOM - (SIDE - BOTTOM - TOP) * share
}

// === impl Frame ===

impl Frame {
    fn new(width: f64, label: &str) -> Self {
        let svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {width} {SIDE}\" role=\"img\" aria-label=\"{label}\">"
        );
        Self { width, svg }
    }

    fn x(&self, share: f64) -> f64 {
        LEFT + (self.width - LEFT - RIGHT) * share
    }

    fn add(&mut self, element: &str) {
        self.svg.push_str(element);
    }

    /// Draws a line of the grid across, with its value.
    fn row(&mut self, share: f64, words: &str) {
        let (top, right) = (y(share), self.width - RIGHT);
        write!(
            self.svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{top:.1}\" y2=\"{top:.1}\"/>\
             <text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{words}</text>",
            LEFT - 8.0,
            top + 4.5
        )
        .expect("to a string");
    }

    fn column(&mut self, share: f64, words: &str) {
        let x = self.x(share);
        write!(
            self.svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{words}</text>",
            SIDE - BOTTOM + 19.0
        )
        .expect("to a string");
    }

    fn name(&mut self, words: &str) {
        let x = self.x(0.5);
        write!(
            self.svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{words}</text>",
            SIDE - 6.0
        )
        .expect("to a string");
    }

    fn path(&mut self, class: &str, points: &[(f64, f64)], closed: bool) {
        let places: Vec<String> =
            points.iter().map(|(at, up)| format!("{:.1},{:.1}", self.x(*at), y(*up))).collect();
        let shape = if closed { "polygon" } else { "polyline" };
        self.add(&format!("<{shape} class=\"{class}\" points=\"{}\"/>", places.join(" ")));
    }

    fn end(mut self) -> String {
        self.add("</svg>");
        self.svg
    }
}

/// Draws how often claims came true, by forecast, over the band of a calibrated forecaster.
pub(super) fn reliability(reliability: &Reliability) -> String {
    let mut frame = Frame::new(SIDE, "how often claims came true, by forecast");
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let words = format!("{:.0} %", 100.0 * share);
        frame.row(share, &words);
        frame.column(share, &words);
    }
    let lower = reliability.band.iter().map(|(at, lo, _)| (*at, *lo));
    let upper = reliability.band.iter().rev().map(|(at, _, hi)| (*at, *hi));
    frame.path("band", &lower.chain(upper).collect::<Vec<_>>(), true);
    frame.path("ideal", &[(0.0, 0.0), (1.0, 1.0)], false);
    let steps = &reliability.steps;
    let curve: Vec<(f64, f64)> = steps
        .iter()
        .flat_map(|(from, to, frequency, _)| [(*from, *frequency), (*to, *frequency)])
        .collect();
    frame.path("curve", &curve, false);
    for (from, to, frequency, count) in steps {
        let (left, top) = (frame.x(f64::midpoint(*from, *to)), y(*frequency));
        let radius = (2.0 + (*count as f64).sqrt() / 2.0).min(12.0);
        frame.add(&format!(
            "<circle class=\"dot\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"{radius:.1}\"><title>{count} claims, {:.0} % came true</title></circle>",
            100.0 * frequency
        ));
    }
    frame.name("forecast");
    frame.end()
}

/// Draws where in their forecast the measured values lay; evenly, if the forecast is right.
pub(super) fn ranks(bins: &[RankBin]) -> String {
    let mut frame = Frame::new(SIDE, "where in their forecast the measured values lay");
    let all: u64 = bins.iter().map(|bin| bin.count).sum();
    let density = |bin: &RankBin| bin.count as f64 / all.max(1) as f64 / (bin.to - bin.from);
    let most = bins.iter().map(density).fold(1.5, f64::max) * 1.05;
    for tick in 0..=3 {
        let share = f64::from(tick) / 3.0;
        frame.row(share, &format!("{:.1}", most * share));
    }
    for bin in bins {
        let (left, top) = (frame.x(bin.from), y(density(bin) / most));
        let (width, height) = (frame.x(bin.to) - left - 1.0, y(0.0) - top);
        frame.add(&format!(
            "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{} of {all}</title></rect>",
            bin.count
        ));
    }
    frame.path("ideal", &[(0.0, 1.0 / most), (1.0, 1.0 / most)], false);
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        frame.column(share, &format!("{:.0} %", 100.0 * share));
    }
    frame.name("level of the forecast");
    frame.end()
}

/// Draws predicted against measured latencies; on the line, if the forecast is right.
pub(super) fn scatter(points: &[Point]) -> String {
    let mut frame = Frame::new(SIDE, "predicted against measured latency");
    let positive = || points.iter().filter(|point| point.predicted > 0.0 && point.measured > 0.0);
    let values = || positive().flat_map(|point| [point.predicted, point.measured]);
    let lo = values().fold(f64::INFINITY, f64::min).log10().floor();
    let hi = values().fold(f64::NEG_INFINITY, f64::max).log10().ceil();
    if !(lo.is_finite() && hi > lo) {
        return String::new();
    }
    let at = |value: f64| (value.log10() - lo) / (hi - lo);
    for power in lo as i32..=hi as i32 {
        let value = 10_f64.powi(power);
        let words = if value < 1e3 { format!("{value} ms") } else { format!("{} s", value / 1e3) };
        frame.row(at(value), &words);
        frame.column(at(value), &words);
    }
    frame.path("ideal", &[(0.0, 0.0), (1.0, 1.0)], false);
    for point in positive() {
        let (left, top) = (frame.x(at(point.measured)), y(at(point.predicted)));
        let class = if point.inside { "point" } else { "point outside" };
        frame.add(&format!("<circle class=\"{class}\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"3\"/>"));
    }
    frame.name("measured p95 (across) and foretold p95 (up)");
    frame.end()
}

/// Draws the median errors by load, a group for each metric.
pub(super) fn errors(bands: &[ErrorBand]) -> String {
    let shown: Vec<&ErrorBand> = bands.iter().filter(|band| band.load != "all").collect();
    let mut frame = Frame::new(SIDE, "median error by load");
    let highest = |band: &&ErrorBand| band.median.hi.or(band.median.value).unwrap_or(0.0);
    let most = shown.iter().map(highest).fold(0.2, f64::max).min(1.5) * 1.05;
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        frame.row(share, &format!("{:.0} %", 100.0 * most * share));
    }
    let step = 1.0 / shown.len().max(1) as f64;
    for (index, band) in shown.iter().enumerate() {
        let from = step * (index as f64 + 0.15);
        let Some(value) = band.median.value else { continue };
        let (left, top) = (frame.x(from), y((value / most).min(1.0)));
        let (width, height) = (frame.x(from + 0.7 * step) - left, y(0.0) - top);
        frame.add(&format!(
            "<rect class=\"bar load{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{} of {} at {}</title></rect>",
            index % 3, band.metric, band.count, super::page::plain(&band.load)
        ));
        if let (Some(lo), Some(hi)) = (band.median.lo, band.median.hi) {
            let middle = from + 0.35 * step;
            let ends = [(middle, (lo / most).min(1.0)), (middle, (hi / most).min(1.0))];
            frame.path("whisker", &ends, false);
        }
    }
    for (group, name) in ["mean", "p95", "p99"].into_iter().enumerate() {
        frame.column((group as f64 + 0.5) / 3.0, name);
    }
    frame.name("utilization &lt; 60 %, 60–85 %, &gt; 85 %");
    frame.end()
}
