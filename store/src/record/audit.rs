//! Who did what: rows that are only ever added, each sealed by the one after it.

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::nanos;

/// An entry before it is chained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAudit {
    /// When it was done.
    #[serde(with = "nanos")]
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// What was done, such as `rollout.promote`.
    pub action: String,
    /// To what.
    pub object: String,
    /// The rest.
    pub detail_json: String,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Counts from one, without a gap.
    pub seq: u64,
    /// The hash of the entry before, in hexadecimal; of the first, zeros.
    pub previous_hash: String,
    /// The BLAKE3 hash of all the other fields, in hexadecimal.
    pub hash: String,
    /// What was done.
    #[serde(flatten)]
    pub entry: NewAudit,
}
