//! The model of a system: what `model.json` holds.
//!
//! # What a model means
//!
//! - **Arrivals** are open: the entry's requests come at their times, whatever the system does.
//! - **Workers**: a request waits, first come first served, for a worker of its replica and holds it until it
//!   is answered, calls included (`threads`), or only while it computes (`event_loop`). If as many wait as
//!   `queue_limit` allows, it is refused at once. Without `workers` nothing waits.
//! - **Own time** is drawn once and split evenly into a segment before the first call, one between any two, and
//!   one after the last. Of each segment `cpu_share` needs a core of the `host`; those at work share its cores
//!   equally (processor sharing).
//! - **A call** first needs a connection of the caller replica's pool for that service. Timeouts run from
//!   when the attempt is made. A caller that gives up counts a failed call; the callee works on, unless the
//!   deadline is passed on and has passed before a worker takes the request up.
//! - **A failed call** is tried again as often as `retries` says, after the backoff, while the budget lasts and
//!   the breaker is closed. One that failed for good fails its caller with probability `failure_spreads`.
//! - **The end**: requests in the system when the window closes run on, for at most four windows or a minute,
//!   whichever is longer. What is left is counted as `in_system`.

mod check;
mod environment;
mod resilience;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::environment::{
    CacheModel, CacheUse, DependencyState, Host, Keys, Leak, Pauses, Replication, RowUse, Scaling,
};
pub use self::resilience::{
    Backoff, Balancing, Breaker, Budget, Ejection, Network, Policy, RateLimit,
};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.model/1";

/// A system as the engine sees it: stations, what each request costs there, and who calls whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The system's name.
    pub system: String,
    /// The service that clients call.
    pub entry: String,
    /// Machines whose cores services share, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Host>,
    /// The services, by name.
    pub services: BTreeMap<String, Station>,
}

/// A service: replicas with workers, and a queue in front of each replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Instances.
    pub replicas: u32,
    /// How requests are spread over the instances.
    #[serde(default, skip_serializing_if = "is_default")]
    pub balancing: Balancing,
    /// What holds a worker.
    #[serde(default, skip_serializing_if = "is_default")]
    pub concurrency: Concurrency,
    /// Requests that one replica works on at once; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Requests that may wait for a worker of one replica; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<u32>,
    /// Calls at once from one replica, by destination; absent: no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, u32>,
    /// The machine whose cores its instances share; absent: cores are never short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Requests that one replica admits at most per second; the others are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Pauses in which an instance stands still, as for garbage collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pauses: Option<Pauses>,
    /// States that the service goes through; it starts in the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<DependencyState>,
    /// A resource that requests use up until the instance ends and is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leak: Option<Leak>,
    /// Instances that come and go with the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Caches, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub caches: BTreeMap<String, CacheModel>,
    /// Copies that apply writes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// What requests cost, by route.
    pub routes: BTreeMap<String, RouteModel>,
}

/// What holds a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// A request holds its worker until it is answered, calls included.
    #[default]
    Threads,
    /// A request holds its worker while it computes, not while it waits for calls.
    EventLoop,
}

/// What a request on one route costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteModel {
    /// Ascending, equally likely values of the worker's own time \[ns\].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_nanos: Vec<u64>,
    /// A law of the own time instead of values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<Law>,
    /// The part of the own time that needs a core of the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu_share: f64,
    /// A cache that is asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheUse>,
    /// A row that is locked while the request is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<RowUse>,
    /// A key that is written, and then applied by the copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<Keys>,
    /// A key that is read from a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads_copy: Option<Keys>,
    /// The probability that the service itself fails the request.
    #[serde(default)]
    pub failure: f64,
    /// The calls it makes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallModel>,
}

/// A law of own times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Law {
    /// Always the same time.
    Constant {
        /// The time \[ns\].
        nanos: u64,
    },
    /// The exponential distribution.
    Exponential {
        /// Its mean \[ns\].
        mean_nanos: f64,
    },
    /// The sum of equal exponential stages.
    Erlang {
        /// Its mean \[ns\].
        mean_nanos: f64,
        /// How many.
        stages: u32,
    },
    /// One of two exponential distributions with balanced means.
    Hyperexponential {
        /// Its mean \[ns\].
        mean_nanos: f64,
        /// The squared coefficient of variation, above 1.
        variation: f64,
    },
    /// The uniform distribution from 0 to twice its mean.
    Uniform {
        /// Its mean \[ns\].
        mean_nanos: f64,
    },
    /// The generalized Pareto distribution.
    Pareto {
        /// The least value \[ns\].
        least_nanos: f64,
        /// The scale \[ns\].
        scale_nanos: f64,
        /// The shape: 0 is exponential, from 1 on there is no mean.
        shape: f64,
    },
    /// The log-normal distribution.
    Lognormal {
        /// Its median \[ns\].
        median_nanos: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

/// Calls that a route makes to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallModel {
    /// The called service.
    pub service: String,
    /// The called route.
    pub route: String,
    /// `counts[k]` is the probability of `k` calls.
    pub counts: Vec<f64>,
    /// Whether the calls start together rather than one after another.
    #[serde(default)]
    pub parallel: bool,
    /// When the caller gives up \[ns\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_nanos: Option<u64>,
    /// How often a failed call is tried again.
    #[serde(default)]
    pub retries: u32,
    /// How long a caller waits before it tries again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backoff: Backoff,
    /// What limits retries, for each replica of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// When the call is made a second time without giving up the first \[ns\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_nanos: Option<u64>,
    /// What stops calls while too many fail, for each replica of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// The way there and back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// Whether the callee learns when the caller gives up, and drops what comes too late.
    #[serde(default, skip_serializing_if = "is_default")]
    pub passes_deadline: bool,
    /// Whether the caller goes on at once: a message to a queue rather than a call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub asynchronous: bool,
    /// The probability that a failed call fails the caller's request.
    #[serde(default = "certain")]
    pub failure_spreads: f64,
}

/// Why a model was refused.
#[derive(Debug, Error)]
pub enum ReadModelError {
    /// The text is not a model.
    #[error("the model does not fit the format: {message}")]
    Format {
        /// What does not fit.
        message: String,
    },
    /// The schema is of another version.
    #[error("the model has schema `{found}`; this version reads `{SCHEMA}`")]
    Schema {
        /// What was found.
        found: String,
    },
    /// A value is out of range.
    #[error("{place}: {problem}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

// === impl Model ===

impl Model {
    /// Parses and checks `model.json`.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadModelError`].
    pub fn from_json(text: &str) -> Result<Self, ReadModelError> {
        let value = serde_json::from_str(text)
            .map_err(|error| ReadModelError::Format { message: error.to_string() })?;
        Self::from_value(value)
    }

    /// Checks a model that was parsed from another format.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadModelError`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, ReadModelError> {
        let found = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or("none");
        if found != SCHEMA {
            return Err(ReadModelError::Schema { found: found.to_owned() });
        }
        let model: Self = serde_json::from_value(value)
            .map_err(|error| ReadModelError::Format { message: error.to_string() })?;
        model.check()?;
        Ok(model)
    }

    /// Writes `model.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a model is plain data")
    }
}

// === impl Station ===

impl Default for Station {
    fn default() -> Self {
        Self {
            replicas: 1,
            balancing: Balancing::default(),
            concurrency: Concurrency::default(),
            workers: None,
            queue_limit: None,
            pools: BTreeMap::new(),
            host: None,
            rate_limit: None,
            pauses: None,
            states: Vec::new(),
            leak: None,
            scaling: None,
            caches: BTreeMap::new(),
            replication: None,
            routes: BTreeMap::new(),
        }
    }
}

// === impl CallModel ===

impl Default for CallModel {
    /// One certain call to nowhere.
    fn default() -> Self {
        Self {
            service: String::new(),
            route: String::new(),
            counts: vec![0.0, 1.0],
            parallel: false,
            timeout_nanos: None,
            retries: 0,
            backoff: Backoff::default(),
            budget: None,
            hedge_nanos: None,
            breaker: None,
            network: Network::default(),
            passes_deadline: false,
            asynchronous: false,
            failure_spreads: 1.0,
        }
    }
}

fn certain() -> f64 {
    1.0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
