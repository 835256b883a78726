//! The summary for a terminal.

use std::fmt::Write;

use super::{difference_words, percent, synthetic_warning, verdict_words};
use crate::report::Report;

/// Rows of each table at most.
const ROWS: usize = 10;

/// Returns the summary: evidence, claims, why, what to do, and last the verdict.
pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    let evidence = &report.evidence;
    let line = |text: &mut String, label: &str, words: String| {
        writeln!(text, "{label:10} {words}").expect("writing to a string does not fail");
    };
    let [from, to] = &report.inputs.window;
    line(
        &mut text,
        "dataset",
        format!("{} exchanges with `{}`, {from} to {to}", report.inputs.exchanges, report.system),
    );
    if let Some(warning) = synthetic_warning(report) {
        line(&mut text, "", warning.to_owned());
    }
    line(
        &mut text,
        "replay",
        format!(
            "{} requests to each arm, {} lost, send lag p50 {:.2} ms, p99 {:.2} ms",
            evidence.offered, evidence.lost, evidence.send_lag_ms_p50, evidence.send_lag_ms_p99
        ),
    );
    let fidelity = &evidence.fidelity;
    line(
        &mut text,
        "model",
        format!(
            "{} the captured present (median error {:.0} %, {}); noise between equal arms {:.1} %",
            if fidelity.passed { "reproduces" } else { "does not reproduce" },
            100.0 * fidelity.error,
            if fidelity.held_out { "on held-out time" } else { "on the same time" },
            100.0 * evidence.aa.noise
        ),
    );
    line(
        &mut text,
        "forecast",
        format!("{} simulated runs of each build, seed {}", report.replications, report.seed),
    );
    text.push('\n');
    claims(&mut text, report);
    section(
        &mut text,
        "because",
        &report
            .claims
            .iter()
            .filter(|claim| claim.probability.get() >= 0.05)
            .flat_map(|claim| claim.because.iter().cloned())
            .collect::<Vec<_>>(),
    );
    section(
        &mut text,
        "answers",
        &report.differences.iter().map(difference_words).collect::<Vec<_>>(),
    );
    let remains = |mitigation: &crate::report::Mitigation| {
        format!("{} → risk {}", mitigation.action, percent(mitigation.probability.get()))
    };
    section(&mut text, "instead", &report.mitigations.iter().map(remains).collect::<Vec<_>>());
    let interval = report.risk.interval;
    writeln!(
        text,
        "risk {} of 100 (90 % interval {:.0}–{:.0}), limit {:.0}",
        report.risk.score,
        100.0 * interval.lo(),
        100.0 * interval.hi(),
        report.risk.max_score
    )
    .expect("to a string");
    for reason in &report.reasons {
        writeln!(text, "  {reason}").expect("to a string");
    }
    write!(text, "verdict: {}", verdict_words(report.verdict)).expect("to a string");
    // A path or a service name must not move the cursor or colour the screen.
    text.retain(|letter| letter == '\n' || !letter.is_control());
    text
}

fn claims(text: &mut String, report: &Report) {
    let width = report
        .claims
        .iter()
        .take(ROWS)
        .map(|claim| claim.subject().chars().count())
        .max()
        .unwrap_or(0);
    for claim in report.claims.iter().take(ROWS) {
        writeln!(
            text,
            "{:>6}  {:width$}  {:14} > {:8}  now {:>8}, then {} ({} – {})",
            percent(claim.probability.get()),
            claim.subject(),
            claim.metric.words(),
            claim.value(claim.threshold),
            claim.value(claim.baseline.p50),
            claim.value(claim.candidate.p50),
            claim.value(claim.candidate.p5),
            claim.value(claim.candidate.p95),
        )
        .expect("to a string");
    }
    if report.claims.len() > ROWS {
        writeln!(text, "        … and {} more in the report", report.claims.len() - ROWS)
            .expect("to a string");
    }
    text.push('\n');
}

/// Writes a list without repetitions, if it has an item.
fn section(text: &mut String, label: &str, items: &[String]) {
    let mut told: Vec<&String> = Vec::new();
    for item in items {
        if told.len() == ROWS / 2 || told.contains(&item) {
            continue;
        }
        let label = if told.is_empty() { label } else { "" };
        writeln!(text, "{label:10} {item}").expect("to a string");
        told.push(item);
    }
    if !told.is_empty() {
        text.push('\n');
    }
}
