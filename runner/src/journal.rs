//! The journal of a rollout: what was decided and what was done, in order, never changed.
//!
//! One line of JSON each, synced before the next thing is done. A line that a crash cut short is not an
//! entry: what it would have said has not happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::machine::State;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 1: the rollout's revision once it is written.
    pub revision: u64,
    /// When, in nanoseconds since 1970 (UTC).
    pub at: i64,
    /// The state from here on.
    #[serde(flatten)]
    pub state: State,
    /// Why, in a sentence.
    pub reason: String,
    /// Who said so; empty where nobody had to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// What comes after a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<State>,
    /// What the decision rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<serde_json::Value>,
}

/// The journal, open for more.
#[derive(Debug)]
pub struct Journal {
    /// Where it is written; nothing for one that is only kept in memory.
    file: Option<File>,
    path: PathBuf,
    entries: Vec<Entry>,
    /// Bytes of whole lines in the file, and the entries that they hold.
    whole: u64,
    written: usize,
}

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("cannot use journal `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// An entry that others follow is damaged.
    #[error("journal `{}` is damaged in line {line}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The state machine does not allow it.
    #[error("a rollout that is {from} cannot become {to}")]
    Forbidden {
        /// Where it is.
        from: State,
        /// Where it was to go.
        to: State,
    },
}

// === impl Journal ===

impl Journal {
    /// Opens a rollout's journal, or begins it.
    ///
    /// # Errors
    ///
    /// [`JournalError::File`] and [`JournalError::Damaged`].
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join("journal.ndjson");
        let (entries, whole) = read(&path)?;
        let of_file = |source| JournalError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).truncate(false).write(true).open(&path).map_err(of_file)?;
        // What a crash left of a line is cut off, so that the next entry begins a line.
        file.set_len(whole).map_err(of_file)?;
        file.seek(io::SeekFrom::End(0)).map_err(of_file)?;
        Ok(Self { file: Some(file), path, written: entries.len(), entries, whole })
    }

    /// Returns a journal that is kept in memory, for whoever cannot reach the file.
    pub fn of_memory(state: State) -> Self {
        let entry = Entry::new(Timestamp(0), state, "where it was last seen");
        Self { file: None, path: PathBuf::new(), entries: vec![entry], whole: 0, written: 0 }
    }

    /// Returns what was written.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// Returns the rollout's state.
    pub fn state(&self) -> State {
        self.last().map_or(State::Queued, |entry| entry.state)
    }

    /// Returns the rollout's revision.
    pub fn revision(&self) -> u64 {
        self.last().map_or(0, |entry| entry.revision)
    }

    /// Says whether traffic may have reached the candidate.
    pub fn moved(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.state, State::Shifting { .. } | State::Promoting))
    }

    /// Writes an entry and syncs it, after those that could not be written before.
    ///
    /// # Errors
    ///
    /// [`JournalError::Forbidden`] if the state machine does not allow it, and [`JournalError::File`].
    pub fn write(&mut self, mut entry: Entry) -> Result<&Entry, JournalError> {
        let from = self.state();
        let first = self.entries.is_empty() && entry.state == State::Queued;
        if !first && !from.may_become(entry.state) {
            return Err(JournalError::Forbidden { from, to: entry.state });
        }
        entry.revision = self.revision() + 1;
        self.entries.push(entry);
        match self.write_rest() {
            Ok(()) => Ok(self.entries.last().expect("just pushed")),
            Err(source) => Err(JournalError::File { path: self.path.clone(), source }),
        }
    }

    /// Writes what is not in the file yet, whole or not at all: a full disk leaves no part of a line that the next
    /// one would continue.
    fn write_rest(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let text: String = self.entries[self.written..].iter().map(line).collect();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            drop(file.set_len(self.whole));
            drop(file.seek(io::SeekFrom::Start(self.whole)));
            return Err(error);
        }
        self.whole += text.len() as u64;
        self.written = self.entries.len();
        Ok(())
    }
}

// === impl Entry ===

impl Entry {
    /// Returns an entry that is not yet written.
    pub fn new(at: Timestamp, state: State, reason: impl Into<String>) -> Self {
        Self {
            revision: 0,
            at: at.0,
            state,
            reason: reason.into(),
            actor: String::new(),
            next: None,
            evidence: None,
        }
    }
}

/// Reads the entries of a rollout's journal without changing it.
///
/// # Errors
///
/// As [`Journal::open`].
pub fn entries(folder: &Path) -> Result<Vec<Entry>, JournalError> {
    Ok(read(&folder.join("journal.ndjson"))?.0)
}

/// Returns the entries, and the bytes that they take.
fn read(path: &Path) -> Result<(Vec<Entry>, u64), JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(JournalError::File { path: path.to_owned(), source }),
    };
    let (mut entries, mut whole) = (Vec::new(), 0);
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let count = lines.clone().count();
    for (index, text) in lines.enumerate() {
        match serde_json::from_slice(text) {
            Ok(entry) if text.ends_with(b"\n") => {
                entries.push(entry);
                whole += text.len() as u64;
            }
            // The last line was cut short.
            _ if index + 1 == count => break,
            _ => return Err(JournalError::Damaged { path: path.to_owned(), line: index + 1 }),
        }
    }
    Ok((entries, whole))
}

fn line(entry: &Entry) -> String {
    let mut text = serde_json::to_string(entry).expect("plain data");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: State) -> Entry {
        Entry::new(Timestamp(1), state, "because")
    }

    #[test]
    fn forgets_a_line_that_was_cut_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::open(folder.path()).expect("new");
        for state in [State::Queued, State::Gated, State::Provisioning] {
            journal.write(entry(state)).expect("allowed");
        }
        let path = folder.path().join("journal.ndjson");
        let whole = fs::read(&path).expect("written");
        let two: usize = line(&journal.entries()[0]).len() + line(&journal.entries()[1]).len();
        for cut in two..whole.len() {
            fs::write(&path, &whole[..cut]).expect("writable");
            let mut again = Journal::open(folder.path()).expect("readable");
            assert_eq!(again.state(), State::Gated, "cut at {cut}");
            again.write(entry(State::Provisioning)).expect("allowed");
            assert_eq!(fs::read(&path).expect("written"), whole, "cut at {cut}");
        }
    }

    #[test]
    fn says_which_line_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::open(folder.path()).expect("new");
        journal.write(entry(State::Queued)).expect("allowed");
        journal.write(entry(State::Gated)).expect("allowed");
        let path = folder.path().join("journal.ndjson");
        let text = fs::read_to_string(&path).expect("written").replacen('{', "?", 1);
        fs::write(&path, text).expect("writable");
        let error = Journal::open(folder.path()).expect_err("damaged");
        assert!(matches!(error, JournalError::Damaged { line: 1, .. }), "{error}");
    }

    #[test]
    fn refuses_what_the_machine_forbids() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::open(folder.path()).expect("new");
        journal.write(entry(State::Queued)).expect("allowed");
        let error = journal.write(entry(State::Promoting)).expect_err("not gated");
        assert_eq!(error.to_string(), "a rollout that is queued cannot become promoting");
        assert_eq!(journal.revision(), 1);
    }
}
