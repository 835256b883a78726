//! The report as JUnit XML: one test case for each claim.

use std::fmt::Write;

use crate::report::{Report, Verdict};

/// Returns the report in JUnit XML.
///
/// A claim more probable than the limit is a failure; without enough evidence, the whole report is
/// an error, because nothing that was not shown may pass.
pub fn junit(report: &Report) -> String {
    let limit = report.risk.max_score / 100.0;
    let fails = |probability: f64| report.verdict == Verdict::NoGo && probability > limit;
    let failures = report.claims.iter().filter(|claim| fails(claim.caused.get())).count();
    let errors = usize::from(report.verdict == Verdict::NotEnoughEvidence);
    let system = escape(&report.system);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = report.claims.len() + 1;
    let mut line = |text: String| writeln!(xml, "{text}").expect("to a string");
    line(format!(
        "<testsuites name=\"prophecy\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">"
    ));
    line(format!(
        "  <testsuite name=\"{system}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">"
    ));
    let reasons = escape(&report.reasons.join("\n"));
    if errors > 0 {
        line(format!(
            "    <testcase classname=\"{system}\" name=\"verdict\">\n      <error message=\"not enough evidence\">{reasons}</error>\n    </testcase>"
        ));
    } else {
        line(format!(
            "    <testcase classname=\"{system}\" name=\"verdict\"><system-out>{}\n{reasons}</system-out></testcase>",
            report.verdict.as_str()
        ));
    }
    for claim in &report.claims {
        let (class, name) = (escape(&claim.subject()), escape(&claim.id));
        let words = escape(&format!(
            "{} exceeds {} with probability {:.0} % ({:.0}–{:.0})\n{}",
            claim.metric.words(),
            claim.value(claim.threshold),
            100.0 * claim.probability.get(),
            100.0 * claim.interval.lo(),
            100.0 * claim.interval.hi(),
            claim.because.join("\n")
        ));
        let body = if fails(claim.caused.get()) {
            format!("<failure message=\"{}\">{words}</failure>", escape(claim.metric.words()))
        } else {
            format!("<system-out>{words}</system-out>")
        };
        line(format!("    <testcase classname=\"{class}\" name=\"{name}\">{body}</testcase>"));
    }
    line("  </testsuite>\n</testsuites>".to_owned());
    xml
}

/// Escapes text for XML and for HTML, in content and in quoted attributes; drops control characters,
/// which XML cannot hold.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            _ if c.is_control() => {}
            _ => escaped.push(c),
        }
    }
    escaped
}
