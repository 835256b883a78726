//! Drawing how long something takes, and waiting that long.

use std::time::{Duration, Instant};

use prophecy_core::Philox;

use crate::config::{Distribution, Timing};

const DEFAULT_SIGMA: f64 = 0.5;
/// What the runtime's timer may be late by: it counts in whole milliseconds.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// Draws a duration.
pub(super) fn draw(timing: &Timing, luck: &mut Philox) -> Duration {
    let factor = match timing.distribution {
        Distribution::Constant => 1.0,
        Distribution::Exponential => luck.exponential(),
        Distribution::Lognormal => {
            let sigma = timing.sigma.unwrap_or(DEFAULT_SIGMA);
            // NUMERICS: the mean of exp(σN) is exp(σ²/2), so taking that off leaves a mean of 1.
            (sigma * luck.normal() - sigma * sigma / 2.0).exp()
        }
        Distribution::Uniform => 2.0 * luck.uniform(),
    };
    timing.mean.0.mul_f64(factor)
}

/// Waits, to about a tenth of a millisecond.
pub(super) async fn wait(duration: Duration) {
    let end = Instant::now() + duration;
    if let Some(coarse) = duration.checked_sub(TIMER_GRAIN).filter(|coarse| !coarse.is_zero()) {
        tokio::time::sleep(coarse).await;
    }
    let rest = end.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        let sleep = tokio::task::spawn_blocking(move || std::thread::sleep(rest));
        sleep.await.expect("sleeping does not panic");
    }
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;
    use prophecy_core::system::Span;

    use super::*;

    #[test]
    fn keeps_the_mean_whatever_the_distribution() {
        let check = |distribution, sigma, deviation: f64| {
            let mean = Span(Duration::from_millis(10));
            let timing = Timing { mean, distribution, sigma };
            let mut luck = Seed(7).stream(0, 0, "test");
            let count = 20_000;
            let total: f64 = (0..count).map(|_| draw(&timing, &mut luck).as_secs_f64()).sum();
            let found = total / f64::from(count) / 0.010;
            // Four standard errors of a mean of 20,000 draws.
            let tolerance = 4.0 * deviation / f64::from(count).sqrt() + 1e-9;
            assert!((found - 1.0).abs() <= tolerance, "{distribution:?}: {found}");
        };
        check(Distribution::Constant, None, 0.0);
        check(Distribution::Exponential, None, 1.0);
        check(Distribution::Lognormal, Some(0.3), 0.307);
        check(Distribution::Lognormal, None, 0.533);
        check(Distribution::Uniform, None, 0.577);
    }

    #[tokio::test]
    async fn waits_at_least_as_long_as_asked() {
        for micros in [0, 300, 2_500, 7_100] {
            let start = Instant::now();
            wait(Duration::from_micros(micros)).await;
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
    }
}
