//! A rollout and what happened in it.

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::nanos;

/// How a rollout stands, in the few words that other tools know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicStatus {
    /// Asked for, not begun.
    Pending,
    /// Its builds are being started.
    Building,
    /// Traffic is being moved.
    Deploying,
    /// The candidate serves everything.
    Success,
    /// It ended in a state that needs a person.
    Failed,
    /// Taken back before traffic was moved.
    Cancelled,
    /// The baseline serves everything again.
    RolledBack,
}

/// One rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Sorts by time; see [`crate::sortable_id`].
    pub id: String,
    /// What its creator named the request; no two rollouts have the same.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The system.
    pub system: String,
    /// Where it is deployed.
    pub environment: String,
    /// The digest of what is deployed.
    pub candidate_digest: String,
    /// How traffic moves: `canary`, `blue_green` and so on.
    pub strategy: String,
    /// The state of the executor's machine.
    pub state: String,
    /// The same for others.
    pub public_status: PublicStatus,
    /// The index of the current stage.
    pub stage: u64,
    /// The share of traffic the candidate has, from 0 to 100,000 (a thousandth of a percent each).
    pub weight: u64,
    /// Counts the changes; every change names the revision it saw.
    pub revision: u64,
    /// The prediction that gated it.
    #[serde(default)]
    pub prediction_id: Option<String>,
    /// The plan.
    pub plan_json: String,
    /// Where the executor keeps its files.
    pub folder: String,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    #[serde(with = "nanos")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(with = "nanos")]
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(with = "nanos::optional", default)]
    pub ended_at: Option<Timestamp>,
    /// Why it ended, or what it waits for.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The rollout.
    pub rollout_id: String,
    /// The position in the plan.
    pub step_index: u64,
    /// How far the step is.
    pub state: String,
    /// The weight it shifts to; see [`Rollout::weight`].
    pub weight: u64,
    /// When it began.
    #[serde(with = "nanos")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(with = "nanos::optional", default)]
    pub ended_at: Option<Timestamp>,
    /// How it was judged.
    #[serde(default)]
    pub verdict: Option<String>,
}

/// One judgement of a stage; a stage may be judged many times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The rollout.
    pub rollout_id: String,
    /// The index of the stage.
    pub stage: u64,
    /// When it was judged.
    #[serde(with = "nanos")]
    pub at: Timestamp,
    /// `pass`, `fail`, `inconclusive` or `no_data`.
    pub verdict: String,
    /// The evidence.
    pub judgement_json: String,
}

/// A signed approval, bound to a stage and the revision its giver saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Sorts by time.
    pub id: String,
    /// The rollout.
    pub rollout_id: String,
    /// The index of the approved stage.
    pub stage: u64,
    /// The revision that was approved.
    pub revision: u64,
    /// Who approved.
    pub approver: String,
    /// When.
    #[serde(with = "nanos")]
    pub at: Timestamp,
    /// The signed record.
    pub signed_json: String,
}

/// A line of a rollout's log, before it has a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLogLine {
    /// When it was written.
    #[serde(with = "nanos")]
    pub at: Timestamp,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// What it says.
    pub text: String,
}

/// A line of a rollout's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The rollout.
    pub rollout_id: String,
    /// Grows within a rollout, and never comes twice in a store; it may jump.
    pub seq: u64,
    /// When it was written.
    #[serde(with = "nanos")]
    pub at: Timestamp,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// What it says.
    pub text: String,
}
