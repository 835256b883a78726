//! Pictures as inline SVG.

use std::fmt::Write;

use super::junit::escape;
use crate::report::{Claim, Quantiles, Report, Verdict};

const WIDTH: f64 = 640.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 24.0;

/// Draws the risk score as an arc.
pub(super) fn gauge(report: &Report) -> String {
    let tone = match report.verdict {
        Verdict::Go => "good",
        Verdict::NoGo => "bad",
        Verdict::NotEnoughEvidence => "unsure",
    };
    let length = std::f64::consts::TAU * 52.0;
    let filled = length * f64::from(report.risk.score.min(100)) / 100.0;
    format!(
        "<svg class=\"gauge {tone}\" viewBox=\"0 0 120 120\" role=\"img\" aria-label=\"risk {score} of 100\">\
         <circle cx=\"60\" cy=\"60\" r=\"52\" class=\"track\"/>\
         <circle cx=\"60\" cy=\"60\" r=\"52\" class=\"fill\" stroke-dasharray=\"{filled:.1} {length:.1}\" transform=\"rotate(-90 60 60)\"/>\
         <text x=\"60\" y=\"66\" class=\"score\">{score}</text><text x=\"60\" y=\"86\" class=\"unit\">risk</text></svg>",
        score = report.risk.score
    )
}

/// Draws the forecasts with baseline and candidate, and the bound.
pub(super) fn forecast(claim: &Claim) -> String {
    let largest =
        [claim.baseline.p95, claim.candidate.p95, claim.threshold].into_iter().fold(0.0, f64::max);
    if largest <= 0.0 {
        return String::new();
    }
    let scale = nice(largest * 1.08);
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / scale;
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} 116\" role=\"img\" aria-label=\"{}\">",
        escape(&format!("{} with the baseline and with the candidate", claim.metric.words()))
    );
    for tick in 0..=4 {
        let value = scale * f64::from(tick) / 4.0;
        write!(
            svg,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"8\" y2=\"88\" class=\"grid\"/><text x=\"{0:.1}\" y=\"106\" class=\"tick\">{1}</text>",
            x(value),
            escape(&claim.value(value))
        )
        .expect("to a string");
    }
    bar(&mut svg, "now", &claim.baseline, 30.0, "before", x);
    bar(&mut svg, "then", &claim.candidate, 66.0, "after", x);
    let bound = x(claim.threshold);
    write!(
        svg,
        "<line x1=\"{bound:.1}\" x2=\"{bound:.1}\" y1=\"4\" y2=\"92\" class=\"bound\"/></svg>"
    )
    .expect("to a string");
    svg
}

/// A thin line from 5 % to 95 %, a thick one from 25 % to 75 %, and a point at the median.
fn bar(svg: &mut String, label: &str, q: &Quantiles, y: f64, class: &str, x: impl Fn(f64) -> f64) {
    write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" class=\"label\">{label}</text>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\" class=\"range {class}\"/>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\" class=\"half {class}\"/>\
         <circle cx=\"{:.1}\" cy=\"{y}\" r=\"5.5\" class=\"median {class}\"/>",
        LEFT - 14.0,
        y + 5.0,
        x(q.p5),
        x(q.p95),
        x(q.p25),
        x(q.p75),
        x(q.p50)
    )
    .expect("to a string");
}

/// Rounds up to 1, 2, 4 or 8 times a power of ten, so that quarters are round numbers too.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|scale| value <= *scale).unwrap_or(value)
}
