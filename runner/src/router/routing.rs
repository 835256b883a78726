//! What a router is told: where clients come in, and which arm gets what.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::strategy::WHOLE;

/// Everything a router does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// Grows with every change; a change names the one it saw.
    pub revision: u64,
    /// The edges, by name.
    pub fronts: BTreeMap<String, Front>,
}

/// One edge: callers on one side, arms on the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// Where callers come in.
    pub listen: SocketAddr,
    /// The calling service, or `client`.
    pub source: String,
    /// The called service.
    pub destination: String,
    /// The arms, what ran before last.
    pub arms: Vec<Arm>,
    /// Whether a client stays with its arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Who meets an arm whatever the weights; the first that fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Which arm gets copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Whether requests wait instead of being passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Whether what callers meet is counted second by second.
    #[serde(default)]
    pub observed: bool,
    /// How long an instance may take to begin its answer once it has the request, in milliseconds.
    #[serde(default = "answer_limit_ms")]
    pub answer_limit_ms: u64,
}

/// Returns a limit that no interactive caller waits for.
pub(crate) fn answer_limit_ms() -> u64 {
    60_000
}

/// Instances that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Its part of the traffic, in thousandths of a percent.
    pub weight: u32,
    /// Its instances.
    pub backends: Vec<SocketAddr>,
}

/// How a client stays with its arm: by the value of a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// The cookie.
    pub cookie: String,
    /// Whether clients without it get one of ours.
    pub assign: bool,
}

/// Who meets an arm whatever the weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// A header, in lower case; or `cookie:` and a cookie's name.
    pub field: String,
    /// Its value.
    pub value: String,
    /// The arm.
    pub arm: String,
}

/// Copies of requests for an arm that nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The arm.
    pub arm: String,
    /// The share of requests, in thousandths of a percent.
    pub share: u32,
}

/// How long requests wait while an edge is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// At most this long, in milliseconds.
    pub limit_ms: u64,
    /// At most this many.
    pub limit_count: u64,
}

/// Why a routing was refused.
#[derive(Debug, Error)]
pub enum RoutingError {
    /// An edge has weights that are not the whole.
    #[error("the weights of `{front}` add up to {found}, expected {WHOLE}")]
    Weights {
        /// The edge.
        front: String,
        /// What they add up to.
        found: u64,
    },
    /// An edge leads nowhere.
    #[error("arm `{arm}` of `{front}` has a weight and no instance")]
    Empty {
        /// The edge.
        front: String,
        /// The arm.
        arm: String,
    },
    /// An edge names an arm that it does not have.
    #[error("`{front}` names arm `{arm}`, which it does not have")]
    NoSuchArm {
        /// The edge.
        front: String,
        /// The arm.
        arm: String,
    },
    /// An instance is elsewhere.
    #[error(
        "arm `{arm}` of `{front}` has an instance at {address}, which is not a loopback address"
    )]
    NotAllowed {
        /// The edge.
        front: String,
        /// The arm.
        arm: String,
        /// The instance.
        address: SocketAddr,
    },
    /// Somebody else listens there.
    #[error("cannot listen on {listen} for `{front}`")]
    Listen {
        /// The edge.
        front: String,
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

// === impl Routing ===

impl Routing {
    /// Checks what the types cannot.
    ///
    /// # Errors
    ///
    /// [`RoutingError`], but for [`RoutingError::Listen`].
    pub fn check(&self) -> Result<(), RoutingError> {
        self.fronts.iter().try_for_each(|(name, front)| front.check(name))
    }
}

// === impl Front ===

impl Front {
    fn check(&self, name: &str) -> Result<(), RoutingError> {
        let front = || name.to_owned();
        let found: u64 = self.arms.iter().map(|arm| u64::from(arm.weight)).sum();
        if found != u64::from(WHOLE) {
            return Err(RoutingError::Weights { front: front(), found });
        }
        for arm in &self.arms {
            if arm.weight > 0 && arm.backends.is_empty() {
                return Err(RoutingError::Empty { front: front(), arm: arm.name.clone() });
            }
            if let Some(address) = arm.backends.iter().find(|it| !it.ip().is_loopback()) {
                let (arm, address) = (arm.name.clone(), *address);
                return Err(RoutingError::NotAllowed { front: front(), arm, address });
            }
        }
        let named = self.rules.iter().map(|rule| &rule.arm);
        for arm in named.chain(self.shadow.iter().map(|shadow| &shadow.arm)) {
            if self.arms.iter().all(|known| known.name != *arm) {
                return Err(RoutingError::NoSuchArm { front: front(), arm: arm.clone() });
            }
        }
        Ok(())
    }
}
