//! Claims that need no queue: memory over time, and answers with a 4xx status.

use prophecy_core::Philox;
use prophecy_core::trend::theil_sen;
use prophecy_simulator::Observations;

use crate::evidence::Evidence;

const MIB: f64 = 1_048_576.0;

/// The horizon of a claim about memory \[s\].
const HORIZON_SECONDS: f64 = 3_600.0;

/// The part of an arm's measurements at its start that is still warm-up.
const WARMUP_SHARE: f64 = 0.2;

/// The width of a 90 % interval of a normal distribution, in standard deviations.
const WIDTH_90: f64 = 2.0 * 1.644_853_626_951_472_7;

/// Draws the resident memory of a service's instance after an hour of a share of production's traffic
/// \[MiB\].
///
/// The slope is bytes per request served, by Theil and Sen; its uncertainty is drawn from.
pub(super) fn after_an_hour(
    evidence: &Evidence,
    arm: &Observations,
    service: &str,
    traffic_share: f64,
    stream: &mut Philox,
) -> Option<f64> {
    let points = &arm.services.get(service)?.memory;
    let warm = &points[(points.len() as f64 * WARMUP_SHARE) as usize..];
    let line: Vec<(f64, f64)> =
        warm.iter().map(|point| (point.requests as f64, point.resident_bytes as f64)).collect();
    let last = line.last()?.1;
    let slope = theil_sen(&line)?;
    let sd = (slope.interval.hi() - slope.interval.lo()) / WIDTH_90;
    let per_request = slope.value + sd * stream.normal();
    let instances = f64::from(evidence.candidate_system.services.get(service)?.replicas);
    let rate = traffic_share * rate_hz(evidence, arm, service) / instances;
    Some((last + per_request.max(0.0) * rate * HORIZON_SECONDS) / MIB)
}

/// Returns the rate of requests to a service in production, from the entry's rate and the arm's ratio.
fn rate_hz(evidence: &Evidence, arm: &Observations, service: &str) -> f64 {
    let visits = |name: &str| {
        arm.services
            .get(name)
            .map_or(0, |service| service.routes.values().map(Vec::len).sum::<usize>())
    };
    let production = &evidence.production;
    let entry_rate =
        production.arrivals.len() as f64 / (production.window_nanos.max(1) as f64 / 1e9);
    entry_rate * visits(service) as f64 / visits(&arm.entry).max(1) as f64
}

/// Counts answers with a 4xx status on a route, and all of them.
pub(super) fn client_errors(observations: &Observations, service: &str, route: &str) -> (u64, u64) {
    let visits = observations.services.get(service).and_then(|service| service.routes.get(route));
    let visits = visits.map_or(&[][..], Vec::as_slice);
    let errors = visits
        .iter()
        .filter(|visit| visit.status.is_some_and(|status| (400..500).contains(&status)));
    (errors.count() as u64, visits.len() as u64)
}
