//! What came true: claims settled by what was measured afterwards.

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
    let visits: &Vec<Visit> = outcome.services.get(&claim.service)?.routes.get(&claim.route)?;
    let share = |is: &dyn Fn(&Visit) -> bool| {
        visits.iter().filter(|visit| is(visit)).count() as f64 / visits.len().max(1) as f64
    };
    let measured = match claim.metric {
        Metric::ErrorRate => share(&|visit| visit.failed),
        Metric::ClientErrorRate => {
            share(&|visit| visit.status.is_some_and(|status| (400..500).contains(&status)))
        }
        Metric::Memory => return None,
        Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => {
            let answered = visits.iter().filter(|visit| visit.status.is_some());
            let mut latencies: Vec<u64> = answered.map(|visit| visit.latency_nanos).collect();
            quantile::select(&mut latencies, claim.metric.level()?)? as f64 / 1e6
        }
    };
    Some(Settled { measured, breached: measured > claim.threshold, exchanges: visits.len() as u64 })
}
