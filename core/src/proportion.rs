//! Shares of counts: intervals, and whether two of them differ.

use crate::probability::Interval;

/// The 0.975 quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Returns the 95 % interval of a share of which `count` of `of` were seen.
///
/// # Panics
///
/// If `of` is zero, or less than `count`.
///
/// # Source
///
/// Wilson (1927), *Probable Inference, the Law of Succession, and Statistical Inference*.
///
/// # Examples
///
/// ```
/// let interval = prophecy_core::proportion::wilson_95(1, 20);
/// assert!((interval.lo() - 0.008881).abs() < 1e-6 && (interval.hi() - 0.236131).abs() < 1e-6);
/// ```
pub fn wilson_95(count: u64, of: u64) -> Interval {
    assert!(0 < of && count <= of, "{count} of {of} is not a share");
    let (n, p) = (of as f64, count as f64 / of as f64);
    let z2 = Z_95 * Z_95;
    let center = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Interval::try_new((center - half).max(0.0), (center + half).min(1.0))
        .expect("finite bounds in order")
}

/// Returns the probability of at least `count` of `of`, if it and `other_count` of `other_of` came
/// from one share: a small one says that the first share is larger.
///
/// # Source
///
/// Fisher's exact test, one-sided (Fisher, 1935), by the hypergeometric distribution.
pub fn fisher_greater(count: u64, of: u64, other_count: u64, other_of: u64) -> f64 {
    let total = count + other_count;
    let mut logs = vec![0.0; (of + other_of + 1) as usize];
    for n in 1..logs.len() {
        logs[n] = logs[n - 1] + (n as f64).ln();
    }
    let ln_choose = |n: u64, k: u64| logs[n as usize] - logs[k as usize] - logs[(n - k) as usize];
    let all = ln_choose(of + other_of, total);
    let tail = (count..=of.min(total)).filter(|k| total - k <= other_of);
    let sum: f64 =
        tail.map(|k| (ln_choose(of, k) + ln_choose(other_of, total - k) - all).exp()).sum();
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_intervals() {
        for (count, of, lo, hi) in [(0, 10, 0.0, 0.277_53), (850, 1_000, 0.826_531, 0.870_790)] {
            let interval = wilson_95(count, of);
            assert!((interval.lo() - lo).abs() < 1e-5 && (interval.hi() - hi).abs() < 1e-5);
        }
    }

    /// The lady tasting tea: 4 of 4 against 0 of 4 has probability 1/70; 3 or more of 4, 17/70.
    #[test]
    fn gives_the_probabilities_of_the_tea_tasting() {
        assert!((fisher_greater(4, 4, 0, 4) - 1.0 / 70.0).abs() < 1e-12);
        assert!((fisher_greater(3, 4, 1, 4) - 17.0 / 70.0).abs() < 1e-12);
        assert!((fisher_greater(0, 4, 2, 4) - 1.0).abs() < 1e-12);
    }
}
