//! The discrete-event engine and the model of a system.
//!
//! A [`Model`] holds stations (services with workers, queues and connection pools), what each route
//! costs and which calls it makes. [`model_of`] estimates one from [`Observations`]; it can also be
//! written by hand. [`scenario`] runs a model under some traffic: time is integer nanoseconds, the
//! order of events is total, and each draw is a function of the seed, the replication, the route and
//! the request's own number, so that two models simulated under one seed share their luck.
//!
//! The crate is pure: it reads no clock, file or socket, and gives the same bytes on any number of
//! threads.

mod engine;
pub mod estimate;
pub mod model;
pub mod observation;
pub mod scenario;

pub use estimate::model_of;
pub use model::{CallModel, Law, Model, RouteModel, Station};
pub use observation::Observations;
pub use scenario::{
    CompiledModel, CompiledTraffic, Outcome, Traffic, replicate, simulate, simulate_each,
};
