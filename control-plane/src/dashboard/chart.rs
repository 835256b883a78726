//! Pictures as inline SVG, each with its words.

use prophecy_predictor::accuracy::{Coverage, Estimate, Point, Reliability};
use prophecy_predictor::report::{Metric, Quantiles};

use super::markup::Markup;
use super::words;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// A plane with two axes; values outside are drawn at its edge.
pub(super) struct Plane {
    pub(super) svg: Markup,
    size: (f64, f64),
    across: (f64, f64),
    up: (f64, f64),
}

// === impl Plane ===

impl Plane {
    pub(super) fn new(size: (f64, f64), across: (f64, f64), up: (f64, f64)) -> Self {
        Self { svg: Markup::default(), size, across, up }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        LEFT + (self.size.0 - LEFT - RIGHT) * place(value, self.across)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.size.1 - BOTTOM - (self.size.1 - BOTTOM - TOP) * place(value, self.up)
    }

    /// Draws a line of the grid across, with its value.
    pub(super) fn row(&mut self, value: f64, words: &str) {
        let y = self.y(value);
        self.line("grid", (LEFT, y), (self.size.0 - RIGHT, y));
        self.words("tick end", (LEFT - 8.0, y + 4.5), words);
    }

    pub(super) fn column(&mut self, value: f64, words: &str) {
        let x = self.x(value);
        self.words("tick", (x, self.size.1 - BOTTOM + 19.0), words);
    }

    /// Names what lies across.
    pub(super) fn name(&mut self, words: &str) {
        self.words("tick", ((self.size.0 + LEFT - RIGHT) / 2.0, self.size.1 - 5.0), words);
    }

    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let places = self.places(points.iter().copied());
        self.svg.void("polyline", &[("class", class), ("points", &places)]);
    }

    /// Fills between lower and upper values.
    pub(super) fn area(&mut self, class: &str, band: &[(f64, f64, f64)]) {
        let lower = band.iter().map(|(at, lo, _)| (*at, *lo));
        let upper = band.iter().rev().map(|(at, _, hi)| (*at, *hi));
        let places = self.places(lower.chain(upper));
        self.svg.void("polygon", &[("class", class), ("points", &places)]);
    }

    pub(super) fn dot(&mut self, class: &str, at: (f64, f64), radius: f64) {
        let (x, y, r) = (number(self.x(at.0)), number(self.y(at.1)), number(radius));
        self.svg.void("circle", &[("class", class), ("cx", &x), ("cy", &y), ("r", &r)]);
    }

    /// Draws an upright line between two values.
    pub(super) fn whisker(&mut self, class: &str, at: f64, lo: f64, hi: f64) {
        self.line(class, (self.x(at), self.y(lo)), (self.x(at), self.y(hi)));
    }

    /// Ends the picture, with what it shows in words.
    pub(super) fn end(self, label: &str) -> Markup {
        let view = format!("0 0 {} {}", self.size.0, self.size.1);
        let attributes = [
            ("class", "chart"),
            ("viewBox", view.as_str()),
            ("role", "img"),
            ("aria-label", label),
        ];
        Markup::with(|m| m.element("svg", &attributes, |svg| svg.add(&self.svg)))
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        self.svg
            .void("line", &[("class", class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)]);
    }

    fn words(&mut self, class: &str, at: (f64, f64), words: &str) {
        let (x, y) = (number(at.0), number(at.1));
        self.svg.leaf("text", &[("class", class), ("x", &x), ("y", &y)], words);
    }

    fn places(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let places: Vec<String> = points
            .map(|(at, up)| format!("{},{}", number(self.x(at)), number(self.y(up))))
            .collect();
        places.join(" ")
    }
}

/// Returns where a value lies in a range, within 0 to 1.
fn place(value: f64, (lo, hi): (f64, f64)) -> f64 {
    let share = (value - lo) / (hi - lo);
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

/// Rounds up to a number whose quarters are round too.
pub(super) fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|scale| value <= *scale).unwrap_or(value)
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

/// Draws how often claims came true, by forecast, over the band of a calibrated forecaster.
pub(super) fn reliability(reliability: &Reliability) -> Markup {
    let mut plane = Plane::new((400.0, 380.0), (0.0, 1.0), (0.0, 1.0));
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        plane.row(share, &words::percent(share));
        plane.column(share, &words::percent(share));
    }
    plane.area("band", &reliability.band);
    plane.path("ideal", &[(0.0, 0.0), (1.0, 1.0)]);
    let steps = &reliability.steps;
    let ends =
        steps.iter().flat_map(|(from, to, frequency, _)| [(*from, *frequency), (*to, *frequency)]);
    plane.path("curve", &ends.collect::<Vec<_>>());
    for (from, to, frequency, count) in steps {
        let radius = (2.0 + (*count as f64).log10() * 1.5).min(9.0);
        plane.dot("dot", (f64::midpoint(*from, *to), *frequency), radius);
    }
    plane.name("forecast");
    plane.end("How often claims came true against the probability that was forecast")
}

/// Draws estimates one after another, with their intervals.
pub(super) fn series(values: &[(&str, Estimate)], range: (f64, f64), label: &str) -> Markup {
    let mut plane = Plane::new((560.0, 250.0), (-0.5, values.len() as f64 - 0.5), range);
    for tick in 0..=4 {
        let value = range.0 + (range.1 - range.0) * f64::from(tick) / 4.0;
        plane.row(value, &words::rounded(value, (range.1 - range.0) / 20.0));
    }
    if range.0 < 0.0 {
        plane.path("ideal", &[(-0.5, 0.0), (values.len() as f64 - 0.5, 0.0)]);
    }
    let every = values.len().div_ceil(6).max(1);
    let mut curve = Vec::new();
    for (index, (name, estimate)) in values.iter().enumerate() {
        let at = index as f64;
        if index % every == 0 {
            plane.column(at, name);
        }
        let Some(value) = estimate.value else { continue };
        if let (Some(lo), Some(hi)) = (estimate.lo, estimate.hi) {
            plane.whisker("whisker", at, lo, hi);
        }
        curve.push((at, value));
    }
    plane.path("curve", &curve);
    curve.iter().for_each(|at| plane.dot("dot", *at, 4.0));
    plane.end(label)
}

/// Draws how many values lay inside their intervals, over what chance allows.
pub(super) fn coverage(rows: &[Coverage]) -> Markup {
    let mut plane = Plane::new((400.0, 250.0), (-0.5, rows.len() as f64 - 0.5), (0.0, 1.0));
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        plane.row(share, &words::percent(share));
    }
    for (index, row) in rows.iter().enumerate() {
        let at = index as f64;
        let [lo, hi] = row.accepted;
        plane.area("band", &[(at - 0.35, lo, hi), (at + 0.35, lo, hi)]);
        plane.path("ideal", &[(at - 0.35, row.stated), (at + 0.35, row.stated)]);
        if let (Some(lo), Some(hi)) = (row.found.lo, row.found.hi) {
            plane.whisker("whisker", at, lo, hi);
        }
        if let Some(value) = row.found.value {
            let class = if (lo..=hi).contains(&value) { "dot" } else { "ring" };
            plane.dot(class, (at, value), 5.0);
        }
        plane.column(at, &words::percent(row.stated));
    }
    let mut groups: Vec<&str> = rows.iter().map(|row| row.of.as_str()).collect();
    groups.dedup();
    for (index, group) in groups.iter().enumerate() {
        let share = (index as f64 + 0.5) / groups.len() as f64;
        let x = plane.x(share * rows.len() as f64 - 0.5);
        plane.words("tick", (x, 245.0), group);
    }
    plane.end("The share of measured values inside their 50, 80 and 90 % intervals")
}

/// Draws predicted against measured latencies.
pub(super) fn scatter(points: &[Point]) -> Option<Markup> {
    let positive: Vec<&Point> =
        points.iter().filter(|point| point.predicted > 0.0 && point.measured > 0.0).collect();
    let values = || positive.iter().flat_map(|point| [point.predicted, point.measured]);
    let lo = values().fold(f64::INFINITY, f64::min).log10().floor();
    let hi = values().fold(f64::NEG_INFINITY, f64::max).log10().ceil();
    if !(lo.is_finite() && hi.is_finite()) {
        return None;
    }
    let range = (lo, hi.max(lo + 1.0));
    let mut plane = Plane::new((400.0, 380.0), range, range);
    for power in range.0 as i32..=range.1 as i32 {
        let value = 10_f64.powi(power);
        let name = if value < 1e3 { format!("{value} ms") } else { format!("{} s", value / 1e3) };
        plane.row(f64::from(power), &name);
        plane.column(f64::from(power), &name);
    }
    plane.path("ideal", &[(range.0, range.0), (range.1, range.1)]);
    for point in positive {
        let (class, radius) = if point.inside { ("thin", 2.2) } else { ("ring", 3.0) };
        plane.dot(class, (point.measured.log10(), point.predicted.log10()), radius);
    }
    plane.name("measured (up: foretold)");
    Some(plane.end("Foretold against measured latencies; on the line if the forecast was right"))
}

/// Draws a probability with its interval as a small bar.
pub(super) fn probability(value: f64, lo: f64, hi: f64) -> Markup {
    let words = format!("{}, 90 % interval {}", words::percent(value), words::percents(lo, hi));
    let at = |share: f64| number(2.0 + 140.0 * place(share, (0.0, 1.0)));
    let width = number(140.0 * (place(hi, (0.0, 1.0)) - place(lo, (0.0, 1.0))).max(0.01));
    let svg = [
        ("class", "bar-of"),
        ("viewBox", "0 0 144 18"),
        ("role", "img"),
        ("aria-label", words.as_str()),
    ];
    Markup::with(|m| {
        m.element("svg", &svg, |svg| {
            let bar =
                [("class", "track"), ("x", "2"), ("y", "7"), ("width", "140"), ("height", "4")];
            svg.void("rect", &bar);
            let x = at(lo);
            svg.void(
                "rect",
                &[("class", "span"), ("x", &x), ("y", "4"), ("width", &width), ("height", "10")],
            );
            svg.void("circle", &[("class", "dot"), ("cx", &at(value)), ("cy", "9"), ("r", "4.5")]);
        });
    })
}

/// What a bar of forecasts shows of one claim.
pub(super) struct Bars<'a> {
    pub(super) metric: Metric,
    pub(super) baseline: &'a Quantiles,
    pub(super) candidate: &'a Quantiles,
    pub(super) threshold: f64,
    pub(super) measured: Option<f64>,
}

/// Draws the forecasts now and then, the bound, and what was measured.
pub(super) fn bars(claim: &Bars<'_>) -> Markup {
    let values =
        [claim.baseline.p95, claim.candidate.p95, claim.threshold, claim.measured.unwrap_or(0.0)];
    let most = values.into_iter().filter(|it| it.is_finite()).fold(0.0, f64::max);
    let scale = if most > 0.0 { nice(most * 1.04) } else { 1.0 };
    let mut plane = Plane::new((400.0, 140.0), (0.0, scale), (0.0, 3.0));
    for tick in 0..=4 {
        let value = scale * f64::from(tick) / 4.0;
        plane.column(value, &words::value(claim.metric, value));
    }
    for (name, class, at, q) in
        [("now", "before", 2.3, claim.baseline), ("then", "after", 0.9, claim.candidate)]
    {
        plane.row(at, name);
        let (y, line) = (plane.y(at), format!("whisker {class}"));
        let thick = format!("{line} thick");
        for (class, lo, hi) in [(line.as_str(), q.p5, q.p95), (thick.as_str(), q.p25, q.p75)] {
            let (from, to) = (plane.x(lo), plane.x(hi));
            plane.line(class, (from, y), (to, y));
        }
        plane.dot(if class == "after" { "dot" } else { "span" }, (q.p50, at), 5.0);
    }
    plane.whisker("bound", claim.threshold, 0.0, 3.0);
    if let Some(measured) = claim.measured {
        plane.dot("ring", (measured, 0.9), 6.0);
    }
    plane.end(&format!(
        "{}: {} now, {} then, the bound {}{}",
        claim.metric.words(),
        words::value(claim.metric, claim.baseline.p50),
        words::value(claim.metric, claim.candidate.p50),
        words::value(claim.metric, claim.threshold),
        claim
            .measured
            .map_or(String::new(), |it| format!(", measured {}", words::value(claim.metric, it)))
    ))
}
