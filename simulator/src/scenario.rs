//! One simulated run: a model, the traffic at its entry, and what came of it.
//!
//! # What a model means
//!
//! - **Arrivals** are open: the entry's requests come at their times, whatever the system does.
//! - **Replicas** of a service take requests in turn, in order of arrival.
//! - **Workers**: a request waits, first come first served, for a worker of its replica, and holds it
//!   until it is answered, calls included (a thread per request). If as many wait as `queue_limit`
//!   allows, it is refused at once. Without `workers` nothing waits.
//! - **Own time** is drawn once and split evenly into a segment before the first step, one between
//!   any two, and one after the last. A step is one call, or a group of calls that start together:
//!   neighbors marked `parallel`, whatever they call. The group ends when all of it are answered.
//! - **A call** first needs a connection of the caller replica's pool for that service, first come
//!   first served, and keeps it until it is answered or given up. The network takes no time.
//! - **Timeouts** run from when the caller asks for a connection. A caller that gives up counts a
//!   failed call; the callee works on and its answer is dropped. An answer at the very instant of
//!   the timeout is in time.
//! - **Retries** follow a failed call at once, and ask for a connection again.
//! - **Failures**: a call that failed for good fails its caller with probability `failure_spreads`;
//!   the caller then skips what is left and answers. Otherwise a request fails by itself with
//!   probability `failure`, at the end of its own time.
//! - **The end**: requests in the system when the window closes run on, for at most four windows or
//!   60 s, whichever is longer. What is left then is cut off and counted as `in_system`.
//!
//! # Determinism
//!
//! Events happen in order of (time, class, sequence): answers and segment ends before timeouts
//! before arrivals, each in the order they were made. Draws are addressed by seed, replication,
//! service and route, purpose, and the request's own number, which follows from its place among the
//! arrivals of its route and its path of calls. Neither another route, nor another order of events,
//! nor an added draw changes the luck of a request.

mod compiled;
mod outcome;
mod replication;
mod traffic;

pub(crate) use compiled::{Demand, Edge, NONE, Route};
pub use compiled::{CompiledModel, CompiledTraffic};
pub use outcome::{Outcome, PoolOutcome, RouteOutcome, ServiceOutcome};
pub use replication::{replicate, simulate_each};
pub use traffic::Traffic;

use prophecy_core::Seed;

use crate::engine::Engine;

/// Runs one replication.
///
/// # Determinism
///
/// The same model, traffic, seed and replication give the same outcome.
///
/// # Panics
///
/// If `traffic` was compiled for another model with fewer routes at its entry.
pub fn simulate(
    model: &CompiledModel,
    traffic: &CompiledTraffic,
    seed: Seed,
    replication: u32,
) -> Outcome {
    Engine::new(model, traffic, seed, replication).run()
}
