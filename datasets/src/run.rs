//! One run of the twin: `run.json`, beside a dataset for each arm and the table of replays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prophecy_core::Interval;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::file::write_whole;

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.run/1";

/// The file's name.
const NAME: &str = "run.json";

/// What a run was, and what became of its requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The seed of the run.
    pub seed: u64,
    /// How many times as fast as captured.
    pub speed: f64,
    /// The share of sessions that were replayed.
    pub share: f64,
    /// The length of the replay \[ns\].
    pub window_nanos: u64,
    /// The part at its start that counts as warm-up \[ns\].
    pub warmup_nanos: u64,
    /// BLAKE3 of what went in.
    pub inputs: RunInputs,
    /// Requests of the dataset that could not be planned: cut bodies, tunnels.
    pub left_out: u64,
    /// The arms, in the order baseline, baseline again, candidate.
    pub arms: Vec<ArmCounts>,
    /// How the candidate's answers differ from the baseline's, beyond how the baseline's differ from
    /// each other.
    pub differences: Vec<Difference>,
    /// Requests to a stand-in that nothing captured answers.
    pub standin_misses: u64,
    /// Services of the candidate that ended by themselves while they were replayed to.
    #[serde(default)]
    pub ended: Vec<EndedService>,
    /// The machine's load average at the start, before the arms.
    pub load_average: f64,
}

/// A service that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedService {
    /// The service.
    pub service: String,
    /// How it ended, in words, such as `exit code 70`.
    pub status: String,
}

/// Digests of what went into a run, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInputs {
    /// Of the dataset's manifest.
    pub dataset: String,
    /// Of the baseline's manifest and all it extends.
    pub baseline: String,
    /// Of the candidate's.
    pub candidate: String,
    /// The dataset's anonymization policy.
    pub policy: String,
}

/// What became of the requests to one arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmCounts {
    /// The arm: also the folder of its dataset.
    pub name: String,
    /// Requests planned.
    pub offered: u64,
    /// Requests that left.
    pub sent: u64,
    /// Requests that left and got no whole answer.
    pub unanswered: u64,
    /// The median send lag \[ns\].
    pub send_lag_p50_nanos: u64,
    /// The 99th percentile of send lag \[ns\].
    pub send_lag_p99_nanos: u64,
    /// The largest send lag \[ns\].
    pub send_lag_max_nanos: u64,
}

/// One way in which the candidate's answers differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The route.
    pub route: String,
    /// The field, such as `$.items[*].price`; `status` and `body` stand for themselves.
    pub field: String,
    /// What differs.
    pub kind: DifferenceKind,
    /// Answers that differ.
    pub count: u64,
    /// Answers compared.
    pub of: u64,
    /// `count` of `of`, as a 95 % interval (Wilson).
    pub interval: Interval,
    /// How often two answers of the baseline differ in the same way.
    pub noise_share: f64,
}

/// What differs between two answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DifferenceKind {
    /// The status.
    Status {
        /// The baseline's; 0 stands for no answer.
        from: u16,
        /// The candidate's.
        to: u16,
    },
    /// A field that only the baseline has.
    Missing,
    /// A field that only the candidate has.
    Extra,
    /// The type of a field.
    Type,
    /// The value of a field.
    Value,
    /// A body that is not JSON.
    Body,
}

/// Why a run could not be read.
#[derive(Debug, Error)]
pub enum ReadRunError {
    /// The file could not be read.
    #[error("cannot read run `{}`", path.display())]
    Read {
        /// The run.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It is not a run.
    #[error("`{}` is not a run of this version: {message}", path.display())]
    Format {
        /// The run.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
}

// === impl Run ===

impl Run {
    /// Reads the run in a folder.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadRunError`].
    pub fn read(folder: &Path) -> Result<Self, ReadRunError> {
        let path = folder.to_owned();
        let text = fs::read(folder.join(NAME))
            .map_err(|source| ReadRunError::Read { path: path.clone(), source })?;
        let run: Self = serde_json::from_slice(&text).map_err(|error| ReadRunError::Format {
            path: path.clone(),
            message: error.to_string(),
        })?;
        if run.schema == SCHEMA {
            return Ok(run);
        }
        let message = format!("its schema is `{}`, not `{SCHEMA}`", run.schema);
        Err(ReadRunError::Format { path, message })
    }

    /// Writes the run into a folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the operating system said.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("a run is plain data");
        write_whole(&folder.join(NAME), &text)
    }
}
