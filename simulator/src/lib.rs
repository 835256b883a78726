//! The discrete-event engine, the model of a system, and its estimation from observations.
//!
//! Simulated time is integer nanoseconds; the order of events is total; every draw is keyed, so a
//! run is a function of model, traffic, seed and replication. No socket, no file, no clock.

mod compiled;
mod engine;
pub mod estimate;
pub mod model;
pub mod observation;
mod outcome;
pub mod replication;
mod traffic;

pub use compiled::{CompileTrafficError, CompiledModel, CompiledTraffic};
pub use engine::simulate;
pub use estimate::model_of;
pub use model::Model;
pub use observation::Observations;
pub use outcome::{Outcome, RouteOutcome, StationOutcome};
pub use traffic::Traffic;
