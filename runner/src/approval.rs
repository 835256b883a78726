//! Approvals: signed records bound to what their signer saw.
//!
//! An approval names the rollout, its revision, its stage, its plan and its candidate. If any of
//! them has changed since, it does not count. A rejection does not expire: it leaves a mark on the
//! candidate, which no approval outweighs until a person lifts the mark.
//!
//! # Signed bytes
//!
//! The line `prophecy.approval/1`, then for each field in the order of [`Approval`] up to `key_id`
//! its name, `=`, the length of its value in bytes, `:`, the value, and a line feed. Instants are
//! decimal nanoseconds since 1970. Lengths keep fields from flowing into each other.

mod error;
mod folder;
mod key;
mod mark;
mod quorum;
mod ring;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signature;
use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::error::VerifyApprovalError;
pub use self::folder::{keep, kept};
pub use self::key::{KeyFileError, PrivateKey};
pub use self::mark::{Lift, LiftMarkError, Mark, RejectMarks};
pub use self::quorum::{Outcome, Tally, tally};
pub use self::ring::{KeyRing, PublicKey, RingError};
use crate::instant;

/// How far in the future a signature may lie, for clocks that differ.
pub const CLOCK_SKEW_NANOS: u64 = 60_000_000_000;

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Go on.
    Approve,
    /// Do not go on, with this candidate, ever.
    Reject,
}

/// A decision before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The rollout.
    pub rollout: String,
    /// The revision of the rollout that was seen.
    pub revision: u64,
    /// The stage that was seen.
    pub stage: String,
    /// What was decided.
    pub decision: Judgement,
    /// When.
    pub at: Timestamp,
    /// Until when an approval counts; a rejection does not expire.
    pub expires_at: Timestamp,
    /// Why.
    pub reason: String,
    /// The digest of the plan that was seen.
    pub plan_digest: String,
    /// The digest of the candidate.
    pub candidate_digest: String,
}

/// A signed decision of a person about one stage of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The rollout.
    pub rollout: String,
    /// The revision of the rollout that was seen.
    pub revision: u64,
    /// The stage that was seen.
    pub stage: String,
    /// What was decided.
    pub decision: Judgement,
    /// Who decided.
    pub actor: String,
    /// When.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// Until when an approval counts; a rejection does not expire.
    #[serde(with = "instant")]
    pub expires_at: Timestamp,
    /// Why.
    pub reason: String,
    /// The digest of the plan that was seen.
    pub plan_digest: String,
    /// The digest of the candidate.
    pub candidate_digest: String,
    /// The key that signed.
    pub key_id: String,
    /// The Ed25519 signature, in base64.
    pub signature: String,
}

/// What an approval must be about to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The rollout.
    pub rollout: String,
    /// Its revision now.
    pub revision: u64,
    /// Its stage now.
    pub stage: String,
    /// The digest of its plan.
    pub plan_digest: String,
    /// The digest of its candidate.
    pub candidate_digest: String,
    /// Whether whoever asked for the rollout may approve it.
    pub self_approval: SelfApproval,
}

/// Whether whoever asked for a rollout may approve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfApproval {
    /// Yes.
    Allowed,
    /// No, and this is who asked.
    ForbiddenTo(String),
}

/// An approval that was found to be good, for what was expected and at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a>(&'a Approval);

// === impl Statement ===

impl Statement {
    /// Signs the statement in the name of `actor`.
    pub fn sign(self, actor: &str, key: &PrivateKey) -> Approval {
        let mut approval = Approval {
            rollout: self.rollout,
            revision: self.revision,
            stage: self.stage,
            decision: self.decision,
            actor: actor.to_owned(),
            at: self.at,
            expires_at: self.expires_at,
            reason: self.reason,
            plan_digest: self.plan_digest,
            candidate_digest: self.candidate_digest,
            key_id: key.id(),
            signature: String::new(),
        };
        let signature = key.sign(&approval.canonical_bytes());
        approval.signature = BASE64.encode(signature.to_bytes());
        approval
    }
}

// === impl Approval ===

impl Approval {
    /// Returns the bytes that are signed.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let decision = match self.decision {
            Judgement::Approve => "approve",
            Judgement::Reject => "reject",
        };
        let fields: [(&str, &str); 11] = [
            ("rollout", &self.rollout),
            ("revision", &self.revision.to_string()),
            ("stage", &self.stage),
            ("decision", decision),
            ("actor", &self.actor),
            ("at", &self.at.0.to_string()),
            ("expires_at", &self.expires_at.0.to_string()),
            ("reason", &self.reason),
            ("plan_digest", &self.plan_digest),
            ("candidate_digest", &self.candidate_digest),
            ("key_id", &self.key_id),
        ];
        let mut text = String::from("prophecy.approval/1\n");
        for (name, value) in fields {
            writeln!(text, "{name}={}:{value}", value.len()).expect("a string takes any text");
        }
        text.into_bytes()
    }

    /// Checks that the record is authentic and fits.
    ///
    /// The signature comes first: nothing is said about the content of a record nobody signed.
    ///
    /// # Errors
    ///
    /// [`VerifyApprovalError`] names the first thing that does not fit.
    pub fn verify(
        &self,
        ring: &KeyRing,
        expected: &Expected,
        marks: &RejectMarks,
        now: Timestamp,
    ) -> Result<Verified<'_>, VerifyApprovalError> {
        self.verify_signature(ring)?;
        self.verify_binding(expected)?;
        if self.at > now.plus_nanos(CLOCK_SKEW_NANOS) {
            return Err(VerifyApprovalError::NotYet { at: self.at, now });
        }
        if self.decision == Judgement::Reject {
            return Ok(Verified(self));
        }
        if now >= self.expires_at {
            return Err(VerifyApprovalError::Expired { at: self.expires_at });
        }
        if expected.self_approval == SelfApproval::ForbiddenTo(self.actor.clone()) {
            return Err(VerifyApprovalError::SelfApproval { actor: self.actor.clone() });
        }
        if let Some(mark) = marks.standing(&self.candidate_digest) {
            return Err(VerifyApprovalError::RejectedBefore {
                digest: self.candidate_digest.clone(),
                by: mark.by.clone(),
                at: mark.at,
            });
        }
        Ok(Verified(self))
    }

    fn verify_signature(&self, ring: &KeyRing) -> Result<(), VerifyApprovalError> {
        let key_id = || self.key_id.clone();
        let key = ring
            .get(&self.key_id)
            .ok_or_else(|| VerifyApprovalError::UnknownKey { key_id: key_id() })?;
        if let Some(at) = key.revoked_at {
            return Err(VerifyApprovalError::RevokedKey { key_id: key_id(), at });
        }
        let bytes = BASE64.decode(&self.signature).ok();
        let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
        let good = signature.is_some_and(|signature| {
            ring.verifying(&self.key_id)
                .is_some_and(|key| key.verify_strict(&self.canonical_bytes(), &signature).is_ok())
        });
        if !good {
            return Err(VerifyApprovalError::BadSignature { key_id: key_id() });
        }
        if key.actor != self.actor {
            return Err(VerifyApprovalError::OtherActor {
                key_id: key_id(),
                owner: key.actor.clone(),
                actor: self.actor.clone(),
            });
        }
        Ok(())
    }

    fn verify_binding(&self, expected: &Expected) -> Result<(), VerifyApprovalError> {
        let differ = |found: &str, expected: &str| {
            (found != expected).then(|| (found.to_owned(), expected.to_owned()))
        };
        if let Some((found, expected)) = differ(&self.rollout, &expected.rollout) {
            return Err(VerifyApprovalError::OtherRollout { found, expected });
        }
        if self.revision != expected.revision {
            return Err(VerifyApprovalError::StaleRevision {
                found: self.revision,
                expected: expected.revision,
            });
        }
        if let Some((found, expected)) = differ(&self.stage, &expected.stage) {
            return Err(VerifyApprovalError::OtherStage { found, expected });
        }
        if let Some((found, expected)) = differ(&self.plan_digest, &expected.plan_digest) {
            return Err(VerifyApprovalError::OtherPlan { found, expected });
        }
        if let Some((found, expected)) = differ(&self.candidate_digest, &expected.candidate_digest)
        {
            return Err(VerifyApprovalError::OtherCandidate { found, expected });
        }
        Ok(())
    }
}

// === impl Verified ===

impl<'a> Verified<'a> {
    /// Returns the record.
    pub fn record(&self) -> &'a Approval {
        self.0
    }
}

#[cfg(test)]
mod tests;
