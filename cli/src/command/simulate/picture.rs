//! One simulated run as a page: the slowest request as a Gantt chart, and each service over time.

use std::fmt::Write;

use prophecy_simulator::trace::{Span, Trace};
use prophecy_simulator::{CompiledModel, Outcome};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const ROW: f64 = 24.0;

/// Points of a time series.
const POINTS: usize = 200;

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5c6670; --line: #dfe3e8; --page: #f6f7f9;
  --wait: #d99a2b; --work: #2457c5; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #9aa5b1; --line: #333b44; --page: #14181c;
  --wait: #f0c060; --work: #86abff; --bad: #ff8a80; } }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .2rem; }
p { color: var(--soft); margin: .2rem 0 .8rem; }
svg { width: 100%; height: auto; } text { fill: var(--soft); font-size: 13px; }
.name { fill: var(--ink); } .grid { stroke: var(--line); } .wait { fill: var(--wait); } .work { fill: var(--work); }
.failed { fill: var(--bad); } .line { fill: none; stroke-width: 1.6; }
.line.wait { stroke: var(--wait); fill: none; } .line.work { stroke: var(--work); fill: none; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 1em; }
.key.wait { background: var(--wait); } .key.work { background: var(--work); } .key.failed { background: var(--bad); }
";

/// Draws the page.
pub(super) fn page(
    system: &str,
    outcome: &Outcome,
    trace: &Trace,
    model: &CompiledModel,
) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}: one simulated run</title>\
         <style>{STYLE}</style></head><body><h1>{0}: one simulated run</h1>\
         <p>{1} requests from outside, {2} visits to services.</p>",
        escape(system),
        trace.spans.iter().filter(|span| span.parent == 0).count(),
        trace.spans.len()
    );
    if let Some(root) = trace.slowest() {
        html.push_str(
            "<h2>The slowest request</h2><p><span class=\"key wait\"></span>waits for a worker\
             <span class=\"key work\"></span>is worked on, its calls included\
             <span class=\"key failed\"></span>failed</p>",
        );
        gantt(&mut html, &trace.of_root(root), trace, model);
    }
    html.push_str(
        "<h2>Each service over time</h2><p><span class=\"key wait\"></span>requests that wait for a worker\
         <span class=\"key work\"></span>requests that have one</p>",
    );
    let end = trace.spans.iter().map(|span| span.ended_nanos).max().unwrap_or(0);
    for (index, station) in outcome.stations.iter().enumerate() {
        series(&mut html, &station.name, index as u32, trace, end.max(1));
    }
    html.push_str("</body></html>\n");
    html
}

fn gantt(html: &mut String, spans: &[(usize, Span)], trace: &Trace, model: &CompiledModel) {
    let start = spans.iter().map(|(_, span)| span.arrived_nanos).min().unwrap_or(0);
    let end = spans.iter().map(|(_, span)| span.ended_nanos).max().unwrap_or(1).max(start + 1);
    let x = |at: u64| {
        LEFT + (WIDTH - LEFT - 10.0) * (at.saturating_sub(start)) as f64 / (end - start) as f64
    };
    let height = ROW * spans.len() as f64 + 30.0;
    write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"the slowest request, {:.1} ms\">",
        (end - start) as f64 / 1e6
    )
    .expect("to a string");
    for tick in 0..=4u64 {
        let at = start + (end - start) * tick / 4;
        write!(
            html,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{1:.1}\" class=\"grid\"/>\
             <text x=\"{0:.1}\" y=\"{2:.1}\" text-anchor=\"{3}\">{4:.1} ms</text>",
            x(at),
            height - 24.0,
            height - 8.0,
            if tick == 4 { "end" } else { "middle" },
            (at - start) as f64 / 1e6
        )
        .expect("to a string");
    }
    for (row, (depth, span)) in spans.iter().enumerate() {
        let y = ROW * row as f64 + 4.0;
        let (service, route) = trace.names(span, model);
        let begun = if span.begun_nanos == 0 { span.ended_nanos } else { span.begun_nanos };
        let ended = if span.ended_nanos == 0 { end } else { span.ended_nanos };
        write!(
            html,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"name\">{} {}</text>\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"15\" class=\"wait\"/>\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"15\" rx=\"2\" class=\"{}\"/>",
            4.0 + 14.0 * *depth as f64,
            y + 12.0,
            escape(service),
            escape(route),
            x(span.arrived_nanos),
            (x(begun) - x(span.arrived_nanos)).max(0.0),
            x(begun),
            (x(ended) - x(begun)).max(1.0),
            if span.failed { "failed" } else { "work" }
        )
        .expect("to a string");
    }
    html.push_str("</svg>");
}

/// Draws how many requests wait at a service, and how many it works on.
fn series(html: &mut String, name: &str, station: u32, trace: &Trace, end: u64) {
    let mut waiting = vec![0.0; POINTS];
    let mut working = vec![0.0; POINTS];
    for span in trace.spans.iter().filter(|span| span.station == station) {
        let ended = if span.ended_nanos == 0 { end } else { span.ended_nanos };
        let begun = if span.begun_nanos == 0 { ended } else { span.begun_nanos };
        spread(&mut waiting, span.arrived_nanos, begun, end);
        spread(&mut working, begun, ended, end);
    }
    let most = waiting.iter().chain(&working).copied().fold(1.0, f64::max);
    let x = |index: usize| LEFT + (WIDTH - LEFT - 10.0) * index as f64 / (POINTS - 1) as f64;
    let y = |value: f64| 84.0 - 74.0 * value / most;
    let points = |values: &[f64]| {
        let pairs: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(index, value)| format!("{:.1},{:.1}", x(index), y(*value)))
            .collect();
        pairs.join(" ")
    };
    write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} 108\" role=\"img\" aria-label=\"requests at {0} over time, at most {most:.0}\">\
         <text x=\"4\" y=\"48\" class=\"name\">{0}</text>\
         <text x=\"{1:.1}\" y=\"16\" text-anchor=\"end\">{most:.0}</text><text x=\"{1:.1}\" y=\"88\" text-anchor=\"end\">0</text>\
         <line x1=\"{LEFT}\" x2=\"{2:.1}\" y1=\"84\" y2=\"84\" class=\"grid\"/>\
         <text x=\"{LEFT}\" y=\"103\">0 s</text><text x=\"{2:.1}\" y=\"103\" text-anchor=\"end\">{3:.0} s</text>\
         <polyline points=\"{4}\" class=\"line work\"/><polyline points=\"{5}\" class=\"line wait\"/></svg>",
        escape(name),
        LEFT - 8.0,
        WIDTH - 10.0,
        end as f64 / 1e9,
        points(&working),
        points(&waiting)
    )
    .expect("to a string");
}

/// Adds the mean number present, in each part of the time, of one that is there from one time to another.
fn spread(values: &mut [f64], from: u64, until: u64, end: u64) {
    let length = end as f64 / values.len() as f64;
    let (from, until) = (from as f64 / length, until as f64 / length);
    let last = (until.ceil() as usize).min(values.len());
    for (index, value) in values.iter_mut().enumerate().take(last).skip(from as usize) {
        let (low, high) = (index as f64, index as f64 + 1.0);
        *value += (until.min(high) - from.max(low)).max(0.0);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_a_stay_over_the_parts_of_the_time() {
        let mut values = vec![0.0; 4];
        spread(&mut values, 5, 25, 40);
        assert_eq!(values, [0.5, 1.0, 0.5, 0.0]);
        spread(&mut values, 30, 40, 40);
        assert_eq!(values, [0.5, 1.0, 0.5, 1.0]);
    }
}
