//! What came true: claims settled by what was measured afterwards.

pub mod betting;

use prophecy_core::quantile;
use prophecy_simulator::Observations;
use prophecy_simulator::observation::Visit;

use crate::report::{Claim, Metric};

/// A claim that an outcome has settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settled {
    /// What was measured, in the claim's unit.
    pub measured: f64,
    /// Whether it exceeds the claim's threshold.
    pub breached: bool,
    /// Exchanges that it was measured on.
    pub exchanges: u64,
}

/// Settles a claim by what was observed after the deployment, or returns `None` if that cannot be
/// told: nothing was seen of it, or it speaks of an hour that has not passed.
pub fn settle(claim: &Claim, outcome: &Observations) -> Option<Settled> {
    let (measured, exchanges) = measure(claim.metric, &claim.service, &claim.route, outcome)?;
    Some(Settled { measured, breached: measured > claim.threshold, exchanges })
}

/// Measures a metric of a route as claims do: its value, and the exchanges that it was measured on.
/// Returns `None` if nothing was seen of it, or if it speaks of an hour that has not passed.
pub fn measure(
    metric: Metric,
    service: &str,
    route: &str,
    outcome: &Observations,
) -> Option<(f64, u64)> {
    let visits: &Vec<Visit> = outcome.services.get(service)?.routes.get(route)?;
    let share = |is: &dyn Fn(&Visit) -> bool| {
        visits.iter().filter(|visit| is(visit)).count() as f64 / visits.len().max(1) as f64
    };
    let answered = visits.iter().filter(|visit| visit.status.is_some());
    let mut latencies: Vec<u64> = answered.map(|visit| visit.latency_nanos).collect();
    let measured = match metric {
        Metric::ErrorRate => share(&|visit| visit.failed),
        Metric::ClientErrorRate => {
            share(&|visit| visit.status.is_some_and(|status| (400..500).contains(&status)))
        }
        Metric::Memory => return None,
        Metric::LatencyMean => {
            let sum: f64 = latencies.iter().map(|nanos| *nanos as f64).sum();
            (!latencies.is_empty()).then(|| sum / latencies.len() as f64 / 1e6)?
        }
        Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => {
            quantile::select(&mut latencies, metric.level()?)? as f64 / 1e6
        }
    };
    Some((measured, visits.len() as u64))
}
