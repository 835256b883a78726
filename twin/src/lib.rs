//! The twin: builds as real processes under replayed traffic, and what their datasets tell.
//!
//! Traffic goes to loopback and to what was allowed by name. Whatever is started is ended on every
//! way out, and by a reaper if this process is killed.

mod allow_list;
pub mod compare;
pub mod fit;
pub mod launch;
mod manifest;
pub mod metrics;
pub mod probe;
pub mod production;
pub mod replay;
pub mod run;
mod standin;

pub use allow_list::AllowList;
pub use manifest::{LoadSystemError, LoadedSystem, load_system};
pub use probe::{ProbeBounds, ProbeProgress, probe_arms};
pub use run::{Progress, RunTwinError, TwinOptions, run_twin};
