//! The states of a rollout and the only ways between them.
//!
//! ```text
//! queued → gated → provisioning → step { shift → settle → observe → judged } → promoting → soaking → succeeded
//!    └───────┴──────────┴───────────────────┴── paused ──┴──────────────┴──────────┴─► aborting
//!                                      aborting → rolling_back → verifying → rolled_back | rollback_failed
//! ```
//!
//! Nothing leads from the abort states back, and nothing of going forward is needed to pass them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Planned, and not begun.
    Queued,
    /// Forecast, window, approvals and hooks are asked.
    Gated,
    /// The candidate is started, and a copy of what runs now where the strategy compares.
    Provisioning,
    /// The traffic of a step is being moved.
    Shifting {
        /// Which step.
        stage: u32,
    },
    /// The step's traffic has arrived; what was in flight before is not judged.
    Settling {
        /// Which step.
        stage: u32,
    },
    /// The arms are compared.
    Observing {
        /// Which step.
        stage: u32,
        /// How often it was extended because nothing could be said.
        extended: u32,
    },
    /// Somebody has to say how to go on.
    Paused {
        /// The step that was reached.
        stage: u32,
    },
    /// The candidate gets everything.
    Promoting,
    /// The candidate has everything, what ran before is kept warm.
    Soaking,
    /// The candidate is production.
    Succeeded,
    /// The rollout is given up.
    Aborting,
    /// Traffic goes back.
    RollingBack,
    /// What ran before is proven to serve.
    Verifying,
    /// What ran before is production again.
    RolledBack,
    /// It is not known to serve: somebody is paged.
    RollbackFailed,
}

/// The status that clients of older interfaces know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicStatus {
    /// Not begun.
    Pending,
    /// Being started.
    Building,
    /// Under way.
    Deploying,
    /// Done.
    Success,
    /// Neither the candidate nor what ran before is known to serve.
    Failed,
    /// Given up before any traffic moved.
    Cancelled,
    /// Undone.
    RolledBack,
}

// === impl State ===

impl State {
    /// Says whether nothing comes after it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::RollbackFailed)
    }

    /// Says whether it lies on the way back.
    pub fn is_abort(self) -> bool {
        matches!(
            self,
            Self::Aborting
                | Self::RollingBack
                | Self::Verifying
                | Self::RolledBack
                | Self::RollbackFailed
        )
    }

    /// Says whether a state may follow.
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Aborting, Gated, Observing, Paused, Promoting, Provisioning, Queued, RollbackFailed,
            RolledBack, RollingBack, Settling, Shifting, Soaking, Succeeded, Verifying,
        };
        if next == Aborting {
            return !self.is_final() && !self.is_abort();
        }
        match (self, next) {
            (Queued, Gated) | (Gated, Provisioning) | (Soaking, Succeeded) => true,
            (Provisioning, Shifting { stage: 0 } | Paused { stage: 0 } | Promoting) => true,
            (Shifting { stage: from }, Settling { stage }) => from == stage,
            (Settling { stage: from }, Observing { stage, extended: 0 }) => from == stage,
            (Observing { stage: from, extended: times }, Observing { stage, extended }) => {
                from == stage && extended == times + 1
            }
            (Observing { stage: from, .. }, Shifting { stage }) => stage == from + 1,
            (Observing { stage: from, .. }, Paused { stage }) => stage == from || stage == from + 1,
            // A rollout that only looks (shadow) ends by taking everything down again.
            (Observing { .. }, Promoting) => true,
            (Paused { stage: from }, Shifting { stage }) => stage == from || stage == from + 1,
            (Paused { stage: from }, Observing { stage, extended: 0 }) => from == stage,
            (Paused { .. }, Promoting) | (Promoting, Soaking) => true,
            (Aborting, RollingBack) | (RollingBack, Verifying) => true,
            (Verifying, RolledBack | RollbackFailed) => true,
            (Aborting | RollingBack, RollbackFailed) => true,
            _ => false,
        }
    }

    /// Returns the step, where there is one.
    pub fn stage(self) -> Option<u32> {
        match self {
            Self::Shifting { stage }
            | Self::Settling { stage }
            | Self::Observing { stage, .. }
            | Self::Paused { stage } => Some(stage),
            _ => None,
        }
    }

    /// Returns the status that clients of older interfaces know; `moved` says whether any traffic has
    /// reached the candidate.
    pub fn public_status(self, moved: bool) -> PublicStatus {
        match self {
            Self::Queued | Self::Gated => PublicStatus::Pending,
            Self::Provisioning => PublicStatus::Building,
            Self::Succeeded => PublicStatus::Success,
            Self::RolledBack if moved => PublicStatus::RolledBack,
            Self::RolledBack => PublicStatus::Cancelled,
            Self::RollbackFailed => PublicStatus::Failed,
            _ => PublicStatus::Deploying,
        }
    }

    /// Returns the state's name, without its step.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Gated => "gated",
            Self::Provisioning => "provisioning",
            Self::Shifting { .. } => "shifting",
            Self::Settling { .. } => "settling",
            Self::Observing { .. } => "observing",
            Self::Paused { .. } => "paused",
            Self::Promoting => "promoting",
            Self::Soaking => "soaking",
            Self::Succeeded => "succeeded",
            Self::Aborting => "aborting",
            Self::RollingBack => "rolling_back",
            Self::Verifying => "verifying",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage() {
            Some(stage) => write!(f, "{} (step {})", self.name(), stage + 1),
            None => f.write_str(self.name()),
        }
    }
}

// === impl PublicStatus ===

impl PublicStatus {
    /// Returns the status as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Building => "building",
            Self::Deploying => "deploying",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<State> {
        let mut states = vec![
            State::Queued,
            State::Gated,
            State::Provisioning,
            State::Promoting,
            State::Soaking,
            State::Succeeded,
            State::Aborting,
            State::RollingBack,
            State::Verifying,
            State::RolledBack,
            State::RollbackFailed,
        ];
        for stage in 0..2 {
            states.extend([
                State::Shifting { stage },
                State::Settling { stage },
                State::Observing { stage, extended: 0 },
                State::Observing { stage, extended: 1 },
                State::Paused { stage },
            ]);
        }
        states
    }

    #[test]
    fn every_state_that_is_not_on_its_way_out_can_be_aborted() {
        for state in all() {
            assert_eq!(
                state.may_become(State::Aborting),
                !state.is_final() && !state.is_abort(),
                "{state}"
            );
        }
    }

    #[test]
    fn nothing_leads_from_an_abort_to_going_forward() {
        for from in all().into_iter().filter(|state| state.is_abort()) {
            for to in all().into_iter().filter(|state| !state.is_abort()) {
                assert!(!from.may_become(to), "{from} to {to}");
            }
        }
    }

    #[test]
    fn final_states_are_final_and_others_are_not() {
        for from in all() {
            let goes_on = all().into_iter().any(|to| from.may_become(to));
            assert_eq!(goes_on, !from.is_final(), "{from}");
        }
    }

    #[test]
    fn only_the_end_of_an_observation_or_a_person_leads_to_promotion() {
        for from in all().into_iter().filter(|from| from.may_become(State::Promoting)) {
            let allowed = matches!(
                from,
                State::Observing { .. } | State::Paused { .. } | State::Provisioning
            );
            assert!(allowed, "{from}");
        }
    }

    #[test]
    fn states_survive_being_written() {
        for state in all() {
            let text = serde_json::to_string(&state).expect("plain data");
            assert_eq!(serde_json::from_str::<State>(&text).expect("as written"), state);
        }
    }
}
