//! What came of one simulated run.

use std::collections::BTreeMap;

use prophecy_core::quantile;

/// What came of one simulated run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The service that clients called.
    pub entry: String,
    /// How long the window was.
    pub window_nanos: u64,
    /// When the last event happened.
    pub ended_at_nanos: u64,
    /// Events that happened, timeouts of calls already answered not counted.
    pub event_count: u64,
    /// Requests at the entry of a route that the model does not have.
    pub unknown_count: u64,
    /// The services, by name.
    pub services: BTreeMap<String, ServiceOutcome>,
}

/// What came of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceOutcome {
    /// The share of its workers that were held, on average over the window after the warm-up; none
    /// without a limit on workers.
    pub utilization: Option<f64>,
    /// Worker time held from the first to the last event, over all replicas.
    pub busy_nanos: u64,
    /// Requests waiting for a worker, on average over the window after the warm-up.
    pub mean_queue: f64,
    /// The most requests that ever waited for a worker at once, over all replicas.
    pub queue_max: u32,
    /// Time that requests waited for a worker, from the first to the last event.
    pub queue_nanos: u64,
    /// Requests that got a worker.
    pub started: u64,
    /// The time those requests had waited for it.
    pub waited_nanos: u64,
    /// What calls waited for connections, by called service.
    pub pools: BTreeMap<String, PoolOutcome>,
    /// What came of its requests, by route.
    pub routes: BTreeMap<String, RouteOutcome>,
}

/// What calls of one service to another waited for connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolOutcome {
    /// Calls that got a connection.
    pub started: u64,
    /// The time those calls had waited for it.
    pub waited_nanos: u64,
    /// Calls given up before they got one.
    pub given_up: u64,
    /// The most calls that ever waited at once, over all replicas of the caller.
    pub queue_max: u32,
}

/// What came of the requests of one route.
///
/// Each request that arrived is in exactly one of the other counts; see [`RouteOutcome::imbalance`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteOutcome {
    /// Requests that arrived.
    pub arrived: u64,
    /// The latency of each request answered without failure, in the order of the answers.
    pub latencies_nanos: Vec<u64>,
    /// Requests answered with a failure.
    pub failed: u64,
    /// Requests refused by a full queue.
    pub refused: u64,
    /// Requests whose caller gave up before they were answered.
    pub timed_out: u64,
    /// Requests without an answer when the run was cut off.
    pub in_system: u64,
}

// === impl Outcome ===

impl Outcome {
    /// Returns what came of a route at the entry.
    pub fn entry(&self, route: &str) -> Option<&RouteOutcome> {
        self.route(&self.entry, route)
    }

    /// Returns what came of a route of a service.
    pub fn route(&self, service: &str, route: &str) -> Option<&RouteOutcome> {
        self.services.get(service)?.routes.get(route)
    }

    /// Says which count does not add up, or `None` if all do.
    pub fn imbalance(&self) -> Option<String> {
        for (service, outcome) in &self.services {
            for (route, counts) in &outcome.routes {
                if let Some(imbalance) = counts.imbalance() {
                    return Some(format!("`{route}` of `{service}`: {imbalance}"));
                }
            }
        }
        None
    }
}

// === impl ServiceOutcome ===

impl ServiceOutcome {
    /// Returns how long requests that got a worker had waited for it, on average.
    pub fn mean_wait_nanos(&self) -> Option<f64> {
        (self.started > 0).then(|| self.waited_nanos as f64 / self.started as f64)
    }
}

// === impl RouteOutcome ===

impl RouteOutcome {
    /// Returns how many requests were answered without failure.
    pub fn answered(&self) -> u64 {
        self.latencies_nanos.len() as u64
    }

    /// Returns the share of requests that were not answered without failure, or `None` if none came.
    pub fn error_rate(&self) -> Option<f64> {
        let errors = self.arrived - self.answered();
        (self.arrived > 0).then(|| errors as f64 / self.arrived as f64)
    }

    /// Returns the `level`-quantile of the latency of answered requests, or `None` if none was.
    pub fn latency_quantile(&self, level: f64) -> Option<u64> {
        let mut latencies = self.latencies_nanos.clone();
        quantile::select(&mut latencies, level)
    }

    /// Returns the mean latency of answered requests, or `None` if none was.
    pub fn mean_latency_nanos(&self) -> Option<f64> {
        let sum: u128 = self.latencies_nanos.iter().map(|nanos| u128::from(*nanos)).sum();
        (self.answered() > 0).then(|| sum as f64 / self.answered() as f64)
    }

    /// Says how `arrived = answered + failed + refused + timed out + in system` does not hold, or
    /// `None` if it does.
    pub fn imbalance(&self) -> Option<String> {
        let Self { arrived, failed, refused, timed_out, in_system, .. } = self;
        let accounted = self.answered() + failed + refused + timed_out + in_system;
        (*arrived != accounted).then(|| format!("{arrived} arrived, {accounted} accounted for"))
    }
}
