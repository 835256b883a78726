//! The mark that a rejection leaves on a candidate.

use std::collections::BTreeMap;

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Judgement, Verified};
use crate::instant;

/// That a candidate was rejected, and perhaps that this was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Who rejected it.
    pub by: String,
    /// When.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who took it back, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<Lift>,
}

/// That a mark was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lift {
    /// Who took it back.
    pub by: String,
    /// When.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Every mark that was ever left, by the digest of the candidate; none is ever removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RejectMarks {
    marks: BTreeMap<String, Vec<Mark>>,
}

/// Why a mark could not be lifted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LiftMarkError {
    /// There is none.
    #[error("candidate {digest} has no mark to lift")]
    NoMark {
        /// The candidate.
        digest: String,
    },
    /// Nobody, or no reason.
    #[error("cannot lift the mark of candidate {digest} without an actor and a reason")]
    Unexplained {
        /// The candidate.
        digest: String,
    },
}

// === impl RejectMarks ===

impl RejectMarks {
    /// Leaves the mark of a rejection; an approval leaves none.
    ///
    /// The same rejection given again leaves no second mark, so one that was lifted stays lifted.
    pub fn record(&mut self, verified: Verified<'_>) {
        let approval = verified.record();
        if approval.decision != Judgement::Reject {
            return;
        }
        let marks = self.marks.entry(approval.candidate_digest.clone()).or_default();
        if marks.iter().any(|mark| mark.by == approval.actor && mark.at == approval.at) {
            return;
        }
        marks.push(Mark {
            by: approval.actor.clone(),
            at: approval.at,
            reason: approval.reason.clone(),
            lifted: None,
        });
    }

    /// Returns the first mark of a candidate that was not lifted.
    pub fn standing(&self, digest: &str) -> Option<&Mark> {
        self.marks.get(digest)?.iter().find(|mark| mark.lifted.is_none())
    }

    /// Lifts every standing mark of a candidate.
    ///
    /// # Errors
    ///
    /// [`LiftMarkError`] if there is none, or if `by` or `reason` is blank.
    pub fn lift(
        &mut self,
        digest: &str,
        by: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), LiftMarkError> {
        let digest_text = || digest.to_owned();
        if by.trim().is_empty() || reason.trim().is_empty() {
            return Err(LiftMarkError::Unexplained { digest: digest_text() });
        }
        if self.standing(digest).is_none() {
            return Err(LiftMarkError::NoMark { digest: digest_text() });
        }
        let marks = self.marks.get_mut(digest).into_iter().flatten();
        for mark in marks.filter(|mark| mark.lifted.is_none()) {
            mark.lifted = Some(Lift { by: by.to_owned(), at, reason: reason.to_owned() });
        }
        Ok(())
    }

    /// Returns whether the very rejection that `by` gave at `at` was lifted.
    pub(super) fn is_lifted(&self, digest: &str, by: &str, at: Timestamp) -> bool {
        let mut marks = self.marks.get(digest).into_iter().flatten();
        marks.any(|mark| mark.by == by && mark.at == at && mark.lifted.is_some())
    }
}
