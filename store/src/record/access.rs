//! Who may do what, and what was asked before.

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::nanos;

/// What a token is for; what that allows is up to whoever checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Starts and steers rollouts.
    Deployer,
    /// Approves stages.
    Approver,
    /// Manages tokens and webhooks.
    Admin,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Sorts by time.
    pub id: String,
    /// What its holder calls it.
    pub name: String,
    /// The hash of the secret; unique.
    pub hash: String,
    /// What it may do.
    pub role: Role,
    /// Where it may do so.
    pub scope_json: String,
    /// When it was made.
    #[serde(with = "nanos")]
    pub created_at: Timestamp,
    /// When it stops being good.
    #[serde(with = "nanos::optional", default)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(with = "nanos::optional", default)]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used.
    #[serde(with = "nanos::optional", default)]
    pub last_used_at: Option<Timestamp>,
}

/// A request that must not be carried out twice, with its answer once there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// Who asked; two actors may use one key.
    pub actor: String,
    /// What the request was named.
    pub key: String,
    /// The digest of the request, to refuse another request under the same name.
    pub request_digest: String,
    /// The status of the answer; absent while the request is being carried out.
    #[serde(default)]
    pub response_status: Option<u16>,
    /// The body of the answer.
    #[serde(default)]
    pub response_body: Option<String>,
    /// When it was first asked.
    #[serde(with = "nanos")]
    pub created_at: Timestamp,
}
