//! What happens around the requests of a run: incidents, and the transient of a deployment.

mod strategy;

use serde::{Deserialize, Serialize};

pub use self::strategy::{Deployment, Strategy};

/// What happens during a run besides its traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// What happens, and when.
    pub incidents: Vec<Incident>,
    /// Where set, events of one instant happen in an order drawn with this key: a result that
    /// depends on it rests on a coincidence.
    pub shuffle_ties: Option<u64>,
    /// Whether every span is kept.
    pub trace: bool,
    /// The length of the bins in which the entry's requests are counted \[ns\]; 0: none.
    pub bin_nanos: u64,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// When \[ns since the start of the window\].
    pub at_nanos: u64,
    /// What.
    pub happening: Happening,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Happening {
    /// An instance takes requests, with nothing in its caches.
    Start {
        /// The service.
        service: String,
        /// The instance, counted from 0; those of the second build come after those of the first.
        instance: u32,
        /// The build that it runs: 0 is what ran before the deployment.
        #[serde(default)]
        build: u32,
        /// How it is slower at first.
        #[serde(default)]
        warm_up: Option<WarmUp>,
    },
    /// An instance takes no more requests and ends those that it has.
    Stop {
        /// The service.
        service: String,
        /// The instance.
        instance: u32,
    },
    /// An instance ends; what it was working on fails.
    Crash {
        /// The service.
        service: String,
        /// The instance.
        instance: u32,
    },
    /// A share of the sessions goes to the second build from now on.
    Shift {
        /// The service.
        service: String,
        /// The share.
        share: f64,
    },
    /// A cache loses its entries.
    Flush {
        /// The service.
        service: String,
        /// The cache.
        cache: String,
    },
    /// Something wants a service's data for itself, as a migration does: it waits for the requests at
    /// work, and all that come later wait for it.
    Lock {
        /// The service.
        service: String,
        /// For how long, once it has it \[ns\].
        nanos: u64,
    },
    /// A service becomes slower, or fails, until another such incident.
    Slow {
        /// The service.
        service: String,
        /// What own times are multiplied by.
        factor: f64,
        /// The probability that a request fails.
        #[serde(default)]
        failure: f64,
    },
    /// Two services do not reach each other for a while.
    Partition {
        /// One.
        from: String,
        /// The other.
        to: String,
        /// For how long \[ns\].
        nanos: u64,
    },
}

/// How an instance that has just started is slower.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// What own times are multiplied by at the start.
    pub factor: f64,
    /// When it is as fast as it gets \[ns\]; in between the factor falls evenly.
    pub nanos: u64,
}

// === impl Scenario ===

impl Scenario {
    /// Returns a scenario with these incidents.
    pub fn of(incidents: Vec<Incident>) -> Self {
        Self { incidents, ..Self::default() }
    }

    /// Says whether anything locks a service.
    pub(crate) fn locks(&self, name: &str) -> bool {
        let locks = |incident: &Incident| matches!(&incident.happening, Happening::Lock { service, .. } if service == name);
        self.incidents.iter().any(locks)
    }
}
