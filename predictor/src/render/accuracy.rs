//! The scoreboard, for a terminal and as a page.

mod page;
mod plots;

use std::fmt::Write;

use crate::accuracy::{Coverage, ErrorBand, Estimate, Label, Scoreboard, Scores};

pub use page::page;

/// Deployments judged wrongly that a terminal shows.
const WRONG_SHOWN: usize = 12;

/// One number of a forecaster.
type Measure = fn(&Scores) -> Estimate;

/// What is told of each forecaster: the name, and whether the value is a share.
const MEASURES: [(&str, bool, Measure); 9] = [
    ("precision", true, |scores| scores.precision),
    ("recall", true, |scores| scores.recall),
    ("harm let through", true, |scores| scores.let_through),
    ("false alarms on equal builds", true, |scores| scores.false_alarms),
    ("harm among the top tenth", true, |scores| scores.capture_at_tenth),
    ("area under the curve", false, |scores| scores.auc),
    ("Brier score", false, |scores| scores.brier),
    ("skill (Brier)", false, |scores| scores.brier_skill),
    ("skill (logarithmic)", false, |scores| scores.log_skill),
];

/// Returns the scoreboard as a table for a terminal.
pub fn terminal(board: &Scoreboard) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("to a string");
    line(counts_words(board));
    line(String::new());
    let columns = board.deployments.iter();
    let head: String = columns.map(|scores| format!("{:>22}", scores.forecaster)).collect();
    line(format!("{:30}{head}", "deployments"));
    for (name, share, of) in MEASURES {
        let cells: String = board
            .deployments
            .iter()
            .map(|scores| format!("{:>22}", words(of(scores), share)))
            .collect();
        line(format!("  {name:28}{cells}"));
    }
    line(String::new());
    line(format!("{:30}{:>22}", "single claims", board.claims.count));
    for (name, share, of) in MEASURES {
        line(format!("  {name:28}{:>22}", words(of(&board.claims), share)));
    }
    line(String::new());
    line(calibration_words("deployments", board.deployments.first()));
    line(calibration_words("claims", Some(&board.claims)));
    line(String::new());
    line("what was measured lay inside the interval".to_owned());
    board.coverage.iter().for_each(|coverage| line(format!("  {}", coverage_words(coverage))));
    line(String::new());
    line("median error of the forecast's median, by utilization".to_owned());
    for band in board.errors.iter().filter(|band| band.count > 0) {
        line(format!("  {}", error_words(band)));
    }
    if !board.wrong.is_empty() {
        line(String::new());
        line("judged wrongly, the surest first".to_owned());
    }
    for wrong in board.wrong.iter().take(WRONG_SHOWN) {
        line(format!(
            "  {}: {} foretold at {:.0} %, was {}; {}",
            wrong.trial,
            wrong.verdict,
            100.0 * wrong.risk,
            label_words(wrong.label),
            wrong.detail
        ));
        line(format!("      {}", wrong.why));
    }
    text.truncate(text.trim_end().len());
    text.retain(|letter| letter == '\n' || !letter.is_control());
    text
}

fn label_words(label: Label) -> &'static str {
    match label {
        Label::Harmful => "harmful",
        Label::Harmless => "harmless",
        Label::Undecidable => "undecidable",
    }
}

/// Returns what was counted, in a sentence.
fn counts_words(board: &Scoreboard) -> String {
    let counts = &board.counts;
    format!(
        "{} trials: {} scored ({} harmful, {} harmless, {} undecidable; {} without an answer), {} disturbed, {} failed",
        counts.trials,
        counts.scored,
        counts.harmful,
        counts.harmless,
        counts.undecidable,
        counts.not_enough_evidence,
        counts.disturbed,
        counts.failed
    )
}

/// Returns an estimate with its interval.
fn words(estimate: Estimate, share: bool) -> String {
    let number = |value: f64| {
        if share { format!("{:.0}", 100.0 * value) } else { format!("{value:.2}") }
    };
    let unit = if share { " %" } else { "" };
    match (estimate.value, estimate.lo, estimate.hi) {
        (None, _, _) => "–".to_owned(),
        (Some(value), Some(lo), Some(hi)) => {
            format!("{}{unit} ({}–{})", number(value), number(lo), number(hi))
        }
        (Some(value), _, _) => format!("{}{unit}", number(value)),
    }
}

/// Returns the calibration of a forecaster, in a sentence.
fn calibration_words(what: &str, scores: Option<&Scores>) -> String {
    let Some(scores) = scores.filter(|scores| scores.count > 0) else {
        return format!("{what}: nothing to score");
    };
    let corp = &scores.corp;
    let judged = if corp.miscalibration <= corp.miscalibration_null { "within" } else { "above" };
    format!(
        "{what}: miscalibration {:.4}, {judged} the {:.4} that chance gives a calibrated forecaster; discrimination {:.4} of {:.4}",
        corp.miscalibration, corp.miscalibration_null, corp.discrimination, corp.uncertainty
    )
}

fn coverage_words(coverage: &Coverage) -> String {
    format!(
        "{:8} {:>3.0} % stated: {} found of {}; {:.0}–{:.0} % accepted",
        coverage.of,
        100.0 * coverage.stated,
        words(coverage.found, true),
        coverage.count,
        100.0 * coverage.accepted[0],
        100.0 * coverage.accepted[1]
    )
}

fn error_words(band: &ErrorBand) -> String {
    format!("{:13} {:8} {:>16} of {}", band.metric, band.load, words(band.median, true), band.count)
}
