//! How probable it is that a route takes as long as before.
//!
//! Two arms of one build are never equal, and neither are a baseline and a candidate whose change is
//! elsewhere. Without this, a queue near its limit would blow up differences that are none, and every
//! build would be a risk to it.

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_simulator::Observations;
use prophecy_simulator::observation::Visit;

/// How large the changes are that are thought of: the standard deviation of the logarithm.
const CHANGE: f64 = 0.3;

/// What the machine adds to any time \[ns\]; it tells nothing about a build.
const JITTER_NANOS: f64 = 100_000.0;

/// The probability, by service and route, that own times are what they were.
#[derive(Debug)]
pub(super) struct Unchanged(BTreeMap<(String, String), f64>);

// === impl Unchanged ===

impl Unchanged {
    /// Compares the candidate's arm with those of the baseline; `noise` is what two arms differ by.
    pub(super) fn new(baseline: &Observations, candidate: &Observations, noise: f64) -> Self {
        let mut found = BTreeMap::new();
        for (name, service) in &candidate.services {
            for (route, visits) in &service.routes {
                let known = baseline.services.get(name).and_then(|it| it.routes.get(route));
                if let Some(known) = known {
                    let probability = probability(known, visits, noise);
                    found.insert((name.clone(), route.clone()), probability);
                }
            }
        }
        Self(found)
    }

    /// Draws whether a route is unchanged.
    pub(super) fn draw(&self, place: &(String, String), seed: Seed, index: u32) -> bool {
        let Some(probability) = self.0.get(place) else { return false };
        let entity = prophecy_core::random::fnv1a(&format!("{}/{}", place.0, place.1));
        seed.stream(index, entity, "unchanged").uniform() < *probability
    }
}

/// Returns the posterior probability of no change, if that is as probable as a change beforehand.
///
/// The evidence is the difference of mean own times, and that of their logarithms; the one that
/// speaks more clearly for a change counts.
///
/// # Source
///
/// The Bayes factor of a point against a normal alternative: Kass and Raftery (1995), section 3.
fn probability(before: &[Visit], after: &[Visit], noise: f64) -> f64 {
    let plain = |visit: &&Visit| !visit.calls.iter().any(|call| call.failed);
    let times = |visits: &[Visit]| -> Vec<f64> {
        visits.iter().filter(plain).map(|visit| visit.own_nanos.max(1_000) as f64).collect()
    };
    let (before, after) = (times(before), times(after));
    if before.len() < 2 || after.len() < 2 {
        return 0.0;
    }
    let logarithms = |times: &[f64]| times.iter().map(|nanos| nanos.ln()).collect::<Vec<f64>>();
    let (mean, spread) = moments(&before);
    let (other, other_spread) = moments(&after);
    let jitter = JITTER_NANOS / mean.min(other);
    let of_means = factor(
        (other / mean).ln(),
        spread / mean.powi(2) + other_spread / other.powi(2) + noise.powi(2) + jitter.powi(2),
    );
    let (mean, spread) = moments(&logarithms(&before));
    let (other, other_spread) = moments(&logarithms(&after));
    let of_logarithms =
        factor(other - mean, spread + other_spread + noise.powi(2) + jitter.powi(2));
    let factor = of_means.min(of_logarithms);
    factor / (1.0 + factor)
}

/// Returns the mean, and the variance of the mean.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// Returns how much more probable a difference is without a change than with one.
fn factor(difference: f64, variance: f64) -> f64 {
    let both = variance + CHANGE.powi(2);
    let shrunk = 0.5 * difference.powi(2) * CHANGE.powi(2) / (variance * both);
    (both / variance).sqrt() * (-shrunk).exp()
}

#[cfg(test)]
mod tests {
    use prophecy_core::Philox;

    use super::*;

    fn visits(median_millis: f64, count: usize, stream: &mut Philox) -> Vec<Visit> {
        let own = |stream: &mut Philox| median_millis * 1e6 * (0.4 * stream.normal()).exp();
        (0..count).map(|_| Visit { own_nanos: own(stream) as u64, ..Visit::default() }).collect()
    }

    #[test]
    fn tells_a_change_from_noise() {
        let mut stream = Seed(5).stream(0, 0, "visits");
        let before = visits(10.0, 600, &mut stream);
        let same = visits(10.2, 300, &mut stream);
        let slower = visits(13.0, 300, &mut stream);
        assert!(probability(&before, &same, 0.03) > 0.7);
        assert!(probability(&before, &slower, 0.03) < 0.01);
        // On a machine on which equal arms differ by a fifth, it cannot be told.
        assert!(probability(&before, &slower, 0.2) > 0.2);
        assert!(probability(&before, &same[..1], 0.03) < 1e-9, "one visit tells nothing");
    }

    /// One request in ten takes five times as long: the mean sees what the middle does not.
    #[test]
    fn sees_a_change_of_the_tail_alone() {
        let mut stream = Seed(5).stream(0, 0, "visits");
        let before = visits(10.0, 600, &mut stream);
        let mut after = visits(10.0, 300, &mut stream);
        after.iter_mut().step_by(10).for_each(|visit| visit.own_nanos *= 5);
        assert!(probability(&before, &after, 0.03) < 0.01);
    }
}
