//! The traffic of a scenario: arrivals at the entry over a window.

use prophecy_core::Philox;

use crate::observation::{Arrival, Observations};

/// Arrivals at the entry over a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The length of the window \[ns\].
    pub window_nanos: u64,
    /// The arrivals, by time.
    pub arrivals: Vec<Arrival>,
}

/// How many blocks a window is cut into to be drawn anew, and their length \[ns\].
const BLOCKS: u64 = 32;
const BLOCK_NANOS: (u64, u64) = (500_000_000, 5_000_000_000);

/// How many blocks away a block may come from.
const REACH: u64 = 2;

// === impl Traffic ===

impl Traffic {
    /// Returns the traffic that was observed, up to `limit_nanos` of it.
    pub fn observed(observations: &Observations, limit_nanos: u64) -> Self {
        let window_nanos = observations.window_nanos.min(limit_nanos);
        let within = observations.arrivals.iter().filter(|arrival| arrival.at_nanos < window_nanos);
        Self { window_nanos, arrivals: within.cloned().collect() }
    }

    /// Returns arrivals of a Poisson process, each on one of `routes` with equal probability.
    ///
    /// # Panics
    ///
    /// If there is no route, or the rate is not positive and finite.
    pub fn poisson(
        rate_hz: f64,
        window_nanos: u64,
        routes: &[String],
        stream: &mut Philox,
    ) -> Self {
        assert!(rate_hz > 0.0 && rate_hz.is_finite(), "a rate is positive, not {rate_hz}");
        let mut arrivals = Vec::new();
        let mut at = 0.0;
        loop {
            at += stream.exponential() * 1e9 / rate_hz;
            if at >= window_nanos as f64 {
                return Self { window_nanos, arrivals };
            }
            let route = routes[stream.below(routes.len())].clone();
            arrivals.push(Arrival { at_nanos: at as u64, session: arrivals.len() as u64, route });
        }
    }

    /// Draws traffic that could have come instead: the same day in other luck.
    ///
    /// The window is cut into blocks; each is replaced by itself or one near it, so that the shape of
    /// the day and the burstiness within a block stay, while what queues for longer is drawn anew. Then
    /// all times are scaled a little: the rate that was captured is itself an estimate, from as many
    /// arrivals as there are.
    ///
    /// # Source
    ///
    /// A block bootstrap (Künsch, 1989) whose blocks are drawn near their own place; the rate of a
    /// Poisson process is known to one part in the root of its count.
    #[must_use]
    pub fn resample(&self, stream: &mut Philox) -> Self {
        let pace = (stream.normal() / (self.arrivals.len().max(1) as f64).sqrt()).exp();
        let block_nanos = (self.window_nanos / BLOCKS).clamp(BLOCK_NANOS.0, BLOCK_NANOS.1);
        let block_nanos = block_nanos.clamp(1, self.window_nanos.max(1));
        let block_count = self.window_nanos.div_ceil(block_nanos);
        // Enough blocks to fill the window at the new pace.
        let drawn = ((block_count as f64 / pace).ceil() as u64).max(1);
        let mut arrivals = Vec::with_capacity(self.arrivals.len());
        for block in 0..drawn {
            let from = near(block.min(block_count - 1), block_count, stream);
            let (start, end) = (from * block_nanos, (from + 1) * block_nanos);
            let first = self.arrivals.partition_point(|arrival| arrival.at_nanos < start);
            let last = self.arrivals.partition_point(|arrival| arrival.at_nanos < end);
            arrivals.extend(self.arrivals[first..last].iter().filter_map(|arrival| {
                let at_nanos = arrival.at_nanos - start + block * block_nanos;
                let at_nanos = (at_nanos as f64 * pace) as u64;
                (at_nanos < self.window_nanos).then(|| Arrival { at_nanos, ..arrival.clone() })
            }));
        }
        Self { window_nanos: self.window_nanos, arrivals }
    }

    /// Splits the sessions: a `share` of them, and the rest.
    #[must_use]
    pub fn split(&self, share: f64, stream: &mut Philox) -> (Self, Self) {
        let (chosen, rest) = self
            .arrivals
            .iter()
            .cloned()
            .partition(|arrival| stream.at(arrival.session).uniform() < share);
        let part = |arrivals| Self { window_nanos: self.window_nanos, arrivals };
        (part(chosen), part(rest))
    }

    /// Keeps each arrival with probability `share`.
    #[must_use]
    pub fn thin(&self, share: f64, stream: &mut Philox) -> Self {
        let kept = self.arrivals.iter().filter(|_| stream.uniform() < share).cloned().collect();
        Self { window_nanos: self.window_nanos, arrivals: kept }
    }
}

/// Draws a block near `block`; past an end, the way goes back.
fn near(block: u64, count: u64, stream: &mut Philox) -> u64 {
    let reach = REACH.min(count - 1);
    let place = block + stream.below(2 * reach as usize + 1) as u64;
    let place = place.abs_diff(reach);
    if place < count { place } else { 2 * (count - 1) - place }
}
