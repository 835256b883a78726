//! The report as one page: the verdict first, then the claims, each opening to its evidence.
//!
//! The page needs nothing but itself: no script, no font, no request. Every name is escaped.

use std::fmt::Write;

use super::junit::escape;
use super::{difference_words, is_latency, percent, plot, synthetic_warning, verdict_words};
use crate::report::{Claim, Report, Verdict};

const STYLE: &str = include_str!("report.css");

/// Returns the report as an HTML page.
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let tone = match report.verdict {
        Verdict::Go => "good",
        Verdict::NoGo => "bad",
        Verdict::NotEnoughEvidence => "unsure",
    };
    let system = escape(&report.system);
    push(
        &mut page,
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{system}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
            verdict_words(report.verdict)
        ),
    );
    header(&mut page, report, tone);
    push(&mut page, "<section>\n<h2>Claims</h2>\n<p class=\"lead\">What the deployment could break, the most probable first. Open one to see where it comes from.</p>".to_owned());
    for (index, claim) in report.claims.iter().enumerate() {
        self::claim(&mut page, claim, index == 0 && report.verdict == Verdict::NoGo);
    }
    if report.claims.is_empty() {
        push(&mut page, "<p>No claim could be made.</p>".to_owned());
    }
    push(&mut page, "</section>".to_owned());
    mitigations(&mut page, report);
    list(
        &mut page,
        "What changed",
        "Parts of the change that the twin measured, the largest first.",
        &report.evidence.deltas,
    );
    let differences: Vec<String> = report.differences.iter().map(difference_words).collect();
    list(
        &mut page,
        "Changed answers",
        "Beyond how two arms of the baseline differ from each other.",
        &differences,
    );
    evidence(&mut page, report);
    footer(&mut page, report);
    push(&mut page, "</main>\n</body>\n</html>".to_owned());
    page
}

fn header(page: &mut String, report: &Report, tone: &str) {
    let interval = report.risk.interval;
    push(
        page,
        format!(
            "<header class=\"{tone}\">\n{}\n<div>\n<p class=\"system\">{}</p>\n<h1>{}</h1>\n<p class=\"risk\">Probability that any promise is broken: <strong>{}</strong>, 90&nbsp;% interval {:.0}–{:.0}&nbsp;%; up to {:.0}&nbsp;% is accepted.</p>",
            plot::gauge(report),
            escape(&report.system),
            verdict_words(report.verdict),
            percent(report.risk.probability.get()),
            100.0 * interval.lo(),
            100.0 * interval.hi(),
            report.risk.max_score
        ),
    );
    push(page, "<ul class=\"reasons\">".to_owned());
    for reason in &report.reasons {
        push(page, format!("<li>{}</li>", code(reason)));
    }
    push(page, "</ul>\n</div>\n</header>".to_owned());
    if let Some(warning) = synthetic_warning(report) {
        push(page, format!("<p class=\"warning\"><strong>Synthetic data:</strong> {warning}.</p>"));
    }
}

fn claim(page: &mut String, claim: &Claim, open: bool) {
    let level = match claim.probability.get() {
        p if p >= 0.5 => "bad",
        p if p >= 0.05 => "unsure",
        _ => "good",
    };
    push(
        page,
        format!(
            "<details class=\"claim {level}\"{}>\n<summary><span class=\"chance\">{}</span><span class=\"what\"><strong>{}</strong><br>{} above {}</span><span class=\"move\">{} → {}</span></summary>",
            if open { " open" } else { "" },
            percent(claim.probability.get()),
            escape(&claim.subject()),
            claim.metric.words(),
            escape(&claim.value(claim.threshold)),
            escape(&claim.value(claim.baseline.p50)),
            escape(&claim.value(claim.candidate.p50)),
        ),
    );
    push(
        page,
        format!(
            "<div class=\"body\">\n<p>Probability <strong>{}</strong>, 90&nbsp;% interval {:.0}–{:.0}&nbsp;%. The bound is {}.</p>\n{}",
            percent(claim.probability.get()),
            100.0 * claim.interval.lo(),
            100.0 * claim.interval.hi(),
            escape(&claim.bound),
            plot::forecast(claim)
        ),
    );
    let legend = if is_latency(claim.metric) { "of simulated windows" } else { "of draws" };
    push(
        page,
        format!(
            "<p class=\"legend\">Point: median; thick: half; thin: 90&nbsp;% {legend}. Dashed: the bound.</p>"
        ),
    );
    if !claim.because.is_empty() {
        push(page, "<h3>Because</h3>\n<ul>".to_owned());
        for sentence in &claim.because {
            push(page, format!("<li>{}</li>", code(sentence)));
        }
        push(page, "</ul>".to_owned());
    }
    push(page, "<table><thead><tr><th></th><th>5 %</th><th>25 %</th><th>median</th><th>75 %</th><th>95 %</th></tr></thead><tbody>".to_owned());
    for (label, q) in [("now", claim.baseline), ("then", claim.candidate)] {
        let cells: String = [q.p5, q.p25, q.p50, q.p75, q.p95]
            .iter()
            .map(|value| format!("<td>{}</td>", escape(&claim.value(*value))))
            .collect();
        push(page, format!("<tr><th>{label}</th>{cells}</tr>"));
    }
    push(
        page,
        format!(
            "</tbody></table>\n<p class=\"legend\">Rests on {} exchanges in production and {} in each arm. <code>{}</code></p>\n</div>\n</details>",
            claim.exchanges[0],
            claim.exchanges[1],
            escape(&claim.id)
        ),
    );
}

fn mitigations(page: &mut String, report: &Report) {
    if report.mitigations.is_empty() {
        return;
    }
    push(page, "<section>\n<h2>Instead</h2>\n<p class=\"lead\">What would lower the risk, each simulated.</p>\n<table class=\"wide\"><thead><tr><th>action</th><th>risk that remains</th><th>90 % interval</th></tr></thead><tbody>".to_owned());
    for mitigation in &report.mitigations {
        push(
            page,
            format!(
                "<tr><td>{}</td><td>{}</td><td>{:.0}–{:.0} %</td></tr>",
                code(&mitigation.action),
                percent(mitigation.probability.get()),
                100.0 * mitigation.interval.lo(),
                100.0 * mitigation.interval.hi()
            ),
        );
    }
    push(page, "</tbody></table>\n</section>".to_owned());
}

fn evidence(page: &mut String, report: &Report) {
    let evidence = &report.evidence;
    push(page, "<section>\n<h2>Evidence</h2>\n<dl>".to_owned());
    let fidelity = &evidence.fidelity;
    let rows = [
        (
            "Replay",
            format!(
                "{} requests to each of three arms at {}x speed; {} lost",
                evidence.offered, evidence.speed, evidence.lost
            ),
        ),
        (
            "Send lag",
            format!(
                "p50 {:.2} ms, p99 {:.2} ms",
                evidence.send_lag_ms_p50, evidence.send_lag_ms_p99
            ),
        ),
        (
            "A/A check",
            format!(
                "two arms of the same build differ by {:.1} %: {}",
                100.0 * evidence.aa.noise,
                if evidence.aa.passed { "passed" } else { "failed" }
            ),
        ),
        (
            "Fidelity",
            format!(
                "the model {} the captured present, median error {:.0} %, {}",
                if fidelity.passed { "reproduces" } else { "does not reproduce" },
                100.0 * fidelity.error,
                if fidelity.held_out {
                    "on time held out from the fit"
                } else {
                    "on the time it was fitted to"
                }
            ),
        ),
    ];
    for (label, words) in rows {
        push(page, format!("<dt>{label}</dt><dd>{}</dd>", escape(&words)));
    }
    push(page, "</dl>".to_owned());
    if !fidelity.routes.is_empty() {
        push(page, "<table class=\"wide\"><thead><tr><th>route</th><th>exchanges</th><th>captured p50 / p95 / p99</th><th>simulated</th></tr></thead><tbody>".to_owned());
        for route in &fidelity.routes {
            let three = |values: [f64; 3]| values.map(|value| format!("{value:.1}")).join(" / ");
            push(
                page,
                format!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{} ms</td><td>{} ms</td></tr>",
                    escape(&route.route),
                    route.exchanges,
                    three(route.captured_ms),
                    three(route.simulated_ms)
                ),
            );
        }
        push(page, "</tbody></table>".to_owned());
    }
    push(page, "</section>".to_owned());
    list(page, "Not claimed", "Routes with too few exchanges.", &evidence.not_claimed);
    list(page, "Assumed", "What the data could not tell.", &evidence.notes);
}

fn footer(page: &mut String, report: &Report) {
    let inputs = &report.inputs;
    let [from, to] = &inputs.window;
    push(
        page,
        format!(
            "<footer>\n<p>{} exchanges from {} to {}, policy <code>{}</code>; {} simulated runs of each build, seed {}.</p>\n\
         <p>dataset <code>{}</code> baseline <code>{}</code> candidate <code>{}</code>; prophecy {}</p>\n</footer>",
            inputs.exchanges,
            escape(from),
            escape(to),
            escape(&inputs.policy),
            report.replications,
            report.seed,
            short(&inputs.dataset),
            short(&inputs.baseline),
            short(&inputs.candidate),
            escape(&report.engine)
        ),
    );
}

fn list(page: &mut String, title: &str, lead: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    push(page, format!("<section>\n<h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n<ul>"));
    for item in items {
        push(page, format!("<li>{}</li>", code(item)));
    }
    push(page, "</ul>\n</section>".to_owned());
}

/// Escapes a sentence and sets what stands in backticks as code.
fn code(sentence: &str) -> String {
    let pieces = sentence.split('`').enumerate().map(|(index, piece)| {
        if index % 2 == 1 { format!("<code>{}</code>", escape(piece)) } else { escape(piece) }
    });
    pieces.collect()
}

fn short(digest: &str) -> String {
    escape(&digest.chars().take(12).collect::<String>())
}

fn push(page: &mut String, text: impl std::fmt::Display) {
    writeln!(page, "{text}").expect("writing to a string does not fail");
}
