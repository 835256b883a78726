//! Tests of the CORP parts against closed forms, published values and simulations.

use super::super::ranking::binomial_band;
use super::*;

/// SplitMix64 (Steele, Lea and Flood 2014), as numbers in 0 to 1.
fn generator(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A Beta(1/2, 2) number, by the rejection method of Jöhnk (1964).
fn skewed(uniform: &mut dyn FnMut() -> f64) -> f64 {
    loop {
        let (left, right) = (uniform().powi(2), uniform().sqrt());
        if left + right <= 1.0 {
            return left / (left + right);
        }
    }
}

/// Outcomes drawn with the probability that `truth` gives to each forecast.
fn outcomes(
    forecasts: &[f64],
    truth: impl Fn(f64) -> f64,
    uniform: &mut dyn FnMut() -> f64,
) -> Vec<(f64, bool)> {
    forecasts.iter().map(|&forecast| (forecast, uniform() < truth(forecast))).collect()
}

fn check_identity(parts: Corp, forecasts: &[(f64, bool)]) {
    let scores = forecasts.iter().map(|&(probability, happened)| brier(probability, happened));
    let mean = scores.sum::<f64>() / forecasts.len() as f64;
    let rebuilt = parts.miscalibration - parts.discrimination + parts.uncertainty;
    assert!((parts.score - mean).abs() < 1e-12, "{parts:?} {mean}");
    assert!((rebuilt - mean).abs() < 1e-12, "{parts:?} {mean}");
    assert!(parts.miscalibration > -1e-12 && parts.discrimination >= 0.0, "{parts:?}");
}

#[test]
fn parts_add_up_to_the_mean_brier_score() {
    let mut uniform = generator(1);
    for size in 1..120 {
        // Every other set is rounded to tenths, for ties; the outcomes ignore the forecasts.
        let digits = if size % 2 == 0 { 10.0 } else { 1e9 };
        let forecasts: Vec<f64> =
            (0..size).map(|_| (uniform() * digits).round() / digits).collect();
        let mut labelled = outcomes(&forecasts, |_| 0.4, &mut uniform);
        let parts = Corp::of(&labelled);
        check_identity(parts, &labelled);
        labelled.reverse();
        assert_eq!(Corp::of(&labelled), parts);
    }
}

#[test]
fn curve_is_the_greatest_of_least_means_from_either_side() {
    // The closed form of isotonic regression: max over starts of min over ends of the mean.
    let mut uniform = generator(2);
    for _ in 0..30 {
        let forecasts: Vec<f64> = (0..25).map(f64::from).map(|index| index / 25.0).collect();
        let labelled = outcomes(&forecasts, |forecast| forecast, &mut uniform);
        let bins = recalibrated(&labelled);
        assert!(bins.windows(2).all(|pair| pair[0].hi < pair[1].lo));
        assert!(bins.windows(2).all(|pair| pair[0].frequency < pair[1].frequency));
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), 25);
        for at in 0..25 {
            let mean = |start: usize, end: usize| {
                let hits = labelled[start..=end].iter().filter(|item| item.1).count();
                hits as f64 / (end - start + 1) as f64
            };
            let least = |start: usize| (at..25).map(|end| mean(start, end)).fold(1.0, f64::min);
            let expected = (0..=at).map(least).fold(0.0, f64::max);
            let bin = bins.iter().find(|bin| forecasts[at] <= bin.hi).expect("bins cover all");
            assert!((bin.frequency - expected).abs() < 1e-15);
        }
    }
}

type Draw = fn(&mut dyn FnMut() -> f64) -> f64;

const SETS: usize = 400;

/// The miscalibration of perfect forecasters over sets of `n` forecasts, in increasing order.
fn perfect_miscalibration(n: usize, draw: Draw, uniform: &mut dyn FnMut() -> f64) -> Vec<f64> {
    let mut values = Vec::new();
    for _ in 0..SETS {
        let forecasts: Vec<f64> = (0..n).map(|_| draw(uniform)).collect();
        let labelled = outcomes(&forecasts, |forecast| forecast, uniform);
        values.push(Corp::of(&labelled).miscalibration);
    }
    values.sort_by(f64::total_cmp);
    values
}

/// Fails unless the values have this mean and 95th percentile, each known to `uncertainty`.
fn check_distribution(values: &[f64], mean: f64, percentile: f64, uncertainty: f64) {
    let sets = values.len() as f64;
    let actual = values.iter().sum::<f64>() / sets;
    let variance = values.iter().map(|value| (value - actual).powi(2)).sum::<f64>() / (sets - 1.0);
    let tolerance = 4.0 * (variance / sets).sqrt() + uncertainty;
    assert!((actual - mean).abs() < tolerance, "mean {actual} is not {mean}");
    // The number of 400 values below the percentile has deviation √(400 · .95 · .05) = 4.36, so
    // four deviations are 17.4 places on either side of the 380th value.
    assert!(values[362] < percentile + uncertainty, "{} against {percentile}", values[362]);
    assert!(values[397] > percentile - uncertainty, "{} against {percentile}", values[397]);
}

#[test]
fn perfect_forecasters_reach_the_published_miscalibration() {
    // Anchors 5.4 at n = 200, known to half a unit of the last digit.
    let mut uniform = generator(3);
    let values = perfect_miscalibration(200, |uniform| uniform(), &mut uniform);
    check_distribution(&values, 0.0151, 0.0210, 0.00005);
    let values = perfect_miscalibration(200, skewed, &mut uniform);
    check_distribution(&values, 0.0123, 0.0179, 0.00005);
}

#[test]
fn perfect_forecasters_match_a_long_independent_simulation() {
    let even: Draw = |uniform| uniform();
    // A separate Python program with 20,000 sets at n = 50, 10,000 at 100 and 6,000 at 500; the
    // last column is four standard errors of its mean.
    let table = [
        (50, even, 0.03454, 0.05231, 0.00027),
        (100, even, 0.02302, 0.03311, 0.00022),
        (500, even, 0.00846, 0.01110, 0.00008),
        (50, skewed, 0.02736, 0.04373, 0.00025),
        (100, skewed, 0.01833, 0.02737, 0.00020),
        (500, skewed, 0.00688, 0.00931, 0.00007),
    ];
    let mut uniform = generator(4);
    for (n, draw, mean, percentile, uncertainty) in table {
        let values = perfect_miscalibration(n, draw, &mut uniform);
        check_distribution(&values, mean, percentile, uncertainty);
    }
}

#[test]
fn null_quantile_agrees_with_the_published_percentile() {
    // The forecasts are spread evenly instead of drawn, which moves the percentile by less than
    // the error allowed here: four deviations of a share of .95 in 400 draws are .044.
    let forecasts: Vec<f64> = (0..200).map(|index| (f64::from(index) + 0.5) / 200.0).collect();
    let null = |level: f64| miscalibration_null(&forecasts, level, &mut generator(5), 400);
    assert!(null(0.906) < 0.0210 && null(0.994) > 0.0210, "{} {}", null(0.906), null(0.994));
    assert!(null(0.5) < null(0.95) && null(0.95) < null(1.0));
}

#[test]
fn constant_forecast_of_the_base_rate_is_calibrated_and_tells_nothing_apart() {
    let labelled: Vec<(f64, bool)> = (0..30).map(|index| (0.3, index % 10 < 3)).collect();
    let parts = Corp::of(&labelled);
    assert_eq!((parts.miscalibration, parts.discrimination), (0.0, 0.0));
    check_identity(parts, &labelled);
    assert_eq!(recalibrated(&labelled), [Bin { lo: 0.3, hi: 0.3, frequency: 0.3, count: 30 }]);
}

#[test]
fn certain_and_right_forecasts_discriminate_by_all_the_uncertainty() {
    let labelled = [(1.0, true), (0.0, false), (0.0, false), (1.0, true)];
    let expected =
        Corp { score: 0.0, miscalibration: 0.0, discrimination: 0.25, uncertainty: 0.25 };
    assert_eq!(Corp::of(&labelled), expected);
}

#[test]
fn overconfident_forecasts_exceed_their_null() {
    let mut uniform = generator(6);
    let forecasts: Vec<f64> = (0..500).map(|_| uniform()).collect();
    // The truth is half as far from even odds as the forecasts say.
    let labelled = outcomes(&forecasts, |forecast| 0.25 + 0.5 * forecast, &mut uniform);
    let null = miscalibration_null(&forecasts, 0.999, &mut uniform, 1000);
    let parts = Corp::of(&labelled);
    assert!(parts.miscalibration > null, "{parts:?} {null}");
    check_identity(parts, &labelled);
}

#[test]
fn band_of_one_distinct_forecast_is_the_binomial_band() {
    let band = consistency_band(&[0.9; 200], 0.9, &mut generator(7), 2000);
    let (expected_lo, expected_hi) = binomial_band(200, 0.9, 0.9);
    let [(probability, lo, hi)] = band[..] else { panic!("one forecast, but {band:?}") };
    assert_eq!(probability, 0.9);
    // Four deviations of a share of .05 in 2000 draws are .02; next to the ends of the band one
    // step of 1/200 has a probability of at least .02.
    assert!((lo - expected_lo).abs() < 1.5 / 200.0, "{lo} {expected_lo}");
    assert!((hi - expected_hi).abs() < 1.5 / 200.0, "{hi} {expected_hi}");
}

#[test]
fn band_rises_with_the_forecast_and_holds_it() {
    let forecasts: Vec<f64> = (0..300).map(|index| f64::from(index % 19 + 1) / 20.0).collect();
    let band = consistency_band(&forecasts, 0.9, &mut generator(8), 300);
    assert_eq!(band.len(), 19);
    assert!(band.iter().all(|&(probability, lo, hi)| lo <= probability && probability <= hi));
    assert!(band.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(band.windows(2).all(|pair| pair[0].1 <= pair[1].1 && pair[0].2 <= pair[1].2));
}

#[test]
fn empty_input_has_an_answer() {
    let mut uniform = generator(9);
    assert_eq!(Corp::of(&[]), Corp::default());
    assert_eq!(recalibrated(&[]), []);
    assert_eq!(miscalibration_null(&[], 0.95, &mut uniform, 10), 0.0);
    assert_eq!(miscalibration_null(&[0.5], 0.95, &mut uniform, 0), 0.0);
    assert_eq!(consistency_band(&[], 0.9, &mut uniform, 10), []);
    assert_eq!(consistency_band(&[0.5], 0.9, &mut uniform, 0), []);
}
