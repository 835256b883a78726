//! What decides where a request goes, how often, and when it stops trying.

use serde::{Deserialize, Serialize};

/// How requests are spread over the instances of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Balancing {
    /// The policy.
    pub policy: Policy,
    /// How old the balancer's knowledge of the instances' load is, at most \[ns\].
    pub stale_nanos: u64,
    /// How long a started instance takes to get its whole share \[ns\].
    pub slow_start_nanos: u64,
    /// When an instance that fails is left out.
    pub ejection: Option<Ejection>,
}

/// A policy of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any, with equal probability.
    Random,
    /// Any, with these weights; instances beyond them weigh 1.
    Weighted(Vec<f64>),
    /// The one with the fewest requests.
    LeastRequests,
    /// Of two random ones, the one with fewer requests.
    ///
    /// # Source
    ///
    /// Mitzenmacher (2001), *The Power of Two Choices in Randomized Load Balancing*.
    PowerOfTwo,
    /// The one that the session's hash prefers, of those that are there.
    ///
    /// # Source
    ///
    /// Rendezvous hashing: Thaler and Ravishankar (1998).
    Sticky,
}

/// When an instance that fails is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// Failures one after another.
    pub failures: u32,
    /// For how long it is left out \[ns\].
    pub nanos: u64,
}

/// How long a caller waits before the `n`-th retry: `min(base · factor^(n−1), most)`, of which a share is random.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Before the first retry \[ns\].
    pub base_nanos: u64,
    /// From retry to retry.
    pub factor: f64,
    /// At most \[ns\].
    pub most_nanos: u64,
    /// The share of the wait that is drawn anew, uniformly: 1 is full jitter.
    pub jitter: f64,
}

/// A token bucket of retries: each call adds a share of a token, each retry takes one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Retries per call in the long run.
    pub ratio: f64,
    /// Retries that are saved up at most.
    pub burst: f64,
}

/// What stops calls while too many fail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// The calls that are looked back on.
    pub window: u32,
    /// The share of them that may fail.
    pub failures: f64,
    /// How long it stays open before one call is tried \[ns\].
    pub open_nanos: u64,
}

/// A limit of requests, as a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second in the long run.
    pub rate_hz: f64,
    /// Requests at once.
    pub burst: f64,
}

/// The way from a caller to a service and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// One way \[ns\].
    pub latency_nanos: u64,
    /// Drawn on top of it, exponentially: the mean \[ns\].
    pub jitter_nanos: u64,
    /// The probability that a message is lost; it is sent again after `resend_nanos`, then twice that, and so on.
    pub loss: f64,
    /// The first wait for a lost message \[ns\]; 0 stands for 200 ms.
    pub resend_nanos: u64,
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self { base_nanos: 0, factor: 2.0, most_nanos: 10_000_000_000, jitter: 0.0 }
    }
}

impl Backoff {
    /// Returns the wait before a retry, counted from 1, given a uniform draw \[ns\].
    pub(crate) fn wait_nanos(&self, retry: u32, uniform: f64) -> u64 {
        if self.base_nanos == 0 {
            return 0;
        }
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let whole = (self.base_nanos as f64 * self.factor.powi(exponent))
            .min(self.most_nanos.max(self.base_nanos) as f64);
        (whole * (1.0 - self.jitter + self.jitter * uniform)).round() as u64
    }
}

// === impl Network ===

impl Network {
    /// Says whether messages take no time.
    pub(crate) fn is_instant(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the first wait for a lost message \[ns\].
    pub(crate) fn resend(&self) -> u64 {
        // The least retransmission timeout of common TCP stacks; RFC 6298 asks for one second.
        if self.resend_nanos == 0 { 200_000_000 } else { self.resend_nanos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_further_each_time_up_to_a_bound() {
        let backoff = Backoff { base_nanos: 100, factor: 3.0, most_nanos: 1_000, jitter: 0.5 };
        let waits: Vec<u64> = (1..=4).map(|retry| backoff.wait_nanos(retry, 1.0)).collect();
        assert_eq!(waits, [100, 300, 900, 1_000]);
        assert_eq!(backoff.wait_nanos(2, 0.0), 150);
        assert_eq!(Backoff::default().wait_nanos(5, 0.7), 0);
    }
}
