//! What surrounds the workers of a service: cores, pauses, states, leaks, caches, locks, copies.

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its cores; those who compute at once share them equally, none gets more than one.
    pub cores: u32,
}

/// Pauses of an instance: at exponentially distributed distances it stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pauses {
    /// From the end of one to the start of the next, on average \[ns\].
    pub every_nanos: u64,
    /// How long one takes \[ns\].
    pub nanos: u64,
}

/// One of the states of a service; the next is any other one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependencyState {
    /// What it is called, such as `slow`.
    pub name: String,
    /// How long it lasts on average; exponentially distributed \[ns\].
    pub mean_nanos: u64,
    /// What own times are multiplied by.
    #[serde(default = "one")]
    pub slowdown: f64,
    /// The probability that a request fails, besides its route's own.
    #[serde(default)]
    pub failure: f64,
}

/// A resource that requests use up: memory, descriptors, disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leak {
    /// Of the resource, per request.
    pub per_request: u64,
    /// Where the instance ends, with all that it was working on.
    pub limit: u64,
    /// How long it then takes to start again \[ns\].
    pub restart_nanos: u64,
}

/// Instances that come and go with the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// At least.
    pub least: u32,
    /// At most.
    pub most: u32,
    /// The share of busy workers that is aimed at.
    pub target: f64,
    /// How often it is looked \[ns\].
    pub every_nanos: u64,
    /// How long a new instance takes to start \[ns\].
    pub delay_nanos: u64,
}

/// A cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheModel {
    /// Entries; the least recently used goes first.
    pub capacity: u32,
    /// How long an entry is good for \[ns\]; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_nanos: Option<u64>,
    /// Whether all replicas share it.
    #[serde(default)]
    pub shared: bool,
    /// Whether requests for an entry that is being made wait for it instead of making it as well.
    #[serde(default)]
    pub coalesce: bool,
}

/// Keys, and how popular they are: the `k`-th is asked for in proportion to `k^−skew` (Zipf).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// How many.
    pub count: u32,
    /// 0 is equally popular; 1 is the classic law of Zipf.
    #[serde(default)]
    pub skew: f64,
}

/// How a route uses a cache: on a hit it makes no calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheUse {
    /// The cache.
    pub name: String,
    /// What it is asked for.
    pub keys: Keys,
    /// The part of the own time that a hit takes.
    #[serde(default = "one")]
    pub hit_share: f64,
}

/// A row that a request locks until it is answered; the others wait for it, with their workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowUse {
    /// The rows.
    pub keys: Keys,
}

/// Copies of a database that apply writes one after another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// How many copies.
    pub copies: u32,
    /// From the write to the copy \[ns\].
    pub delay_nanos: u64,
    /// How long a copy takes to apply a write, on average; exponentially distributed \[ns\].
    pub apply_nanos: u64,
}

fn one() -> f64 {
    1.0
}
