//! When a window starts, on the wall.
//!
//! A recurrence is worked out in wall-clock time and only then placed in a zone: a rule that says
//! "at four on Fridays" means four on the wall, summer and winter.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use rrule::{Frequency, RRule, RRuleError, Unvalidated};
use thiserror::Error;

use super::zone;
use crate::instant;

/// The most occurrences that a rule may have in [`PIECE_DAYS`]; an hourly rule has 9,600.
const DENSEST: u16 = 10_000;

/// The most occurrences that a `COUNT` may ask for.
const LARGEST_COUNT: u32 = 10_000;

/// How many days are worked out at once.
pub(super) const PIECE_DAYS: i64 = 400;

/// The longest text of a rule.
const LONGEST_RULE_BYTES: usize = 1_000;

/// Why a rule was refused, or could not be worked out.
#[derive(Debug, Error)]
pub enum RecurrenceError {
    /// The text is not one rule.
    #[error("`{rule}` is not one RFC 5545 rule without line breaks, of at most 1,000 bytes")]
    NotOneRule {
        /// The text, cut.
        rule: String,
    },
    /// The library of recurrences refused the rule.
    #[error("cannot read the rule `{rule}`")]
    Refused {
        /// The text.
        rule: String,
        /// What was wrong with it.
        #[source]
        source: Box<RRuleError>,
    },
    /// `UNTIL` is not a time.
    #[error("`UNTIL={until}` is not a date or a time of RFC 5545")]
    Until {
        /// What was found.
        until: String,
    },
    /// It repeats too often.
    #[error("the rule `{rule}` repeats too often: at most hourly, and 10,000 times in 400 days")]
    TooDense {
        /// The text.
        rule: String,
    },
    /// `COUNT` is too large.
    #[error("the rule `{rule}` counts to {count}, expected at most 10,000")]
    CountTooLarge {
        /// The text.
        rule: String,
        /// What was found.
        count: u32,
    },
    /// No date fits.
    #[error("the rule `{rule}` never occurs")]
    Never {
        /// The text.
        rule: String,
    },
}

/// A rule with its start.
#[derive(Clone, Debug)]
pub(super) struct Recurrence {
    text: String,
    start: NaiveDateTime,
    rule: RRule<Unvalidated>,
}

// === impl Recurrence ===

impl Recurrence {
    /// Reads a rule, and proves that it can be worked out within bounds.
    pub(super) fn parse(
        text: &str,
        start: NaiveDateTime,
        zone: Tz,
    ) -> Result<Self, RecurrenceError> {
        let text = text.trim();
        let text = text.strip_prefix("RRULE:").unwrap_or(text).to_ascii_uppercase();
        if text.is_empty()
            || text.len() > LONGEST_RULE_BYTES
            || text.chars().any(|c| c.is_control() || c == ':')
        {
            let rule = text.chars().take(60).filter(|c| !c.is_control()).collect();
            return Err(RecurrenceError::NotOneRule { rule });
        }
        let parts: Result<Vec<String>, _> =
            text.split(';').map(|part| until_on_the_wall(part, zone)).collect();
        let rule: RRule<Unvalidated> = parts?.join(";").parse().map_err(|source| {
            RecurrenceError::Refused { rule: text.clone(), source: Box::new(source) }
        })?;
        if matches!(rule.get_freq(), Frequency::Minutely | Frequency::Secondly) {
            return Err(RecurrenceError::TooDense { rule: text });
        }
        if let Some(count) = rule.get_count().filter(|&count| count > LARGEST_COUNT) {
            return Err(RecurrenceError::CountTooLarge { rule: text, count });
        }
        let recurrence = Self { text, start, rule };
        recurrence.prove()?;
        Ok(recurrence)
    }

    /// Returns the starts in `[from, to]`, in order.
    ///
    /// `to` is at most [`PIECE_DAYS`] and the longest window after `from`.
    pub(super) fn starts(
        &self,
        from: NaiveDateTime,
        to: NaiveDateTime,
    ) -> Result<Vec<NaiveDateTime>, RecurrenceError> {
        let mut starts = Vec::new();
        let mut piece_from = from.max(self.start);
        while piece_from <= to {
            let piece_to = to.min(piece_from + TimeDelta::days(PIECE_DAYS));
            starts.extend(self.piece(piece_from, piece_to)?);
            piece_from = piece_to + TimeDelta::nanoseconds(1);
        }
        Ok(starts)
    }

    fn piece(
        &self,
        from: NaiveDateTime,
        to: NaiveDateTime,
    ) -> Result<Vec<NaiveDateTime>, RecurrenceError> {
        let first = self.near(from);
        if self.rule.get_until().is_some_and(|until| until.naive_utc() < first) {
            return Ok(Vec::new());
        }
        let set = self.rule.clone().build(on_the_wall(first)).map_err(|source| {
            RecurrenceError::Refused { rule: self.text.clone(), source: Box::new(source) }
        })?;
        let found = set.after(on_the_wall(from)).before(on_the_wall(to)).all(DENSEST + 1);
        if found.limited {
            return Err(RecurrenceError::TooDense { rule: self.text.clone() });
        }
        Ok(found.dates.into_iter().map(|date| date.naive_utc()).collect())
    }

    /// Returns a start in phase with the rule and at least one period before `from`.
    ///
    /// Without it, a rule that began ten years ago would be counted from there every time.
    fn near(&self, from: NaiveDateTime) -> NaiveDateTime {
        let interval = i64::from(self.rule.get_interval().max(1));
        let period = match self.rule.get_freq() {
            Frequency::Weekly => TimeDelta::weeks(interval),
            Frequency::Daily => TimeDelta::days(interval),
            Frequency::Hourly => TimeDelta::hours(interval),
            _ => return self.start,
        };
        if self.rule.get_count().is_some() {
            return self.start;
        }
        let periods = (from - self.start).num_seconds() / period.num_seconds() - 1;
        let shift = TimeDelta::seconds(period.num_seconds() * periods.max(0));
        self.start.checked_add_signed(shift).unwrap_or(self.start)
    }

    /// Takes a rule past what `parse` lets through, to see what asking does then.
    #[cfg(test)]
    pub(super) fn made_too_dense(self) -> Self {
        let rule = "FREQ=SECONDLY".parse().expect("a rule");
        Self { rule, ..self }
    }

    fn prove(&self) -> Result<(), RecurrenceError> {
        self.piece(self.start, self.start + TimeDelta::days(PIECE_DAYS))?;
        let set = self.rule.clone().build(on_the_wall(self.start)).map_err(|source| {
            RecurrenceError::Refused { rule: self.text.clone(), source: Box::new(source) }
        })?;
        if set.all(1).dates.is_empty() {
            return Err(RecurrenceError::Never { rule: self.text.clone() });
        }
        Ok(())
    }
}

/// The wall clock, told to the library as if it were UTC, which has no gaps.
fn on_the_wall(wall: NaiveDateTime) -> DateTime<rrule::Tz> {
    wall.and_utc().with_timezone(&rrule::Tz::UTC)
}

/// Turns an `UNTIL` of any form into one on the wall of `zone`; other parts stay.
fn until_on_the_wall(part: &str, zone: Tz) -> Result<String, RecurrenceError> {
    const TIME: &str = "%Y%m%dT%H%M%S";
    let Some(until) = part.strip_prefix("UNTIL=") else {
        return Ok(part.to_owned());
    };
    let refuse = || RecurrenceError::Until { until: until.to_owned() };
    let wall = if let Some(utc) = until.strip_suffix('Z') {
        let utc = NaiveDateTime::parse_from_str(utc, TIME).map_err(|_| refuse())?;
        let at = instant::read(&format!("{}Z", utc.format("%Y-%m-%dT%H:%M:%S")));
        zone::wall(zone, at.ok_or_else(refuse)?)
    } else if until.contains('T') {
        NaiveDateTime::parse_from_str(until, TIME).map_err(|_| refuse())?
    } else {
        let day = NaiveDate::parse_from_str(until, "%Y%m%d").map_err(|_| refuse())?;
        day.and_hms_opt(23, 59, 59).ok_or_else(refuse)?
    };
    Ok(format!("UNTIL={}Z", wall.format(TIME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: Tz = chrono_tz::Europe::Berlin;

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn starts(rule: &str, start: &str, from: &str, to: &str) -> Vec<String> {
        let recurrence = Recurrence::parse(rule, at(start), BERLIN).unwrap();
        let found = recurrence.starts(at(from), at(to)).unwrap();
        found.iter().map(|wall| wall.format("%Y-%m-%dT%H:%M").to_string()).collect()
    }

    #[test]
    fn a_rule_is_counted_from_its_start_however_late_one_looks() {
        let biweekly = "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR";
        let late =
            starts(biweekly, "2016-01-01T16:00:00", "2026-01-01T00:00:00", "2026-02-01T00:00:00");
        // 2016-01-01 was a Friday; 261 fortnights later is 2026-01-02.
        assert_eq!(late, ["2026-01-02T16:00", "2026-01-16T16:00", "2026-01-30T16:00"]);
        let every_third = starts(
            "FREQ=DAILY;INTERVAL=3",
            "2026-01-01T00:00:00",
            "2026-12-25T00:00:00",
            "2026-12-31T00:00:00",
        );
        assert_eq!(every_third, ["2026-12-27T00:00", "2026-12-30T00:00"]);
    }

    #[test]
    fn a_leap_day_comes_every_four_years_and_not_in_2100() {
        let rule = "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29";
        let found =
            starts(rule, "2024-02-29T09:00:00", "2090-01-01T00:00:00", "2105-01-01T00:00:00");
        assert_eq!(found, ["2092-02-29T09:00", "2096-02-29T09:00", "2104-02-29T09:00"]);
    }

    #[test]
    fn an_until_in_utc_is_an_instant_and_one_without_a_zone_is_on_the_wall() {
        let check = |until: &str, expected: usize| {
            let rule = format!("FREQ=DAILY;UNTIL={until}");
            let found =
                starts(&rule, "2026-07-01T00:30:00", "2026-06-01T00:00:00", "2026-08-01T00:00:00");
            assert_eq!(found.len(), expected, "{until}");
        };
        check("20260702T223000Z", 3); // 00:30 on July 3 in Berlin
        check("20260702T222959Z", 2);
        check("20260703T003000", 3);
        check("20260703", 3);
    }

    #[test]
    fn a_count_ends_the_rule() {
        let rule = "RRULE:FREQ=DAILY;COUNT=3";
        let found =
            starts(rule, "2026-01-01T00:00:00", "2026-01-02T00:00:00", "2027-01-01T00:00:00");
        assert_eq!(found, ["2026-01-02T00:00", "2026-01-03T00:00"]);
    }

    #[test]
    fn a_hostile_rule_is_refused_and_never_runs_on() {
        let refuse = |rule: &str| {
            Recurrence::parse(rule, at("2026-01-01T00:00:00"), BERLIN).expect_err(rule)
        };
        assert!(matches!(refuse("FREQ=SECONDLY"), RecurrenceError::TooDense { .. }));
        assert!(matches!(refuse("FREQ=MINUTELY;COUNT=2"), RecurrenceError::TooDense { .. }));
        assert!(matches!(
            refuse("FREQ=HOURLY;BYMINUTE=0,10,20,30,40,50"),
            RecurrenceError::TooDense { .. }
        ));
        assert!(matches!(
            refuse("FREQ=DAILY;COUNT=4000000000"),
            RecurrenceError::CountTooLarge { count: 4_000_000_000, .. }
        ));
        assert!(matches!(
            refuse("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
            RecurrenceError::Never { .. }
        ));
        assert!(matches!(refuse("FREQ=DAILY;UNTIL=tomorrow"), RecurrenceError::Until { .. }));
        assert!(matches!(refuse("FREQ=DAILY\nEXDATE:1"), RecurrenceError::NotOneRule { .. }));
        assert!(matches!(refuse("BYDAY=FR"), RecurrenceError::Refused { .. }));
        assert!(matches!(refuse(&"A".repeat(5_000)), RecurrenceError::NotOneRule { .. }));
    }
}
