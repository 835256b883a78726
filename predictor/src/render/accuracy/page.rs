//! The scoreboard as one page that needs nothing but itself.

use std::fmt::Write;

use super::{MEASURES, calibration_words, counts_words, coverage_words, label_words, plots, words};
use crate::accuracy::{Estimate, Scoreboard, Scores};
use crate::render::junit::escape;

const STYLE: &str = include_str!("../report.css");
const OWN_STYLE: &str = include_str!("accuracy.css");

/// Returns the scoreboard as an HTML page.
pub fn page(board: &Scoreboard) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>How true the prophecy is</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    let mut push = |html: String| {
        page.push_str(&html);
        page.push('\n');
    };
    push(head(board));
    push(compared(&board.deployments));
    push(pictures(board));
    push(claims(board));
    push(judged_wrongly(board));
    push(footer(board));
    page.push_str("</main>\n</body>\n</html>");
    page
}

/// Escapes a text for use in markup.
pub(super) fn plain(text: &str) -> String {
    escape(text)
}

fn head(board: &Scoreboard) -> String {
    let Some(ours) = board.deployments.first() else { return String::new() };
    let tile = |name: &str, estimate: Estimate| {
        let value =
            estimate.value.map_or("–".to_owned(), |value| format!("{:.0} %", 100.0 * value));
        let range = match (estimate.lo, estimate.hi) {
            (Some(lo), Some(hi)) => format!("{:.0} – {:.0} %", 100.0 * lo, 100.0 * hi),
            _ => "no interval".to_owned(),
        };
        format!(
            "<div class=\"tile\"><strong>{value}</strong><span>{name}</span><small>{range}</small></div>"
        )
    };
    let ninety = board.coverage.iter().find(|it| it.of == "latency" && it.stated > 0.85);
    format!(
        "<h1>How true the prophecy is</h1>\n<p class=\"lead\">Deployments that were forecast, then really \
         carried out. {}.</p>\n<div class=\"tiles\">{}{}{}{}</div>",
        plain(&counts_words(board)),
        tile("of the alarms were right", ours.precision),
        tile("of the harm was foreseen", ours.recall),
        tile("false alarms on equal builds", ours.false_alarms),
        tile(
            "of latencies inside their 90 % interval",
            ninety.map_or_else(Estimate::default, |it| it.found)
        ),
    )
}

fn compared(forecasters: &[Scores]) -> String {
    let mut html = "<section>\n<h2>Against others, on the same trials</h2>\n<p class=\"lead\">The base rate is that of \
         earlier trials. The smoke test compares the arms' 99th percentiles; the canary judge looks at each second \
         of the arms. In brackets, what 95 % of resampled sets of trials give.</p>\n<div class=\"scroll\"><table class=\"wide\"><thead><tr><th></th>"
        .to_owned();
    for scores in forecasters {
        write!(html, "<th>{}</th>", plain(&scores.forecaster)).expect("to a string");
    }
    html.push_str("</tr></thead><tbody>");
    for (name, share, of) in MEASURES {
        write!(html, "<tr><th>{name}</th>").expect("to a string");
        for scores in forecasters {
            write!(html, "<td>{}</td>", words(of(scores), share)).expect("to a string");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n</section>");
    html
}

fn pictures(board: &Scoreboard) -> String {
    let figure = |svg: String, words: &str| {
        format!("<figure>{svg}<figcaption>{words}</figcaption></figure>")
    };
    format!(
        "<section>\n<h2>Calibration</h2>\n<div class=\"figures\">{}{}{}{}</div>\n</section>",
        figure(
            plots::reliability(&board.reliability),
            &plain(&format!(
                "How often claims came true, by forecast (CORP). A calibrated forecaster stays inside the band 9 times in 10. {}.",
                calibration_words("Claims", Some(&board.claims))
            ))
        ),
        figure(
            plots::ranks(&board.ranks),
            "Where in its forecast a measured latency lay. Even is right; high ends mean that intervals are too narrow, a slope that forecasts are too high or too low."
        ),
        figure(
            plots::scatter(&board.points),
            "The 95th percentile of each route. Filled: inside the 90 % interval; red: outside."
        ),
        figure(
            plots::errors(&board.errors),
            "How far the median of the forecast was off, by how busy the busiest service was."
        ),
    )
}

fn claims(board: &Scoreboard) -> String {
    let mut html = "<section>\n<h2>Intervals and claims</h2>\n<ul>".to_owned();
    for coverage in &board.coverage {
        write!(html, "<li>{}</li>", plain(&coverage_words(coverage))).expect("to a string");
    }
    html.push_str("</ul>\n<table class=\"wide\"><thead><tr><th>single claims</th><th>value</th></tr></thead><tbody>");
    write!(
        html,
        "<tr><th>labelled, of which came true</th><td>{}, {}</td></tr><tr><th>undecidable on this machine</th><td>{}</td></tr>",
        board.claims.count, board.claims.events, board.counts.claims_undecidable
    )
    .expect("to a string");
    for (name, share, of) in MEASURES {
        let value = words(of(&board.claims), share);
        write!(html, "<tr><th>{name}</th><td>{value}</td></tr>").expect("to a string");
    }
    html.push_str("</tbody></table>\n</section>");
    html
}

fn judged_wrongly(board: &Scoreboard) -> String {
    let mut html = "<section>\n<h2>Judged wrongly</h2>\n".to_owned();
    if board.wrong.is_empty() {
        html.push_str("<p class=\"lead\">No deployment was.</p>\n</section>");
        return html;
    }
    html.push_str(
        "<p class=\"lead\">The surest first, with the claim that was furthest off.</p>\n<div class=\"scroll\"><table class=\"wide\"><thead><tr>\
         <th>trial</th><th>change</th><th>foretold</th><th>was</th><th>furthest off</th></tr></thead><tbody>",
    );
    for wrong in &board.wrong {
        write!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}, {:.0} %</td><td>{}</td><td>{}</td></tr>",
            plain(&wrong.trial),
            plain(&wrong.detail),
            plain(&wrong.verdict.replace('_', " ")),
            100.0 * wrong.risk,
            label_words(wrong.label),
            plain(&wrong.why)
        )
        .expect("to a string");
    }
    html.push_str("</tbody></table></div>\n</section>");
    html
}

fn footer(board: &Scoreboard) -> String {
    let noise = board
        .noise
        .iter()
        .map(|(metric, noise)| format!("{} {:.0} %", plain(metric), 100.0 * noise));
    format!(
        "<footer><p>A deployment is harmful if a bound that production kept was exceeded, or one that it broke was broken \
         clearly worse: by more than the noise of the machine, and by an anytime-valid test (evidence 20). Noise, the 90th \
         percentile of how equal builds differ: {}. Nearer bounds are undecidable and not scored. Nothing was learned from \
         these outcomes but that noise and, for the comparator, the base rate of earlier trials; the forecast has no \
         parameter fitted to them.</p><p>Commits {}; machines: {}. Schema <code>{}</code>.</p></footer>",
        noise.collect::<Vec<_>>().join(", "),
        plain(&board.commits.join(", ")),
        plain(&board.machines.join("; ")),
        plain(&board.schema)
    )
}
