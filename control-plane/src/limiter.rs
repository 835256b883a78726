//! Token buckets: how often somebody may ask.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

/// How fast a bucket refills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Requests per second over a long time.
    pub(crate) per_second: f64,
    /// Requests at once.
    pub(crate) burst: f64,
}

/// Buckets by key.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Rate,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

/// More keys than this, and those whose bucket is full again are forgotten.
const MANY: usize = 10_000;

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes one from the bucket of `key`, or tells for how many seconds it stays empty.
    pub(crate) fn take(&self, key: &str, now: Instant) -> Result<(), u64> {
        self.draw(key, now, 1.0)
    }

    /// Tells for how many seconds the bucket of `key` stays empty, and takes nothing.
    pub(crate) fn peek(&self, key: &str, now: Instant) -> Result<(), u64> {
        self.draw(key, now, 0.0)
    }

    fn draw(&self, key: &str, now: Instant, amount: f64) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if buckets.len() > MANY {
            let rate = self.rate;
            buckets.retain(|_, bucket| level(*bucket, rate, now) < rate.burst);
        }
        let full = Bucket { level: self.rate.burst, at: now };
        let bucket = buckets.entry(key.to_owned()).or_insert(full);
        *bucket = Bucket { level: level(*bucket, self.rate, now), at: now };
        if bucket.level < 1.0 {
            return Err(((1.0 - bucket.level) / self.rate.per_second).ceil().max(1.0) as u64);
        }
        bucket.level -= amount;
        Ok(())
    }
}

fn level(bucket: Bucket, rate: Rate, now: Instant) -> f64 {
    let seconds = now.saturating_duration_since(bucket.at).as_secs_f64();
    seconds.mul_add(rate.per_second, bucket.level).min(rate.burst)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_refills() {
        let limiter = Limiter::new(Rate { per_second: 2.0, burst: 3.0 });
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take("a", start), Ok(()));
        }
        assert_eq!(limiter.take("a", start), Err(1));
        assert_eq!(limiter.take("b", start), Ok(()), "another key has its own bucket");
        assert_eq!(limiter.take("a", start + Duration::from_millis(500)), Ok(()));
        assert!(limiter.peek("a", start + Duration::from_millis(500)).is_err());
    }
}
