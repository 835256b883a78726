//! Which claims are made: one for each promise, and defaults where nothing is promised.

use prophecy_core::system::{Slo, Span};
use prophecy_simulator::Observations;

use crate::evidence::Evidence;
use crate::report::Metric;

/// Exchanges on a route that a claim needs: in production, and in each arm.
const PRODUCTION_NEEDED: usize = 100;
const ARM_NEEDED: usize = 50;

/// The defaults: how much worse the candidate may be than the baseline.
const LATENCY_FACTOR: f64 = 1.2;
const RATE_POINTS: f64 = 0.005;

/// What is foretold of every route that has enough exchanges.
const TRACKED: [Metric; 5] = [
    Metric::LatencyMean,
    Metric::LatencyP50,
    Metric::LatencyP95,
    Metric::LatencyP99,
    Metric::ErrorRate,
];

/// Claims before they have a probability.
#[derive(Debug, Default)]
pub(super) struct Registered {
    pub(super) claims: Vec<Question>,
    /// What is foretold of each route beside the claims; bounded by nothing.
    pub(super) tracked: Vec<Question>,
    /// Routes without a claim, and why.
    pub(super) not_claimed: Vec<String>,
    /// Promises that cannot be claimed about for want of exchanges.
    pub(super) promises_without_evidence: Vec<String>,
}

/// A claim before it has a probability.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) route: String,
    pub(super) metric: Metric,
    pub(super) limit: Limit,
    pub(super) unit: &'static str,
    pub(super) bound: String,
    pub(super) exchanges: [u64; 2],
}

/// What a metric is held against.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// A number.
    Fixed(f64),
    /// The baseline under the same luck, times this.
    Times(f64),
    /// The baseline under the same luck, plus this.
    Plus(f64),
}

/// Registers the claims.
pub(super) fn register(evidence: &Evidence) -> Registered {
    let mut registered = Registered::default();
    for slo in &evidence.candidate_system.slo {
        register_promise(evidence, slo, &mut registered);
    }
    let entry = &evidence.system.entry;
    for route in routes_of(&evidence.production, entry) {
        let counts = counts(evidence, entry, &route);
        if let Some(found) = too_few(counts) {
            if evidence.candidate_system.slo_of(entry, &route).is_none() {
                registered.not_claimed.push(format!("{entry} {route}: {found}"));
            }
            continue;
        }
        registered.track((entry, &route), counts);
        if evidence.candidate_system.slo_of(entry, &route).is_none() {
            let default = "20 % above the baseline, as nothing is promised";
            let latency = Limit::Times(LATENCY_FACTOR);
            registered.push((entry, &route), Metric::LatencyP99, latency, default, counts);
            let default = "0.5 points above the baseline, as nothing is promised";
            registered.push(
                (entry, &route),
                Metric::ErrorRate,
                Limit::Plus(RATE_POINTS),
                default,
                counts,
            );
        }
        if client_errors_seen(evidence, entry, &route) {
            let default = "0.5 points above the baseline";
            let metric = Metric::ClientErrorRate;
            registered.push((entry, &route), metric, Limit::Plus(RATE_POINTS), default, counts);
        }
    }
    for (name, service) in &evidence.candidate_system.services {
        // Without a baseline to compare with, a claim would count as kept that was never looked at.
        let points = |arm: &Observations| arm.services.get(name).map_or(0, |it| it.memory.len());
        let measured = points(&evidence.baseline).min(points(&evidence.candidate));
        if let Some(limit) = service.memory_limit
            && measured >= 20
        {
            let limit = Limit::Fixed(limit.0 as f64 / f64::from(1 << 20));
            let visits = |arm: &Observations| {
                arm.services
                    .get(name)
                    .map_or(0, |service| service.routes.values().map(Vec::len).sum())
            };
            let counts = [visits(&evidence.production), visits(&evidence.candidate)];
            registered.push((name, ""), Metric::Memory, limit, "the limit of an instance", counts);
        }
    }
    registered
}

fn register_promise(evidence: &Evidence, slo: &Slo, registered: &mut Registered) {
    let counts = counts(evidence, &slo.service, &slo.route);
    // Inner services are often seen in the arms alone; then the entry's traffic carries the claim.
    let seen_in_production = evidence.production.services.contains_key(&slo.service);
    let needed =
        if seen_in_production { counts } else { [counts[1].max(PRODUCTION_NEEDED), counts[1]] };
    if let Some(found) = too_few(needed) {
        let subject = format!("{} {}", slo.service, slo.route);
        registered.promises_without_evidence.push(format!("{subject}: {found}"));
        registered.not_claimed.push(format!("{subject}: {found}"));
        return;
    }
    let millis = |span: Span| Limit::Fixed(span.0.as_secs_f64() * 1e3);
    let latencies = [
        (Metric::LatencyP50, slo.latency_p50),
        (Metric::LatencyP95, slo.latency_p95),
        (Metric::LatencyP99, slo.latency_p99),
    ];
    for (metric, span) in latencies {
        if let Some(span) = span {
            registered.push((&slo.service, &slo.route), metric, millis(span), "promised", counts);
        }
    }
    if let Some(share) = slo.error_rate {
        let limit = Limit::Fixed(share.into());
        registered.push((&slo.service, &slo.route), Metric::ErrorRate, limit, "promised", counts);
    }
}

/// Returns the routes of a service that were seen, in order.
pub(super) fn routes_of(observations: &Observations, service: &str) -> Vec<String> {
    observations
        .services
        .get(service)
        .map_or_else(Vec::new, |service| service.routes.keys().cloned().collect())
}

/// Returns the exchanges on a route in production and in the smallest arm.
fn counts(evidence: &Evidence, service: &str, route: &str) -> [usize; 2] {
    let count = |observations: &Observations| {
        observations
            .services
            .get(service)
            .and_then(|service| service.routes.get(route))
            .map_or(0, Vec::len)
    };
    let arms = [&evidence.baseline, &evidence.baseline_again, &evidence.candidate];
    [count(&evidence.production), arms.map(count).into_iter().min().unwrap_or(0)]
}

fn too_few([production, arm]: [usize; 2]) -> Option<String> {
    if production < PRODUCTION_NEEDED {
        return Some(format!(
            "{production} exchanges were captured; a claim needs {PRODUCTION_NEEDED}"
        ));
    }
    (arm < ARM_NEEDED)
        .then(|| format!("an arm answered {arm} exchanges; a claim needs {ARM_NEEDED}"))
}

fn client_errors_seen(evidence: &Evidence, service: &str, route: &str) -> bool {
    let arms = [&evidence.baseline, &evidence.baseline_again, &evidence.candidate];
    arms.into_iter().any(|arm| super::memory::client_errors(arm, service, route).0 > 0)
}

// === impl Registered ===

impl Registered {
    fn push(
        &mut self,
        (service, route): (&str, &str),
        metric: Metric,
        limit: Limit,
        bound: &str,
        counts: [usize; 2],
    ) {
        self.claims.push(Question::new((service, route), metric, limit, bound, counts));
    }

    fn track(&mut self, place: (&str, &str), counts: [usize; 2]) {
        let question =
            |metric| Question::new(place, metric, Limit::Fixed(f64::INFINITY), "none", counts);
        self.tracked.extend(TRACKED.map(question));
    }
}

// === impl Question ===

impl Question {
    fn new(
        (service, route): (&str, &str),
        metric: Metric,
        limit: Limit,
        bound: &str,
        counts: [usize; 2],
    ) -> Self {
        let place =
            if route.is_empty() { service.to_owned() } else { format!("{service}/{route}") };
        Self {
            id: format!("{}/{}", place.replace(' ', "-"), metric.slug()),
            service: service.to_owned(),
            route: route.to_owned(),
            metric,
            limit,
            unit: metric.unit(),
            bound: bound.to_owned(),
            exchanges: counts.map(|count| count as u64),
        }
    }
}
