//! `manifest.json`: what a dataset holds, written last.

use std::collections::BTreeMap;

use prophecy_core::Ledger;
use serde::{Deserialize, Serialize};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.dataset/1";

/// What a dataset holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Whether the recording was finished.
    pub state: State,
    /// First and last time in any part \[ns since 1970, UTC\], if there is a row.
    pub window: Option<[i64; 2]>,
    /// Where the rows came from.
    pub sources: Vec<String>,
    /// What was kept, and under which key the rest was replaced.
    pub anonymization: Anonymization,
    /// The parts of each table.
    pub tables: BTreeMap<String, Vec<Part>>,
    /// Counts that add up.
    pub ledger: Ledger,
}

/// Whether a recording was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on, or was cut off.
    Recording,
    /// It was finished.
    Complete,
}

/// The policy and key of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymization {
    /// The policy's name.
    pub policy: String,
    /// The digest of its rules.
    pub digest: String,
    /// A public number of the key; never the key.
    pub key_id: String,
}

/// One file of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The file, relative to the dataset.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 digest of its bytes, in hexadecimal.
    pub blake3: String,
    /// First and last time in it \[ns since 1970, UTC\].
    pub times: Option<[i64; 2]>,
}

// === impl Manifest ===

impl Manifest {
    /// Returns the rows of a table.
    pub fn rows(&self, table: &str) -> u64 {
        self.tables.get(table).map_or(0, |parts| parts.iter().map(|part| part.rows).sum())
    }
}
