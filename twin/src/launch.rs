//! Arms: a build of a system as running processes, every service behind a mirroring proxy.

pub mod placeholder;
pub mod probe;
mod process;
mod ready;
mod reaper;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use prophecy_anonymizer::Sanitizer;
use prophecy_capture::mirror::{Mirror, MirrorOptions, StartMirrorError};
use prophecy_capture::recorder::{RecordError, Recorder, Recording, RecordingOptions};
use prophecy_datasets::DatasetWriter;
use prophecy_datasets::Manifest;
use prophecy_datasets::run::EndedService;
use tempfile::TempDir;
use thiserror::Error;

use crate::allow_list::AllowList;
use crate::manifest::LoadedSystem;
use crate::metrics::Sampler;

use self::placeholder::{Own, Places, UnknownPlaceholderError};
use self::process::Process;
pub use self::process::{free_port, path_with_ours};
use self::reaper::Reaper;

/// The most bytes of a body that an arm's dataset keeps.
const BODY_LIMIT: usize = 64 << 10;

/// How an arm is started.
#[derive(Debug)]
pub struct ArmOptions<'a> {
    /// The arm's name: a label of its metrics.
    pub name: String,
    /// What to run.
    pub system: &'a LoadedSystem,
    /// Where its exchanges go.
    pub writer: DatasetWriter,
    /// What they go through.
    pub sanitizer: Sanitizer,
    /// The folder that its services' output goes to.
    pub logs: PathBuf,
    /// Where traffic may be sent.
    pub allow: &'a AllowList,
    /// How many instances of each service are run.
    pub instances: Instances,
    /// Services that stand in for dependencies.
    pub standins: BTreeMap<String, SocketAddr>,
    /// Where the proxy in front of the entry listens; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// How many instances of each service are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// One, as in a twin.
    One,
    /// As many as the manifest says, as in production; connections go to them in turn.
    Declared,
}

/// A running arm. Dropping it ends its processes.
#[derive(Debug)]
pub struct Arm {
    entry: SocketAddr,
    mirrors: Vec<Mirror>,
    sampler: Sampler,
    recording: Recording,
    // ORDER: processes end before the reaper is let go, and before their folders are removed.
    processes: Vec<Process>,
    reaper: Reaper,
    _data: TempDir,
}

/// Why an arm did not start.
#[derive(Debug, Error)]
pub enum StartArmError {
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
    /// A proxy did not start.
    #[error("cannot put a proxy in front of service `{service}`")]
    Mirror {
        /// The service.
        service: String,
        /// Why.
        #[source]
        source: StartMirrorError,
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
    #[error("service `{service}` ended with {status} before it was ready{log}")]
    Ended {
        /// The service.
        service: String,
        /// How it ended.
        status: String,
        /// Its last words.
        log: String,
    },
    /// A service did not become ready in time.
    #[error("service `{service}` was not ready within {seconds} s: {found}{log}")]
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
    #[error("service `{service}` is at {address}, which is neither loopback nor on the allow list")]
    NotAllowed {
        /// The service.
        service: String,
        /// Where it is.
        address: String,
    },
    /// No port is free.
    #[error("no port between 20000 and 32000 is free")]
    NoPort,
}

// === impl Arm ===

impl Arm {
    /// Starts every service, callees first, each behind a proxy for every caller.
    ///
    /// # Errors
    ///
    /// [`StartArmError`]; whatever was started by then is ended.
    pub async fn start(options: ArmOptions<'_>) -> Result<Self, StartArmError> {
        let ArmOptions { name, system, writer, sanitizer, logs, allow, .. } = options;
        let prepare = |path: PathBuf| move |source| StartArmError::Prepare { path, source };
        fs::create_dir_all(&logs).map_err(prepare(logs.clone()))?;
        let data = tempfile::tempdir().map_err(prepare(std::env::temp_dir()))?;
        let recording = RecordingOptions { tap: None, ..RecordingOptions::default() };
        let (recorder, recording) = Recording::start(writer, sanitizer, recording);
        let mut addresses = service_addresses(system, allow, options.instances)?;
        addresses.extend(options.standins.into_iter().map(|(name, at)| (name, vec![at])));
        let mut mirrors = Vec::new();
        let first = addresses.iter().map(|(name, instances)| (name.clone(), instances[0]));
        let mut places = Places::new(first.collect());
        for (source, service) in &system.system.services {
            for destination in placeholder::urls_in(service) {
                let Some(upstream) = addresses.get(&destination) else { continue };
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let mirror = mirror(any, upstream, source, &destination, &recorder).await?;
                places.edge(source, &destination, mirror.address());
                mirrors.push(mirror);
            }
        }
        let entry = &system.system.entry;
        let front = mirror(options.listen, &addresses[entry], "client", entry, &recorder).await?;
        let entry = front.address();
        mirrors.push(front);

        let mut reaper = Reaper::start().map_err(prepare(PathBuf::from("/bin/sh")))?;
        let mut processes = Vec::new();
        for service in placeholder::callees_first(&system.system) {
            let Some(run) = &system.system.services[&service].run else { continue };
            for (index, address) in addresses[&service].iter().enumerate() {
                let name =
                    if index == 0 { service.clone() } else { format!("{service}-{}", index + 1) };
                let folder = data.path().join(&name);
                fs::create_dir(&folder).map_err(prepare(folder.clone()))?;
                let own = Own { port: address.port(), data: &folder };
                let filled = places.fill(&service, run, &own).map_err(|source| {
                    StartArmError::Placeholder { service: service.clone(), source }
                })?;
                let log = logs.join(format!("{name}.log"));
                let process = Process::start(&service, filled, &system.folder, log, &mut reaper)?;
                processes.push(process);
                let process = processes.last_mut().expect("just pushed");
                ready::wait(process, &run.ready, *address).await?;
            }
        }
        let roots = processes.iter().map(|process| (process.service().to_owned(), process.id()));
        let sampler = Sampler::start(name, roots.collect(), recorder);
        Ok(Self { entry, mirrors, sampler, recording, processes, reaper, _data: data })
    }

    /// Returns the address of the proxy in front of the entry.
    pub fn entry(&self) -> SocketAddr {
        self.entry
    }

    /// Says whether recording has failed, as on a full disk.
    pub fn recording_failed(&self) -> bool {
        self.recording.failed()
    }

    /// Returns the services that have ended by themselves.
    pub fn ended_services(&mut self) -> Vec<EndedService> {
        let ended = |process: &mut Process| {
            let status = process.ended()?;
            Some(EndedService { service: process.service().to_owned(), status })
        };
        self.processes.iter_mut().filter_map(ended).collect()
    }

    /// Lets exchanges in flight end, ends every process, and completes the dataset.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the dataset could not be written.
    pub async fn stop(self) -> Result<Manifest, RecordError> {
        let Self { mirrors, sampler, recording, processes, reaper, _data, .. } = self;
        for mirror in mirrors {
            mirror.stop().await;
        }
        sampler.stop();
        process::end_all(processes).await;
        reaper.finish().await;
        tokio::task::spawn_blocking(move || recording.finish())
            .await
            .unwrap_or(Err(RecordError::Panicked))
    }
}

/// Finds a free port for each service to run, and the address of each that runs already.
fn service_addresses(
    system: &LoadedSystem,
    allow: &AllowList,
    instances: Instances,
) -> Result<BTreeMap<String, Vec<SocketAddr>>, StartArmError> {
    let mut addresses = BTreeMap::new();
    for (name, service) in &system.system.services {
        let free = || {
            let port = free_port().ok_or(StartArmError::NoPort)?;
            Ok(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        let count = if instances == Instances::One { 1 } else { service.replicas };
        let found = match &service.url {
            None => (0..count).map(|_| free()).collect::<Result<_, _>>()?,
            Some(url) => {
                let refused =
                    || StartArmError::NotAllowed { service: name.clone(), address: url.clone() };
                vec![resolve(url, allow).ok_or_else(refused)?]
            }
        };
        addresses.insert(name.clone(), found);
    }
    Ok(addresses)
}

/// Returns the address of a service that runs already, if traffic may be sent there.
pub fn resolve(url: &str, allow: &AllowList) -> Option<SocketAddr> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let with_port =
        if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let address = with_port.to_socket_addrs().ok().and_then(|mut found| found.next());
    address.filter(|address| allow.allows(*address))
}

async fn mirror(
    listen: SocketAddr,
    upstreams: &[SocketAddr],
    source: &str,
    destination: &str,
    recorder: &Recorder,
) -> Result<Mirror, StartArmError> {
    let options = MirrorOptions {
        listen,
        upstreams: upstreams.to_vec(),
        source: source.to_owned(),
        destination: destination.to_owned(),
        body_limit: BODY_LIMIT,
    };
    Mirror::start(options, recorder.clone())
        .await
        .map_err(|source| StartArmError::Mirror { service: destination.to_owned(), source })
}
