//! Instants and durations as they are written in files.

use chrono::{DateTime, SecondsFormat};
use prophecy_core::time::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes an instant as RFC 3339 in UTC, with as many digits as it has.
///
/// # Examples
///
/// ```
/// use prophecy_core::time::Timestamp;
/// assert_eq!(prophecy_runner::instant::write(Timestamp(0)), "1970-01-01T00:00:00Z");
/// ```
pub fn write(at: Timestamp) -> String {
    DateTime::from_timestamp_nanos(at.0).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Reads an instant written as RFC 3339, or returns `None`.
pub fn read(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt().map(Timestamp)
}

/// Writes an instant for `serde`.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&write(*at))
}

/// Reads an instant for `serde`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text)
        .ok_or_else(|| D::Error::custom("an instant is written such as `2026-01-02T16:00:00Z`"))
}

/// Instants that may be absent, for `serde`.
pub mod optional {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes an instant, or nothing.
    pub fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads an instant, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        #[derive(Deserialize)]
        struct Present(#[serde(with = "super")] Timestamp);
        Ok(Option::<Present>::deserialize(deserializer)?.map(|present| present.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_writing_and_reading_to_the_nanosecond() {
        for nanos in [0, 1, 1_767_369_600_000_000_000, 1_767_369_600_123_456_789, -1] {
            assert_eq!(read(&write(Timestamp(nanos))), Some(Timestamp(nanos)));
        }
        assert_eq!(read("2026-01-02T16:00:00"), None, "without a zone it is not an instant");
    }
}
