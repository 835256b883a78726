//! A slope through points that a few outliers cannot bend.

use crate::probability::Interval;

/// The most points used; more are thinned evenly.
const POINTS_LIMIT: usize = 400;

/// The 0.95 quantile of the standard normal distribution, for a two-sided 90 % interval.
const Z_90: f64 = 1.644_853_626_951_472_7;

/// A slope and its 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The median of the slopes between all pairs of points.
    pub value: f64,
    /// Its 90 % interval.
    pub interval: Interval,
}

/// Returns the slope of `y` over `x`, or `None` with fewer than ten points of different `x`.
///
/// # Source
///
/// Sen (1968), *Estimates of the Regression Coefficient Based on Kendall's Tau*.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    let step = points.len().div_ceil(POINTS_LIMIT).max(1);
    let points: Vec<(f64, f64)> = points.iter().copied().step_by(step).collect();
    let n = points.len() as f64;
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        let later = points[index + 1..].iter().filter(|(other, _)| other > x);
        slopes.extend(later.map(|(other_x, other_y)| (other_y - y) / (other_x - x)));
    }
    if points.len() < 10 || slopes.len() < 45 {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let half = Z_90 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt() / 2.0;
    let center = slopes.len() as f64 / 2.0;
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    let interval = Interval::try_new(at(center - half), at(center + half))?;
    Some(Slope { value: at(center), interval })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;

    #[test]
    fn finds_a_slope_despite_outliers() {
        let mut noise = Seed(1).stream(0, 0, "noise");
        let points: Vec<_> = (0..200)
            .map(|i| {
                let outlier = if i % 10 == 0 { 1e6 } else { 0.0 };
                (f64::from(i), 3.0 * f64::from(i) + noise.normal() + outlier)
            })
            .collect();
        let slope = theil_sen(&points).expect("enough points");
        assert!((slope.value - 3.0).abs() < 0.05, "{slope:?}");
        assert!(slope.interval.contains(3.0), "{slope:?}");
    }

    /// The interval covers the true slope about as often as it says: of 400 samples, 90 % ± 4
    /// standard errors (1.5 points) are between 336 and 384.
    #[test]
    fn covers_the_true_slope() {
        let covered = (0..400).filter(|seed| {
            let mut noise = Seed(*seed).stream(0, 0, "noise");
            let points: Vec<_> = (0..60).map(|i| (f64::from(i), 5.0 * noise.normal())).collect();
            theil_sen(&points).expect("enough points").interval.contains(0.0)
        });
        let covered = covered.count();
        assert!((336..=384).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn says_nothing_about_too_few_points() {
        assert_eq!(theil_sen(&[(1.0, 1.0); 100]), None);
        assert_eq!(theil_sen(&[(1.0, 1.0), (2.0, 2.0)]), None);
    }
}
