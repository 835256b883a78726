//! From a written window to one that can be asked.

use std::str::FromStr as _;

use chrono::{Datelike as _, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use prophecy_core::time::parse_duration;
use serde::Deserialize;
use thiserror::Error;

use super::recurrence::Recurrence;
use super::{Length, RecurrenceError, Window, WindowSpec};

/// The longest that a window may hold at once.
const LONGEST_DAYS: i64 = 366;

/// Why a window was refused.
#[derive(Debug, Error)]
pub enum ParseWindowError {
    /// The document is not a list of windows.
    #[error("cannot read the freeze windows")]
    Document(#[source] serde_saphyr::Error),
    /// A name is missing, or used twice.
    #[error("freeze window `{name}`: expected a name that no other window has")]
    Name {
        /// What was found.
        name: String,
    },
    /// A time is not one on the wall.
    #[error(
        "freeze window `{window}`: `{field}: {found}` is not a time such as `2026-01-02T16:00:00` \
         between 1970 and 2200; the zone is written in `time_zone`"
    )]
    Time {
        /// Which window.
        window: String,
        /// Which field.
        field: &'static str,
        /// What was found.
        found: String,
    },
    /// The zone is unknown.
    #[error("freeze window `{window}`: `{zone}` is not an IANA time zone such as `Europe/Berlin`")]
    Zone {
        /// Which window.
        window: String,
        /// What was found.
        zone: String,
    },
    /// It does not end, or ends twice.
    #[error(
        "freeze window `{window}`: expected either `duration` or `end`, \
         longer than nothing and at most 366 days"
    )]
    Length {
        /// Which window.
        window: String,
    },
    /// The rule was refused.
    #[error("freeze window `{window}`")]
    Recurrence {
        /// Which window.
        window: String,
        /// Why.
        #[source]
        source: RecurrenceError,
    },
}

// === impl Window ===

impl TryFrom<WindowSpec> for Window {
    type Error = ParseWindowError;

    fn try_from(spec: WindowSpec) -> Result<Self, Self::Error> {
        let window = spec.name.clone();
        if window.trim().is_empty() {
            return Err(ParseWindowError::Name { name: window });
        }
        let zone = Tz::from_str(&spec.time_zone).map_err(|_| ParseWindowError::Zone {
            window: window.clone(),
            zone: spec.time_zone.clone(),
        })?;
        let start = wall_time(&window, "start", &spec.start)?;
        let length = length(&spec, start)?;
        let recurrence = match &spec.rrule {
            None => None,
            Some(rule) => Some(
                Recurrence::parse(rule, start, zone)
                    .map_err(|source| ParseWindowError::Recurrence { window, source })?,
            ),
        };
        Ok(Self { spec, start, zone, length, recurrence })
    }
}

/// Reads a list of windows from YAML.
///
/// # Errors
///
/// [`ParseWindowError`] if any window is not as it should be: one bad window refuses all, since a
/// freeze that is silently left out would let through what it should stop.
pub fn parse(yaml: &str) -> Result<Vec<Window>, ParseWindowError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        windows: Vec<WindowSpec>,
    }
    let document: Document = serde_saphyr::from_str(yaml).map_err(ParseWindowError::Document)?;
    let mut windows: Vec<Window> = Vec::new();
    for spec in document.windows {
        if windows.iter().any(|window| window.spec.name == spec.name) {
            return Err(ParseWindowError::Name { name: spec.name });
        }
        windows.push(Window::try_from(spec)?);
    }
    Ok(windows)
}

fn wall_time(
    window: &str,
    field: &'static str,
    text: &str,
) -> Result<NaiveDateTime, ParseWindowError> {
    let time: Option<NaiveDateTime> = text.parse().ok();
    time.filter(|time| (1970..2200).contains(&time.year())).ok_or_else(|| ParseWindowError::Time {
        window: window.to_owned(),
        field,
        found: text.to_owned(),
    })
}

fn length(spec: &WindowSpec, start: NaiveDateTime) -> Result<Length, ParseWindowError> {
    let refuse = || ParseWindowError::Length { window: spec.name.clone() };
    let longest = TimeDelta::days(LONGEST_DAYS);
    match (&spec.duration, &spec.end) {
        (Some(duration), None) => {
            let duration = parse_duration(duration).map_err(|_| refuse())?;
            let fits =
                !duration.is_zero() && TimeDelta::from_std(duration).is_ok_and(|d| d <= longest);
            fits.then_some(Length::Elapsed(duration)).ok_or_else(refuse)
        }
        (None, Some(end)) => {
            let more = wall_time(&spec.name, "end", end)? - start;
            let fits = more > TimeDelta::zero() && more <= longest;
            fits.then_some(Length::Wall(more)).ok_or_else(refuse)
        }
        _ => Err(refuse()),
    }
}
