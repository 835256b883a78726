//! Quantiles of samples, by one definition everywhere.

/// Returns the `level`-quantile of ascending `sorted`, or `None` if it is empty.
///
/// The result is the smallest sample with at least `level` of the samples at or below it: always
/// one of the inputs, never an interpolation.
///
/// # Shapes and units
///
/// - `sorted`: `[n]`, ascending, any unit; the result has the same unit.
/// - `level`: dimensionless, `0.0 <= level <= 1.0`; other values are clamped.
///
/// # Source
///
/// Hyndman and Fan (1996), *Sample Quantiles in Statistical Packages*, definition 1.
///
/// # Examples
///
/// ```
/// use prophecy_core::quantile::of_sorted;
/// assert_eq!(of_sorted(&[10, 20, 30, 40], 0.5), Some(20));
/// assert_eq!(of_sorted(&[10, 20, 30, 40], 0.99), Some(40));
/// ```
pub fn of_sorted<T: Copy>(sorted: &[T], level: f64) -> Option<T> {
    sorted.get(index(sorted.len(), level)?).copied()
}

/// Returns the `level`-quantile of `samples`, reordering them, or `None` if they are empty.
///
/// The same definition as [`of_sorted`], in `O(n)` time.
pub fn select<T: Copy + Ord>(samples: &mut [T], level: f64) -> Option<T> {
    let index = index(samples.len(), level)?;
    Some(*samples.select_nth_unstable(index).1)
}

fn index(count: usize, level: f64) -> Option<usize> {
    let last = count.checked_sub(1)?;
    // NUMERICS: 0.95 * 20 is 19.000000000000000000 or a hair above it; the hair must not move the
    // rank, so a billionth of a rank is forgiven.
    let rank = (level.clamp(0.0, 1.0) * count as f64 - 1e-9).ceil() as usize;
    Some(rank.saturating_sub(1).min(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_what_sorting_would_give() {
        let mut samples: Vec<u32> = (0..1_000).map(|i| i * 7_919 % 1_000).collect();
        for level in [0.0, 0.01, 0.5, 0.95, 0.99, 1.0] {
            let sorted: Vec<u32> = (0..1_000).collect();
            assert_eq!(select(&mut samples, level), of_sorted(&sorted, level), "{level}");
        }
        assert_eq!(select::<u32>(&mut [], 0.5), None);
    }

    #[test]
    fn takes_the_nineteenth_of_twenty_at_ninety_five_percent() {
        let sorted: Vec<u32> = (1..=20).collect();
        assert_eq!(of_sorted(&sorted, 0.95), Some(19));
    }
}
