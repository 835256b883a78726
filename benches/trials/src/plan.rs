//! A system to be tried: what its services do, before it becomes files.

use std::collections::BTreeMap;

/// A system of `mesh` services.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SystemPlan {
    /// The shape, for the record.
    pub(crate) topology: &'static str,
    /// The services by name; the entry is `front`.
    pub(crate) services: BTreeMap<String, ServicePlan>,
    /// Whether the number of workers is told to the twin.
    pub(crate) declared: bool,
    /// Whether processor time is what is scarce.
    pub(crate) cpu_bound: bool,
    /// How many instances each service has.
    pub(crate) replicas: u64,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServicePlan {
    /// Requests worked on at once.
    pub(crate) workers: u64,
    /// Requests that may wait.
    pub(crate) queue: u64,
    /// Entries of its cache, and how long they hold \[ms\], if it has one.
    pub(crate) cache: Option<CachePlan>,
    /// Rows of its database, if it has one, and whether they have an index.
    pub(crate) database: Option<DatabasePlan>,
    /// How it calls others.
    pub(crate) clients: BTreeMap<String, ClientPlan>,
    /// What it answers.
    pub(crate) routes: Vec<RoutePlan>,
}

/// A cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachePlan {
    pub(crate) capacity: u64,
    pub(crate) hold_millis: u64,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DatabasePlan {
    pub(crate) rows: u64,
    pub(crate) indexed: bool,
}

/// How another service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientPlan {
    pub(crate) pool: u64,
    pub(crate) timeout_millis: u64,
    pub(crate) retries: u64,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoutePlan {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// The share of the entry's requests; zero for routes of other services.
    pub(crate) share: f64,
    /// Mean time that a worker is held \[ms\], and its spread (the logarithm's standard deviation).
    pub(crate) held_millis: f64,
    pub(crate) sigma: f64,
    /// Mean processor time \[ms\].
    pub(crate) cpu_millis: f64,
    /// Calls in order: the service, how often, and whether a cache is asked first.
    pub(crate) calls: Vec<CallPlan>,
    /// The share of requests that fail.
    pub(crate) failing: f64,
    /// One in so many kinds of input fails, with this status.
    pub(crate) failing_input: Option<(u64, u16)>,
    /// One in so many kinds of input ends the process.
    pub(crate) crashing_input: Option<u64>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallPlan {
    pub(crate) service: String,
    pub(crate) times: u64,
    pub(crate) cached: bool,
}

/// The service that clients call.
pub(crate) const ENTRY: &str = "front";

// === impl SystemPlan ===

impl SystemPlan {
    /// Returns how many requests each service gets per request at the entry.
    pub(crate) fn visits(&self) -> BTreeMap<String, f64> {
        let mut visits = BTreeMap::new();
        for route in &self.services[ENTRY].routes {
            self.visit(ENTRY, route, route.share, &mut visits);
        }
        visits
    }

    fn visit(
        &self,
        service: &str,
        route: &RoutePlan,
        weight: f64,
        visits: &mut BTreeMap<String, f64>,
    ) {
        *visits.entry(service.to_owned()).or_insert(0.0) += weight;
        for call in &route.calls {
            let callee = &self.services[&call.service].routes[0];
            self.visit(&call.service, callee, weight * call.times as f64, visits);
        }
    }

    /// Returns the mean time that a request of a route holds its worker, calls included \[ms\].
    pub(crate) fn held_millis(&self, route: &RoutePlan) -> f64 {
        let calls = route.calls.iter().map(|call| {
            call.times as f64 * self.held_millis(&self.services[&call.service].routes[0])
        });
        route.held_millis + route.cpu_millis + calls.sum::<f64>()
    }

    /// Returns the mean number of busy workers of a service at a rate of requests at the entry.
    pub(crate) fn busy(&self, service: &str, rate_hz: f64) -> f64 {
        let plan = &self.services[service];
        if service == ENTRY {
            let held = plan.routes.iter().map(|route| route.share * self.held_millis(route));
            return rate_hz * held.sum::<f64>() / 1e3;
        }
        let visits = self.visits().get(service).copied().unwrap_or(0.0);
        rate_hz * visits * self.held_millis(&plan.routes[0]) / 1e3
    }
}
