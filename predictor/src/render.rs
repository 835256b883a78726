//! Renderings of a report: pure functions from a [`Report`] to text.

pub mod accuracy;
mod html;
mod junit;
mod markdown;
mod plot;
mod terminal;

use crate::report::{Metric, Report, Verdict};
use prophecy_datasets::run::{Difference, DifferenceKind};

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use terminal::terminal;

/// Returns the verdict in words.
fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Go => "go",
        Verdict::NoGo => "no-go",
        Verdict::NotEnoughEvidence => "not enough evidence",
    }
}

/// Returns a share in percent, without digits that mean nothing.
fn percent(share: f64) -> String {
    match 100.0 * share {
        value if value > 0.0 && value < 0.5 => "< 1 %".to_owned(),
        value if value < 100.0 && value > 99.5 => "> 99 %".to_owned(),
        value => format!("{value:.0} %"),
    }
}

/// Returns a difference in a sentence.
fn difference_words(difference: &Difference) -> String {
    let what = match &difference.kind {
        DifferenceKind::Status { from: 0, to } => {
            format!("is answered with {to} where the baseline did not answer")
        }
        DifferenceKind::Status { from, to: 0 } => format!("is not answered, was {from}"),
        DifferenceKind::Status { from, to } => format!("is answered with {to}, was {from}"),
        DifferenceKind::Missing => format!("lacks `{}`", difference.field),
        DifferenceKind::Extra => format!("has a new `{}`", difference.field),
        DifferenceKind::Type => format!("has another type of `{}`", difference.field),
        DifferenceKind::Value => format!("has another value of `{}`", difference.field),
        DifferenceKind::Body => "has another body".to_owned(),
    };
    format!(
        "`{}` {what} in {} of {} answers ({:.1}–{:.1} %)",
        difference.route,
        difference.count,
        difference.of,
        100.0 * difference.interval.lo(),
        100.0 * difference.interval.hi()
    )
}

/// Says that nothing in the dataset was hidden, where that is so.
fn synthetic_warning(report: &Report) -> Option<&'static str> {
    (report.inputs.policy == "synthetic")
        .then_some("made from a dataset whose policy keeps everything: for test systems only")
}

/// Says whether a larger value of the metric needs a plot of time.
fn is_latency(metric: Metric) -> bool {
    metric.level().is_some()
}
