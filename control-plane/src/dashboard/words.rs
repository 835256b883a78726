//! Numbers and times in words: with unit, rounded to their uncertainty, relative to a given now.

use prophecy_core::Timestamp;
use prophecy_predictor::Verdict;
use prophecy_predictor::report::Metric;

use super::markup::Markup;

const SECOND: i64 = 1_000_000_000;

/// Returns the verdict in words.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Go => "go",
        Verdict::NoGo => "no-go",
        Verdict::NotEnoughEvidence => "not enough evidence",
    }
}

/// Returns the class of a verdict's color; the words are always beside it.
pub(super) fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Go => "good",
        Verdict::NoGo => "bad",
        Verdict::NotEnoughEvidence => "unsure",
    }
}

/// Returns a share in percent, without digits that mean nothing.
pub(super) fn percent(share: f64) -> String {
    match 100.0 * share {
        value if !value.is_finite() => "–".to_owned(),
        value if value > 0.0 && value < 0.5 => "<\u{a0}1\u{a0}%".to_owned(),
        value if value < 100.0 && value > 99.5 => ">\u{a0}99\u{a0}%".to_owned(),
        value => format!("{value:.0}\u{a0}%"),
    }
}

/// Returns a range of shares in percent.
pub(super) fn percents(lo: f64, hi: f64) -> String {
    if !lo.is_finite() || !hi.is_finite() {
        return "no interval".to_owned();
    }
    format!("{:.0}–{:.0} %", 100.0 * lo, 100.0 * hi)
}

/// Returns the weight of a rollout, which can be as small as 0.001 %.
pub(super) fn weight(share: f64) -> String {
    let digits = format!("{:.3}", 100.0 * share);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// Returns a value with the digits that an uncertainty of `spread` leaves meaning.
pub(super) fn rounded(value: f64, spread: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let digits = if spread > 0.0 && spread.is_finite() {
        (-spread.log10().floor()).clamp(0.0, 4.0) as usize
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if zero { text.trim_start_matches('-').to_owned() } else { text.replace('-', "−") }
}

/// Returns a value of a metric with its unit.
pub(super) fn value(metric: Metric, value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match metric {
        Metric::ErrorRate | Metric::ClientErrorRate => format!("{:.2} %", 100.0 * value),
        Metric::Memory => format!("{value:.0} MiB"),
        _ if value < 99.5 => format!("{value:.1} ms"),
        _ => format!("{value:.0} ms"),
    }
}

/// Returns a length of time in its two largest units.
pub(super) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let two = |large: u64, name: &str, small: u64, rest: &str| match small {
        0 => format!("{large} {name}"),
        _ => format!("{large} {name} {small} {rest}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// Returns how long before (or after) `now` a time was, in one unit.
fn ago(now: Timestamp, at: Timestamp) -> String {
    let distance = (i128::from(now.0) - i128::from(at.0)) / i128::from(SECOND);
    let length = match distance.unsigned_abs() {
        0 => return "just now".to_owned(),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..86_400 => format!("{} h", s / 3_600),
        s if s < 2 * 86_400 => "1 day".to_owned(),
        s => format!("{} days", s / 86_400),
    };
    if distance > 0 { format!("{length} ago") } else { format!("in {length}") }
}

/// Writes a time: exact for machines and on hover, relative for eyes.
pub(super) fn time(now: Timestamp, at: Timestamp) -> Markup {
    let exact = utc(at);
    let readable = exact.replace('T', " ").replace('Z', " UTC");
    Markup::with(|m| m.leaf("time", &[("datetime", &exact), ("title", &readable)], &ago(now, at)))
}

/// Returns a time in UTC, as RFC 3339 writes it.
pub(super) fn utc(at: Timestamp) -> String {
    let seconds = at.0.div_euclid(SECOND);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let clock = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (clock / 3_600, clock % 3_600 / 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns the year and month of a time.
pub(super) fn month(at: Timestamp) -> (i64, i64) {
    let (year, month, _) = civil(at.0.div_euclid(SECOND).div_euclid(86_400));
    (year, month)
}

/// Turns days since 1970 into a date of the Gregorian calendar. Years are counted from March, so
/// that the odd day of a leap year is the last, in eras of 400 years, all equally long.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march_of_0 = days + 719_468;
    let era = from_march_of_0.div_euclid(146_097);
    let day_of_era = from_march_of_0.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_known_times_in_utc() {
        let check = |seconds: i64, expected: &str| {
            assert_eq!(utc(Timestamp(seconds * SECOND)), expected);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_700_000_000, "2023-11-14T22:13:20Z");
        check(-1, "1969-12-31T23:59:59Z");
    }

    #[test]
    fn keeps_the_digits_that_the_uncertainty_leaves() {
        assert_eq!(rounded(0.123_456, 0.02), "0.12");
        assert_eq!(rounded(12.345, 3.0), "12");
        assert_eq!(rounded(-0.000_01, 0.1), "0.0");
        assert_eq!(rounded(f64::NAN, 0.1), "–");
    }

    #[test]
    fn says_how_long_ago_in_one_unit_even_at_the_ends_of_time() {
        let check =
            |now, at, expected: &str| assert_eq!(ago(Timestamp(now), Timestamp(at)), expected);
        check(90 * SECOND, 0, "1 min ago");
        check(0, 7_200 * SECOND, "in 2 h");
        check(i64::MAX, i64::MIN, "213503 days ago");
    }

    #[test]
    fn keeps_the_smallest_weight_visible() {
        assert_eq!(weight(0.000_01), "0.001 %");
        assert_eq!(weight(0.25), "25 %");
        assert_eq!(weight(1.0), "100 %");
    }
}
