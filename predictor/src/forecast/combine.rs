//! Production with the change: `P + (C − B)`.

use prophecy_core::quantile::of_sorted;

/// How finely quantile functions are combined.
const LEVELS: usize = 1_024;

/// Above this many samples from the top, a quantile of an arm is mostly luck.
const TAIL_SAMPLES: f64 = 10.0;

/// Moves the quantile function of production by the difference between candidate and baseline.
///
/// Level by level, `Q_P + f·Q_C − Q_B`, not below zero, in ascending order again. Where fewer than ten
/// samples of an arm lie above a level, the difference at that level is luck; from there on the
/// last difference that can be trusted is scaled up with production's own tail.
///
/// # Shapes and units
///
/// - `production`, `baseline`, `candidate`: ascending own times \[ns\], not empty.
/// - `factor`: dimensionless; the noise between arms that this draw gives the candidate.
/// - The result: 1,024 ascending, equally likely own times \[ns\].
pub(super) fn shift(
    production: &[u64],
    baseline: &[u64],
    candidate: &[u64],
    factor: f64,
) -> Vec<u64> {
    let at = |sorted: &[u64], level: f64| of_sorted(sorted, level).expect("not empty") as f64;
    let samples = baseline.len().min(candidate.len()) as f64;
    let trusted = (1.0 - TAIL_SAMPLES / samples).max(0.5);
    let difference = |level: f64| factor * at(candidate, level) - at(baseline, level);
    let last = difference(trusted) / at(production, trusted).max(1.0);
    let mut values: Vec<u64> = (0..LEVELS)
        .map(|index| {
            let level = (index as f64 + 0.5) / LEVELS as f64;
            let own = at(production, level);
            let moved = if level <= trusted { own + difference(level) } else { own * (1.0 + last) };
            moved.max(0.0).round() as u64
        })
        .collect();
    values.sort_unstable();
    values
}

/// Moves ascending own times by a constant, not below zero.
pub(super) fn offset(values: &[u64], nanos: i64) -> Vec<u64> {
    values.iter().map(|value| value.saturating_add_signed(nanos)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_production_by_the_difference_of_the_arms() {
        let production: Vec<u64> = (0..1_000).map(|i| 1_000 + i).collect();
        let baseline: Vec<u64> = (0..1_000).map(|i| 5_000 + i).collect();
        let slower: Vec<u64> = baseline.iter().map(|value| value + 300).collect();
        let moved = shift(&production, &baseline, &slower, 1.0);
        assert_eq!(moved.len(), LEVELS);
        assert!(moved[512].abs_diff(1_800) <= 2, "{}", moved[512]);
        let same = shift(&production, &baseline, &baseline, 1.0);
        assert!(same[512].abs_diff(1_500) <= 2, "{}", same[512]);
    }

    /// One hiccup among a hundred samples is not a slower tail.
    #[test]
    fn does_not_believe_a_single_hiccup() {
        let production: Vec<u64> = (1..=1_000).collect();
        let baseline: Vec<u64> = (1..=100).map(|i| 10 * i).collect();
        let mut hiccup = baseline.clone();
        hiccup[99] = 1_000_000;
        assert_eq!(
            shift(&production, &baseline, &hiccup, 1.0),
            shift(&production, &baseline, &baseline, 1.0)
        );
    }
}
