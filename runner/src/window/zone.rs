//! From the time on the wall to an instant.

use chrono::offset::{LocalResult, Offset};
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use prophecy_core::time::Timestamp;

/// How far a missing time is searched for the offset before it; some zones once skipped a whole day.
const GAP_STEPS: i32 = 26 * 4;

/// Returns the instant at which the wall in `zone` shows `wall`.
///
/// A time that is shown twice means the first; a time that is never shown is read with the offset
/// that held before the gap, so 02:30 in a missing hour is 03:30.
///
/// # Source
///
/// RFC 5545, section 3.3.5, form 3.
pub(super) fn instant(zone: Tz, wall: NaiveDateTime) -> Timestamp {
    let nanos = match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_nanos_opt(),
        LocalResult::None => {
            let utc = wall - offset_before(zone, wall);
            utc.and_utc().timestamp_nanos_opt()
        }
    };
    Timestamp(nanos.unwrap_or(if wall.and_utc().timestamp() < 0 { i64::MIN } else { i64::MAX }))
}

/// Returns what the wall in `zone` shows at `at`.
pub(super) fn wall(zone: Tz, at: Timestamp) -> NaiveDateTime {
    DateTime::from_timestamp_nanos(at.0).with_timezone(&zone).naive_local()
}

fn offset_before(zone: Tz, missing: NaiveDateTime) -> TimeDelta {
    let seconds = (1..=GAP_STEPS)
        .filter_map(|step| {
            zone.from_local_datetime(&(missing - TimeDelta::minutes(15) * step)).latest()
        })
        .map(|before| before.offset().fix().local_minus_utc())
        .next()
        .unwrap_or(0);
    TimeDelta::seconds(i64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zone: Tz, shown: &str, expected: &str) {
        let wall: NaiveDateTime = shown.parse().unwrap();
        assert_eq!(crate::instant::write(instant(zone, wall)), expected, "{shown} in {zone}");
    }

    #[test]
    fn a_missing_hour_is_read_with_the_offset_before_it() {
        check(chrono_tz::Europe::Berlin, "2026-03-29T01:30:00", "2026-03-29T00:30:00Z");
        check(chrono_tz::Europe::Berlin, "2026-03-29T02:30:00", "2026-03-29T01:30:00Z");
        check(chrono_tz::Europe::Berlin, "2026-03-29T03:30:00", "2026-03-29T01:30:00Z");
        check(chrono_tz::America::New_York, "2026-03-08T02:30:00", "2026-03-08T07:30:00Z");
    }

    #[test]
    fn a_doubled_hour_means_its_first() {
        check(chrono_tz::Europe::Berlin, "2026-10-25T02:30:00", "2026-10-25T00:30:00Z");
        check(chrono_tz::America::New_York, "2026-11-01T01:30:00", "2026-11-01T05:30:00Z");
    }

    #[test]
    fn a_missing_day_and_a_half_hour_shift_are_read_alike() {
        check(chrono_tz::Pacific::Apia, "2011-12-30T12:00:00", "2011-12-30T22:00:00Z");
        check(chrono_tz::Australia::Lord_Howe, "2026-10-04T02:15:00", "2026-10-03T15:45:00Z");
    }
}
