//! Many values in bounded room.

use std::collections::BTreeMap;

/// The most values kept of an empirical distribution.
const SPREAD_LIMIT: u64 = 4_096;

/// Up to so many values each is kept.
const EXACT_LIMIT: usize = 65_536;

/// Above, values are counted in steps of one part in 2¹¹ of themselves.
const STEP_BITS: u32 = 11;

/// Values, each of them or counted by size.
///
/// # Shapes and units
///
/// Any unit. What is returned is off by at most one part in 4,096 once there are more than 65,536 values; least
/// and largest never are.
///
/// # Determinism
///
/// The order of adding and merging changes nothing.
#[derive(Clone, Debug)]
pub struct Values {
    kept: Kept,
    least: u64,
    most: u64,
}

#[derive(Clone, Debug)]
enum Kept {
    Each(Vec<u64>),
    Counted(BTreeMap<u32, u64>, u64),
}

// === impl Values ===

impl Default for Values {
    fn default() -> Self {
        Self { kept: Kept::Each(Vec::new()), least: u64::MAX, most: 0 }
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted() && self.least == other.least && self.most == other.most
    }
}

impl Values {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        match &mut self.kept {
            Kept::Each(values) => values.push(value),
            Kept::Counted(counts, total) => {
                *counts.entry(step(value)).or_default() += 1;
                *total += 1;
            }
        }
        self.shrink();
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: Self) {
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        match (&mut self.kept, other.kept) {
            (Kept::Each(values), Kept::Each(others)) => values.extend(others),
            (Kept::Counted(counts, total), other) => {
                *total += other.count();
                other.into_counts().into_iter().for_each(|(at, count)| {
                    *counts.entry(at).or_default() += count;
                });
            }
            (Kept::Each(values), Kept::Counted(mut counts, total)) => {
                let all = total + values.len() as u64;
                values.iter().for_each(|value| *counts.entry(step(*value)).or_default() += 1);
                self.kept = Kept::Counted(counts, all);
            }
        }
        self.shrink();
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.kept.count()
    }

    /// Returns at most 4,096 of them, ascending, evenly spread, the least and the largest always.
    pub fn spread(&self) -> Vec<u64> {
        let sorted = self.sorted();
        let total = self.count();
        if total <= SPREAD_LIMIT {
            return sorted.iter().map(|(value, _)| *value).collect();
        }
        let last = total - 1;
        let mut runs = sorted.iter();
        let mut run = runs.next().expect("there are more than a few");
        let mut below = 0;
        let at = |index: u64| {
            let rank = (u128::from(index) * u128::from(last) / u128::from(SPREAD_LIMIT - 1)) as u64;
            while rank >= below + run.1 {
                below += run.1;
                run = runs.next().expect("ranks are below the total");
            }
            match rank {
                0 => self.least,
                _ if rank == last => self.most,
                _ => run.0.clamp(self.least, self.most),
            }
        };
        (0..SPREAD_LIMIT).map(at).collect()
    }

    /// Returns values with how often they occur, ascending.
    fn sorted(&self) -> Vec<(u64, u64)> {
        match &self.kept {
            Kept::Each(values) => {
                let mut sorted = values.clone();
                sorted.sort_unstable();
                sorted.into_iter().map(|value| (value, 1)).collect()
            }
            Kept::Counted(counts, _) => {
                counts.iter().map(|(at, count)| (middle(*at), *count)).collect()
            }
        }
    }

    fn shrink(&mut self) {
        if matches!(&self.kept, Kept::Each(values) if values.len() > EXACT_LIMIT) {
            let kept = std::mem::replace(&mut self.kept, Kept::Each(Vec::new()));
            let total = kept.count();
            self.kept = Kept::Counted(kept.into_counts(), total);
        }
    }
}

// === impl Kept ===

impl Kept {
    fn count(&self) -> u64 {
        match self {
            Self::Each(values) => values.len() as u64,
            Self::Counted(_, total) => *total,
        }
    }

    fn into_counts(self) -> BTreeMap<u32, u64> {
        match self {
            Self::Counted(counts, _) => counts,
            Self::Each(values) => {
                let mut counts = BTreeMap::new();
                values.into_iter().for_each(|value| *counts.entry(step(value)).or_default() += 1);
                counts
            }
        }
    }
}

/// Returns the step that a value is in: small values have one each, larger ones share one with those that have the
/// same leading bits.
fn step(value: u64) -> u32 {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(STEP_BITS + 1);
    (shift << STEP_BITS) + (value >> shift) as u32
}

/// Returns the value in the middle of a step.
fn middle(step: u32) -> u64 {
    let shift = (step >> STEP_BITS).saturating_sub(1);
    let leading = u64::from(step - (shift << STEP_BITS));
    (leading << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    fn draws(count: usize) -> Vec<u64> {
        let mut stream = Seed(3).stream(0, 0, "values");
        (0..count).map(|_| (4e6 * stream.normal().exp()) as u64).collect()
    }

    fn of(values: &[u64]) -> Values {
        let mut kept = Values::default();
        values.iter().for_each(|value| kept.add(*value));
        kept
    }

    #[test]
    fn steps_ascend_and_hold_their_middle() {
        let mut last = 0;
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, u64::MAX >> (63 - shift)]
            {
                let at = step(value);
                assert!(at >= last, "{value}");
                last = at;
                assert_eq!(step(middle(at)), at, "{value}");
                assert!(middle(at).abs_diff(value) <= value >> STEP_BITS, "{value}");
            }
        }
    }

    #[test]
    fn few_are_kept_as_they_are() {
        let mut values = draws(4_000);
        let kept = of(&values);
        values.sort_unstable();
        assert_eq!(kept.spread(), values);
    }

    #[test]
    fn many_are_as_good_as_all() {
        let mut values = draws(200_000);
        let spread = of(&values).spread();
        values.sort_unstable();
        assert_eq!(spread.len() as u64, SPREAD_LIMIT);
        for (index, value) in spread.iter().enumerate() {
            let exact = values[index * 199_999 / 4_095];
            assert!(value.abs_diff(exact) as f64 <= exact as f64 / 4_096.0 + 1.0, "{index}");
        }
        assert_eq!((spread[0], spread[4_095]), (values[0], values[199_999]));
    }

    #[test]
    fn order_and_cuts_change_nothing() {
        let values = draws(150_000);
        let whole = of(&values);
        for cuts in [vec![10, 70_000], vec![75_000], vec![1, 2, 149_000]] {
            let ends = cuts.iter().copied().chain([values.len()]);
            let mut from = 0;
            let mut pieces: Vec<Values> =
                ends.map(|to| of(&values[std::mem::replace(&mut from, to)..to])).collect();
            pieces.reverse();
            let mut merged = Values::default();
            pieces.into_iter().for_each(|piece| merged.merge(piece));
            assert_eq!(merged, whole);
        }
    }
}
