//! What an abort may do after a change of the data.
//!
//! A build that has changed the data's shape cannot always be taken back: the previous build may not
//! understand what it would find. A plan says which of three cases it is, and an abort obeys.

use serde::{Deserialize, Serialize};

/// Whether the previous build can run on the data as the candidate leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversal {
    /// The previous build runs on what the candidate leaves.
    #[default]
    Safe,
    /// There is no way back once the migration has begun.
    ForwardOnly,
    /// The way back needs another migration first.
    NeedsMigration {
        /// The command of the migration back, as arguments.
        command: Vec<String>,
    },
}

/// How far the candidate's own migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// It has not been started: the data is as the previous build left it.
    NotStarted,
    /// It has been started; whether it ended is unknown or irrelevant.
    Started,
}

/// How far the migration back has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// It has not been run.
    NotRun,
    /// It has ended well.
    Done,
    /// It has failed, or was cut off.
    Failed,
}

/// What an abort does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbortAction {
    /// Move traffic back to the previous build.
    RollBack,
    /// Run this, then ask again.
    MigrateBack {
        /// The command, as arguments.
        command: Vec<String>,
    },
    /// Leave traffic exactly where it is, and call a person.
    FreezeAndPage {
        /// What the person is told.
        reason: String,
    },
}

// === impl Reversal ===

impl Reversal {
    /// Decides what an abort does next.
    ///
    /// Traffic never moves to a build that the data may not suit: a migration back that failed
    /// freezes the rollout, as does one that has no command.
    pub fn on_abort(&self, forward: Forward, back: Back) -> AbortAction {
        let freeze = |reason: &str| AbortAction::FreezeAndPage { reason: reason.to_owned() };
        match (self, forward, back) {
            (_, Forward::NotStarted, _) | (Self::Safe, _, _) => AbortAction::RollBack,
            (Self::ForwardOnly, Forward::Started, _) => {
                freeze("the migration is forward only: the previous build cannot take traffic")
            }
            (Self::NeedsMigration { .. }, Forward::Started, Back::Done) => AbortAction::RollBack,
            (Self::NeedsMigration { .. }, Forward::Started, Back::Failed) => {
                freeze("the migration back failed: neither build is known to suit the data")
            }
            (Self::NeedsMigration { command }, Forward::Started, Back::NotRun) => {
                if command.is_empty() {
                    freeze("a migration back is needed, and its command is empty")
                } else {
                    AbortAction::MigrateBack { command: command.clone() }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKS: [Back; 3] = [Back::NotRun, Back::Done, Back::Failed];

    fn needs() -> Reversal {
        Reversal::NeedsMigration { command: vec!["down".to_owned(), "--to=41".to_owned()] }
    }

    fn freezes(action: &AbortAction) -> bool {
        matches!(action, AbortAction::FreezeAndPage { .. })
    }

    #[test]
    fn a_safe_change_rolls_back_in_every_case() {
        for forward in [Forward::NotStarted, Forward::Started] {
            for back in BACKS {
                assert_eq!(Reversal::Safe.on_abort(forward, back), AbortAction::RollBack);
            }
        }
    }

    #[test]
    fn before_the_migration_starts_every_change_rolls_back() {
        for reversal in [Reversal::Safe, Reversal::ForwardOnly, needs()] {
            assert_eq!(reversal.on_abort(Forward::NotStarted, Back::NotRun), AbortAction::RollBack);
        }
    }

    #[test]
    fn a_forward_only_change_never_moves_traffic_back_once_started() {
        for back in BACKS {
            assert!(freezes(&Reversal::ForwardOnly.on_abort(Forward::Started, back)));
        }
    }

    #[test]
    fn a_needed_migration_runs_first_and_only_its_success_moves_traffic() {
        let command = vec!["down".to_owned(), "--to=41".to_owned()];
        let on_abort = |back| needs().on_abort(Forward::Started, back);
        assert_eq!(on_abort(Back::NotRun), AbortAction::MigrateBack { command });
        assert_eq!(on_abort(Back::Done), AbortAction::RollBack);
        assert!(freezes(&on_abort(Back::Failed)));
        let empty = Reversal::NeedsMigration { command: Vec::new() };
        assert!(freezes(&empty.on_abort(Forward::Started, Back::NotRun)));
    }

    #[test]
    fn the_three_cases_are_written_as_the_guide_says() {
        let check = |yaml: &str, expected: Reversal| {
            assert_eq!(serde_saphyr::from_str::<Reversal>(yaml).unwrap(), expected);
        };
        check("safe", Reversal::Safe);
        check("forward_only", Reversal::ForwardOnly);
        check("needs_migration: { command: [down, --to=41] }", needs());
        assert!(serde_saphyr::from_str::<Reversal>("perhaps").is_err());
    }
}
