//! What the control plane asks of whoever carries rollouts out.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use prophecy_store::{LogLine, Rollout, StoreError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An answer that is still to come.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// Carries rollouts out. Whatever it changes it stores before it answers, with the events of the
/// change; the control plane stores nothing about a rollout by itself.
pub trait Rollouts: Send + Sync + Debug {
    /// Plans a rollout, stores it and begins it.
    fn create(&self, request: PlanRequest) -> Pending<'_, Rollout>;

    /// Steers a rollout, if it still is as its steerer saw it.
    fn act(&self, act: Act) -> Pending<'_, Rollout>;

    /// Hands a signed approval to whoever checks it.
    fn approve(&self, rollout_id: String, signed: serde_json::Value) -> Pending<'_, ()>;

    /// Returns lines of a rollout's log after one, the oldest first.
    fn logs(&self, rollout_id: String, after: u64, limit: u32) -> Pending<'_, Vec<LogLine>>;
}

/// What is to be rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The system.
    pub system: String,
    /// Where it is deployed.
    pub environment: String,
    /// The digest of what is deployed.
    pub candidate_digest: String,
    /// How traffic moves.
    pub strategy: String,
    /// The prediction that gates it.
    pub prediction_id: Option<String>,
    /// The rest of the plan, as the planner reads it.
    pub plan: serde_json::Value,
    /// Who asks.
    pub actor: String,
    /// What the caller named the request, unique among all callers.
    pub idempotency_key: Option<String>,
}

/// One act of steering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The rollout.
    pub rollout_id: String,
    /// What to do.
    pub verb: Verb,
    /// The revision that was seen.
    pub expected_revision: u64,
    /// Who acts.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// How a rollout can be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Goes to the next stage.
    Promote,
    /// Stops before the next shift.
    Pause,
    /// Goes on.
    Resume,
    /// Gives the rollout up.
    Abort,
    /// Takes a promoted candidate back.
    Rollback,
}

/// Why something asked of a rollout was not done.
#[derive(Debug, Error)]
pub enum ControlError {
    /// There is no such rollout.
    #[error("there is no rollout `{0}`")]
    NotFound(String),
    /// The rollout has changed since its steerer looked.
    #[error("the rollout is at revision {found}; revision {expected} was expected")]
    Stale {
        /// The revision that was named.
        expected: u64,
        /// The revision it has.
        found: u64,
    },
    /// The state of the rollout, a gate or a freeze forbids it.
    #[error("the rollout was not {verb}: {why}")]
    Refused {
        /// What was asked, as a participle.
        verb: &'static str,
        /// What forbids it, in words.
        why: String,
    },
    /// The plan makes no sense.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// Whoever carries it out cannot be reached.
    #[error("the executor cannot be reached: {0}")]
    Unavailable(String),
    /// The store failed.
    #[error("the rollout could not be stored")]
    Store(#[from] StoreError),
}

// === impl Verb ===

impl Verb {
    /// Returns the word of the path.
    pub fn word(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
        }
    }

    /// Returns the verb of a word of the path.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Promote, Self::Pause, Self::Resume, Self::Abort, Self::Rollback]
            .into_iter()
            .find(|verb| verb.word() == word)
    }
}
