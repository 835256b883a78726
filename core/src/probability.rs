//! Probabilities and intervals that cannot be out of range.

use serde::{Deserialize, Serialize};

/// A number in `[0, 1]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

/// A closed interval `[lo, hi]` of finite numbers, written as an array of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    lo: f64,
    hi: f64,
}

// === impl Probability ===

impl Probability {
    /// Certainty that it does not happen.
    pub const ZERO: Self = Self(0.0);

    /// Returns the probability, or `None` outside `[0, 1]` or for a NaN.
    pub fn try_new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// Returns the nearest probability to a finite `value`; a NaN becomes zero.
    pub fn clamped(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) })
    }

    /// Returns the number in `[0, 1]`.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        Self::try_new(value).ok_or_else(|| format!("{value} is not a probability"))
    }
}

impl From<Probability> for f64 {
    fn from(probability: Probability) -> Self {
        probability.0
    }
}

// === impl Interval ===

impl Interval {
    /// Returns the interval, or `None` if a bound is not finite or `lo > hi`.
    pub fn try_new(lo: f64, hi: f64) -> Option<Self> {
        (lo.is_finite() && hi.is_finite() && lo <= hi).then_some(Self { lo, hi })
    }

    /// Returns the lower bound.
    pub fn lo(self) -> f64 {
        self.lo
    }

    /// Returns the upper bound.
    pub fn hi(self) -> f64 {
        self.hi
    }

    /// Says whether `value` lies between the bounds, bounds included.
    pub fn contains(self, value: f64) -> bool {
        self.lo <= value && value <= self.hi
    }
}

impl TryFrom<[f64; 2]> for Interval {
    type Error = String;

    fn try_from([lo, hi]: [f64; 2]) -> Result<Self, String> {
        Self::try_new(lo, hi).ok_or_else(|| format!("[{lo}, {hi}] is not an interval"))
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.lo, interval.hi]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_probability() {
        for value in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::try_new(value), None);
        }
        assert_eq!(Probability::clamped(f64::NAN), Probability::ZERO);
    }

    #[test]
    fn refuses_bounds_in_the_wrong_order() {
        assert_eq!(Interval::try_new(1.0, 0.0), None);
        assert!(Interval::try_new(0.0, 1.0).expect("in order").contains(1.0));
    }
}
