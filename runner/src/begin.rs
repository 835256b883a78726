//! From a request to a plan on disk: reads what runs and what is to run, and touches neither.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use prophecy_core::Timestamp;
use prophecy_datasets::write_whole;
use prophecy_predictor::Report;
use prophecy_predictor::report::ReadReportError;
use prophecy_twin::{LoadSystemError, load_system};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::environment::{Build, Environment, EnvironmentError, EnvironmentFolder};
use crate::plan::{Plan, PlanError, PlanInputs, document};
use crate::router::haproxy;
use crate::settings::Settings;
use crate::strategy::Strategy;
use crate::traffic::RouterKind;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The candidate's manifest.
    pub candidate: PathBuf,
    /// How traffic moves.
    pub strategy: Strategy,
    /// The forecast: `report.json`.
    pub report: Option<PathBuf>,
    /// Services to be deployed again although nothing differs.
    pub again: BTreeSet<String>,
    /// Everything that can be set.
    pub settings: Settings,
    /// Where clients come in, for a first deployment.
    pub listen: Option<SocketAddr>,
    /// The environment's name, for a first deployment.
    pub name: Option<String>,
    /// What carries the traffic, for a first deployment.
    pub router: Option<RouterKind>,
    /// Who asks.
    pub actor: String,
}

/// Why a rollout could not begin.
#[derive(Debug, Error)]
pub enum BeginError {
    /// The environment cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A manifest cannot be used.
    #[error(transparent)]
    System(#[from] LoadSystemError),
    /// No plan could be made.
    #[error("cannot plan the rollout")]
    Plan(#[from] PlanError),
    /// The first deployment needs an address.
    #[error(
        "nothing runs in this environment yet: the first deployment needs an address for clients"
    )]
    NoAddress,
    /// Something else carries the traffic.
    #[error(
        "the router of this environment is `{}`; another one can be had after `prophecy rollout down`",
        known.name()
    )]
    OtherRouter {
        /// What carries it.
        known: RouterKind,
    },
    /// HAProxy is not there.
    #[error("cannot find `haproxy` in `PATH` or `/usr/sbin`")]
    NoHaproxy,
    /// HAProxy does not copy requests.
    #[error(
        "HAProxy cannot copy requests to the candidate, so that a shadow rollout would show nothing"
    )]
    CannotCopy,
    /// Another rollout is under way.
    #[error("rollout `{other}` is under way")]
    UnderWay {
        /// The other rollout.
        other: String,
    },
    /// What runs is not what its manifest says any more.
    #[error(
        "manifest `{}` of what runs now has been changed since it was deployed: a fresh copy to compare with cannot be started from it",
        manifest.display()
    )]
    Edited {
        /// The manifest.
        manifest: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The report cannot be used.
    #[error("cannot use report `{}`", path.display())]
    Report {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadReportError,
    },
}

/// Makes the plan that a request asks for, without writing anything.
///
/// # Errors
///
/// Each variant of [`BeginError`].
pub fn plan(
    folder: &EnvironmentFolder,
    request: &Request,
    now: Timestamp,
) -> Result<(Environment, Plan), BeginError> {
    let manifest = absolute(request.candidate.clone())?;
    let candidate = load_system(&manifest)?;
    let environment = match folder.read() {
        Ok(mut environment) => {
            if environment.groups.is_empty() {
                environment.router = request.router.unwrap_or(environment.router);
            }
            environment
        }
        Err(EnvironmentError::Absent { .. }) => {
            let listen = request.listen.ok_or(BeginError::NoAddress)?;
            let name = request.name.as_deref().unwrap_or("production");
            let router = request.router.unwrap_or_default();
            Environment { router, ..Environment::empty(name, listen, &candidate.system.entry) }
        }
        Err(error) => return Err(error.into()),
    };
    carried(&environment, request)?;
    if let Some(other) = &environment.rollout {
        return Err(BeginError::UnderWay { other: other.clone() });
    }
    let previous = match &environment.current {
        Some(build) => {
            let loaded = load_system(&build.manifest)?;
            if loaded.digest != build.digest {
                return Err(BeginError::Edited { manifest: build.manifest.clone() });
            }
            Some((loaded.system, build.clone()))
        }
        None => None,
    };
    let report = request.report.as_deref().map(read_report).transpose()?;
    let id = identifier(folder, now)?;
    let plan = Plan::make(PlanInputs {
        id: &id,
        now: now.0,
        actor: &request.actor,
        environment: &environment.name,
        previous: previous.as_ref().map(|(system, build)| (system, build.clone())),
        candidate: (&candidate.system, Build { manifest, digest: candidate.digest.clone() }),
        again: &request.again,
        strategy: request.strategy.clone(),
        report: report.as_ref().map(|(report, digest)| (report, digest.clone())),
        settings: request.settings.clone(),
    })?;
    Ok((environment, plan))
}

/// Makes a plan and puts it on record; nothing is started.
///
/// # Errors
///
/// Each variant of [`BeginError`].
pub fn begin(
    folder: &EnvironmentFolder,
    request: &Request,
    now: Timestamp,
) -> Result<Plan, BeginError> {
    let (environment, plan) = plan(folder, request, now)?;
    let path = folder.rollout(&plan.id);
    let file = |path: PathBuf| move |source| BeginError::File { path, source };
    fs::create_dir_all(&path).map_err(file(path.clone()))?;
    let text = serde_json::to_string_pretty(&plan).expect("plain data");
    write_whole(&path.join("plan.json"), text.as_bytes()).map_err(file(path.join("plan.json")))?;
    let words = document::markdown(&plan);
    write_whole(&path.join("plan.md"), words.as_bytes()).map_err(file(path.join("plan.md")))?;
    if let Some(report) = &request.report {
        let kept = path.join("report.json");
        let copied = fs::copy(report_file(report), &kept);
        copied.map_err(file(kept))?;
    }
    if environment.current.is_none() {
        folder.write(&environment)?;
    }
    Ok(plan)
}

/// Refuses what the environment's router cannot do, before anything is started.
fn carried(environment: &Environment, request: &Request) -> Result<(), BeginError> {
    let known = environment.router;
    if request.router.is_some_and(|router| router != known) {
        return Err(BeginError::OtherRouter { known });
    }
    if known == RouterKind::Own {
        return Ok(());
    }
    if matches!(request.strategy, Strategy::Shadow { .. }) {
        return Err(BeginError::CannotCopy);
    }
    haproxy::program().map(drop).ok_or(BeginError::NoHaproxy)
}

fn report_file(path: &std::path::Path) -> PathBuf {
    if path.is_dir() { path.join("report.json") } else { path.to_owned() }
}

fn read_report(path: &std::path::Path) -> Result<(Report, String), BeginError> {
    let path = report_file(path);
    let text = fs::read_to_string(&path)
        .map_err(|source| BeginError::File { path: path.clone(), source })?;
    let report = Report::from_json(&text).map_err(|source| BeginError::Report { path, source })?;
    Ok((report, blake3::hash(text.as_bytes()).to_hex().to_string()))
}

fn absolute(path: PathBuf) -> Result<PathBuf, BeginError> {
    path.canonicalize().map_err(|source| LoadSystemError::Read { path, source }.into())
}

/// Returns a name that sorts by time: `20261121-070330`.
fn identifier(folder: &EnvironmentFolder, now: Timestamp) -> Result<String, BeginError> {
    let text = now.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    let name = format!("{}-{}", &digits[..8], &digits[8..]);
    let taken = folder.rollouts()?;
    let mut candidates =
        (1..).map(|nth: u32| if nth == 1 { name.clone() } else { format!("{name}-{nth}") });
    Ok(candidates.find(|name| !taken.contains(name)).expect("there is always another number"))
}
