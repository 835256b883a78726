//! Datasets: sanitized rows as Arrow files that anything that reads Arrow can read.
//!
//! A dataset is a folder of parts and a `manifest.json`. A part is written under a temporary name,
//! synced and renamed; the manifest last: a crash loses at most what was being written, and
//! [`verify`] says how much that was. Only [`prophecy_anonymizer::Sanitized`] rows can be written.

mod decode;
mod encode;
mod file;
mod journal;
pub mod manifest;
pub mod probe;
mod reader;
mod replays;
pub mod run;
pub mod schema;
pub mod sighting;
pub mod trials;
mod verification;
mod writer;

pub use file::write_whole;
pub use manifest::Manifest;
pub use probe::Probe;
pub use reader::{Dataset, OpenDatasetError, ReadDatasetError};
pub use replays::{Replay, write_replays};
pub use run::Run;
pub use sighting::{Closings, Sighting, Sightings};
pub use trials::TrialRecords;
pub use verification::{Verification, verify};
pub use writer::{DatasetOptions, DatasetWriter, WriteDatasetError};
