//! How many approved.

use std::collections::BTreeSet;

use prophecy_core::Timestamp;

use super::{Approval, Expected, Judgement, KeyRing, RejectMarks, VerifyApprovalError};

/// What the records about one stage come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How it stands.
    pub outcome: Outcome,
    /// Those who approved, each once.
    pub approved_by: BTreeSet<String>,
    /// The records that do not count, by their position, and why.
    pub refused: Vec<(usize, VerifyApprovalError)>,
}

/// How an approval stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough people approved, and nobody rejected.
    Reached,
    /// So many more people must approve.
    Missing {
        /// How many.
        count: u32,
    },
    /// Somebody rejected; no number of approvals outweighs it.
    Rejected {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Counts the records that fit: `required` different people must approve.
///
/// Two records, or two keys, of one person are one approval.
pub fn tally(
    approvals: &[Approval],
    ring: &KeyRing,
    expected: &Expected,
    marks: &RejectMarks,
    required: u32,
    now: Timestamp,
) -> Tally {
    let mut approved_by = BTreeSet::new();
    let mut refused = Vec::new();
    let mut rejection = marks
        .standing(&expected.candidate_digest)
        .map(|mark| (mark.by.clone(), mark.reason.clone()));
    for (index, approval) in approvals.iter().enumerate() {
        match approval.verify(ring, expected, marks, now) {
            Err(error) => refused.push((index, error)),
            Ok(_) if approval.decision == Judgement::Approve => {
                approved_by.insert(approval.actor.clone());
            }
            Ok(_) => {
                let digest = &approval.candidate_digest;
                if !marks.is_lifted(digest, &approval.actor, approval.at) {
                    rejection.get_or_insert((approval.actor.clone(), approval.reason.clone()));
                }
            }
        }
    }
    let count = required.saturating_sub(u32::try_from(approved_by.len()).unwrap_or(u32::MAX));
    let outcome = match rejection {
        Some((by, reason)) => Outcome::Rejected { by, reason },
        None if count > 0 => Outcome::Missing { count },
        None => Outcome::Reached,
    };
    Tally { outcome, approved_by, refused }
}
