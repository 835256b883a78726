//! Who passes a closed window.

use prophecy_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Decision, EvaluateWindowError, Subject, Window, decide};
use crate::instant;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A rollout is created.
    Create,
    /// A rollout that was waiting starts.
    Start,
    /// A rollout that runs goes on.
    Proceed,
    /// A rollout is taken back.
    RollBack,
}

/// The will of a person to pass a closed window, with a name and a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    actor: String,
    reason: String,
}

/// Why a window may not be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cannot pass a freeze without both an actor and a reason, and `{missing}` is empty")]
pub struct BreakGlassError {
    missing: &'static str,
}

/// What is kept of every passing: it must be written down before the rollout goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "an audited passing that is not written down is not audited"]
pub struct BreakGlassRecord {
    /// Who passed.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What changes, and where.
    pub subject: Subject,
    /// What was done.
    pub action: Action,
    /// When.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// The windows that were closed.
    pub windows: Vec<String>,
    /// What those windows would have told.
    pub overridden: String,
}

/// Whether something is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It is.
    Admitted,
    /// It is, against a closed window.
    BrokeGlass(BreakGlassRecord),
    /// It is not.
    Refused {
        /// The windows that close.
        by: Vec<String>,
        /// What to tell whoever asks.
        reason: String,
        /// When to try again.
        reopens_at: Option<Timestamp>,
    },
}

// === impl Action ===

impl Action {
    /// Returns whether windows are asked at all.
    pub fn is_gated(self) -> bool {
        matches!(self, Self::Create | Self::Start)
    }
}

// === impl BreakGlass ===

impl BreakGlass {
    /// Takes a name and a reason.
    ///
    /// # Errors
    ///
    /// [`BreakGlassError`] if either is blank.
    pub fn new(actor: &str, reason: &str) -> Result<Self, BreakGlassError> {
        for (missing, text) in [("actor", actor), ("reason", reason)] {
            if text.trim().is_empty() {
                return Err(BreakGlassError { missing });
            }
        }
        Ok(Self { actor: actor.trim().to_owned(), reason: reason.trim().to_owned() })
    }
}

/// Lets `action` through, or not.
///
/// A rollout that runs goes on and a rollback passes whatever the windows say, even if they cannot
/// be worked out. Glass is broken only where something was closed: otherwise there is no record.
///
/// # Errors
///
/// [`EvaluateWindowError`] if a window cannot be worked out and no glass was broken.
pub fn admit(
    windows: &[Window],
    subject: &Subject,
    action: Action,
    at: Timestamp,
    break_glass: Option<&BreakGlass>,
) -> Result<Admission, EvaluateWindowError> {
    if !action.is_gated() {
        return Ok(Admission::Admitted);
    }
    let record = |pass: &BreakGlass, windows, overridden| BreakGlassRecord {
        actor: pass.actor.clone(),
        reason: pass.reason.clone(),
        subject: subject.clone(),
        action,
        at,
        windows,
        overridden,
    };
    match (decide(windows, subject, at), break_glass) {
        (Ok(Decision::Open), _) => Ok(Admission::Admitted),
        (Ok(Decision::Closed { by, reason, .. }), Some(pass)) => {
            Ok(Admission::BrokeGlass(record(pass, by, reason)))
        }
        (Ok(Decision::Closed { by, reason, reopens_at }), None) => {
            Ok(Admission::Refused { by, reason, reopens_at })
        }
        (Err(error), Some(pass)) => {
            let told = error.to_string();
            Ok(Admission::BrokeGlass(record(pass, vec![error.window], told)))
        }
        (Err(error), None) => Err(error),
    }
}
