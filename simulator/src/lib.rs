//! The discrete-event engine, the model of a system, and its estimation from observations.
//!
//! Simulated time is integer nanoseconds; the order of events is total; every draw is keyed, so a
//! run is a function of model, traffic, seed and replication. No socket, no file, no clock.
//!
//! Three solvers check one another: the event engine ([`simulate`], [`simulate_scenario`]), the
//! [`recursion`] for stations without feedback, and the [`closed_form`]s of queueing theory.

pub mod closed_form;
mod compiled;
mod engine;
pub mod estimate;
pub mod fidelity;
pub mod model;
pub mod observation;
mod outcome;
pub mod rare;
pub mod recovery;
pub mod recursion;
pub mod replication;
pub mod scenario;
pub mod summary;
pub mod trace;
mod traffic;

pub use compiled::{CompileTrafficError, CompiledModel, CompiledTraffic};
pub use engine::{simulate, simulate_scenario};
pub use estimate::model_of;
pub use model::Model;
pub use observation::Observations;
pub use outcome::{Bin, HostOutcome, Outcome, RouteOutcome, StationOutcome};
pub use scenario::{Happening, Incident, Scenario};
pub use summary::Summary;
pub use traffic::Traffic;
