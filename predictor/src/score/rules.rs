//! Scoring rules for one forecast and one observation; lower is better for all but [`skill`].
//!
//! Every rule here is proper: a forecaster lowers the expected score by saying what it believes,
//! and by nothing else (Gneiting and Raftery 2007, "Strictly proper scoring rules, prediction, and
//! estimation", JASA 102). [`crps_ensemble`] is proper for the ensemble as it stands, and
//! [`crps_ensemble_fair`] for the distribution from which its members were drawn.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI, PI};

/// The Brier score of a probability: `(p - y)²`, with `y` 1 if the event happened and 0 if not.
///
/// Shapes and units: a probability in 0 to 1; the score has no unit and lies in 0 to 1.
///
/// Source: Brier (1950), "Verification of forecasts expressed in terms of probability".
pub fn brier(probability: f64, happened: bool) -> f64 {
    let miss = if happened { 1.0 - probability } else { probability };
    miss * miss
}

/// The logarithmic score of a probability: `-ln p` if the event happened, `-ln(1 - p)` if not.
///
/// Shapes and units: a probability in 0 to 1; the score is in nats, from 0 to infinity, which is
/// reached when something happened that was called impossible.
///
/// Source: Good (1952), "Rational decisions", JRSS B 14.
pub fn log_score(probability: f64, happened: bool) -> f64 {
    // NUMERICS: subtracting from zero keeps a perfect score from printing as "-0".
    if happened { 0.0 - probability.ln() } else { 0.0 - (-probability).ln_1p() }
}

/// The ranked probability score of a forecast over ordered categories: `Σ_k (F_k - Y_k)²`, where
/// `F_k` is the forecast probability of category `k` or lower and `Y_k` is 1 from the observed
/// category on.
///
/// Shapes and units: `forecast` holds one probability per category, summing to 1; `category`
/// counts from 0, and one past the end means a further category that was given no probability.
/// The score has no unit and is not divided by the number of categories; it is 0 for no
/// categories.
///
/// Source: Epstein (1969), "A scoring system for probability forecasts of ranked categories".
pub fn ranked_probability(forecast: &[f64], category: usize) -> f64 {
    let mut cumulative = 0.0;
    let mut score = 0.0;
    for (index, probability) in forecast.iter().enumerate() {
        cumulative += probability;
        score += brier(cumulative, index >= category);
    }
    score
}

/// The pinball loss of a quantile forecast: `level · (y - q)` if the observation `y` is at or
/// above the forecast `q`, `(1 - level) · (q - y)` if it is below.
///
/// Shapes and units: `level` in 0 to 1; the loss is in the unit of the observation.
///
/// Source: Koenker and Bassett (1978), "Regression quantiles", Econometrica 46.
pub fn pinball(observed: f64, quantile_value: f64, level: f64) -> f64 {
    if observed >= quantile_value {
        level * (observed - quantile_value)
    } else {
        (1.0 - level) * (quantile_value - observed)
    }
}

/// The interval score: the width `hi - lo`, plus `2 / alpha` times the distance by which the
/// observation lies outside.
///
/// Shapes and units: `interval` is `[lo, hi]`, the central interval of coverage `1 - alpha`; the
/// score is in the unit of the observation.
///
/// Source: Gneiting and Raftery (2007), equation 43.
pub fn interval_score(observed: f64, interval: [f64; 2], alpha: f64) -> f64 {
    let [lo, hi] = interval;
    let outside = distance_outside(observed, interval);
    // NUMERICS: the branch keeps an alpha of 0 with the observation inside from giving 0 · ∞.
    if outside == 0.0 { hi - lo } else { hi - lo + 2.0 / alpha * outside }
}

/// The weighted interval score: `(|y - m| / 2 + Σ_k alpha_k / 2 · interval_score_k) / (K + 1/2)`
/// for the median `m` and `K` central intervals; it tends to the CRPS as the levels fill 0 to 1.
///
/// Shapes and units: each entry of `intervals` is `(alpha, [lo, hi])`, with coverage `1 - alpha`;
/// the score is in the unit of the observation, and is `|y - m|` when there are no intervals.
///
/// Source: Bracher, Ray, Gneiting and Reich (2021), "Evaluating epidemic forecasts in an interval
/// format", PLOS Computational Biology 17, equation 3.
pub fn weighted_interval(observed: f64, median: f64, intervals: &[(f64, [f64; 2])]) -> f64 {
    let mut sum = 0.5 * (observed - median).abs();
    for &(alpha, interval) in intervals {
        // NUMERICS: alpha / 2 is multiplied in, so that an alpha of 0 costs no division.
        let [lo, hi] = interval;
        sum += 0.5 * alpha * (hi - lo) + distance_outside(observed, interval);
    }
    sum / (intervals.len() as f64 + 0.5)
}

/// The continuous ranked probability score of an ensemble, taken as the forecast distribution:
/// `mean |x_i - y| - Σ_i Σ_j |x_i - x_j| / (2 M²)` for `M` members.
///
/// Shapes and units: finite members in any order; the score is in the unit of the observation.
/// It is 0 for an ensemble without members.
///
/// Source: Gneiting and Raftery (2007), equation 21 (the form called NRG, equal to the quantile
/// decomposition of Jordan, Krüger and Lerch 2019, "Evaluating probabilistic forecasts with
/// scoringRules").
pub fn crps_ensemble(observed: f64, members: &[f64]) -> f64 {
    let count = members.len() as f64;
    crps_with_pair_divisor(observed, members, count * count)
}

/// The fair continuous ranked probability score, which does not punish an ensemble for being
/// small: `mean |x_i - y| - Σ_i Σ_j |x_i - x_j| / (2 M (M - 1))` for `M` members.
///
/// Shapes and units: finite members in any order; the score is in the unit of the observation
/// and can be below 0. It is `|x - y|` for one member and 0 for none.
///
/// Source: Ferro (2014), "Fair scores for ensemble forecasts", QJRMS 140.
pub fn crps_ensemble_fair(observed: f64, members: &[f64]) -> f64 {
    let count = members.len() as f64;
    crps_with_pair_divisor(observed, members, count * (count - 1.0))
}

/// The continuous ranked probability score of the standard normal distribution:
/// `z (2 Φ(z) - 1) + 2 φ(z) - 1 / √π`.
///
/// Shapes and units: `z` is `(observed - mean) / deviation`; the score is in deviations, so it
/// wants multiplying by the deviation for the unit of the observation.
///
/// Source: Gneiting, Raftery, Westveld and Goldman (2005), Monthly Weather Review 133, equation 5.
pub fn crps_normal(z: f64) -> f64 {
    let twice_density = FRAC_2_PI.sqrt() * (-0.5 * z * z).exp();
    z * error_function(z * FRAC_1_SQRT_2) + twice_density - PI.sqrt().recip()
}

/// The skill of a mean score against that of a reference forecast: `1 - score / reference`.
///
/// Shapes and units: both scores in one unit, 0 being perfect; the skill has no unit, is 1 for a
/// perfect forecast, 0 for one as good as the reference, and below 0 for a worse one. Against a
/// perfect reference it is 0 for a perfect forecast and minus infinity for any other.
///
/// Source: Murphy (1973), "Hedging and skill scores for probability forecasts".
pub fn skill(score: f64, reference: f64) -> f64 {
    if score == 0.0 && reference == 0.0 { 0.0 } else { 1.0 - score / reference }
}

fn distance_outside(observed: f64, [lo, hi]: [f64; 2]) -> f64 {
    (lo - observed).max(observed - hi).max(0.0)
}

fn crps_with_pair_divisor(observed: f64, members: &[f64], pair_divisor: f64) -> f64 {
    if members.is_empty() {
        return 0.0;
    }
    // NUMERICS: the observation is taken off first, so that a large common offset cannot cancel.
    let mut offsets: Vec<f64> = members.iter().map(|member| member - observed).collect();
    offsets.sort_by(f64::total_cmp);
    let count = offsets.len() as f64;
    let mut distance = 0.0;
    let mut pair_distance = 0.0;
    for (index, offset) in offsets.iter().enumerate() {
        distance += offset.abs();
        // In sorted order, member i is the greater of i pairs and the lesser of M - 1 - i.
        pair_distance += (2.0 * index as f64 + 1.0 - count) * offset;
    }
    if members.len() == 1 { distance } else { distance / count - pair_distance / pair_divisor }
}

/// The error function, by its series of positive terms (Abramowitz and Stegun 7.1.6), which loses
/// no digits to cancellation; past 6 the function is 1 to the last bit.
fn error_function(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    let mut divisor = 1.0;
    while term.abs() > 1e-17 * sum.abs() {
        divisor += 2.0;
        term *= 2.0 * x * x / divisor;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
#[expect(clippy::unreadable_literal, clippy::float_cmp, reason = "digits as they were published")]
mod tests {
    use super::*;

    // Ensemble of the tests of scoringRules and scoringrules.
    const OBSERVED: f64 = -0.6042506;
    const MEMBERS: [f64; 10] = [
        1.7812118, 0.5863797, 0.7038174, -0.7743998, -0.2751647, 1.1863249, 1.2990966, -0.3242982,
        -0.5968781, 0.9064937,
    ];

    fn check(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
    }

    /// The value below which the standard normal distribution has probability `level`.
    fn normal_quantile(level: f64) -> f64 {
        let (mut lo, mut hi) = (-40.0, 40.0);
        for _ in 0..200 {
            let middle = 0.5 * (lo + hi);
            if 0.5 + 0.5 * error_function(middle * FRAC_1_SQRT_2) < level {
                lo = middle;
            } else {
                hi = middle;
            }
        }
        0.5 * (lo + hi)
    }

    #[test]
    fn scores_of_probabilities_match_scoringrules() {
        check(brier(0.271, false), 0.073441, 1e-12);
        check(log_score(0.481, false), 0.6558514, 5e-8);
        check(ranked_probability(&[0.01, 0.32, 0.44, 0.23], 2), 0.1619, 1e-12);
    }

    #[test]
    fn scores_of_quantiles_and_intervals_match_hand_calculation() {
        check(pinball(0.3, 0.5, 0.2), 0.16, 1e-12);
        check(pinball(0.3, 0.1, 0.2), 0.04, 1e-12);
        check(interval_score(0.1, [0.0, 0.4], 0.5), 0.4, 1e-12);
        check(interval_score(0.5, [0.0, 0.4], 0.5), 0.8, 1e-12);
        check(interval_score(-0.1, [0.0, 0.4], 0.5), 0.8, 1e-12);
    }

    #[test]
    fn scores_of_ensembles_match_scoringrules_in_any_order() {
        let mut members = MEMBERS;
        for _ in 0..members.len() {
            members.rotate_left(3);
            check(crps_ensemble(OBSERVED, &members), 0.6126602, 5e-8);
            check(crps_ensemble_fair(OBSERVED, &members), 0.5598959289, 5e-11);
        }
        let shifted = MEMBERS.map(|member| member + 1e6);
        check(crps_ensemble(OBSERVED + 1e6, &shifted), 0.6126602, 1e-7);
    }

    #[test]
    fn ensemble_score_is_twice_the_pinball_loss_integrated_over_levels() {
        let mut members = MEMBERS;
        members.sort_by(f64::total_cmp);
        let count = members.len() as f64;
        let mut sum = 0.0;
        for (index, &member) in members.iter().enumerate() {
            sum += pinball(OBSERVED, member, (index as f64 + 0.5) / count);
        }
        check(crps_ensemble(OBSERVED, &members), 2.0 * sum / count, 1e-14);
    }

    #[test]
    fn scores_of_the_normal_distribution_match_properscoring() {
        check(crps_normal(0.0), 0.23369497725510913, 1e-15);
        check(crps_normal(1.0), 0.6024413576, 5e-11);
        check(crps_normal(2.0), 1.4527918217, 5e-11);
        check(crps_normal(-0.3), 0.2693329007, 5e-11);
        check(crps_normal(-40.0), 40.0 - PI.sqrt().recip(), 1e-13);
    }

    #[test]
    fn error_function_matches_tabulated_values() {
        // Abramowitz and Stegun, table 7.1, and NIST DLMF 7.
        check(error_function(0.5), 0.5204998778, 5e-11);
        check(error_function(1.0), 0.8427007929497149, 1e-15);
        check(error_function(-2.0), -0.9953222650189527, 1e-15);
        check(error_function(0.0), 0.0, 0.0);
        check(error_function(5.9), 1.0, 1e-14);
    }

    #[test]
    fn weighted_interval_score_approaches_the_normal_score() {
        let mut intervals = Vec::new();
        for percent in 1..100 {
            let alpha = f64::from(percent) / 100.0;
            let hi = normal_quantile(1.0 - 0.5 * alpha);
            intervals.push((alpha, [-hi, hi]));
        }
        for observed in [0.0, 1.0, -0.3, 2.0] {
            let score = weighted_interval(observed, 0.0, &intervals);
            let exact = crps_normal(observed);
            // 199 levels at k / 200 are summed but divided by 199, not by the 200 steps between 0
            // and 1, so the score is greater by 200 / 199; what is left is the .1 % of the anchor.
            check(score * 199.0 / 200.0, exact, 0.001 * exact);
            // The one-sided form of the test in scoringrules.
            assert!(1.0 - score / exact <= 0.001 * exact);
        }
    }

    #[test]
    fn weighted_interval_score_is_the_mean_of_interval_scores() {
        let intervals = [(0.2, [0.0, 4.0]), (0.5, [1.0, 3.0])];
        let by_hand = 0.5 * 1.5
            + 0.1 * interval_score(3.5, [0.0, 4.0], 0.2)
            + 0.25 * interval_score(3.5, [1.0, 3.0], 0.5);
        check(weighted_interval(3.5, 2.0, &intervals), by_hand / 2.5, 1e-14);
    }

    #[test]
    fn impossible_events_and_perfect_forecasts_reach_the_limits() {
        assert_eq!(log_score(0.0, true), f64::INFINITY);
        assert_eq!(log_score(1.0, false), f64::INFINITY);
        assert_eq!(log_score(1.0, true).to_bits(), 0.0_f64.to_bits());
        assert_eq!(skill(0.0, 0.0), 0.0);
        assert_eq!(skill(0.0, 0.2), 1.0);
        assert_eq!(skill(0.1, 0.0), f64::NEG_INFINITY);
    }

    #[test]
    fn empty_input_has_an_answer() {
        assert_eq!(ranked_probability(&[], 0), 0.0);
        assert_eq!(crps_ensemble(1.0, &[]), 0.0);
        assert_eq!(crps_ensemble_fair(1.0, &[]), 0.0);
        assert_eq!(crps_ensemble_fair(1.0, &[3.0]), 2.0);
        assert_eq!(weighted_interval(1.0, 3.0, &[]), 2.0);
    }
}
