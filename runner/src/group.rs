//! Groups: the services of one build as processes that outlive whoever started them.
//!
//! What is to run is written down before anything is started, and each process carries a mark in its
//! environment. Whoever comes after a crash finds what runs by its mark, starts what does not, and ends
//! what should not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use prophecy_core::system::Run;
use prophecy_twin::launch::placeholder::{self, Own, Places, UnknownPlaceholderError};
use prophecy_twin::launch::{free_port, path_with_ours, probe, resolve};
use prophecy_twin::{AllowList, LoadSystemError, LoadedSystem, load_system};
use rustix::process::{
    Pid, Signal, kill_process_group, test_kill_process, test_kill_process_group,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

/// The environment variable that marks a process: environment, group, service and instance.
const MARK: &str = "PROPHECY_INSTANCE";

/// How long processes may take to end when asked kindly.
const GRACE: Duration = Duration::from_secs(5);

/// Lines of a service's output that an error carries.
const LOG_LINES: usize = 12;

/// The services of one build, as they are to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// A name that no other group of the environment has.
    pub id: String,
    /// The manifest of the build.
    pub manifest: PathBuf,
    /// The manifest's digest when the group was planned.
    pub digest: String,
    /// The instances of each service in it.
    pub services: BTreeMap<String, Vec<Instance>>,
    /// Where the callers in the group find each service they call, by caller and callee.
    pub edges: BTreeMap<String, SocketAddr>,
}

/// One process of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it is ours to start and end; otherwise it runs already.
    pub ours: bool,
}

/// Why a group could not be planned or started.
#[derive(Debug, Error)]
pub enum GroupError {
    /// Its manifest cannot be used.
    #[error("cannot use the manifest of group `{group}`")]
    Manifest {
        /// The group.
        group: String,
        /// Why.
        #[source]
        source: LoadSystemError,
    },
    /// Its manifest is another one than was planned.
    #[error(
        "manifest `{}` has changed since the rollout was planned: its digest is {found}, expected {expected}",
        manifest.display()
    )]
    Changed {
        /// The manifest.
        manifest: PathBuf,
        /// What it is now.
        found: String,
        /// What it was.
        expected: String,
    },
    /// A placeholder is not known.
    #[error("cannot fill in service `{service}`")]
    Placeholder {
        /// The service.
        service: String,
        /// Which one.
        #[source]
        source: UnknownPlaceholderError,
    },
    /// A file or folder could not be made.
    #[error("cannot prepare `{}`", path.display())]
    Prepare {
        /// What.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start service `{service}`: cannot run `{program}`")]
    Spawn {
        /// The service.
        service: String,
        /// The program.
        program: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A service ended instead of becoming ready.
    #[error("service `{service}` ended before it was ready{log}")]
    Ended {
        /// The service.
        service: String,
        /// Its last words.
        log: String,
    },
    /// A service did not become ready.
    #[error("service `{service}` did not become ready within {seconds} s: {found}{log}")]
    NotReady {
        /// The service.
        service: String,
        /// How long it had.
        seconds: f64,
        /// What was seen of it instead.
        found: String,
        /// Its last words.
        log: String,
    },
    /// A service's address is not one that traffic may be sent to.
    #[error("service `{service}` is at `{address}`, which is not a loopback address")]
    NotAllowed {
        /// The service.
        service: String,
        /// Where it is.
        address: String,
    },
    /// No port is free.
    #[error("no port is free for an instance")]
    NoPort,
}

/// Where groups keep what they need: the environment's folder.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// The environment's name; part of every mark.
    pub environment: &'a str,
    /// The environment's folder.
    pub folder: &'a Path,
}

// === impl Group ===

impl Group {
    /// Plans a group: gives every instance of these services a port, and every edge an address.
    ///
    /// # Errors
    ///
    /// [`GroupError::NotAllowed`] and [`GroupError::NoPort`].
    pub fn plan(
        id: &str,
        manifest: &Path,
        system: &LoadedSystem,
        services: &BTreeSet<String>,
    ) -> Result<Self, GroupError> {
        let mut group = Self {
            id: id.to_owned(),
            manifest: manifest.to_owned(),
            digest: system.digest.clone(),
            services: BTreeMap::new(),
            edges: BTreeMap::new(),
        };
        for (name, service) in &system.system.services {
            if !services.contains(name) {
                continue;
            }
            let instances = match &service.url {
                Some(url) => {
                    let refused =
                        || GroupError::NotAllowed { service: name.clone(), address: url.clone() };
                    let address = resolve(url, &AllowList::default()).ok_or_else(refused)?;
                    vec![Instance { address, ours: false }]
                }
                None => (0..service.replicas)
                    .map(|_| Ok(Instance { address: free_address()?, ours: true }))
                    .collect::<Result<_, GroupError>>()?,
            };
            group.services.insert(name.clone(), instances);
            for callee in placeholder::urls_in(service) {
                if system.system.services.contains_key(&callee) {
                    group.edges.insert(edge(name, &callee), free_address()?);
                }
            }
        }
        Ok(group)
    }

    /// Returns where the instances of a service listen.
    pub fn addresses(&self, service: &str) -> Vec<SocketAddr> {
        let instances = self.services.get(service).into_iter().flatten();
        instances.map(|instance| instance.address).collect()
    }

    /// Starts what does not run yet, callees first, and waits until all of it is ready.
    ///
    /// # Errors
    ///
    /// [`GroupError`]; what was started by then runs on, to be looked at or ended.
    pub async fn start(&self, home: Home<'_>) -> Result<(), GroupError> {
        let manifest = |source| GroupError::Manifest { group: self.id.clone(), source };
        let system = load_system(&self.manifest).map_err(manifest)?;
        if system.digest != self.digest {
            return Err(GroupError::Changed {
                manifest: self.manifest.clone(),
                found: system.digest,
                expected: self.digest.clone(),
            });
        }
        let mut places = Places::new(self.first_addresses());
        for (name, address) in &self.edges {
            let (source, destination) = name.split_once('>').expect("as `edge` writes it");
            places.edge(source, destination, *address);
        }
        for service in placeholder::callees_first(&system.system) {
            let run = system.system.services[&service].run.as_ref();
            for index in 0..self.services.get(&service).map_or(0, Vec::len) {
                let instance = &self.services[&service][index];
                if let Some(run) = run.filter(|_| instance.ours) {
                    self.start_instance(home, &system, &places, (&service, index), run).await?;
                }
            }
        }
        Ok(())
    }

    async fn start_instance(
        &self,
        home: Home<'_>,
        system: &LoadedSystem,
        places: &Places,
        (service, index): (&str, usize),
        run: &Run,
    ) -> Result<(), GroupError> {
        let address = self.services[service][index].address;
        let mark = self.mark(home, service, index);
        let log = self.log(home, service, index);
        let mut started = None;
        if find(&mark).is_empty() {
            // The data belong to the service, whichever build it is of.
            let data = home.folder.join("data").join(format!("{service}-{index}"));
            for folder in [data.as_path(), log.parent().expect("in a folder")] {
                fs::create_dir_all(folder)
                    .map_err(|source| GroupError::Prepare { path: folder.to_owned(), source })?;
            }
            let own = Own { port: address.port(), data: &data };
            let filled = places.fill(service, run, &own).map_err(|source| {
                GroupError::Placeholder { service: service.to_owned(), source }
            })?;
            started = Some(spawn(service, filled, &system.folder, &log, &mark)?);
        }
        let deadline = Instant::now() + run.ready.within.0;
        loop {
            let asked =
                timeout(Duration::from_secs(2), probe::ask(address, run.ready.http.as_deref()));
            let found = match asked.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(found)) => found,
                Err(_) => "it accepts connections but does not answer".to_owned(),
            };
            // A process that has just begun has no environment for a moment, and none that can be found.
            let is_there = started.is_some_and(|pid| test_kill_process(pid).is_ok());
            if !is_there && find(&mark).is_empty() {
                let (service, log) = (service.to_owned(), last_words(&log));
                return Err(GroupError::Ended { service, log });
            }
            if Instant::now() >= deadline {
                return Err(GroupError::NotReady {
                    service: service.to_owned(),
                    seconds: run.ready.within.0.as_secs_f64(),
                    found,
                    log: last_words(&log),
                });
            }
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// Returns the instances that do not run or do not answer, with what was seen of them.
    pub async fn ailing(&self, home: Home<'_>) -> Vec<String> {
        let ready = load_system(&self.manifest).map(|system| system.system).ok();
        let mut found = Vec::new();
        for (service, instances) in &self.services {
            let run = ready.as_ref().and_then(|it| it.services.get(service)?.run.as_ref());
            let path = run.and_then(|run| run.ready.http.as_deref());
            for (index, instance) in instances.iter().enumerate() {
                if instance.ours && find(&self.mark(home, service, index)).is_empty() {
                    let log = last_words(&self.log(home, service, index));
                    found.push(format!("`{service}` has ended{log}"));
                    continue;
                }
                match timeout(Duration::from_secs(2), probe::ask(instance.address, path)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(words)) => found.push(format!("`{service}`: {words}")),
                    Err(_) => found.push(format!("`{service}` does not answer within 2 s")),
                }
            }
        }
        found
    }

    /// Ends every process of the group that is ours, kindly at first.
    pub async fn stop(&self, home: Home<'_>) {
        let marks: Vec<String> = self.marks(home).collect();
        let running = || marks.iter().flat_map(|mark| find(mark)).collect::<Vec<_>>();
        for pid in running() {
            signal(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while !running().is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..50 {
            let left = running();
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(|pid| signal(pid, Signal::KILL));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the processes that run, by service.
    pub fn running(&self, home: Home<'_>) -> Vec<(String, u32)> {
        let all = self.services.iter();
        let marks = all.flat_map(|(service, instances)| {
            let mark = |index| (self.mark(home, service, index), service);
            (0..instances.len()).map(mark).collect::<Vec<_>>()
        });
        let marks: BTreeMap<String, &String> = marks.collect();
        let service = |mark: &str| marks.get(mark).map(|service| (*service).clone());
        let found = find_by(service).into_iter();
        found.map(|(service, pid)| (service, pid.as_raw_nonzero().get() as u32)).collect()
    }

    fn first_addresses(&self) -> BTreeMap<String, SocketAddr> {
        let own = self
            .services
            .iter()
            .filter_map(|(name, instances)| Some((name.clone(), instances.first()?.address)));
        let edges = self
            .edges
            .iter()
            .filter_map(|(name, address)| Some((name.split_once('>')?.1.to_owned(), *address)));
        // A service of the group is found directly; one outside of it through an edge.
        edges.chain(own).collect()
    }

    fn marks(&self, home: Home<'_>) -> impl Iterator<Item = String> {
        self.services.iter().flat_map(move |(service, instances)| {
            (0..instances.len()).map(move |index| self.mark(home, service, index))
        })
    }

    fn mark(&self, home: Home<'_>, service: &str, index: usize) -> String {
        let folder = blake3::hash(home.folder.as_os_str().as_encoded_bytes()).to_hex();
        format!("{}/{}/{}/{service}-{index}", home.environment, &folder[..12], self.id)
    }

    fn log(&self, home: Home<'_>, service: &str, index: usize) -> PathBuf {
        home.folder.join("groups").join(&self.id).join(format!("{service}-{index}.log"))
    }
}

/// Returns the name of the edge between two services.
pub fn edge(source: &str, destination: &str) -> String {
    format!("{source}>{destination}")
}

/// Returns an address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr, GroupError> {
    let port = free_port().ok_or(GroupError::NoPort)?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn spawn(
    service: &str,
    filled: placeholder::Filled,
    folder: &Path,
    log: &Path,
    mark: &str,
) -> Result<Pid, GroupError> {
    let prepare = |source| GroupError::Prepare { path: log.to_owned(), source };
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(prepare)?;
    let errors = output.try_clone().map_err(prepare)?;
    let (program, arguments) =
        filled.command.split_first().expect("a manifest's command is not empty");
    let mut child = Command::new(program)
        .args(arguments)
        .envs(filled.environment)
        .env("PATH", path_with_ours())
        .env(MARK, mark)
        .current_dir(folder.join(filled.cwd))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        // A group of its own: Ctrl-C in our terminal is not meant for production.
        .process_group(0)
        .spawn()
        .map_err(|source| GroupError::Spawn {
            service: service.to_owned(),
            program: program.clone(),
            source,
        })?;
    let pid = Pid::from_child(&child);
    // Somebody has to take note when it ends, as long as we are its parent.
    std::thread::spawn(move || drop(child.wait()));
    Ok(pid)
}

/// Returns the processes that carry a mark and have not ended.
fn find(mark: &str) -> Vec<Pid> {
    find_by(|found| (found == mark).then_some(())).into_iter().map(|((), pid)| pid).collect()
}

/// Returns the processes whose mark something is known of, with it.
fn find_by<T>(known: impl Fn(&str) -> Option<T>) -> Vec<(T, Pid)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let marked = pids.filter_map(|pid| {
        // A zombie's environment is empty, so it is not found.
        let text = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut marks = text
            .split(|byte| *byte == 0)
            .filter_map(|it| str::from_utf8(it).ok()?.strip_prefix(MARK)?.strip_prefix('='));
        Some((marks.find_map(&known)?, Pid::from_raw(pid)?))
    });
    marked.collect()
}

fn signal(pid: Pid, signal: Signal) {
    // It may be gone already, which is what we want.
    if test_kill_process_group(pid).is_ok() {
        let _ = kill_process_group(pid, signal);
    } else {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn last_words(log: &Path) -> String {
    let text = File::open(log).and_then(|file| io::read_to_string(io::BufReader::new(file)));
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "; it wrote nothing".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("; its last lines were:\n    {}", last.join("\n    "))
}
