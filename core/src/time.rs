//! Time as integers: instants of the real world, instants of a simulation, and written durations.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// An instant of the real world: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// An instant of a simulation: nanoseconds since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(pub u64);

/// Why a written duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a duration; write a number and a unit, such as `250ms`, `10s`, `5m` or `1h`"
)]
pub struct ParseDurationError {
    text: String,
}

// === impl Timestamp ===

impl Timestamp {
    /// Returns the nanoseconds from `earlier` to `self`, or zero if `earlier` is later.
    pub fn nanos_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// Returns the instant `nanos` after `self`.
    #[must_use]
    pub fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with milliseconds: `2026-11-20T19:30:00.250Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.div_euclid(1_000_000);
        let days = millis.div_euclid(86_400_000);
        let of_day = millis.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

// === impl SimTime ===

impl SimTime {
    /// Returns the instant `nanos` after `self`.
    #[must_use]
    pub fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// Parses a duration such as `250ms`, `1.5s`, `10m`, `2h`, `1d`, `40us` or `7ns`.
///
/// # Errors
///
/// [`ParseDurationError`] if the number or the unit is missing or unknown.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// assert_eq!(prophecy_core::time::parse_duration("1.5s")?, Duration::from_millis(1_500));
/// # Ok::<(), prophecy_core::time::ParseDurationError>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let refuse = || ParseDurationError { text: text.to_owned() };
    let trimmed = text.trim();
    let unit_index = trimmed.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = trimmed.split_at(unit_index);
    let value: f64 = number.parse().map_err(|_| refuse())?;
    let nanos_per_unit = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3_600e9,
        "d" => 86_400e9,
        _ => return Err(refuse()),
    };
    let nanos = value * nanos_per_unit;
    if !nanos.is_finite() || nanos >= 9e18 {
        return Err(refuse());
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Writes nanoseconds with a readable unit and three significant digits: `12.3 ms`.
///
/// # Examples
///
/// ```
/// assert_eq!(prophecy_core::time::human_nanos(12_345_678), "12.3 ms");
/// ```
pub fn human_nanos(nanos: u64) -> String {
    let value = nanos as f64;
    let (scaled, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        1_000_000_000..120_000_000_000 => (value / 1e9, "s"),
        120_000_000_000..7_200_000_000_000 => (value / 60e9, "min"),
        7_200_000_000_000..172_800_000_000_000 => (value / 3_600e9, "h"),
        _ => (value / 86_400e9, "days"),
    };
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$} {unit}")
}

/// Turns days since 1970-01-01 into a date of the proleptic Gregorian calendar.
///
/// # Source
///
/// Hinnant, *chrono-Compatible Low-Level Date Algorithms*, `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_rfc_3339() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(951_782_400_250_000_000).to_string(), "2000-02-29T00:00:00.250Z");
        assert_eq!(Timestamp(-1_000_000).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn refuses_durations_without_a_unit_or_a_number() {
        for text in ["", "10", "s", "10 parsecs", "1e99h", "-3s", "1.2.3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keeps_three_significant_digits() {
        let cases = [
            (999, "999 ns"),
            (1_500, "1.50 µs"),
            (99_960_000, "100 ms"),
            (61_000_000_000, "61.0 s"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(human_nanos(nanos), expected);
        }
    }
}
