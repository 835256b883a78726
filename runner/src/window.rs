//! Freeze windows: when a rollout may begin.
//!
//! A window says when it holds (once, or by an RFC 5545 rule on the wall of a time zone) and for
//! whom. A `deny` window closes while it holds; `allow` windows close whenever none of them holds.
//! What no window is about is open, and `deny` wins. Windows gate the creation and the start of a
//! rollout; one that runs is never interrupted, and a rollback always passes.

mod admission;
mod decision;
mod glob;
mod parse;
mod recurrence;
mod zone;

use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::admission::{
    Action, Admission, BreakGlass, BreakGlassError, BreakGlassRecord, admit,
};
pub use self::decision::{Decision, HORIZON_DAYS, decide, next_open};
pub use self::parse::{ParseWindowError, parse};
use self::recurrence::Recurrence;
pub use self::recurrence::RecurrenceError;

/// Whether a window closes while it holds, or opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rollouts may begin while it holds, and at no other time.
    Allow,
    /// No rollout may begin while it holds.
    Deny,
}

/// What a window is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The service that changes.
    pub service: String,
    /// Where it changes.
    pub environment: String,
}

/// A window as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// What it is called.
    pub name: String,
    /// Whether it opens or closes.
    pub kind: Kind,
    /// The RFC 5545 rule by which it repeats; without one it holds once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrule: Option<String>,
    /// The first start, on the wall: `2026-01-02T16:00:00`.
    pub start: String,
    /// How long it holds, as elapsed time: `64h`. Either this or `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The end that belongs to `start`, on the wall. Either this or `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// The IANA name of the time zone.
    pub time_zone: String,
    /// The services it is about, with `*` and `?`; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The environments it is about, with `*` and `?`; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// What whoever is refused is told.
    #[serde(default)]
    pub reason: String,
}

/// A window that was checked.
#[derive(Clone, Debug)]
pub struct Window {
    spec: WindowSpec,
    start: NaiveDateTime,
    zone: Tz,
    length: Length,
    recurrence: Option<Recurrence>,
}

/// How long a window holds.
#[derive(Clone, Copy, Debug)]
enum Length {
    /// So much time passes.
    Elapsed(Duration),
    /// The wall shows so much more, whatever passes.
    Wall(TimeDelta),
}

/// A time in which a window holds: from `start`, up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: Timestamp,
    end: Timestamp,
}

/// Why windows could not be asked. Whoever gets this must take it as closed.
#[derive(Debug, Error)]
#[error("cannot work out when freeze window `{window}` holds")]
pub struct EvaluateWindowError {
    /// Which window.
    pub window: String,
    /// Why.
    #[source]
    pub source: RecurrenceError,
}

// === impl Window ===

impl Window {
    /// Returns the window as it was written.
    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// Returns whether the window is about `subject`.
    pub fn matches(&self, subject: &Subject) -> bool {
        let any = |patterns: &[String], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| glob::fits(pattern, name))
        };
        any(&self.spec.services, &subject.service)
            && any(&self.spec.environments, &subject.environment)
    }

    /// Returns when the window holds within `[from, to)`, in order and apart from each other.
    fn spans(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Span>, EvaluateWindowError> {
        // A day of slack on both sides covers what a zone may do between wall and instant.
        let slack = TimeDelta::days(1);
        let starts = match &self.recurrence {
            None => vec![self.start],
            Some(recurrence) => recurrence
                .starts(
                    zone::wall(self.zone, from) - self.longest() - slack,
                    zone::wall(self.zone, to) + slack,
                )
                .map_err(|source| EvaluateWindowError { window: self.spec.name.clone(), source })?,
        };
        let spans = starts.into_iter().map(|start| self.span(start));
        // Where the clocks skip an hour, a window may end before it begins.
        let within = |span: &Span| span.start < span.end && span.start < to && span.end > from;
        Ok(merge(spans.filter(within).collect()))
    }

    fn span(&self, wall: NaiveDateTime) -> Span {
        let start = zone::instant(self.zone, wall);
        let end = match self.length {
            Length::Elapsed(duration) => start.plus_nanos(duration.as_nanos() as u64),
            Length::Wall(more) => zone::instant(self.zone, wall + more),
        };
        Span { start, end }
    }

    fn longest(&self) -> TimeDelta {
        match self.length {
            Length::Elapsed(duration) => TimeDelta::nanoseconds(duration.as_nanos() as i64),
            Length::Wall(more) => more,
        }
    }
}

/// Joins what overlaps or touches, so that one search finds what holds at an instant.
fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
