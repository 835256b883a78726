//! Measures of ranking, and the shares that chance allows.
//!
//! Ranking looks at the order of the forecasts only, so any increasing rescaling leaves it as it
//! is; whether the probabilities themselves are right is the business of the CORP parts.

/// The area under the receiver operating characteristic: the probability that an item that
/// happened was forecast higher than one that did not, ties counted half.
///
/// Shapes and units: pairs of forecast and outcome in any order; the area has no unit, is 1 for a
/// perfect order, 0 for the inverse and 0.5 for none. It is `None` unless some items happened and
/// some did not.
///
/// Source: Hanley and McNeil (1982), Radiology 143; the count is that of Mann and Whitney (1947).
pub fn auc(forecasts: &[(f64, bool)]) -> Option<f64> {
    // Twice the Mann-Whitney count, so that ties stay whole numbers.
    let mut doubled_wins: u64 = 0;
    let mut happened_above: u64 = 0;
    let mut missed_above: u64 = 0;
    for tie in ties_from_the_top(forecasts) {
        doubled_wins += tie.missed * (2 * happened_above + tie.happened);
        happened_above += tie.happened;
        missed_above += tie.missed;
    }
    let pairs = happened_above * missed_above;
    (pairs > 0).then(|| doubled_wins as f64 / (2.0 * pairs as f64))
}

/// The share of the items that happened which is found among the top `share` of all items by
/// forecast.
///
/// Shapes and units: `share` in 0 to 1 (held to that range), pairs of forecast and outcome in any
/// order; the answer is a share. Items tied at the border, and the item the border cuts, count in
/// proportion, which is the expectation over a random order. `None` if nothing happened.
///
/// Source: the cumulative gain curve, as in Vuk and Curk (2006), "ROC curve, lift chart and
/// calibration plot", Metodološki zvezki 3.
pub fn capture_at(share: f64, forecasts: &[(f64, bool)]) -> Option<f64> {
    let mut room = share.clamp(0.0, 1.0) * forecasts.len() as f64;
    let mut happened: u64 = 0;
    let mut captured = 0.0;
    for tie in ties_from_the_top(forecasts) {
        let count = (tie.happened + tie.missed) as f64;
        let taken = room.min(count);
        captured += tie.happened as f64 * (taken / count);
        room -= taken;
        happened += tie.happened;
    }
    (happened > 0).then(|| captured / happened as f64)
}

/// The central band of observed shares under a binomial distribution: the smallest band of
/// `k / n` such that each side leaves out at most half of `1 - coverage`.
///
/// Shapes and units: `n` trials of probability `p`, `coverage` in 0 to 1 (both held to that
/// range); the answer is `(lo, hi)`, both ends belonging to the band, as shares. With no trials
/// every share is possible, so the band is `(0, 1)`. Time and memory grow with `√n`.
///
/// Source: the acceptance region of Clopper and Pearson (1934), Biometrika 26.
pub fn binomial_band(n: u64, p: f64, coverage: f64) -> (f64, f64) {
    let tail = 0.5 * (1.0 - coverage.clamp(0.0, 1.0));
    if n == 0 {
        return (0.0, 1.0);
    }
    if p <= 0.0 || p >= 1.0 {
        let certain = p.clamp(0.0, 1.0);
        return (certain, certain);
    }
    if tail <= 0.0 {
        return (0.0, 1.0);
    }
    let (first, weights) = binomial_weights(n, p);
    let allowed = tail * weights.iter().sum::<f64>();
    let below = tail_length(weights.iter(), allowed);
    let above = tail_length(weights.iter().rev(), allowed);
    let one_end = (first + below) as f64 / n as f64;
    let other_end = (first + weights.len() as u64 - 1 - above) as f64 / n as f64;
    // A coverage near 0 can let the two tails meet, and then the ends change places.
    (one_end.min(other_end), one_end.max(other_end))
}

/// How many outcomes can be left out from one end with at most `allowed` weight.
fn tail_length<'a>(weights: impl ExactSizeIterator<Item = &'a f64>, allowed: f64) -> u64 {
    let last = weights.len() - 1;
    let mut sum = 0.0;
    let left_out = weights.take(last).take_while(|weight| {
        sum += **weight;
        sum <= allowed
    });
    left_out.count() as u64
}

/// The probabilities of the outcomes around the mode, up to a common factor, and the first
/// outcome they belong to.
///
/// NUMERICS: the recurrence runs outwards from the mode, where the weight is 1, so nothing
/// overflows; what it leaves out beyond a weight of 1e-40 is too little to move a band.
fn binomial_weights(n: u64, p: f64) -> (u64, Vec<f64>) {
    const NEGLIGIBLE: f64 = 1e-40;
    let odds = p / (1.0 - p);
    let mode = (((n as f64 + 1.0) * p).floor() as u64).min(n);
    let mut weights = vec![1.0];
    let mut weight = 1.0;
    let mut first = mode;
    while first > 0 && weight > NEGLIGIBLE {
        weight *= first as f64 / ((n - first + 1) as f64 * odds);
        first -= 1;
        weights.push(weight);
    }
    weights.reverse();
    weight = 1.0;
    let mut last = mode;
    while last < n && weight > NEGLIGIBLE {
        weight *= (n - last) as f64 * odds / (last + 1) as f64;
        last += 1;
        weights.push(weight);
    }
    (first, weights)
}

/// Items that share one forecast.
struct Tie {
    happened: u64,
    missed: u64,
}

fn ties_from_the_top(forecasts: &[(f64, bool)]) -> Vec<Tie> {
    let mut sorted = forecasts.to_vec();
    sorted.sort_by(|left, right| right.0.total_cmp(&left.0));
    let same_forecast =
        |left: &(f64, bool), right: &(f64, bool)| left.0.total_cmp(&right.0).is_eq();
    let mut ties = Vec::new();
    for items in sorted.chunk_by(same_forecast) {
        let happened = items.iter().filter(|item| item.1).count() as u64;
        ties.push(Tie { happened, missed: items.len() as u64 - happened });
    }
    ties
}

#[cfg(test)]
#[expect(clippy::unreadable_literal, reason = "digits as they were published")]
mod tests {
    use super::*;

    fn labelled(forecasts: &[f64], happened: &[u8]) -> Vec<(f64, bool)> {
        forecasts.iter().zip(happened).map(|(&forecast, &flag)| (forecast, flag == 1)).collect()
    }

    #[test]
    fn area_is_one_for_perfect_zero_for_inverse_and_half_for_constant_forecasts() {
        let check = |forecasts: &[f64], happened: &[u8], expected: Option<f64>| {
            assert_eq!(auc(&labelled(forecasts, happened)), expected);
        };
        check(&[0.9, 0.1, 0.8, 0.2], &[1, 0, 1, 0], Some(1.0));
        check(&[0.9, 0.1, 0.8, 0.2], &[0, 1, 0, 1], Some(0.0));
        check(&[0.3; 5], &[1, 0, 0, 1, 0], Some(0.5));
        // The example of scikit-learn's roc_auc_score: three of four pairs are in order.
        check(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1], Some(0.75));
        check(&[0.1, 0.4, 0.4, 0.8], &[0, 0, 1, 1], Some(0.875));
        check(&[0.1, 0.2], &[1, 1], None);
        check(&[0.1, 0.2], &[0, 0], None);
        check(&[], &[], None);
    }

    #[test]
    fn capture_counts_the_top_items_and_shares_the_border() {
        let check = |share: f64, forecasts: &[f64], happened: &[u8], expected: Option<f64>| {
            assert_eq!(capture_at(share, &labelled(forecasts, happened)), expected);
        };
        let forecasts = [0.9, 0.8, 0.2, 0.1];
        check(0.5, &forecasts, &[1, 1, 0, 0], Some(1.0));
        check(0.25, &forecasts, &[1, 1, 0, 0], Some(0.5));
        check(0.5, &forecasts, &[0, 0, 1, 1], Some(0.0));
        check(0.375, &forecasts, &[1, 1, 0, 0], Some(0.75));
        check(0.5, &[0.9, 0.5, 0.5, 0.5, 0.5, 0.1], &[0, 1, 0, 0, 0, 0], Some(0.5));
        check(0.3, &[0.5; 10], &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0], Some(0.3));
        check(0.0, &forecasts, &[1, 1, 0, 0], Some(0.0));
        check(7.0, &forecasts, &[1, 0, 0, 1], Some(1.0));
        check(0.5, &forecasts, &[0; 4], None);
        check(0.5, &[], &[], None);
    }

    #[test]
    fn band_leaves_out_at_most_half_the_rest_on_each_side() {
        // Exact by whole numbers: n = 10, p = 1/2, tails of 1, 11, 56, 176, 386 in 1024.
        let check = |coverage: f64, expected: (f64, f64)| {
            assert_eq!(binomial_band(10, 0.5, coverage), expected, "coverage {coverage}");
        };
        check(0.95, (0.2, 0.8));
        check(0.99, (0.1, 0.9));
        check(0.90, (0.2, 0.8));
        check(0.88, (0.3, 0.7));
        check(0.60, (0.4, 0.6));
        check(0.0, (0.5, 0.5));
        check(1.0, (0.0, 1.0));
    }

    #[test]
    fn band_matches_the_published_acceptance_bands() {
        // Anchors 5.4, last column: 90 % intervals, accepted with coverage .95.
        let check = |n: u64, expected: (f64, f64)| {
            assert_eq!(binomial_band(n, 0.9, 0.95), expected, "n = {n}");
        };
        check(50, (0.82, 0.98));
        check(100, (0.84, 0.95));
        check(200, (0.855, 0.94));
        check(500, (0.872, 0.926));
        check(1000, (0.881, 0.918));
    }

    #[test]
    fn band_of_many_trials_approaches_the_normal_band() {
        // At n = 5000 a step is 1/5000, and the skewness shifts the ends by less than another.
        for p in [0.1, 0.5, 0.9] {
            let (lo, hi) = binomial_band(5000, p, 0.95);
            let half_width = 1.959964 * (p * (1.0 - p) / 5000.0_f64).sqrt();
            assert!((lo - (p - half_width)).abs() < 2.0 / 5000.0, "{p} {lo}");
            assert!((hi - (p + half_width)).abs() < 2.0 / 5000.0, "{p} {hi}");
        }
    }

    #[test]
    fn band_is_defined_at_the_edges() {
        assert_eq!(binomial_band(0, 0.5, 0.95), (0.0, 1.0));
        assert_eq!(binomial_band(9, 0.0, 0.95), (0.0, 0.0));
        assert_eq!(binomial_band(9, 1.0, 0.95), (1.0, 1.0));
        assert_eq!(binomial_band(1, 0.5, 0.0), (0.0, 1.0));
        assert_eq!(binomial_band(5000, 1e-9, 0.95), (0.0, 0.0));
        assert_eq!(binomial_band(5000, 1.0 - 1e-9, 0.95), (1.0, 1.0));
    }
}
