//! What the exchanges at the services of one arm, or of production, tell about demand.

use std::collections::BTreeMap;

use crate::model::Backoff;

/// Everything that was observed of a system in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    /// The service that clients call.
    pub entry: String,
    /// The length of the window \[ns\].
    pub window_nanos: u64,
    /// Arrivals at the entry, by time.
    pub arrivals: Vec<Arrival>,
    /// What was observed at each service.
    pub services: BTreeMap<String, ServiceObservations>,
}

/// A request that reached the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, from the start of the window \[ns\].
    pub at_nanos: u64,
    /// The session it belongs to.
    pub session: u64,
    /// Its route.
    pub route: String,
}

/// What was observed at one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceObservations {
    /// Requests that one instance works on at once.
    pub workers: Workers,
    /// The most calls at once to each destination, where that limit was seen to bind.
    pub pools: BTreeMap<String, u32>,
    /// How long it waits for answers and how often it tries again, where that was recognized.
    pub policies: Policies,
    /// The most requests that one instance had at once, waiting or not.
    pub most_at_once: u32,
    /// Visits by route, by time.
    pub routes: BTreeMap<String, Vec<Visit>>,
    /// Resident memory over time.
    pub memory: Vec<MemoryPoint>,
    /// Processor time per request, where it was measured \[ns\].
    pub cpu_nanos_per_request: Option<f64>,
}

/// Policies of calls by destination and route.
pub type Policies = BTreeMap<String, BTreeMap<String, CallPolicy>>;

/// How long a caller waits for an answer, and how often it tries again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CallPolicy {
    /// When it gives up \[ns\], if it was seen to.
    pub timeout_nanos: Option<u64>,
    /// How often it was seen to try again.
    pub retries: u32,
    /// How long it waits before.
    pub backoff: Backoff,
}

/// How many requests one instance works on at once, and how that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// The manifest says so.
    Declared(u32),
    /// Inferred from queueing that was observed.
    Estimated(u32),
    /// Inferred from the queue of a service that was driven to saturation.
    Probed {
        /// The fewest that fit.
        least: u32,
        /// The number that fits best.
        likeliest: u32,
        /// The most that fit.
        most: u32,
    },
    /// Never seen to queue.
    #[default]
    Unlimited,
}

// === impl Workers ===

impl Workers {
    /// Returns the number, or the likeliest, if there is a limit.
    pub fn limit(self) -> Option<u32> {
        match self {
            Self::Declared(limit) | Self::Estimated(limit) => Some(limit),
            Self::Probed { likeliest, .. } => Some(likeliest),
            Self::Unlimited => None,
        }
    }
}

/// One request at one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// When it arrived, from the start of the window \[ns\].
    pub at_nanos: u64,
    /// From arrival to the end of the answer \[ns\].
    pub latency_nanos: u64,
    /// Time that a worker spent on it outside of calls, waiting taken out \[ns\].
    pub own_nanos: u64,
    /// Time that it waited for a worker \[ns\].
    pub waited_nanos: u64,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Whether the service failed it.
    pub failed: bool,
    /// Whether its caller's timeout ended it: then it says nothing about the service's own failures.
    pub given_up: bool,
    /// The calls it made, by time, each with its retries.
    pub calls: Vec<Call>,
}

/// One call that a visit made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The called service.
    pub destination: String,
    /// The called route.
    pub route: String,
    /// How long it took \[ns\].
    pub nanos: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// Resident memory of a service at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPoint {
    /// When, from the start of the window \[ns\].
    pub at_nanos: u64,
    /// Requests served so far.
    pub requests: u64,
    /// Resident bytes of the service's processes.
    pub resident_bytes: u64,
}
