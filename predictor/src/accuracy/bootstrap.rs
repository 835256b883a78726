//! Intervals of scores: what other sets of trials would have given.

use prophecy_core::{Seed, quantile};

use super::Estimate;

/// Sets of trials that are drawn.
const DRAWS: u32 = 500;

/// Returns a score with the interval that 95 % of resampled sets of groups give. What belongs to one
/// trial stands and falls together.
pub(super) fn estimate<T: Clone>(
    groups: &[Vec<T>],
    seed: Seed,
    score: impl Fn(&[T]) -> Option<f64>,
) -> Estimate {
    let all: Vec<T> = groups.iter().flatten().cloned().collect();
    let value = score(&all);
    if groups.len() < 2 || value.is_none() {
        return Estimate { value, lo: None, hi: None };
    }
    let mut drawn: Vec<f64> = Vec::with_capacity(DRAWS as usize);
    let mut items: Vec<T> = Vec::with_capacity(all.len());
    for draw in 0..DRAWS {
        let mut stream = seed.stream(draw, 0, "bootstrap");
        items.clear();
        for _ in 0..groups.len() {
            items.extend_from_slice(&groups[stream.below(groups.len())]);
        }
        drawn.extend(score(&items));
    }
    drawn.sort_by(f64::total_cmp);
    Estimate {
        value,
        lo: quantile::of_sorted(&drawn, 0.025),
        hi: quantile::of_sorted(&drawn, 0.975),
    }
}
