//! The nouns that every crate of Prophecy speaks: exchanges, time, probability, seeds, manifests.
//!
//! This crate does no input or output, reads no clock and draws no ambient randomness. What it
//! holds are values: a crate of a higher rank reads them from a wire, a file or a process.

pub mod exchange;
pub mod ledger;
pub mod probability;
pub mod proportion;
pub mod quantile;
pub mod random;
pub mod record;
pub mod route;
pub mod system;
pub mod time;
pub mod trend;

pub use exchange::{Completeness, Exchange, Header, Protocol};
pub use ledger::Ledger;
pub use probability::{Interval, Probability};
pub use random::{Philox, Seed};
pub use record::{Connection, Metric, Operation};
pub use system::System;
pub use time::{SimTime, Timestamp};
