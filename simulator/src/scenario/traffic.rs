//! What reaches the entry of a system, as captured, resampled, or made.

use prophecy_core::Philox;

use crate::observation::{Arrival, Observations};

/// Requests at the entry during a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How long the window is.
    pub window_nanos: u64,
    /// The requests, ascending by time, all before the end of the window.
    pub arrivals: Vec<Arrival>,
}

// === impl Traffic ===

impl Traffic {
    /// Returns the traffic as observed.
    pub fn observed(observations: &Observations) -> Self {
        Self {
            window_nanos: observations.window_nanos,
            arrivals: observations.arrivals.clone(),
        }
    }

    /// Makes requests of one route that come independently of each other at a mean rate.
    ///
    /// # Panics
    ///
    /// If `rate_hz` is not positive and finite.
    pub fn poisson(route: &str, rate_hz: f64, window_nanos: u64, stream: &mut Philox) -> Self {
        assert!(rate_hz > 0.0 && rate_hz.is_finite(), "a rate is positive, not {rate_hz}");
        let mut arrivals = Vec::new();
        let mut at = 0.0;
        loop {
            at += stream.exponential() * 1e9 / rate_hz;
            if at >= window_nanos as f64 {
                return Self { window_nanos, arrivals };
            }
            let session = arrivals.len() as u64;
            arrivals.push(Arrival { at_nanos: at as u64, session, route: route.to_owned() });
        }
    }

    /// Draws a window like this one: each block of about `block_nanos` is replaced by itself, the
    /// one before or the one after, so that bursts within blocks and the shape of the day both stay.
    ///
    /// At the ends of the window, a block that does not exist gives way to the block itself, so each
    /// block is used once on average and the mean traffic is that of the original.
    ///
    /// # Source
    ///
    /// Künsch (1989), *The Jackknife and the Bootstrap for General Stationary Observations*, with
    /// blocks drawn near their own place, as the series is not stationary.
    pub fn resample(&self, block_nanos: u64, stream: &mut Philox) -> Self {
        let window = self.window_nanos;
        let block_count = (window / block_nanos.max(1)).max(1);
        let boundary =
            |block: u64| (u128::from(window) * u128::from(block) / u128::from(block_count)) as u64;
        let index_at = |nanos: u64| self.arrivals.partition_point(|a| a.at_nanos < nanos);
        let mut arrivals = Vec::with_capacity(self.arrivals.len() + self.arrivals.len() / 8);
        for block in 0..block_count {
            let source = match stream.below(3) {
                0 => block.saturating_sub(1),
                1 => block,
                _ => (block + 1).min(block_count - 1),
            };
            let (from, start, end) = (boundary(source), boundary(block), boundary(block + 1));
            let taken = index_at(from)..index_at(boundary(source + 1));
            arrivals.extend(self.arrivals[taken].iter().map(|arrival| Arrival {
                // Blocks differ in length by a nanosecond; the last one must not spill over.
                at_nanos: (arrival.at_nanos - from + start).min(end.saturating_sub(1)),
                session: arrival.session,
                route: arrival.route.clone(),
            }));
        }
        Self { window_nanos: window, arrivals }
    }
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    fn ramp() -> Traffic {
        let arrivals = (0..1_000u64)
            .map(|i| Arrival {
                at_nanos: ((i as f64 / 1_000.0).sqrt() * 1e9) as u64,
                session: i,
                route: "GET /".to_owned(),
            })
            .collect();
        Traffic { window_nanos: 1_000_000_000, arrivals }
    }

    #[test]
    fn keeps_the_order_the_window_and_the_shape_of_the_day() {
        let traffic = ramp();
        for replication in 0..50 {
            let mut stream = Seed(1).stream(replication, 0, "traffic");
            let drawn = traffic.resample(33_000_001, &mut stream);
            assert!(drawn.arrivals.is_sorted_by_key(|arrival| arrival.at_nanos));
            assert!(drawn.arrivals.iter().all(|arrival| arrival.at_nanos < 1_000_000_000));
            let early = drawn.arrivals.iter().filter(|a| a.at_nanos < 500_000_000).count();
            let share = early as f64 / drawn.arrivals.len() as f64;
            assert!((share - 0.25).abs() < 0.05, "{share}");
        }
    }

    /// The mean count over 2,000 draws lies within four standard errors of the true count.
    #[test]
    fn draws_as_many_requests_as_there_were_on_average() {
        let traffic = ramp();
        let counts: Vec<f64> = (0..2_000)
            .map(|replication| {
                let mut stream = Seed(2).stream(replication, 0, "traffic");
                traffic.resample(50_000_000, &mut stream).arrivals.len() as f64
            })
            .collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let squares: f64 = counts.iter().map(|count| (count - mean).powi(2)).sum();
        let error = (squares / 1_999.0 / 2_000.0).sqrt();
        assert!((mean - 1_000.0).abs() < 4.0 * error, "{mean} with standard error {error}");
    }

    #[test]
    fn leaves_a_window_of_one_block_as_it_is() {
        let traffic = ramp();
        let mut stream = Seed(3).stream(0, 0, "traffic");
        assert_eq!(traffic.resample(u64::MAX, &mut stream), traffic);
        let empty = Traffic { window_nanos: 0, arrivals: Vec::new() };
        assert_eq!(empty.resample(0, &mut stream), empty);
    }
}
