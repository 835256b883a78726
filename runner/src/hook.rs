//! Gate hooks: webhooks that are asked, or told, at eight points of a rollout.
//!
//! What a hook is sent is in [`HookRequest`], how it is signed in [`sign`], what its answer means in
//! [`HookKind::meaning`], and how it is sent in [`HookSender`].

mod config;
mod request;
mod sender;
mod signature;

use serde::{Deserialize, Serialize};

pub use self::config::{Hook, HookConfigError, HookSpec, Secret, parse};
pub use self::request::HookRequest;
pub use self::sender::{AddressList, Backoff, Delivery, HookSender};
pub use self::signature::{ReplayGuard, SIGNATURE_HEADER, VerifyHookError, sign, verify};

/// The points of a rollout at which hooks are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookKind {
    /// May the rollout begin?
    ConfirmRollout,
    /// Before the candidate gets traffic.
    PreRollout,
    /// At every look while the candidate has traffic.
    Rollout,
    /// May the candidate get more traffic?
    ConfirmTrafficIncrease,
    /// May the candidate be promoted?
    ConfirmPromotion,
    /// After the end, good or bad.
    PostRollout,
    /// Shall the rollout be taken back?
    Rollback,
    /// Everything that happens.
    Event,
}

/// What came back from a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status of HTTP.
    Status(u16),
    /// None.
    Missing(NoAnswer),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It did not come in time.
    TimedOut,
    /// No connection could be made.
    Unreachable,
    /// What came was not HTTP, or stopped short.
    Broken,
    /// The address is not on the allow list, so nothing was sent.
    NotAllowed,
}

/// What an answer means for the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Go on.
    Proceed,
    /// Stay and ask again later; this is no failure.
    Wait,
    /// Count a failure.
    Fail,
    /// Take the rollout back now.
    RollBack,
}

// === impl HookKind ===

impl HookKind {
    /// Every kind, in the order of a rollout.
    pub const ALL: [Self; 8] = [
        Self::ConfirmRollout,
        Self::PreRollout,
        Self::Rollout,
        Self::ConfirmTrafficIncrease,
        Self::ConfirmPromotion,
        Self::PostRollout,
        Self::Rollback,
        Self::Event,
    ];

    /// Returns the name, as it is written in files and sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfirmRollout => "confirm-rollout",
            Self::PreRollout => "pre-rollout",
            Self::Rollout => "rollout",
            Self::ConfirmTrafficIncrease => "confirm-traffic-increase",
            Self::ConfirmPromotion => "confirm-promotion",
            Self::PostRollout => "post-rollout",
            Self::Rollback => "rollback",
            Self::Event => "event",
        }
    }

    /// Returns what an answer means.
    ///
    /// A `confirm-*` hook holds the rollout until it answers 2xx, and never fails it. A `pre-rollout`
    /// or `rollout` hook fails it with anything else than 2xx, silence included. A `rollback` hook
    /// takes it back with 2xx and only then. What is told of the end or of an event cannot stop it.
    pub fn meaning(self, answer: Answer) -> Effect {
        let agreed = matches!(answer, Answer::Status(200..=299));
        match (self, agreed) {
            (
                Self::ConfirmRollout | Self::ConfirmTrafficIncrease | Self::ConfirmPromotion,
                false,
            ) => Effect::Wait,
            (Self::PreRollout | Self::Rollout, false) => Effect::Fail,
            (Self::Rollback, true) => Effect::RollBack,
            _ => Effect::Proceed,
        }
    }

    /// Returns whether the hook is asked again anyway, so that a refusal needs no retry.
    pub fn is_polled(self) -> bool {
        matches!(
            self,
            Self::ConfirmRollout
                | Self::ConfirmTrafficIncrease
                | Self::ConfirmPromotion
                | Self::Rollback
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_every_kind_means_what_the_table_says() {
        use Effect::{Fail, Proceed, RollBack, Wait};
        let table = [
            (HookKind::ConfirmRollout, Proceed, Wait),
            (HookKind::PreRollout, Proceed, Fail),
            (HookKind::Rollout, Proceed, Fail),
            (HookKind::ConfirmTrafficIncrease, Proceed, Wait),
            (HookKind::ConfirmPromotion, Proceed, Wait),
            (HookKind::PostRollout, Proceed, Proceed),
            (HookKind::Rollback, RollBack, Proceed),
            (HookKind::Event, Proceed, Proceed),
        ];
        assert_eq!(table.map(|(kind, ..)| kind), HookKind::ALL);
        for (kind, agreed, otherwise) in table {
            for status in 100..600 {
                let expected = if (200..300).contains(&status) { agreed } else { otherwise };
                assert_eq!(kind.meaning(Answer::Status(status)), expected, "{kind:?} {status}");
            }
            for missing in
                [NoAnswer::TimedOut, NoAnswer::Unreachable, NoAnswer::Broken, NoAnswer::NotAllowed]
            {
                assert_eq!(kind.meaning(Answer::Missing(missing)), otherwise, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_kind_is_written_by_its_name() {
        for kind in HookKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }
}
