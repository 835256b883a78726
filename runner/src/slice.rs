//! What clients met, second by second: counts and a histogram that merges.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets per octave, as a power of two: neighbours differ by less than one part in 128.
const BITS: u32 = 7;

/// What one group showed clients on one route in one second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The second, since 1970.
    pub second: u64,
    /// The route.
    pub route: String,
    /// Requests that ended in it.
    pub requests: u64,
    /// Those with a 5xx status or no whole answer.
    pub failures: u64,
    /// Latencies \[ns\] of those that were answered.
    pub latency: Histogram,
}

/// Counts of values in buckets whose width grows with the value.
///
/// A value below 128 is its own bucket; above, a bucket is the position of the highest bit and the seven
/// bits below it. The middle of a bucket is off by less than 0.4 % from any value in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u64)>", into = "Vec<(u32, u64)>")]
pub struct Histogram {
    buckets: BTreeMap<u32, u64>,
    count: u64,
}

// === impl Histogram ===

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        *self.buckets.entry(bucket(value)).or_default() += 1;
        self.count += 1;
    }

    /// Counts what another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.count += other.count;
    }

    /// Returns how many values were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns how many of them are above a value, to the width of a bucket.
    pub fn count_above(&self, value: u64) -> u64 {
        self.buckets.range(bucket(value) + 1..).map(|(_, count)| count).sum()
    }

    /// Returns the value below or at which a share of the values lies: the smallest with enough at or
    /// below it. Nothing if nothing was counted.
    pub fn quantile(&self, level: f64) -> Option<u64> {
        let rank = (level * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        self.buckets.iter().find_map(|(bucket, count)| {
            below += count;
            (below >= rank).then(|| middle(*bucket))
        })
    }

    /// Returns the mean, to the width of a bucket.
    pub fn mean(&self) -> Option<f64> {
        let of = |(bucket, count): (&u32, &u64)| middle(*bucket) as f64 * *count as f64;
        (self.count > 0).then(|| self.buckets.iter().map(of).sum::<f64>() / self.count as f64)
    }
}

impl From<Vec<(u32, u64)>> for Histogram {
    fn from(pairs: Vec<(u32, u64)>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in pairs {
            *histogram.buckets.entry(bucket).or_default() += count;
            histogram.count += count;
        }
        histogram
    }
}

impl From<Histogram> for Vec<(u32, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.buckets.into_iter().collect()
    }
}

fn bucket(value: u64) -> u32 {
    if value < 1 << BITS {
        return value as u32;
    }
    let shift = value.ilog2() - BITS;
    (shift << BITS) + (value >> shift) as u32
}

/// Returns the middle of a bucket.
fn middle(bucket: u32) -> u64 {
    if bucket < 2 << BITS {
        return u64::from(bucket);
    }
    let shift = (bucket >> BITS) - 1;
    let low = u64::from(bucket - (shift << BITS)) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    #[test]
    fn buckets_are_in_order_and_narrow() {
        let mut value = 1;
        while value < u64::MAX / 3 {
            for near in [value - 1, value, value + 1] {
                assert!(bucket(near) <= bucket(near + 1), "{near}");
                let off = middle(bucket(near)).abs_diff(near) as f64;
                assert!(off <= near as f64 / 256.0, "{near}: off by {off}");
            }
            value += value / 3 + 1;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut stream = Seed(3).stream(0, 0, "values");
        let mut values: Vec<u64> =
            (0..5_000).map(|_| (1e6 * (1.0 + 20.0 * stream.exponential())) as u64).collect();
        let mut whole = Histogram::default();
        let mut parts = [Histogram::default(), Histogram::default()];
        for (index, value) in values.iter().enumerate() {
            whole.record(*value);
            parts[index % 2].record(*value);
        }
        let [mut first, second] = parts;
        first.merge(&second);
        assert_eq!(first, whole);
        values.sort_unstable();
        for level in [0.01, 0.5, 0.95, 0.99, 1.0] {
            let exact = values[(level * 5_000.0_f64).ceil() as usize - 1];
            let found = whole.quantile(level).expect("there are values");
            assert!(found.abs_diff(exact) <= exact / 128, "{level}: {found} {exact}");
            let above = values.iter().filter(|value| **value > exact).count() as u64;
            assert!(whole.count_above(exact) <= above, "{level}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn survives_being_written() {
        let mut histogram = Histogram::default();
        [0, 127, 128, 129, 1_000_000].into_iter().for_each(|it| histogram.record(it));
        let text = serde_json::to_string(&histogram).expect("plain data");
        assert_eq!(serde_json::from_str::<Histogram>(&text).expect("as written"), histogram);
    }
}
