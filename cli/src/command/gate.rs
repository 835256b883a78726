//! `prophecy gate`: go or no-go, by exit code.

use std::fs;
use std::path::Path;

use prophecy_predictor::{Report, Verdict};
use serde::Serialize;

use crate::arguments::GateArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::{Printer, Tone};

/// The answer, as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    schema: &'static str,
    decision: &'static str,
    verdict: Verdict,
    score: f64,
    max_risk: f64,
    reasons: &'a [String],
}

/// Reads a report and answers.
pub(crate) fn run(arguments: &GateArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let report = read_report(&arguments.report)?;
    let score = f64::from(report.risk.score);
    let code = match report.verdict {
        Verdict::NotEnoughEvidence => ExitCode::NotEnoughEvidence,
        Verdict::NoGo => ExitCode::No,
        Verdict::Go if score > arguments.max_risk => ExitCode::No,
        Verdict::Go => ExitCode::Done,
    };
    let (decision, tone) = match code {
        ExitCode::Done => ("go", Tone::Good),
        ExitCode::No => ("no_go", Tone::Bad),
        _ => ("not_enough_evidence", Tone::Warning),
    };
    let [lo, hi] = <[f64; 2]>::from(report.risk.interval);
    let mut human = format!(
        "risk {score:.0} of 100 (90 % interval {:.0}–{:.0}), limit {:.0}\n",
        100.0 * lo,
        100.0 * hi,
        arguments.max_risk
    );
    for reason in &report.reasons {
        human.push_str(&format!("  - {reason}\n"));
    }
    human.push_str(&printer.paint(tone, decision));
    let answer = Answer {
        schema: "prophecy.gate/1",
        decision,
        verdict: report.verdict,
        score,
        max_risk: arguments.max_risk,
        reasons: &report.reasons,
    };
    printer.data(&human, &answer);
    Ok(code)
}

/// Reads `report.json`, or the one in a report's folder.
pub(crate) fn read_report(path: &Path) -> Result<Report, Failure> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let attempt = format!("cannot read report `{}`", file.display());
    let text = fs::read_to_string(&file).map_err(|error| {
        let failure = Failure::of(ExitCode::Environment, &error).during(&attempt);
        failure
            .hint("make one with `prophecy report --dataset … --baseline … --candidate … --out …`")
    })?;
    Report::from_json(&text).map_err(|error| Failure::of(ExitCode::Usage, &error).during(&attempt))
}
