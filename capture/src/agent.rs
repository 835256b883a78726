//! Whole captures, from the first byte to a complete dataset: what `prophecy capture` runs.

mod files;
mod proxy;
mod upstream;

use std::collections::BTreeMap;
use std::path::PathBuf;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_datasets::{DatasetOptions, DatasetWriter, Manifest, WriteDatasetError};

pub use self::files::{CapturePcapError, FileProgress, PcapCaptureOptions, capture_pcap};
pub use self::proxy::{AgentOptions, CaptureProxyError, EdgeOptions, ProxyProgress, capture_proxy};
pub use self::upstream::ResolveUpstreamError;

/// The most bytes of a body that a capture keeps, unless it is told otherwise.
pub const BODY_LIMIT: usize = 1 << 20;

/// How many rows go into one part of a dataset.
const PART_ROWS: usize = 50_000;

/// Where a capture writes, and under which rules.
#[derive(Debug)]
pub struct Output {
    /// The folder of the dataset; it must not exist, or be empty.
    pub dataset: PathBuf,
    /// What is kept, and what is replaced.
    pub policy: Policy,
    /// The key of the pseudonyms.
    pub key: Key,
}

/// What a capture ended with.
#[derive(Clone, Debug)]
pub struct CaptureSummary {
    /// The manifest of the complete dataset, with the ledger.
    pub manifest: Manifest,
    /// Rows of other tables than exchanges that were not recorded.
    pub other_rows_shed: u64,
    /// What was strange in the packets, by name.
    pub oddities: BTreeMap<&'static str, u64>,
    /// Whether it was told to stop before it came to its end by itself.
    pub interrupted: bool,
}

// === impl Output ===

impl Output {
    /// Creates the dataset and whatever makes its rows fit to be written.
    fn open(self, sources: Vec<String>) -> Result<(DatasetWriter, Sanitizer), WriteDatasetError> {
        let Self { dataset, policy, key } = self;
        let sanitizer = Sanitizer::new(policy, key);
        let options = DatasetOptions {
            sources,
            policy_name: sanitizer.policy().name().to_owned(),
            policy_digest: sanitizer.policy().digest(),
            key_id: sanitizer.key_id(),
            part_rows: PART_ROWS,
        };
        Ok((DatasetWriter::create(&dataset, options)?, sanitizer))
    }
}
