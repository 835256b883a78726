//! What one replication did.

use crate::compiled::CompiledModel;
use crate::trace::Trace;

/// What one replication did, by route and by service, in the order of the compiled model.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The length of the window \[ns\].
    pub window_nanos: u64,
    /// By route.
    pub routes: Vec<RouteOutcome>,
    /// By service.
    pub stations: Vec<StationOutcome>,
    /// By host.
    pub hosts: Vec<HostOutcome>,
    /// The entry's requests over time, if that was asked for.
    pub bins: Vec<Bin>,
    /// The length of a bin \[ns\].
    pub bin_nanos: u64,
    /// How many events there were.
    pub events: u64,
    /// Every span, if that was asked for.
    pub trace: Option<Box<Trace>>,
}

/// What happened at the entry in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Requests that came.
    pub arrived: u64,
    /// Requests that were answered well.
    pub good: u64,
    /// Requests that failed or were refused.
    pub bad: u64,
}

/// What happened on one machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostOutcome {
    /// The machine.
    pub name: String,
    /// Its cores.
    pub cores: u32,
    /// Time that cores were busy \[ns of one core\].
    pub busy_nanos: u64,
}

/// What happened on one route: `arrived = answered + refused + in_system`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteOutcome {
    /// Index of the service.
    pub station: usize,
    /// The route.
    pub name: String,
    /// Latencies of answered requests, failed ones included, in no order that means anything \[ns\].
    pub latencies_nanos: Vec<u64>,
    /// Requests that reached the service.
    pub arrived: u64,
    /// Of the answered, those that failed.
    pub failed: u64,
    /// Requests that found the queue full.
    pub refused: u64,
    /// Calls that their caller gave up on, whatever became of them.
    pub timed_out: u64,
    /// Requests whose deadline had passed when a worker took them up; they failed.
    pub expired: u64,
    /// Attempts to call it that followed a failed one.
    pub retried: u64,
    /// Calls that were made a second time because the first took long.
    pub hedged: u64,
    /// Calls that a breaker did not let through.
    pub short_circuited: u64,
    /// Requests that found their cache entry, and that did not.
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
    /// Reads from a copy, and those that missed a write.
    pub copy_reads: u64,
    /// See `copy_reads`.
    pub stale_reads: u64,
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
    /// Time that requests waited for a worker, over all of them \[ns\].
    pub waited_nanos: u64,
    /// The longest queue of any replica.
    pub queue_max: usize,
    /// Instances that ended with what they were working on.
    pub crashes: u64,
    /// The most instances at once, where they come and go.
    pub instances_max: u32,
    /// The longest time that a copy was behind \[ns\].
    pub lag_max_nanos: u64,
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn new(model: &CompiledModel, window_nanos: u64, bin_nanos: u64) -> Self {
        let build = &model.builds[0];
        let routes = build.routes.iter().map(|route| RouteOutcome {
            station: route.station as usize,
            name: route.name.clone(),
            ..RouteOutcome::default()
        });
        let stations = build.stations.iter().map(|station| StationOutcome {
            name: station.name.clone(),
            workers: (station.workers != crate::compiled::UNLIMITED)
                .then(|| u64::from(station.workers) * u64::from(station.replicas)),
            ..StationOutcome::default()
        });
        let hosts = model.hosts.iter().map(|host| HostOutcome {
            name: host.name.clone(),
            cores: host.cores,
            busy_nanos: 0,
        });
        Self {
            window_nanos,
            routes: routes.collect(),
            stations: stations.collect(),
            hosts: hosts.collect(),
            bins: Vec::new(),
            bin_nanos,
            events: 0,
            trace: None,
        }
    }

    /// Returns what happened on a route of a service.
    pub fn route(&self, service: &str, route: &str) -> Option<&RouteOutcome> {
        self.routes
            .iter()
            .find(|outcome| outcome.name == route && self.stations[outcome.station].name == service)
    }

    /// A request comes from outside.
    pub(crate) fn entered(&mut self, at: u64) {
        if let Some(bin) = self.bin(at) {
            bin.arrived += 1;
        }
    }

    /// A request that came from outside has ended.
    pub(crate) fn left(&mut self, at: u64, failed: bool) {
        if let Some(bin) = self.bin(at) {
            if failed {
                bin.bad += 1;
            } else {
                bin.good += 1;
            }
        }
    }

    fn bin(&mut self, at: u64) -> Option<&mut Bin> {
        let index = at.checked_div(self.bin_nanos)? as usize;
        if self.bins.len() <= index {
            self.bins.resize(index + 1, Bin::default());
        }
        self.bins.get_mut(index)
    }

    pub(crate) fn answered(&mut self, route: u32, latency_nanos: u64, failed: bool) {
        let route = &mut self.routes[route as usize];
        route.latencies_nanos.push(latency_nanos);
        route.failed += u64::from(failed);
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
