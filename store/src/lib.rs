//! Durable records: predictions and what came of them, rollouts, events, access, the audit log.
//!
//! A [`Store`] keeps plain records in SQLite or in PostgreSQL behind one interface. It holds no
//! logic: it refuses what would lose or mix up a record (a stale revision, a reused key, a broken
//! chain), and leaves every decision to its callers. It reads no clock and draws no randomness:
//! times and random bytes are given to it.
//!
//! # Examples
//!
//! ```no_run
//! # async fn example() -> Result<(), prophecy_store::StoreError> {
//! use prophecy_store::{Page, PredictionFilter, Store};
//!
//! let store = Store::open("sqlite:prophecy.db").await?;
//! let newest = store.list_predictions(&PredictionFilter::default(), &Page::newest(50)).await?;
//! # let _ = newest;
//! # Ok(())
//! # }
//! ```

pub mod record;

mod access;
mod audit;
mod backup;
mod content;
mod database;
mod delivery;
mod error;
mod event;
mod forecast;
mod id;
mod page;
mod retention;
mod rollout;
mod row;
mod schema;
mod statement;
mod store;
mod table;

pub use access::Reservation;
pub use audit::AuditChain;
pub use content::Content;
pub use error::StoreError;
pub use event::EventFilter;
pub use forecast::{NewPrediction, PredictionFilter, SettledFilter};
pub use id::sortable_id;
pub use page::{Order, Page};
pub use record::*;
pub use retention::{Retained, Retention};
pub use rollout::{Created, RolloutFilter};
pub use store::{Store, StoreOptions};
