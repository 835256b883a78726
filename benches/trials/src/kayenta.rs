//! The incumbent canary judge, rebuilt from a description of its behaviour.
//!
//! Kayenta's `NetflixACAJudge-v1.0` compares each metric of a canary (the experiment) with the
//! same metric of a baseline (the control). It inverts the Mann-Whitney test into a confidence
//! interval for the shift between the two, and calls the metric high when the interval lies clear
//! of a band around zero. We rebuild it as the opponent our own comparator is measured against, so
//! its known misjudgements are kept on purpose and pinned by the tests. Settings are Kayenta's
//! defaults, with the direction `increase`: a drop passes.

/// Standard normal quantile at 0.99, for a two-sided confidence of 98 %, which Kayenta fixes.
const CONFIDENCE_QUANTILE: f64 = 2.326_347_874_040_841;
/// Share of the estimated shift that the interval must clear, fixed in Kayenta.
const TOLERANCE: f64 = 0.25;
/// Smallest ratio of means, experiment over control, that can count as an increase.
const ALLOWED_INCREASE: f64 = 1.0;
/// Half a rank, the distance between neighbouring values of the discrete rank sum.
const CONTINUITY_CORRECTION: f64 = 0.5;
/// Absolute width, in the unit of the metric, at which the root search stops.
const ROOT_TOLERANCE: f64 = 1e-4;
const ROOT_ITERATION_LIMIT: u32 = 1001;
/// Standard deviation of the jitter on a constant side, as a fraction of its value.
const JITTER_FRACTION: f64 = 1e-5;

/// One metric, measured on both sides of a canary.
///
/// Each side has one value per step. NaN stands for a step without a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    /// Name of the metric, for reports.
    pub(crate) name: String,
    /// Values of the baseline, in the unit of the metric.
    pub(crate) control: Vec<f64>,
    /// Values of the canary, in the unit of the metric.
    pub(crate) experiment: Vec<f64>,
}

/// What the judge says about one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// No increase was shown.
    Pass,
    /// The canary is higher than the baseline.
    High,
    /// At least one side has no value.
    Nodata,
}

/// Confidence interval and estimate of a shift, in the unit of the metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Location {
    /// Lower end of the 98 % interval, in the unit of the metric.
    pub(crate) low: f64,
    /// Upper end of the 98 % interval, in the unit of the metric.
    pub(crate) high: f64,
    /// Shift that makes both sides rank alike, in the unit of the metric.
    pub(crate) estimate: f64,
}

/// A function's argument together with its value there.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: f64,
    value: f64,
}

/// Judges one metric, given the values of both sides in the same unit.
///
/// The sides may differ in length, and the order of values does not matter. Values that are NaN
/// or infinite are left out; outliers stay. There is no smallest sample, so a few values that are
/// fully separated are judged as firmly as many.
pub(crate) fn classify(control: &[f64], experiment: &[f64]) -> Label {
    let (mut control, mut experiment) = (present(control), present(experiment));
    let (Some(control_extent), Some(experiment_extent)) = (extent(&control), extent(&experiment))
    else {
        return Label::Nodata;
    };
    let are_constant =
        control_extent.1 <= control_extent.0 && experiment_extent.1 <= experiment_extent.0;
    if control == experiment || (are_constant && control_extent == experiment_extent) {
        return Label::Pass;
    }
    if are_constant {
        jitter(&mut control);
        jitter(&mut experiment);
    }
    let shift = location_shift(&experiment, &control);
    let ratio = mean_ratio(&experiment, &control);
    let is_too_small = ratio.is_some_and(|ratio| ratio < ALLOWED_INCREASE);
    if shift.low > TOLERANCE * shift.estimate.abs() && !is_too_small {
        Label::High
    } else {
        Label::Pass
    }
}

/// Estimates by how much the experiment lies above the control, with a 98 % confidence interval.
///
/// # Shapes and units
///
/// All values share one unit, which is also the unit of the answer. Values that are NaN or
/// infinite are left out. Without a value on either side the interval is unbounded and the
/// estimate is NaN. An end the data cannot settle is the smallest or largest difference between
/// a value of the experiment and one of the control. The answer is meaningless when differences
/// exceed the range of `f64`.
///
/// # Source
///
/// R's `wilcox.test` with `conf.int = TRUE, conf.level = 0.98, exact = FALSE, correct = TRUE`.
pub(crate) fn location_shift(experiment: &[f64], control: &[f64]) -> Location {
    let (experiment, control) = (present(experiment), present(control));
    let (Some(above), Some(below)) = (extent(&experiment), extent(&control)) else {
        return Location { low: f64::NEG_INFINITY, high: f64::INFINITY, estimate: f64::NAN };
    };
    let shift_at = |quantile: f64| {
        let distance = |shift: f64| rank_statistic(&experiment, &control, shift) - quantile;
        root_of_decreasing(above.0 - below.1, above.1 - below.0, distance)
    };
    // NUMERICS: the published digits appear only when the estimate is continuity-corrected too.
    let (low, high) = (shift_at(CONFIDENCE_QUANTILE), shift_at(-CONFIDENCE_QUANTILE));
    Location { low, high, estimate: shift_at(0.0) }
}

/// Scores a canary as the percentage of its metrics that pass.
///
/// The score goes from 0 to 100. Metrics without data do not count, but when they make up at least
/// half of all metrics the score is 0. So is the score of no metrics at all.
pub(crate) fn score(metrics: &[Metric]) -> f64 {
    let labels = metrics.iter().map(|metric| classify(&metric.control, &metric.experiment));
    let counted: Vec<Label> = labels.filter(|label| *label != Label::Nodata).collect();
    if 2 * counted.len() <= metrics.len() {
        return 0.0;
    }
    let passed_count = counted.iter().filter(|label| **label == Label::Pass).count();
    100.0 * passed_count as f64 / counted.len() as f64
}

/// The values that carry information, in ascending order.
fn present(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Smallest and largest of values in ascending order.
fn extent(ascending: &[f64]) -> Option<(f64, f64)> {
    Some((*ascending.first()?, *ascending.last()?))
}

/// Spreads equal values a little, so that ranks exist.
///
/// Kayenta adds Gaussian noise of standard deviation 1e-5 times the value here, from a generator
/// without a seed, so its verdicts near a boundary cannot be repeated. We place the values at even
/// distances with about the same standard deviation instead. A single value stays as it is.
fn jitter(values: &mut [f64]) {
    // The midpoints of equal parts of [-sqrt(3), sqrt(3)] have a standard deviation of about one.
    let half_width = JITTER_FRACTION * 3.0_f64.sqrt();
    let count = values.len() as f64;
    for (index, value) in values.iter_mut().enumerate() {
        *value *= 1.0 + half_width * ((2.0 * index as f64 + 1.0) / count - 1.0);
    }
}

/// Mean of the experiment over mean of the control, unless either mean is zero.
fn mean_ratio(experiment: &[f64], control: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (experiment, control) = (mean(experiment), mean(control));
    (experiment != 0.0 && control != 0.0).then(|| experiment / control)
}

/// Mann-Whitney statistic in standard deviations, after lowering the experiment by `shift`.
///
/// The variance allows for ties. The continuity correction pulls the statistic towards zero.
fn rank_statistic(experiment: &[f64], control: &[f64], shift: f64) -> f64 {
    // Each value goes with the weight of its rank in the rank sum of the experiment.
    let lowered = experiment.iter().map(|value| (value - shift, 1.0));
    let mut pooled: Vec<_> = lowered.chain(control.iter().map(|value| (*value, 0.0))).collect();
    pooled.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let (mut ranked_count, mut rank_sum, mut tie_sum) = (0.0, 0.0, 0.0);
    // In ascending order "not below" means "equal", and holds between the two zeros as well.
    for tied in pooled.chunk_by(|left, right| left.0 >= right.0) {
        let tied_count = tied.len() as f64;
        let mean_rank = ranked_count + f64::midpoint(tied_count, 1.0);
        rank_sum += mean_rank * tied.iter().map(|(_, weight)| weight).sum::<f64>();
        tie_sum += tied_count.powi(3) - tied_count;
        ranked_count += tied_count;
    }
    let experiment_count = experiment.len() as f64;
    let pair_count = experiment_count * control.len() as f64;
    let excess = rank_sum - experiment_count * (experiment_count + 1.0) / 2.0 - pair_count / 2.0;
    let tie_share = tie_sum / (ranked_count * (ranked_count - 1.0));
    let deviation = (pair_count / 12.0 * (ranked_count + 1.0 - tie_share)).sqrt();
    if excess == 0.0 || deviation.is_nan() || deviation <= 0.0 {
        return 0.0;
    }
    (excess - CONTINUITY_CORRECTION.copysign(excess)) / deviation
}

/// Where a decreasing function crosses zero, or the nearer end when it does not.
fn root_of_decreasing(low: f64, high: f64, function: impl Fn(f64) -> f64) -> f64 {
    let [low, high] = [low, high].map(|at| Point { at, value: function(at) });
    match (low.value <= 0.0, high.value >= 0.0) {
        (true, _) => low.at,
        (false, true) => high.at,
        (false, false) => brent_root(low, high, function),
    }
}

/// Brent's root search between two points of opposite sign.
///
/// # Source
///
/// Brent, "Algorithms for Minimization without Derivatives" (1973), chapter 4, in the form of
/// Netlib's `zeroin`. Rank statistics are step functions, so the answer depends on the path to
/// it: the order of the points and the stopping rule must stay as they are.
fn brent_root(low: Point, high: Point, function: impl Fn(f64) -> f64) -> f64 {
    let (mut previous, mut best, mut opposite) = (low, high, low);
    for _ in 0..ROOT_ITERATION_LIMIT {
        let last_step = best.at - previous.at;
        if opposite.value.abs() < best.value.abs() {
            (previous, best, opposite) = (best, opposite, best);
        }
        let shortest = 2.0 * f64::EPSILON * best.at.abs() + ROOT_TOLERANCE / 2.0;
        let half_width = (opposite.at - best.at) / 2.0;
        if half_width.abs() <= shortest || best.value == 0.0 {
            break;
        }
        let may_interpolate =
            last_step.abs() >= shortest && previous.value.abs() > best.value.abs();
        let step = may_interpolate
            .then(|| interpolated_step([previous, best, opposite], last_step, shortest))
            .flatten()
            .unwrap_or(half_width);
        let step = step.abs().max(shortest).copysign(step);
        previous = best;
        best.at += step;
        best.value = function(best.at);
        if best.value * opposite.value > 0.0 {
            opposite = previous;
        }
    }
    best.at
}

/// Step to the root of a line or an inverse parabola, unless halving the bracket is safer.
fn interpolated_step(points: [Point; 3], last_step: f64, shortest: f64) -> Option<f64> {
    let [previous, best, opposite] = points;
    let width = opposite.at - best.at;
    let to_previous = best.value / previous.value;
    let (mut numerator, mut denominator) = if previous.at - opposite.at == 0.0 {
        (width * to_previous, 1.0 - to_previous)
    } else {
        let ratio = previous.value / opposite.value;
        let to_opposite = best.value / opposite.value;
        let bend = width * ratio * (ratio - to_opposite);
        let lean = (best.at - previous.at) * (to_opposite - 1.0);
        let scale = (ratio - 1.0) * (to_opposite - 1.0) * (to_previous - 1.0);
        (to_previous * (bend - lean), scale)
    };
    if numerator > 0.0 {
        denominator = -denominator;
    }
    numerator = numerator.abs();
    let is_inside = numerator < 0.75 * width * denominator - (shortest * denominator).abs() / 2.0;
    let is_shrinking = numerator < (last_step * denominator / 2.0).abs();
    (is_inside && is_shrinking).then(|| numerator / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SplitMix64` turned into normal noise by the Box-Muller transform.
    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((mixed ^ (mixed >> 31)) >> 11) as f64 + 0.5) * 2.0_f64.powi(-53)
        }

        fn series(&mut self, count: usize, mean: f64, deviation: f64) -> Vec<f64> {
            let mut normal = || {
                let radius = (-2.0 * self.uniform().ln()).sqrt();
                radius * (std::f64::consts::TAU * self.uniform()).cos()
            };
            (0..count).map(|_| mean + deviation * normal()).collect()
        }
    }

    /// Share of 500 trials judged high, for a mean of 100 against one raised by `shift`.
    fn high_rate(point_count: usize, deviation: f64, shift: f64) -> f64 {
        let (mut noise, trial_count) = (Noise(20_260_101), 500_u32);
        let is_high = |_: &u32| {
            let control = noise.series(point_count, 100.0, deviation);
            let experiment = noise.series(point_count, 100.0 + shift, deviation);
            classify(&control, &experiment) == Label::High
        };
        (0..trial_count).filter(is_high).count() as f64 / f64::from(trial_count)
    }

    fn metric(control: &[f64], experiment: &[f64]) -> Metric {
        let (control, experiment) = (control.to_vec(), experiment.to_vec());
        Metric { name: "latency".into(), control, experiment }
    }

    /// A canary with this many values of 100, filled up to ten with ones.
    fn raised(count: usize) -> Vec<f64> {
        [vec![100.0; count], vec![1.0; 10 - count]].concat()
    }

    #[test]
    fn reproduces_the_interval_published_in_spinnaker_issue_6278() {
        let found = location_shift(&raised(7), &[1.0; 10]);
        let expected = [6.825_022_991_538_788e-5, 99.0, 98.999_929_041_701_93];
        for (found, expected) in [found.low, found.high, found.estimate].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        }
    }

    #[test]
    fn repeats_the_published_misjudgements() {
        let check = |control: &[f64], experiment: &[f64], expected: Label, source: &str| {
            assert_eq!(classify(control, experiment), expected, "{source}");
        };
        let control = [1, 100, 4, 101, 5, 102, 6, 103, 7, 104, 8, 105, 9, 106, 17].map(f64::from);
        let experiment = [0, 1, 2, 3, 4, 5, 6, 70, 71, 72, 73, 74, 75, 76, 77]
            .map(|tenths| 10.0 + f64::from(tenths) / 10.0);
        check(&control, &experiment, Label::Pass, "kayenta#780, as excerpted");
        check(&[1.0; 10], &raised(7), Label::Pass, "spinnaker#6278");
        check(&[1.0; 10], &raised(8), Label::High, "spinnaker#6278 flips at 8 of 10");
        check(&[0.0; 6], &[0.0, 1.0, 2.0, 1.0, 0.0, 0.0], Label::Pass, "kayenta#426");
        check(&[f64::NAN; 25], &[1.0, 2.0, 1.0, 2.0, 1.0], Label::Nodata, "kayenta#799");
    }

    #[test]
    fn answers_degenerate_input_without_panicking() {
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        let cases: [(&[f64], &[f64], Label); 12] = [
            (&[], &[], Label::Nodata),
            (&[1.0], &[], Label::Nodata),
            (&[nan, infinity], &[1.0], Label::Nodata),
            (&[2.0, nan, 3.0], &[3.0, 2.0], Label::Pass),
            (&[4.0; 3], &[4.0; 9], Label::Pass),
            (&[0.0, -0.0], &[-0.0; 3], Label::Pass),
            (&[1.0; 20], &[2.0; 20], Label::High),
            (&[2.0; 20], &[1.0; 20], Label::Pass),
            (&[0.0; 20], &[5.0; 20], Label::High),
            (&[1.0], &[1.0, infinity, -infinity], Label::Pass),
            (&[f64::MIN, f64::MAX], &[f64::MAX, 0.0, f64::MIN], Label::Pass),
            (&[5e-324, 0.0], &[5e-324; 4], Label::Pass),
        ];
        for (control, experiment, expected) in cases {
            assert_eq!(classify(control, experiment), expected, "{control:?} {experiment:?}");
        }
        let nothing = location_shift(&[], &[1.0]);
        assert!(nothing.low < nothing.high && nothing.estimate.is_nan(), "{nothing:?}");
        let single = location_shift(&[5.0], &[3.0]);
        assert_eq!(single, Location { low: 2.0, high: 2.0, estimate: 2.0 });
    }

    // The rates below were measured by others on a rebuild of their own, with 2000 trials each.
    // The standard error of the difference to 500 trials is sqrt(p (1 - p) (1/500 + 1/2000)).
    // At p = 95.2 % that is 1.1 points, so 90 to 99 % is about four of them either way.
    #[test]
    fn operating_characteristics_match_those_measured_before() {
        let check = |count: usize, deviation: f64, shift: f64, low: f64, high: f64| {
            let rate = high_rate(count, deviation, shift);
            println!("{count} points, deviation {deviation} %, shift {shift} %: {rate}");
            assert!((low..=high).contains(&rate), "{count} {deviation} {shift}: {rate}");
        };
        // Reported as 0.0 %.
        check(50, 10.0, 0.0, 0.0, 0.009);
        check(50, 10.0, 10.0, 0.90, 0.99);
        // Reported as 24.6 % and 54 %: four standard errors are 8.6 and 10 points.
        check(50, 10.0, 5.0, 0.16, 0.332);
        check(50, 30.0, 20.0, 0.44, 0.64);
    }

    #[test]
    fn scores_the_share_of_metrics_that_pass() {
        let pass = metric(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]);
        let high = metric(&[1.0; 20], &[2.0; 20]);
        let nodata = metric(&[], &[1.0]);
        let check = |metrics: &[&Metric], expected: f64| {
            let metrics: Vec<Metric> = metrics.iter().copied().cloned().collect();
            let found = score(&metrics);
            assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        };
        check(&[], 0.0);
        check(&[&pass, &nodata], 0.0);
        check(&[&pass, &pass, &nodata], 100.0);
        check(&[&pass, &pass, &high, &nodata], 200.0 / 3.0);
        check(&[&high], 0.0);
    }
}
