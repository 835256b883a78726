//! What may be wrong with an approval.

use prophecy_core::Timestamp;
use thiserror::Error;

/// What does not fit about an approval.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyApprovalError {
    /// Nobody's key.
    #[error("key `{key_id}` is not in the key ring")]
    UnknownKey {
        /// The key.
        key_id: String,
    },
    /// A key that counts no longer, whenever it claims to have signed.
    #[error("key `{key_id}` was revoked at {at}")]
    RevokedKey {
        /// The key.
        key_id: String,
        /// Since when.
        at: Timestamp,
    },
    /// The signature is not of these fields by this key.
    #[error("the signature is not one of this record by key `{key_id}`")]
    BadSignature {
        /// The key.
        key_id: String,
    },
    /// The key belongs to somebody else.
    #[error("key `{key_id}` belongs to `{owner}`, and the record says `{actor}`")]
    OtherActor {
        /// The key.
        key_id: String,
        /// Whose it is.
        owner: String,
        /// Whose the record says it is.
        actor: String,
    },
    /// It is about another rollout.
    #[error("it is about rollout `{found}`, expected `{expected}`")]
    OtherRollout {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The rollout has changed since.
    #[error("it was given for revision {found}, and the rollout is at revision {expected}")]
    StaleRevision {
        /// What was found.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// It is about another stage.
    #[error("it was given for stage `{found}`, and the rollout is at stage `{expected}`")]
    OtherStage {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The plan has changed since.
    #[error("it was given for plan {found}, and the plan is {expected}")]
    OtherPlan {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// It is about another candidate.
    #[error("it was given for candidate {found}, and the candidate is {expected}")]
    OtherCandidate {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// It comes from the future.
    #[error("it was signed at {at}, and it is {now}")]
    NotYet {
        /// When it claims to be from.
        at: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// Its time is over.
    #[error("it expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Whoever asked for the rollout approved it.
    #[error("`{actor}` asked for this rollout and may not approve it")]
    SelfApproval {
        /// Who.
        actor: String,
    },
    /// The candidate was rejected before.
    #[error("candidate {digest} was rejected by `{by}` at {at}, and the mark was not lifted")]
    RejectedBefore {
        /// The candidate.
        digest: String,
        /// Who rejected it.
        by: String,
        /// When.
        at: Timestamp,
    },
}
