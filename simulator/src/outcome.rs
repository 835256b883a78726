//! What one replication did.

use crate::compiled::CompiledModel;

/// What one replication did, by route and by service, in the order of the compiled model.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The length of the window \[ns\].
    pub window_nanos: u64,
    /// By route.
    pub routes: Vec<RouteOutcome>,
    /// By service.
    pub stations: Vec<StationOutcome>,
}

/// What happened on one route: `arrived = answered + refused + in_system`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteOutcome {
    /// Index of the service.
    pub station: usize,
    /// The route.
    pub name: String,
    /// Latencies of answered requests, failed ones included, in the order of their ends \[ns\].
    pub latencies_nanos: Vec<u64>,
    /// Requests that reached the service.
    pub arrived: u64,
    /// Of the answered, those that failed.
    pub failed: u64,
    /// Requests that found the queue full.
    pub refused: u64,
    /// Calls that their caller gave up on, whatever became of them.
    pub timed_out: u64,
    /// Requests that had not ended when the run was cut.
    pub in_system: u64,
}

/// What happened at one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StationOutcome {
    /// The service.
    pub name: String,
    /// Workers over all replicas, if limited.
    pub workers: Option<u64>,
    /// Own time that workers spent \[ns\].
    pub own_nanos: u64,
    /// Time that workers were held, calls included \[ns\].
    pub held_nanos: u64,
    /// The longest queue of any replica.
    pub queue_max: usize,
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn new(model: &CompiledModel, window_nanos: u64) -> Self {
        let routes = model.routes.iter().map(|route| RouteOutcome {
            station: route.station as usize,
            name: route.name.clone(),
            ..RouteOutcome::default()
        });
        let stations = model.stations.iter().map(|station| StationOutcome {
            name: station.name.clone(),
            workers: (station.workers != crate::compiled::UNLIMITED)
                .then(|| u64::from(station.workers) * u64::from(station.replicas)),
            ..StationOutcome::default()
        });
        Self { window_nanos, routes: routes.collect(), stations: stations.collect() }
    }

    /// Returns what happened on a route of a service.
    pub fn route(&self, service: &str, route: &str) -> Option<&RouteOutcome> {
        self.routes
            .iter()
            .find(|outcome| outcome.name == route && self.stations[outcome.station].name == service)
    }

    pub(crate) fn arrived(&mut self, route: u32) {
        self.routes[route as usize].arrived += 1;
    }

    pub(crate) fn answered(&mut self, route: u32, latency_nanos: u64, failed: bool) {
        let route = &mut self.routes[route as usize];
        route.latencies_nanos.push(latency_nanos);
        route.failed += u64::from(failed);
    }

    pub(crate) fn refused(&mut self, route: u32) {
        self.routes[route as usize].refused += 1;
    }

    pub(crate) fn timed_out(&mut self, route: u32) {
        self.routes[route as usize].timed_out += 1;
    }

    pub(crate) fn queued(&mut self, station: usize, length: usize) {
        let station = &mut self.stations[station];
        station.queue_max = station.queue_max.max(length);
    }

    pub(crate) fn worked(&mut self, station: usize, own_nanos: u64) {
        self.stations[station].own_nanos += own_nanos;
    }

    pub(crate) fn held(&mut self, station: usize, nanos: u64) {
        self.stations[station].held_nanos += nanos;
    }

    pub(crate) fn finish(&mut self) {
        for route in &mut self.routes {
            route.in_system = route.arrived - route.refused - route.latencies_nanos.len() as u64;
        }
    }
}

// === impl RouteOutcome ===

impl RouteOutcome {
    /// Returns the share of requests that failed or were refused, or `None` without requests.
    pub fn error_rate(&self) -> Option<f64> {
        let ended = self.latencies_nanos.len() as u64 + self.refused + self.in_system;
        let bad = self.failed + self.refused + self.in_system;
        (ended > 0).then(|| bad as f64 / ended as f64)
    }

    /// Returns a quantile of latency \[ns\]; refused requests are errors, not latencies.
    pub fn quantile(&self, level: f64) -> Option<u64> {
        prophecy_core::quantile::select(&mut self.latencies_nanos.clone(), level)
    }
}

// === impl StationOutcome ===

impl StationOutcome {
    /// Returns the share of worker time that was held over the window, if workers are limited.
    pub fn utilization(&self, window_nanos: u64) -> Option<f64> {
        let workers = self.workers? as f64;
        Some(self.held_nanos as f64 / (workers * window_nanos.max(1) as f64))
    }
}
