//! Plans and carries out rollouts under watch.
//!
//! A [`Plan`] is made without touching anything and says everything; the executor carries it out and
//! decides nothing that is not written there. Whatever happens is written to a [`journal`] before the
//! next thing is done, so that another process can go on after a crash. Giving up shares no path with
//! going forward.

pub mod abort;
pub mod approval;
pub mod begin;
pub mod control;
pub mod environment;
pub mod evidence;
pub mod executor;
pub mod group;
pub mod hook;
pub mod instant;
pub mod journal;
pub mod judge;
pub mod machine;
pub mod metric;
pub mod migration;
pub mod outcome;
pub mod plan;
pub mod record;
pub mod router;
pub mod settings;
mod site;
pub mod slice;
pub mod strategy;
pub mod teardown;
pub mod traffic;
pub(crate) mod usage;
pub mod window;

pub use machine::State;
pub use plan::Plan;
