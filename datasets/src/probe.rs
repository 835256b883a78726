//! What a probe of a twin's arms found: `probe.json`, beside `run.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use prophecy_core::Interval;
use serde::{Deserialize, Serialize};

use crate::file::write_whole;
use crate::run::{EndedService, ReadRunError};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.probe/1";

/// The file's name.
const NAME: &str = "probe.json";

/// Arms driven with the same traffic at rising speed, one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The highest rate that was to be asked for \[1/s\].
    pub max_rate_hz: f64,
    /// The longest that an arm was to be driven \[ns\].
    pub limit_nanos: u64,
    /// The most requests in flight.
    pub in_flight_limit: u64,
    /// The machine's processor cores.
    pub cores: u32,
    /// The arms, in the order in which they were driven.
    pub arms: Vec<ArmProbe>,
}

/// What one arm did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmProbe {
    /// The arm.
    pub name: String,
    /// BLAKE3 of its manifest and all it extends, in hexadecimal.
    pub manifest: String,
    /// The steps, in time.
    pub steps: Vec<ProbeStep>,
    /// Why it ended.
    pub ending: Ending,
    /// The arrival rate at which the arm saturates, if it did.
    pub knee: Option<Rate>,
    /// The highest rate at which it was seen to keep up \[1/s\].
    pub at_least_hz: f64,
    /// What the arm saturates by, if that is known.
    pub bottleneck: Option<Bottleneck>,
    /// What each service did.
    pub services: BTreeMap<String, ServiceProbe>,
    /// Services that ended by themselves.
    pub ended: Vec<EndedService>,
    /// What should be known about these numbers, in sentences.
    pub notes: Vec<String>,
}

/// Why the probe of an arm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It answered slower than it was asked, and a queue stood.
    Saturated,
    /// It answered with more errors than before.
    Refused,
    /// The time was over.
    Time,
    /// The highest rate was reached.
    MaxRate,
    /// As many requests were sent as may be.
    Count,
    /// As many requests were in flight as may be, and they did not take longer for that.
    InFlight,
    /// Requests left too late or not at all: what sends them, or the proxies, are the limit.
    Sender,
    /// A service ended by itself.
    Died,
}

/// A rate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The estimate \[1/s\].
    pub hz: f64,
    /// Its interval \[1/s\].
    pub interval: Interval,
}

/// What an arm saturates by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Bottleneck {
    /// Requests wait for a worker of this service.
    Workers {
        /// The service.
        service: String,
    },
    /// The machine's cores are all busy, mostly with this service.
    Processor {
        /// The service.
        service: String,
    },
}

/// One speed: a part in which the system settles, and one that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeStep {
    /// How many times as fast as captured.
    pub speed: f64,
    /// The measured part \[ns since 1970\].
    pub window: [i64; 2],
    /// Requests that should have left in the measured part.
    pub asked: u64,
    /// Of those, the ones that left.
    pub sent: u64,
    /// Of those that did not, the ones that too many requests in flight held back.
    pub held_back: u64,
    /// Answers in the measured part, good or bad.
    pub answered: u64,
    /// Of those, status 429, 5xx, and requests that got no answer.
    pub failed: u64,
    /// Requests asked for and answered well, per second.
    pub asked_hz: f64,
    /// See `asked_hz`.
    pub served_hz: f64,
    /// Latency of the answers, from the intended start \[ms\].
    pub latency_ms_p50: f64,
    /// See `latency_ms_p50`.
    pub latency_ms_p99: f64,
    /// The send lag \[ms\].
    pub send_lag_ms_p99: f64,
    /// Requests in flight at the start and at the end of the measured part.
    pub in_flight: [u64; 2],
    /// Busy cores of the machine, on average, with whatever else runs on it.
    pub cores_busy: f64,
    /// Of those, the ones busy with sending, the proxies and recording.
    pub cores_own: f64,
    /// Whether the arm was saturated.
    pub saturated: bool,
}

/// What one service did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceProbe {
    /// Requests that it got.
    pub requests: u64,
    /// Time on a request outside of calls while hardly anything else was there, on average \[ms\].
    pub own_ms_alone: f64,
    /// The same while the arm was saturated, waiting taken out \[ms\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_ms_saturated: Option<f64>,
    /// While the arm was saturated: answers per second.
    pub served_hz: f64,
    /// Requests there, waiting or not, on average.
    pub present: f64,
    /// Requests being worked on, on average, calls included (Little's law).
    pub inside: f64,
    /// Processor time per request, where it was measured \[ms\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor_ms: Option<f64>,
    /// Requests it works on at once, if they were seen to wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerRange>,
    /// Requests that it was seen to work on at once: it has at least as many workers.
    pub workers_at_least: u32,
}

/// How many requests one instance works on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerRange {
    /// The fewest that fit what was seen.
    pub least: u32,
    /// The number that fits best.
    pub likeliest: u32,
    /// The most that fit.
    pub most: u32,
}

// === impl Probe ===

impl Probe {
    /// Reads the probe of the run in a folder; `None` if the run has none.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadRunError`].
    pub fn read(folder: &Path) -> Result<Option<Self>, ReadRunError> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReadRunError::Read { path, source }),
        };
        let format = |message: String| ReadRunError::Format { path: path.clone(), message };
        let probe: Self =
            serde_json::from_slice(&text).map_err(|error| format(error.to_string()))?;
        if probe.schema == SCHEMA {
            return Ok(Some(probe));
        }
        Err(format(format!("its schema is `{}`, not `{SCHEMA}`", probe.schema)))
    }

    /// Writes the probe into a run's folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("a probe is plain data");
        write_whole(&folder.join(NAME), &text)
    }

    /// Returns what one arm did, if it was driven.
    pub fn arm(&self, name: &str) -> Option<&ArmProbe> {
        self.arms.iter().find(|arm| arm.name == name)
    }
}
