//! Paced replay: every request leaves at its own absolute deadline, whatever became of the others.
//!
//! Open loop: a slow answer delays no later request, so a build cannot hide its slowness by being
//! asked less. Latency counts from the *intended* start; how late requests really left is the send
//! lag, which the replay measures of itself.

mod driver;
mod pacer;
mod plan;
mod sender;
mod surge;

pub use driver::{ReplayError, Reply, Target, drive};
pub use plan::{PlannedRequest, plan};
pub use sender::Answer;
pub(crate) use surge::{Log, Stretch, Surge};
