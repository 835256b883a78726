//! What is stored: one struct for one row, with the names of the columns as names of the fields.
//!
//! Fields ending in `_json` hold JSON text that its writer understands and the store does not.
//! Times are nanoseconds since 1970, in serialized form a number.

mod access;
mod audit;
mod event;
mod forecast;
pub(crate) mod nanos;
mod rollout;

pub use access::{IdempotencyKey, Role, Token};
pub use audit::{Audit, NewAudit};
pub use event::{Delivery, DeliveryState, Event, NewEvent, Webhook};
pub use forecast::{Claim, Outcome, OutcomeClaim, Prediction, Report, SettledClaim};
pub use rollout::{Approval, LogLine, NewLogLine, PublicStatus, Rollout, Step, Verdict};
