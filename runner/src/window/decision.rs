//! Whether it is open, and when it will be.

use prophecy_core::time::Timestamp;

use super::recurrence::PIECE_DAYS;
use super::{EvaluateWindowError, Kind, Span, Subject, Window};

/// How far ahead an opening is looked for: far enough for a leap day across 2100.
pub const HORIZON_DAYS: i64 = 10 * PIECE_DAYS;

const DAY_NANOS: i64 = 86_400_000_000_000;

/// Whether a rollout may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Open,
    /// It may not.
    Closed {
        /// The windows that close: the `deny` windows that hold, or else every `allow` window.
        by: Vec<String>,
        /// What to tell whoever asks.
        reason: String,
        /// When it opens again, or `None` if not within [`HORIZON_DAYS`].
        reopens_at: Option<Timestamp>,
    },
}

/// The windows about one subject, with when they hold in some stretch of time.
struct Stretch<'a> {
    held: Vec<(&'a Window, Vec<Span>)>,
}

/// Decides whether a rollout of `subject` may begin at `at`.
///
/// Closed if a `deny` window holds, or if there are `allow` windows and none of them holds. Windows
/// about other subjects do not count; without any window it is open.
///
/// # Errors
///
/// [`EvaluateWindowError`] if a rule exceeds its bounds; it must be taken as closed.
pub fn decide(
    windows: &[Window],
    subject: &Subject,
    at: Timestamp,
) -> Result<Decision, EvaluateWindowError> {
    let now = Stretch::new(windows, subject, at, at.plus_nanos(1))?;
    if now.is_open(at) {
        return Ok(Decision::Open);
    }
    let (by, reason) = now.why_closed(at);
    Ok(Decision::Closed { by, reason, reopens_at: next_open(windows, subject, at)? })
}

/// Returns the first instant at or after `after` at which a rollout of `subject` may begin.
///
/// # Errors
///
/// [`EvaluateWindowError`] if a rule exceeds its bounds.
pub fn next_open(
    windows: &[Window],
    subject: &Subject,
    after: Timestamp,
) -> Result<Option<Timestamp>, EvaluateWindowError> {
    let piece_nanos = PIECE_DAYS * DAY_NANOS;
    let mut from = after;
    for _ in 0..HORIZON_DAYS / PIECE_DAYS {
        let to = Timestamp(from.0.saturating_add(piece_nanos));
        if let Some(open) = Stretch::new(windows, subject, from, to)?.first_open(from, to) {
            return Ok(Some(open));
        }
        from = to;
    }
    Ok(None)
}

// === impl Stretch ===

impl<'a> Stretch<'a> {
    fn new(
        windows: &'a [Window],
        subject: &Subject,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Self, EvaluateWindowError> {
        let held: Result<Vec<_>, _> = windows
            .iter()
            .filter(|window| window.matches(subject))
            .map(|window| Ok((window, window.spans(from, to)?)))
            .collect();
        Ok(Self { held: held? })
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &(&'a Window, Vec<Span>)> {
        self.held.iter().filter(move |(window, _)| window.spec.kind == kind)
    }

    fn is_open(&self, at: Timestamp) -> bool {
        let denied = self.of(Kind::Deny).any(|(_, spans)| holds(spans, at));
        let mut allows = self.of(Kind::Allow).peekable();
        let allowed = allows.peek().is_none() || allows.any(|(_, spans)| holds(spans, at));
        allowed && !denied
    }

    /// Only an end of a span, or the start of one that allows, can open.
    fn first_open(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let edges = self.held.iter().flat_map(|(window, spans)| {
            spans.iter().map(|span| match window.spec.kind {
                Kind::Deny => span.end,
                Kind::Allow => span.start,
            })
        });
        let mut candidates: Vec<Timestamp> =
            edges.filter(|&edge| edge > from && edge < to).collect();
        candidates.push(from);
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().find(|&at| self.is_open(at))
    }

    fn why_closed(&self, at: Timestamp) -> (Vec<String>, String) {
        let name = |(window, _): &(&Window, Vec<Span>)| window.spec.name.clone();
        let denies: Vec<_> = self.of(Kind::Deny).filter(|(_, spans)| holds(spans, at)).collect();
        let Some((first, _)) = denies.first() else {
            let by: Vec<String> = self.of(Kind::Allow).map(name).collect();
            let reason = format!("outside every window that allows it: {}", by.join(", "));
            return (by, reason);
        };
        let reason = match first.spec.reason.trim() {
            "" => format!("the freeze `{}` holds", first.spec.name),
            reason => format!("the freeze `{}` holds: {reason}", first.spec.name),
        };
        (denies.into_iter().map(name).collect(), reason)
    }
}

/// The spans are in order and apart, so only the last that began can hold.
fn holds(spans: &[Span], at: Timestamp) -> bool {
    let begun_count = spans.partition_point(|span| span.start <= at);
    spans[..begun_count].last().is_some_and(|span| at < span.end)
}
