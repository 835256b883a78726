//! What clients met during a rollout and what was said of it, kept beside its journal.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::judge::{Judgement, Sample};
use crate::slice::Slice;

/// What was said at one moment: a line of `judgements.ndjson`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When, in nanoseconds since 1970 (UTC).
    pub at: i64,
    /// The step.
    pub stage: u32,
    /// What was said.
    pub judgement: Judgement,
}

/// Keeps what was said; a full disk costs the record and not the rollout.
pub(crate) fn looked(folder: &Path, look: &Look) {
    let mut text = serde_json::to_string(look).expect("plain data");
    text.push('\n');
    append(&folder.join("judgements.ndjson"), &text);
}

/// Returns what was said, the oldest first; a line that a crash cut short is left out.
pub fn looks(folder: &Path) -> Vec<Look> {
    let text = fs::read_to_string(folder.join("judgements.ndjson")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    group: String,
    #[serde(flatten)]
    slice: Slice,
}

/// A line of the file of samples.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    at: i64,
    stage: u32,
    #[serde(flatten)]
    sample: Sample,
}

/// Keeps the slices from a second on. A full disk costs the record and not the rollout: decisions rest on
/// what the router says.
pub(crate) fn keep(folder: &Path, from: u64, slices: &BTreeMap<String, Vec<Slice>>) {
    let mut text = String::new();
    for (group, slices) in slices {
        for slice in slices.iter().filter(|slice| slice.second >= from) {
            let line = Line { group: group.clone(), slice: slice.clone() };
            text.push_str(&serde_json::to_string(&line).expect("plain data"));
            text.push('\n');
        }
    }
    append(&folder.join("slices.ndjson"), &text);
}

/// Keeps what was sampled in a step until now, in the same way.
pub(crate) fn keep_samples(folder: &Path, stage: u32, now: Timestamp, samples: &[Sample]) {
    let line = |sample: &Sample| {
        let taken = Taken { at: now.0, stage, sample: sample.clone() };
        serde_json::to_string(&taken).expect("plain data") + "\n"
    };
    append(&folder.join("samples.ndjson"), &samples.iter().map(line).collect::<String>());
}

/// Returns what was sampled in a step, in order; what cannot be read is left out.
pub(crate) fn read_samples(folder: &Path, stage: u32) -> Vec<Sample> {
    let text = fs::read_to_string(folder.join("samples.ndjson")).unwrap_or_default();
    let taken = text.lines().filter_map(|line| serde_json::from_str::<Taken>(line).ok());
    taken.filter(|taken| taken.stage == stage).map(|taken| taken.sample).collect()
}

fn append(path: &Path, text: &str) {
    if text.is_empty() {
        return;
    }
    let opened = OpenOptions::new().create(true).append(true).open(path);
    drop(opened.and_then(|mut file| file.write_all(text.as_bytes())));
}

/// Returns what was kept, by group; what cannot be read is left out, and a second that was kept twice counts once.
pub fn read(folder: &Path) -> BTreeMap<String, Vec<Slice>> {
    let text = fs::read_to_string(folder.join("slices.ndjson")).unwrap_or_default();
    let mut found: BTreeMap<(String, u64, String), Slice> = BTreeMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        let key = (line.group, line.slice.second, line.slice.route.clone());
        found.insert(key, line.slice);
    }
    let mut groups: BTreeMap<String, Vec<Slice>> = BTreeMap::new();
    for ((group, _, _), slice) in found {
        groups.entry(group).or_default().push(slice);
    }
    groups
}
