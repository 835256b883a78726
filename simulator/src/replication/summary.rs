//! What many runs of one model say together.

use prophecy_core::quantile;
use serde::Serialize;

use super::Estimate;
use crate::outcome::Outcome;

/// The share of held worker time from which on a service counts as saturated.
const SATURATED: f64 = 0.95;

/// What runs say together, each number with its 95 % interval over runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Routes of all services, those without a request left out.
    pub routes: Vec<RouteSummary>,
    /// Services.
    pub services: Vec<ServiceSummary>,
    /// Machines whose cores are shared.
    pub hosts: Vec<HostSummary>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteSummary {
    /// Its service.
    pub service: String,
    /// The route.
    pub route: String,
    /// Requests of a run.
    pub requests: Estimate,
    /// The median latency \[ms\].
    pub latency_ms_p50: Estimate,
    /// The 95th percentile \[ms\].
    pub latency_ms_p95: Estimate,
    /// The 99th percentile \[ms\].
    pub latency_ms_p99: Estimate,
    /// The share of requests that fail.
    pub error_rate: Estimate,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceSummary {
    /// Its name.
    pub service: String,
    /// The share of its workers' time that is held; nothing without a limit.
    pub utilization: Option<Estimate>,
    /// Requests that wait for a worker, on average over the window.
    pub queue_mean: Estimate,
    /// The longest queue.
    pub queue_max: Estimate,
    /// The share of runs in which at least 95 % of the workers' time was held.
    pub saturated: Option<Estimate>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostSummary {
    /// Its name.
    pub host: String,
    /// The share of its cores' time that is busy.
    pub utilization: Estimate,
}

// === impl Summary ===

impl Summary {
    /// Sums up the runs of one model; without a run nothing is said.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let Some(first) = outcomes.first() else {
            return Self { routes: Vec::new(), services: Vec::new(), hosts: Vec::new() };
        };
        let over = |of: &dyn Fn(&Outcome) -> Option<f64>| {
            Estimate::of(&outcomes.iter().filter_map(of).collect::<Vec<_>>())
        };
        let routes = (0..first.routes.len()).filter_map(|index| {
            let route = &first.routes[index];
            let at = |level: f64| {
                over(&|outcome| {
                    let mut latencies = outcome.routes[index].latencies_nanos.clone();
                    quantile::select(&mut latencies, level).map(|nanos| nanos as f64 / 1e6)
                })
            };
            Some(RouteSummary {
                service: first.stations[route.station].name.clone(),
                route: route.name.clone(),
                requests: over(&|outcome| Some(outcome.routes[index].arrived as f64))?,
                latency_ms_p50: at(0.5)?,
                latency_ms_p95: at(0.95)?,
                latency_ms_p99: at(0.99)?,
                error_rate: over(&|outcome| outcome.routes[index].error_rate())?,
            })
        });
        let services = first.stations.iter().enumerate().map(|(index, station)| ServiceSummary {
            service: station.name.clone(),
            utilization: over(&|outcome| outcome.stations[index].utilization(outcome.window_nanos)),
            queue_mean: over(&|outcome| {
                let waited = outcome.stations[index].waited_nanos as f64;
                Some(waited / outcome.window_nanos.max(1) as f64)
            })
            .expect("there are runs"),
            saturated: over(&|outcome| {
                let utilization = outcome.stations[index].utilization(outcome.window_nanos)?;
                Some(f64::from(u8::from(utilization >= SATURATED)))
            }),
            queue_max: over(&|outcome| Some(outcome.stations[index].queue_max as f64))
                .expect("there are runs"),
        });
        let hosts = first.hosts.iter().enumerate().map(|(index, host)| HostSummary {
            host: host.name.clone(),
            utilization: over(&|outcome| {
                let whole = f64::from(host.cores) * outcome.window_nanos.max(1) as f64;
                Some(outcome.hosts[index].busy_nanos as f64 / whole)
            })
            .expect("there are runs"),
        });
        Self { routes: routes.collect(), services: services.collect(), hosts: hosts.collect() }
    }
}
