//! What was observed of a system: the input of every estimate.
//!
//! Observations come from a dataset (captured traffic, or an arm of the twin) with calls already
//! linked to the visits that made them, and waiting already taken out of own time.

use std::collections::BTreeMap;

/// What was observed of one system during one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    /// The service that clients call.
    pub entry: String,
    /// How long the window was.
    pub window_nanos: u64,
    /// Requests at the entry, ascending by time.
    pub arrivals: Vec<Arrival>,
    /// What was seen of each service, by name.
    pub services: BTreeMap<String, ServiceObservations>,
}

/// A request that reached the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, since the start of the window.
    pub at_nanos: u64,
    /// The client it came from.
    pub session: u64,
    /// Method and path template.
    pub route: String,
}

/// What was seen of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceObservations {
    /// How many requests one instance works on at once.
    pub workers: Workers,
    /// The most calls one instance had in flight at once, by destination, where that limit binds.
    pub pools: BTreeMap<String, u32>,
    /// Visits by route, ascending by time.
    pub routes: BTreeMap<String, Vec<Visit>>,
    /// Resident memory over time.
    pub memory: Vec<MemoryPoint>,
    /// Processor time per request, if it was measured.
    pub cpu_nanos_per_request: Option<f64>,
}

/// How many requests one instance of a service works on at once, and how we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// The system manifest says so.
    Declared(u32),
    /// Estimated from how latency grows with the number of requests in the service.
    Estimated(u32),
    /// Requests were never seen to wait for a worker.
    #[default]
    Unlimited,
}

/// One request at one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// When it came, since the start of the window.
    pub at_nanos: u64,
    /// From its first byte to the last byte of its answer.
    pub latency_nanos: u64,
    /// The time it held a worker outside its calls, with waiting taken out.
    pub own_nanos: u64,
    /// The time it waited for a worker.
    pub waited_nanos: u64,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The service failed it: a 5xx status, or no whole answer.
    pub failed: bool,
    /// The calls it made, in order of their start.
    pub calls: Vec<Call>,
}

/// A call that a visit made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The called service.
    pub destination: String,
    /// Method and path template.
    pub route: String,
    /// From its first byte to the last byte of its answer.
    pub nanos: u64,
    /// It failed: a 5xx status, or no whole answer.
    pub failed: bool,
}

/// Resident memory of a service at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPoint {
    /// When, since the start of the window.
    pub at_nanos: u64,
    /// Requests served so far.
    pub requests: u64,
    /// Resident memory.
    pub resident_bytes: u64,
}

// === impl Workers ===

impl Workers {
    /// Returns the number of workers, or `None` if they never limited anything.
    pub fn limit(self) -> Option<u32> {
        match self {
            Self::Declared(workers) | Self::Estimated(workers) => Some(workers),
            Self::Unlimited => None,
        }
    }
}

// === impl ServiceObservations ===

impl ServiceObservations {
    /// Returns how many visits were seen, over all routes.
    pub fn visit_count(&self) -> usize {
        self.routes.values().map(Vec::len).sum()
    }
}
