//! What people say to a rollout: files in its folder, so that nothing has to be up to hear them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prophecy_core::Timestamp;
use prophecy_datasets::write_whole;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::machine::State;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Go on with the next step, although something is missing.
    Promote,
    /// Stay where it is until told otherwise.
    Pause,
    /// Go on where it was paused.
    Resume,
    /// Give it up.
    Abort,
    /// Give it up; the word for a rollout that has everything already.
    Rollback,
}

/// Something said to a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// The revision that whoever says it saw; another one is refused.
    pub revision: Option<u64>,
    /// Who says it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was accepted.
    pub accepted: bool,
    /// What follows, in words.
    pub message: String,
}

/// A command that waits to be heard.
#[derive(Debug)]
pub struct Received {
    /// What was said.
    pub command: Command,
    path: PathBuf,
}

/// Why a command could not be given.
#[derive(Debug, Error)]
pub enum SayError {
    /// The folder cannot be written.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Nobody answered.
    #[error("the rollout did not answer within {seconds} s; is its executor running?")]
    NoAnswer {
        /// How long was waited.
        seconds: u64,
    },
}

// === impl Command ===

impl Command {
    /// Says whether it is the abort path that has to hear it.
    pub fn gives_up(&self) -> bool {
        matches!(self.verb, Verb::Abort | Verb::Rollback)
    }

    /// Returns why it cannot be followed, if it cannot.
    pub fn refusal(&self, state: State, revision: u64) -> Option<String> {
        if let Some(seen) = self.revision.filter(|seen| *seen != revision) {
            return Some(format!(
                "it names revision {seen}; the rollout is at {revision}, {state}"
            ));
        }
        let allowed = match self.verb {
            Verb::Abort | Verb::Rollback => state.may_become(State::Aborting),
            Verb::Pause => matches!(state, State::Observing { .. }),
            Verb::Resume => matches!(state, State::Paused { .. }),
            Verb::Promote => matches!(state, State::Paused { .. } | State::Observing { .. }),
        };
        (!allowed)
            .then(|| format!("a rollout that is {state} cannot be told to {}", self.verb.words()))
    }
}

// === impl Verb ===

impl Verb {
    /// Returns the word for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback => "roll back",
        }
    }
}

// === impl Received ===

impl Received {
    /// Answers, so that whoever said it knows.
    pub fn answer(self, accepted: bool, message: impl Into<String>) {
        let answer = Answer { accepted, message: message.into() };
        let text = serde_json::to_vec(&answer).expect("plain data");
        // On a full disk nobody hears the answer; the state is still there to be read.
        drop(write_whole(&self.path.with_extension("answer"), &text));
        drop(fs::remove_file(&self.path));
    }
}

/// Returns the commands that wait, the oldest first.
pub fn waiting(folder: &Path) -> Vec<Received> {
    let Ok(entries) = fs::read_dir(folder.join("control")) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let command = serde_json::from_slice(&fs::read(&path).ok()?).ok();
        if command.is_none() {
            drop(fs::remove_file(&path));
        }
        Some(Received { command: command?, path })
    };
    paths.into_iter().filter_map(read).collect()
}

/// Says something to a rollout and waits for its answer.
///
/// # Errors
///
/// Each variant of [`SayError`].
pub async fn say(folder: &Path, command: &Command, now: Timestamp) -> Result<Answer, SayError> {
    const WAIT: Duration = Duration::from_secs(10);
    let name = format!("{:020}-{}.json", now.0, std::process::id());
    let path = folder.join("control").join(name);
    let file = |source| SayError::File { path: path.clone(), source };
    fs::create_dir_all(folder.join("control")).map_err(file)?;
    write_whole(&path, &serde_json::to_vec(command).expect("plain data")).map_err(file)?;
    let answer = path.with_extension("answer");
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        if let Some(said) = fs::read(&answer).ok().and_then(|it| serde_json::from_slice(&it).ok()) {
            drop(fs::remove_file(&answer));
            return Ok(said);
        }
        sleep(Duration::from_millis(20)).await;
    }
    // Taken back: what nobody heard now must not be heard tomorrow.
    drop(fs::remove_file(&path));
    Err(SayError::NoAnswer { seconds: WAIT.as_secs() })
}
