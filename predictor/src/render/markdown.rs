//! The report for a pull request.

use std::fmt::Write;

use super::{difference_words, percent, synthetic_warning, verdict_words};
use crate::report::{Report, Verdict};

/// Returns the report in Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let mark = match report.verdict {
        Verdict::Go => "✅",
        Verdict::NoGo => "⛔",
        Verdict::NotEnoughEvidence => "❔",
    };
    let interval = report.risk.interval;
    writeln!(text, "## {mark} {}: {}\n", cell(&report.system), verdict_words(report.verdict))
        .expect("to a string");
    writeln!(
        text,
        "Risk **{}** of 100 (90 % interval {:.0}–{:.0}; limit {:.0})\n",
        report.risk.score,
        100.0 * interval.lo(),
        100.0 * interval.hi(),
        report.risk.max_score
    )
    .expect("to a string");
    if let Some(warning) = synthetic_warning(report) {
        writeln!(text, "> **Synthetic**: {warning}\n").expect("to a string");
    }
    list(&mut text, None, report.reasons.clone());
    text.push_str("| probability | claim | now | then (90 %) |\n| ---: | --- | ---: | ---: |\n");
    for claim in &report.claims {
        writeln!(
            text,
            "| {} ({:.0}–{:.0}) | {}: {} > {} | {} | {} ({} – {}) |",
            percent(claim.probability.get()),
            100.0 * claim.interval.lo(),
            100.0 * claim.interval.hi(),
            cell(&claim.subject()),
            claim.metric.words(),
            claim.value(claim.threshold),
            claim.value(claim.baseline.p50),
            claim.value(claim.candidate.p50),
            claim.value(claim.candidate.p5),
            claim.value(claim.candidate.p95),
        )
        .expect("to a string");
    }
    text.push('\n');
    list(&mut text, Some("What changed"), report.evidence.deltas.clone());
    list(
        &mut text,
        Some("Changed answers"),
        report.differences.iter().map(difference_words).collect(),
    );
    let remains = report.mitigations.iter().map(|mitigation| {
        format!("{}: risk {} remains", mitigation.action, percent(mitigation.probability.get()))
    });
    list(&mut text, Some("Instead"), remains.collect());
    let evidence = &report.evidence;
    writeln!(
        text,
        "<sub>{} requests to each of three arms, {} lost, send lag p99 {:.2} ms; model error {:.0} %; {} simulated runs, seed {}; prophecy {}</sub>",
        evidence.offered, evidence.lost, evidence.send_lag_ms_p99, 100.0 * evidence.fidelity.error,
        report.replications, report.seed, report.engine
    )
    .expect("to a string");
    text
}

fn list(text: &mut String, title: Option<&str>, items: Vec<String>) {
    if items.is_empty() {
        return;
    }
    if let Some(title) = title {
        writeln!(text, "**{title}**\n").expect("to a string");
    }
    for item in items {
        writeln!(text, "- {}", sentence(&item)).expect("to a string");
    }
    text.push('\n');
}

/// Keeps names in a sentence from becoming tags; what stands in backticks is code and shown as it is.
fn sentence(words: &str) -> String {
    let pieces: Vec<&str> = words.split('`').collect();
    // A backtick without a partner opens nothing, so that what follows it is not code.
    let paired = pieces.len() - (pieces.len() + 1) % 2;
    let shown = pieces.iter().enumerate().map(|(index, piece)| {
        let code = index % 2 == 1 && index < paired;
        if code { (*piece).to_owned() } else { piece.replace('<', "&lt;") }
    });
    shown.collect::<Vec<_>>().join("`").replace(['\n', '\r'], " ")
}

/// Keeps names from a manifest from breaking out of a table's cell.
fn cell(name: &str) -> String {
    name.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}
