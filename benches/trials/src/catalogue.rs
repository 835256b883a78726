//! What is tried: entries drawn by the generator, or folders that somebody else made.
//!
//! An entry is a folder with `baseline.yaml` and `candidate.yaml` (system manifests), the traffic as
//! `traffic/` (a dataset) or `traffic.yaml` (a `command` that drives a URL, or a `profile`), and, if
//! it is known what the change does, `truth.yaml` with `label: harmless` or `label: harmful`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prophecy_core::Seed;
use prophecy_datasets::Dataset;
use prophecy_twin::load_system;
use prophecy_twin::replay::plan as plan_replay;
use serde::Deserialize;
use thiserror::Error;

use crate::plan::{ENTRY, SystemPlan};
use crate::traffic::{Asked, DAY_SECONDS, Profile};
use crate::{change, files, topology};

/// A deployment to be tried.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The folder of its files.
    pub(crate) folder: PathBuf,
    pub(crate) topology: String,
    pub(crate) services: u64,
    pub(crate) change: String,
    pub(crate) detail: String,
    pub(crate) known: Option<String>,
    pub(crate) cpu_bound: bool,
    pub(crate) rate_hz: f64,
    pub(crate) traffic: Traffic,
    /// Workers of each service before and after, where they are known.
    pub(crate) workers: [BTreeMap<String, u64>; 2],
    /// How the promises follow from what production shows, if the manifests have none yet.
    pub(crate) promises: Option<Promises>,
}

/// Where requests come from.
#[derive(Clone, Debug)]
pub(crate) enum Traffic {
    /// Drawn anew for each phase.
    Profile(Profile),
    /// The same captured requests in each phase.
    Dataset(PathBuf),
    /// A program that is given `{url}`, `{seconds}` and `{seed}`.
    Command(Vec<String>),
}

/// Promises as teams make them: what production shows, times a margin.
#[derive(Clone, Debug)]
pub(crate) struct Promises {
    pub(crate) builds: [SystemPlan; 2],
    /// For each route of the entry: the quantile, the margin, and the share of errors; or nothing.
    pub(crate) routes: Vec<Option<(&'static str, f64, f64)>>,
}

/// What an entry's `traffic.yaml` may hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum TrafficFile {
    Command(Vec<String>),
    Profile(Profile),
}

/// What an entry's `truth.yaml` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Truth {
    label: String,
}

/// Why an entry cannot be tried.
#[derive(Debug, Error)]
pub(crate) enum EntryError {
    /// A file could not be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` does not fit: {message}", path.display())]
    Content { path: PathBuf, message: String },
    /// There is neither a dataset nor a description of the traffic.
    #[error("`{}` has neither `traffic/` nor `traffic.yaml`", path.display())]
    NoTraffic { path: PathBuf },
}

/// Draws an entry and writes its files.
pub(crate) fn draw(folder: &Path, index: u32, seed: Seed) -> Result<Entry, EntryError> {
    let seed = seed.derive(&format!("trial {index}"));
    let topology::Drawn { system, rate_hz } =
        topology::draw(index, &mut seed.stream(0, 0, "topology"));
    let change = change::draw(index, &system, &mut seed.stream(0, 0, "change"));
    let file = |source| EntryError::File { path: folder.to_owned(), source };
    files::write(folder, "baseline", &system, &[]).map_err(file)?;
    files::write(folder, "candidate", &change.system, &[]).map_err(file)?;
    let mut stream = seed.stream(0, 0, "conditions");
    let routes = system.services[ENTRY].routes.iter();
    let asked = routes.map(|route| Asked {
        method: route.method.to_owned(),
        path: route.path.clone(),
        share: route.share,
        ids: 400,
    });
    let profile = Profile {
        rate_hz,
        swing: 0.4 * stream.uniform(),
        day_seconds: DAY_SECONDS,
        bursts: if stream.uniform() < 0.3 { 0.1 } else { 0.0 },
        routes: asked.collect(),
    };
    let margins = [1.15, 1.25, 1.4, 1.7, 2.2];
    let promises = system.services[ENTRY].routes.iter().map(|_| {
        let quantile = if stream.uniform() < 0.75 { "latency_p95" } else { "latency_p99" };
        let margin = margins[stream.below(margins.len())];
        let errors = [0.005, 0.01, 0.02][stream.below(3)];
        (stream.uniform() < 0.85).then_some((quantile, margin, errors))
    });
    let workers = |system: &SystemPlan| {
        let instances = system.replicas;
        let services = system.services.iter();
        services.map(|(name, plan)| (name.clone(), instances * plan.workers)).collect()
    };
    Ok(Entry {
        folder: folder.to_owned(),
        topology: system.topology.to_owned(),
        services: system.services.len() as u64,
        change: change.kind.to_owned(),
        detail: change.detail,
        known: change.known.map(str::to_owned),
        cpu_bound: system.cpu_bound,
        rate_hz,
        traffic: Traffic::Profile(profile),
        workers: [workers(&system), workers(&change.system)],
        promises: Some(Promises { routes: promises.collect(), builds: [system, change.system] }),
    })
}

/// Reads an entry of a catalogue.
pub(crate) fn read(folder: &Path) -> Result<Entry, EntryError> {
    let systems = ["baseline.yaml", "candidate.yaml"].map(|name| {
        let path = folder.join(name);
        load_system(&path).map_err(|error| EntryError::Content { path, message: error.to_string() })
    });
    let [baseline, candidate] = systems;
    let (baseline, candidate) = (baseline?, candidate?);
    let traffic = traffic(folder)?;
    let truth: Option<Truth> = read_yaml(&folder.join("truth.yaml"))?;
    let known = truth.map(|truth| truth.label);
    if let Some(label) = known.as_deref().filter(|label| !["harmless", "harmful"].contains(label)) {
        let message = format!("label `{label}` is neither `harmless` nor `harmful`");
        return Err(EntryError::Content { path: folder.join("truth.yaml"), message });
    }
    let workers = [&baseline, &candidate].map(|system| {
        let services = system.system.services.iter();
        services
            .filter_map(|(name, service)| {
                let workers = service.concurrency? * service.replicas;
                Some((name.clone(), u64::from(workers)))
            })
            .collect()
    });
    let rate_hz = match &traffic {
        Traffic::Profile(profile) => profile.rate_hz,
        Traffic::Dataset(_) | Traffic::Command(_) => 0.0,
    };
    Ok(Entry {
        folder: folder.to_owned(),
        topology: baseline.system.name.clone(),
        services: baseline.system.services.len() as u64,
        change: "catalogue".to_owned(),
        detail: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        known,
        cpu_bound: false,
        rate_hz,
        traffic,
        workers,
        promises: None,
    })
}

fn traffic(folder: &Path) -> Result<Traffic, EntryError> {
    if folder.join("traffic").is_dir() {
        return Ok(Traffic::Dataset(folder.join("traffic")));
    }
    match read_yaml(&folder.join("traffic.yaml"))? {
        Some(TrafficFile::Command(command)) => Ok(Traffic::Command(command)),
        Some(TrafficFile::Profile(profile)) => Ok(Traffic::Profile(profile)),
        None => Err(EntryError::NoTraffic { path: folder.to_owned() }),
    }
}

fn read_yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, EntryError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EntryError::File { path: path.to_owned(), source }),
    };
    serde_saphyr::from_str(&text).map(Some).map_err(|error| EntryError::Content {
        path: path.to_owned(),
        message: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })
}

// === impl Entry ===

impl Entry {
    /// Returns the requests of a phase; a command makes its own.
    pub(crate) fn requests(
        &self,
        seconds: f64,
        seed: Seed,
    ) -> Result<Vec<prophecy_twin::replay::PlannedRequest>, EntryError> {
        match &self.traffic {
            Traffic::Profile(profile) => Ok(profile.requests(seconds, seed)),
            Traffic::Command(_) => Ok(Vec::new()),
            Traffic::Dataset(path) => {
                let content = |message| EntryError::Content { path: path.clone(), message };
                let dataset = Dataset::open(path).map_err(|error| content(error.to_string()))?;
                let exchanges = dataset.exchanges().map_err(|error| content(error.to_string()))?;
                let system = load_system(&self.folder.join("baseline.yaml"))
                    .map_err(|error| content(error.to_string()))?;
                Ok(plan_replay(&exchanges, &system.system.entry, 1.0, 1.0, seed).0)
            }
        }
    }

    /// Writes the promises into both manifests: `measured` gives a quantile of a route \[ms\].
    pub(crate) fn promise(
        &self,
        measured: impl Fn(&str, &str) -> Option<f64>,
    ) -> Result<(), EntryError> {
        let Some(promises) = &self.promises else { return Ok(()) };
        let mut slo = Vec::new();
        for (route, promise) in
            promises.builds[0].services[ENTRY].routes.iter().zip(&promises.routes)
        {
            let name = format!("{} {}", route.method, route.path);
            if let Some((quantile, margin, errors)) = promise
                && let Some(millis) = measured(&name, quantile)
            {
                slo.push(files::promise(&name, quantile, margin * millis, *errors));
            }
        }
        for (name, build) in ["baseline", "candidate"].into_iter().zip(&promises.builds) {
            files::write(&self.folder, name, build, &slo)
                .map_err(|source| EntryError::File { path: self.folder.clone(), source })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every drawn entry is a valid pair of systems, and the same seed draws the same files.
    #[test]
    fn draws_entries_that_can_be_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut kinds = std::collections::BTreeSet::new();
        for index in 0..120 {
            let path = folder.path().join(index.to_string());
            let entry = draw(&path, index, Seed(5)).expect("drawn");
            for name in ["baseline.yaml", "candidate.yaml"] {
                files::check(&path.join(name)).expect(name);
            }
            assert!((2..=8).contains(&entry.services), "{entry:?}");
            assert!(entry.workers[0].values().all(|workers| *workers >= 1));
            kinds.insert(entry.change);
        }
        assert!(kinds.len() >= 18, "{kinds:?}");
        let again = folder.path().join("again");
        let first = draw(&again, 3, Seed(5)).expect("drawn");
        assert_eq!(first.detail, draw(&folder.path().join("3"), 3, Seed(5)).expect("drawn").detail);
        let files = ["baseline.yaml", "candidate/front.yaml"];
        for name in files {
            let text = |path: &Path| fs::read_to_string(path.join(name)).expect("written");
            assert_eq!(text(&again), text(&folder.path().join("3")));
        }
    }

    #[test]
    fn says_what_an_entry_lacks() {
        let folder = tempfile::tempdir().expect("a folder");
        draw(folder.path(), 0, Seed(5)).expect("drawn");
        let refused = read(folder.path()).expect_err("there is no traffic");
        assert!(matches!(refused, EntryError::NoTraffic { .. }), "{refused}");
        fs::write(folder.path().join("traffic.yaml"), "command: [drive, '{url}']\n")
            .expect("written");
        read(folder.path()).expect("it is whole");
        fs::write(folder.path().join("truth.yaml"), "label: maybe\n").expect("written");
        let refused = read(folder.path()).expect_err("the label is unknown").to_string();
        assert!(refused.contains("`maybe` is neither"), "{refused}");
    }
}
