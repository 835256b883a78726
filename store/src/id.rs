//! Identifiers that sort by the time they were made.

use prophecy_core::Timestamp;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Makes an identifier of 26 characters: the milliseconds of `at`, then `random`.
///
/// Identifiers of different milliseconds sort like their times; within one millisecond they sort
/// like `random`, which a caller may count up. Times before 1970 count as 1970.
///
/// # Determinism
///
/// The same time and bytes give the same identifier.
///
/// # Source
///
/// The layout of ULID: 48 bits of time and 80 of randomness in Crockford's base 32.
///
/// # Examples
///
/// ```
/// use prophecy_core::Timestamp;
/// let id = prophecy_store::sortable_id(Timestamp(1_469_918_176_385_000_000), [0; 10]);
/// assert_eq!(id, "01ARYZ6S410000000000000000");
/// ```
pub fn sortable_id(at: Timestamp, random: [u8; 10]) -> String {
    let millis = u128::try_from(at.0.max(0) / 1_000_000).unwrap_or(0);
    let bits = random.iter().fold(millis, |bits, byte| (bits << 8) | u128::from(*byte));
    let digit = |index: u32| char::from(DIGITS[(bits >> (5 * index) & 31) as usize]);
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_time_and_randomness_like_a_ulid() {
        // 1469918176385 ms is the time of the example in the ULID specification: `01ARYZ6S41`.
        let at = Timestamp(1_469_918_176_385_000_000);
        assert_eq!(sortable_id(at, [0; 10]), "01ARYZ6S410000000000000000");
        assert_eq!(sortable_id(at, [255; 10]), "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn sorts_by_time_then_by_the_bytes() {
        let ids = [
            sortable_id(Timestamp(-5), [9; 10]),
            sortable_id(Timestamp(1_000_000), [0; 10]),
            sortable_id(Timestamp(1_000_000), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            sortable_id(Timestamp(2_000_000), [0; 10]),
            sortable_id(Timestamp(i64::MAX), [0; 10]),
        ];
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 26), "{ids:?}");
    }
}
