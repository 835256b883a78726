//! An environment: a folder that says what runs where, and who may change it.
//!
//! ```text
//! environment.json   what runs: groups, and which of them serves each service
//! router/            the router's home: its socket and its state
//! data/              data of services, whichever build runs
//! groups/            the output of each group's processes
//! rollouts/          a folder for each rollout
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use prophecy_datasets::write_whole;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::group::{Group, Home};
use crate::journal;
use crate::traffic::RouterKind;

/// How long a process may take to end after its rollout is over.
const MOMENT: Duration = Duration::from_secs(5);

/// The schema of `environment.json`.
const SCHEMA: &str = "prophecy.environment/1";

/// What runs in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Always `prophecy.environment/1`.
    pub schema: String,
    /// Its name, such as `production`.
    pub name: String,
    /// Where clients come in.
    pub listen: SocketAddr,
    /// The service that clients call.
    pub entry: String,
    /// What carries the traffic.
    #[serde(default)]
    pub router: RouterKind,
    /// The groups that run, by name.
    pub groups: BTreeMap<String, Group>,
    /// The group that serves each service.
    pub live: BTreeMap<String, String>,
    /// What was replaced and is about to be ended.
    #[serde(default)]
    pub retired: Vec<Group>,
    /// The rollout that is under way, if one is.
    pub rollout: Option<String>,
    /// The manifest of what runs now, and the one before it.
    pub current: Option<Build>,
    /// What ran before, for a rollback.
    pub previous: Option<Build>,
    /// Digests of candidates that were rolled back, with the rollout that did.
    pub rejected: BTreeMap<String, String>,
}

/// A build: a manifest as it was when it was deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The manifest.
    pub manifest: PathBuf,
    /// Its digest.
    pub digest: String,
}

/// An environment's folder.
#[derive(Clone, Debug)]
pub struct EnvironmentFolder {
    path: PathBuf,
}

/// Holds an environment for one process; let go when dropped, or when the process ends.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// Why an environment cannot be used.
#[derive(Debug, Error)]
pub enum EnvironmentError {
    /// Its folder or a file in it cannot be read or written.
    #[error("cannot use environment file `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Its file is of another form.
    #[error("`{}` is not an environment: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// Nothing has been deployed to it.
    #[error("`{}` is no environment: nothing was deployed to it", path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is changing it.
    #[error("another process is carrying out a rollout in `{}`", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
    },
}

// === impl Environment ===

impl Environment {
    /// Returns an environment in which nothing runs.
    pub fn empty(name: &str, listen: SocketAddr, entry: &str) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            name: name.to_owned(),
            listen,
            entry: entry.to_owned(),
            router: RouterKind::Own,
            groups: BTreeMap::new(),
            live: BTreeMap::new(),
            retired: Vec::new(),
            rollout: None,
            current: None,
            previous: None,
            rejected: BTreeMap::new(),
        }
    }

    /// Returns where the instances listen that serve a service now.
    pub fn live_addresses(&self, service: &str) -> Vec<SocketAddr> {
        let group = self.live.get(service).and_then(|id| self.groups.get(id));
        group.map(|group| group.addresses(service)).unwrap_or_default()
    }
}

// === impl EnvironmentFolder ===

impl EnvironmentFolder {
    /// Names a folder; nothing is read or made.
    pub fn new(path: &Path) -> Self {
        // What is started in it runs in other folders.
        Self { path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the router's folder.
    pub fn router(&self) -> PathBuf {
        self.path.join("router")
    }

    /// Returns the folder of a rollout.
    pub fn rollout(&self, id: &str) -> PathBuf {
        self.path.join("rollouts").join(id)
    }

    /// Returns where groups of this environment keep what they need.
    pub fn home<'a>(&'a self, environment: &'a Environment) -> Home<'a> {
        Home { environment: &environment.name, folder: &self.path }
    }

    /// Returns the rollouts on record, the oldest first.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::File`].
    pub fn rollouts(&self) -> Result<Vec<String>, EnvironmentError> {
        let path = self.path.join("rollouts");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(EnvironmentError::File { path, source }),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Reads what runs.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`].
    pub fn read(&self) -> Result<Environment, EnvironmentError> {
        let path = self.path.join("environment.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EnvironmentError::Absent { path: self.path.clone() });
            }
            Err(source) => return Err(EnvironmentError::File { path, source }),
        };
        let environment: Environment = serde_json::from_str(&text).map_err(|error| {
            EnvironmentError::Format { path: path.clone(), message: error.to_string() }
        })?;
        if environment.schema != SCHEMA {
            let message =
                format!("its schema is `{}`; this version reads `{SCHEMA}`", environment.schema);
            return Err(EnvironmentError::Format { path, message });
        }
        Ok(crate::abort::settled(self, environment))
    }

    /// Writes what runs, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::File`].
    pub fn write(&self, environment: &Environment) -> Result<(), EnvironmentError> {
        let path = self.path.join("environment.json");
        let file = |source| EnvironmentError::File { path: path.clone(), source };
        fs::create_dir_all(&self.path).map_err(file)?;
        let text = serde_json::to_string_pretty(environment).expect("plain data");
        write_whole(&path, text.as_bytes()).map_err(file)
    }

    /// Takes the right to change the environment.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Held`] while another process has it.
    pub fn hold(&self) -> Result<Hold, EnvironmentError> {
        let path = self.path.join("lock");
        let file = |source| EnvironmentError::File { path: path.clone(), source };
        fs::create_dir_all(&self.path).map_err(file)?;
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).write(true).open(&path).map_err(file)?;
        flock(&opened, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| EnvironmentError::Held { path: self.path.clone() })?;
        Ok(Hold { _file: opened })
    }

    /// The same for whoever comes right after a rollout: a process whose rollout is over gets a moment to end.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Held`] while another process carries a rollout out.
    pub fn hold_after(&self) -> Result<Hold, EnvironmentError> {
        let until = Instant::now() + MOMENT;
        loop {
            match self.hold() {
                Err(EnvironmentError::Held { .. }) if self.is_over() && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(20));
                }
                result => return result,
            }
        }
    }

    /// Says whether the newest rollout has come to its end.
    fn is_over(&self) -> bool {
        let newest = self.rollouts().ok().and_then(|all| all.last().cloned());
        let entries = newest.and_then(|id| journal::entries(&self.rollout(&id)).ok());
        entries.is_some_and(|entries| entries.last().is_some_and(|it| it.state.is_final()))
    }
}
