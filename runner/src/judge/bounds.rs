//! Bounds of a share that hold at all times at once.

use crate::slice::Histogram;

/// Returns the shares that the counts do not contradict, whenever one looks: over all times together they
/// miss the true one with a probability of at most `alpha`.
///
/// # Source
///
/// Robbins' method of mixtures for a Bernoulli sequence: the shares at which the mixture's likelihood is less
/// than `1/alpha` times that of the share (Robbins, *Statistical methods related to the law of the iterated
/// logarithm*, 1970; Ville's inequality). Half of the mixture is uniform, half is `Beta(1/2, 10)`, which is sharp
/// where little is expected.
pub(super) fn share(successes: u64, count: u64, alpha: f64) -> [f64; 2] {
    if count == 0 {
        return [0.0, 1.0];
    }
    let (k, n) = (successes as f64, count as f64);
    let mixture = ln_mixture(k, n);
    let limit = -alpha.ln();
    let middle = k / n;
    let is_contradicted = |p: f64| mixture - ln_likelihood(k, n, p) >= limit;
    let lo = if k == 0.0 { 0.0 } else { root(0.0, middle, is_contradicted) };
    let hi = if successes == count { 1.0 } else { root(1.0, middle, is_contradicted) };
    [lo, hi]
}

/// Returns the logarithm of what the mixture makes of the counts.
fn ln_mixture(k: f64, n: f64) -> f64 {
    let uniform = ln_beta(k + 1.0, n - k + 1.0);
    let little = ln_beta(k + 0.5, n - k + 10.0) - ln_beta(0.5, 10.0);
    let most = uniform.max(little);
    most + (0.5 * ((uniform - most).exp() + (little - most).exp())).ln()
}

/// Returns the logarithm of what a share makes of the counts.
fn ln_likelihood(k: f64, n: f64, p: f64) -> f64 {
    let of = |count: f64, p: f64| if count == 0.0 { 0.0 } else { count * p.ln() };
    of(k, p) + of(n - k, 1.0 - p)
}

/// Returns between which of the values the true quantile lies, whenever one looks; nothing while an end is open.
///
/// The values at or below the true quantile come with a known share, so the counts that do not contradict it
/// say which order statistics it lies between.
///
/// # Source
///
/// Howard and Ramdas, *Sequential estimation of quantiles with applications to A/B testing and best-arm
/// identification* (2022), theorem 1, with the mixture above as the boundary.
pub(super) fn quantile(values: &Histogram, level: f64, alpha: f64) -> Option<[f64; 2]> {
    let count = values.count();
    let (n, limit) = (count as f64, -alpha.ln());
    let is_contradicted =
        |k: u64| ln_mixture(k as f64, n) - ln_likelihood(k as f64, n, level) >= limit;
    let middle = (level * n) as u64;
    // On either side of the middle, what is contradicted is so from somewhere on.
    let first = halved(0, middle, |below| !is_contradicted(below));
    let last = halved(middle, count + 1, |below| below > count || is_contradicted(below));
    let last = last.checked_sub(1)?;
    if first == 0 || last >= count {
        return None;
    }
    let at = |rank: u64| values.quantile(rank as f64 / count as f64).map(|it| it as f64);
    Some([at(first)?, at(last + 1)?])
}

/// Returns the first number of a range for which something holds that then goes on to hold, or its end.
fn halved(from: u64, to: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = u64::midpoint(low, high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Bisects between a contradicted end and one that is not.
fn root(contradicted: f64, allowed: f64, is_contradicted: impl Fn(f64) -> bool) -> f64 {
    let (mut out, mut within) = (contradicted, allowed);
    for _ in 0..50 {
        let middle = f64::midpoint(out, within);
        if is_contradicted(middle) {
            out = middle;
        } else {
            within = middle;
        }
    }
    // The wider side, so that rounding never narrows the bounds.
    out
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Returns the logarithm of the gamma function of a positive number.
///
/// # Source
///
/// Stirling's series (Abramowitz and Stegun, 6.1.41), from 10 on; the recursion below.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x, 0.0);
    while x < 10.0 {
        below += x.ln();
        x += 1.0;
    }
    let half_ln_tau = 0.918_938_533_204_672_7;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1_260.0 * x * x)) / (x * x)) / x;
    (x - 0.5) * x.ln() - x + half_ln_tau + series - below
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    #[test]
    fn knows_factorials() {
        let mut factorial: f64 = 1.0;
        for n in 1..30 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-9, "{n}");
            factorial *= f64::from(n);
        }
    }

    /// Looked at after every one of 3,000 draws, bounds at 5 % miss the true share in at most 5 % of the
    /// runs; three standard errors of 400 runs are 3.3 %.
    #[test]
    fn holds_at_all_times_at_once() {
        for p in [0.01, 0.2, 0.5] {
            let missed = (0..400).filter(|run| {
                let mut stream = Seed(11).stream(*run, 0, "draws");
                let mut k = 0;
                (1..=3_000_u64).any(|n| {
                    k += u64::from(stream.uniform() < p);
                    let [lo, hi] = if n % 7 == 0 { share(k, n, 0.05) } else { [0.0, 1.0] };
                    p < lo || p > hi
                })
            });
            let missed = missed.count();
            assert!(missed as f64 <= 400.0 * (0.05 + 0.033), "{p}: {missed}");
        }
    }

    /// The same for quantiles of an exponential variable, to the width of a bucket of the histogram.
    #[test]
    fn holds_quantiles_at_all_times_at_once() {
        for level in [0.5, 0.95] {
            let truth = -1e6 * f64::ln_1p(-level);
            let missed = (0..400).filter(|run| {
                let mut stream = Seed(12).stream(*run, 0, "draws");
                let mut values = Histogram::default();
                (1..=3_000_u64).any(|n| {
                    values.record((-1e6 * f64::ln_1p(-stream.uniform())) as u64);
                    let found = (n % 37 == 0).then(|| quantile(&values, level, 0.05)).flatten();
                    found.is_some_and(|[lo, hi]| truth < lo / 1.008 || truth > hi * 1.008)
                })
            });
            let missed = missed.count();
            assert!(missed as f64 <= 400.0 * (0.05 + 0.033), "{level}: {missed}");
        }
    }

    #[test]
    fn leaves_an_end_open_that_the_counts_leave_open() {
        let mut values = Histogram::default();
        assert_eq!(quantile(&values, 0.5, 0.05), None);
        (1..=20).for_each(|value| values.record(value));
        assert_eq!(quantile(&values, 0.99, 0.05), None);
        (1..=1_000).for_each(|value| values.record(value % 100));
        let [lo, hi] = quantile(&values, 0.5, 0.05).expect("enough");
        assert!((35.0..50.0).contains(&lo) && (50.0..65.0).contains(&hi), "{lo} {hi}");
    }

    #[test]
    fn narrows_as_counts_grow() {
        assert!(share(0, 0, 0.05)[1] > 0.999);
        let [_, hi] = share(0, 1_000, 0.01);
        assert!((0.005..0.009).contains(&hi), "{hi}");
        let [lo, hi] = share(500, 1_000, 0.01);
        assert!(lo > 0.42 && hi < 0.58, "{lo} {hi}");
    }
}
