//! One trial: production under load, a prediction that is stored, and only then the deployment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use prophecy_anonymizer::{Key, Policy};
use prophecy_core::{Seed, quantile};
use prophecy_datasets::trials::{Deployment, TrialClaim};
use prophecy_datasets::{Dataset, OpenDatasetError, ReadDatasetError, Run};
use prophecy_predictor::Report;
use prophecy_simulator::Observations;
use prophecy_twin::launch::Arm;
use prophecy_twin::production::{self, ProductionOptions, StartProductionError};
use prophecy_twin::replay::{ReplayError, Target, drive};
use prophecy_twin::run::ARMS;
use prophecy_twin::{AllowList, LoadSystemError, fit, load_system};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::catalogue::{Entry, EntryError, Traffic};
use crate::machine::{FOREIGN_LIMIT, STOLEN_LIMIT, Ticks, foreign_load};
use crate::plan::ENTRY;
use crate::{comparators, outcome};

/// How long a program that makes traffic may take beyond what it was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// How trials are run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The `prophecy` program: the forecast is made as a user makes it.
    pub(crate) prophecy: PathBuf,
    /// The window that is captured and that claims speak of \[s\].
    pub(crate) window_seconds: f64,
    /// How long the candidate is deployed \[s\].
    pub(crate) deployed_seconds: f64,
    /// Set to end early.
    pub(crate) stop: Arc<AtomicBool>,
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrialResult {
    pub(crate) deployment: Deployment,
    pub(crate) claims: Vec<TrialClaim>,
}

/// A forecast on disk with the digest of its bytes. Only this lets a candidate be deployed.
#[derive(Debug, Serialize)]
struct StoredPrediction {
    digest: String,
    stored_at: i64,
    #[serde(skip)]
    report: Report,
}

/// Why a trial has no result.
#[derive(Debug, Error)]
pub(crate) enum TrialError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    System(#[from] LoadSystemError),
    #[error("cannot start {build}")]
    Start {
        build: &'static str,
        #[source]
        source: Box<StartProductionError>,
    },
    #[error("cannot write the traffic of {build}: {message}")]
    Record { build: &'static str, message: String },
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("`{program}`, which makes the traffic, {how}")]
    Driver { program: String, how: String },
    #[error(transparent)]
    Open(#[from] OpenDatasetError),
    #[error(transparent)]
    Read(#[from] ReadDatasetError),
    #[error("`prophecy report` ended with {status}: {message}")]
    Report { status: String, message: String },
    #[error("the report cannot be used: {message}")]
    Content { message: String },
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("interrupted")]
    Interrupted,
}

/// One build of an entry that is really run.
struct Phase<'a> {
    entry: &'a Entry,
    settings: &'a Settings,
    build: &'static str,
    manifest: PathBuf,
    dataset: PathBuf,
    seconds: f64,
    seed: Seed,
}

/// Runs one trial; whatever it started has ended when it returns.
pub(crate) async fn run(
    trial: &str,
    entry: &Entry,
    seed: Seed,
    settings: &Settings,
) -> Result<TrialResult, TrialError> {
    let folder = &entry.folder;
    let mut machine = Watch::start().await;
    let phase = |build: &'static str, dataset: &str, seconds: f64| Phase {
        entry,
        settings,
        build,
        manifest: folder.join(format!("{build}.yaml")),
        dataset: folder.join(dataset),
        seconds,
        seed: seed.derive(dataset),
    };
    let before = phase("baseline", "production", settings.window_seconds);
    before.carry_out().await?;
    let before = before.observe()?;
    entry.promise(|route, quantile| captured(&before, route, quantile))?;
    machine.look().await;
    let stored = predict(folder, seed, settings).await?;
    machine.look().await;
    let deployed_at = now();
    let after = deploy(&stored, &phase("candidate", "outcome", settings.deployed_seconds)).await?;
    machine.look().await;
    let (smoke_ratio, judge_score) = others(entry)?;
    let report = &stored.report;
    let deployment = Deployment {
        trial: trial.to_owned(),
        topology: entry.topology.clone(),
        services: entry.services,
        change: entry.change.clone(),
        detail: entry.detail.clone(),
        known: entry.known.clone(),
        cpu_bound: entry.cpu_bound,
        rate_hz: entry.rate_hz,
        utilization_before: outcome::utilization(&before, &entry.workers[0]),
        utilization_after: outcome::utilization(&after, &entry.workers[1]),
        foreign_load: machine.foreign,
        disturbed: machine.disturbed(),
        prediction_digest: stored.digest.clone(),
        predicted_at: stored.stored_at,
        deployed_at,
        window_seconds: settings.window_seconds,
        deployed_seconds: settings.deployed_seconds,
        verdict: report.verdict.as_str().to_owned(),
        risk: report.risk.probability.get(),
        risk_lo: report.risk.interval.lo(),
        risk_hi: report.risk.interval.hi(),
        smoke_ratio,
        judge_score,
        ..Deployment::default()
    };
    Ok(TrialResult { deployment, claims: outcome::settle(trial, report, &before, &after) })
}

/// Returns a quantile that production showed, by the name that a promise gives it \[ms\].
fn captured(before: &Observations, route: &str, name: &str) -> Option<f64> {
    let visits = before.services.get(ENTRY)?.routes.get(route)?;
    let mut latencies: Vec<u64> = visits.iter().map(|visit| visit.latency_nanos).collect();
    let level = if name == "latency_p99" { 0.99 } else { 0.95 };
    quantile::select(&mut latencies, level).map(|nanos| nanos as f64 / 1e6)
}

/// Makes the forecast as a user does, and keeps the digest of what was written.
async fn predict(
    folder: &Path,
    seed: Seed,
    settings: &Settings,
) -> Result<StoredPrediction, TrialError> {
    let out = folder.join("report");
    let mut command = tokio::process::Command::new(&settings.prophecy);
    command.arg("report").arg("--quiet");
    command.arg("--dataset").arg(folder.join("production"));
    command.arg("--baseline").arg(folder.join("baseline.yaml"));
    command.arg("--candidate").arg(folder.join("candidate.yaml"));
    command.arg("--out").arg(&out).arg("--seed").arg((seed.0 >> 1).to_string());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command
        .output()
        .await
        .map_err(|source| TrialError::File { path: settings.prophecy.clone(), source })?;
    if settings.stop.load(Ordering::SeqCst) {
        return Err(TrialError::Interrupted);
    }
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(TrialError::Report { status: output.status.to_string(), message });
    }
    let path = out.join("report.json");
    let text = fs::read_to_string(&path)
        .map_err(|source| TrialError::File { path: path.clone(), source })?;
    let report = Report::from_json(&text)
        .map_err(|error| TrialError::Content { message: error.to_string() })?;
    let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
    let stored = StoredPrediction { digest, stored_at: now(), report };
    let text = serde_json::to_string_pretty(&stored).expect("plain data");
    let path = folder.join("prediction.json");
    fs::write(&path, text).map_err(|source| TrialError::File { path, source })?;
    Ok(stored)
}

/// Deploys the candidate and returns what it did. The stored prediction is asked for as proof.
async fn deploy(_: &StoredPrediction, phase: &Phase<'_>) -> Result<Observations, TrialError> {
    phase.carry_out().await?;
    phase.observe()
}

/// Returns what a smoke test and a canary judge make of the same arms.
fn others(entry: &Entry) -> Result<(Option<f64>, Option<f64>), TrialError> {
    let folder = entry.folder.join("report").join("run");
    let run =
        Run::read(&folder).map_err(|error| TrialError::Content { message: error.to_string() })?;
    let arm = |index: usize, manifest: &str| -> Result<Observations, TrialError> {
        let system = load_system(&entry.folder.join(manifest))?;
        let dataset = Dataset::open(&folder.join(ARMS[index]))?;
        Ok(fit::observe(&dataset, &system.system, run.warmup_nanos)?.observations)
    };
    let (baseline, candidate) = (arm(0, "baseline.yaml")?, arm(2, "candidate.yaml")?);
    Ok((
        comparators::smoke_ratio(&baseline, &candidate),
        comparators::judge_score(&baseline, &candidate),
    ))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

// === impl Phase ===

impl Phase<'_> {
    /// Runs the build under the entry's traffic, captured.
    async fn carry_out(&self) -> Result<(), TrialError> {
        let system = load_system(&self.manifest)?;
        let allow = AllowList::default();
        let mut random = self.seed.stream(0, 0, "key");
        let key = std::array::from_fn(|_| random.next_u32() as u8);
        let logs = self.entry.folder.join("logs").join(self.build);
        let arm = production::start(ProductionOptions {
            system: &system,
            dataset: &self.dataset,
            logs: &logs,
            policy: Policy::named("replayable").expect("built in"),
            key: Key::from_bytes(key),
            allow: &allow,
        });
        let arm = arm
            .await
            .map_err(|error| TrialError::Start { build: self.build, source: Box::new(error) })?;
        let visited = self.visit(&arm, &allow).await;
        let stopped = arm.stop().await;
        visited?;
        if self.settings.stop.load(Ordering::SeqCst) {
            return Err(TrialError::Interrupted);
        }
        stopped
            .map(|_| ())
            .map_err(|error| TrialError::Record { build: self.build, message: error.to_string() })
    }

    async fn visit(&self, arm: &Arm, allow: &AllowList) -> Result<(), TrialError> {
        if let Traffic::Command(command) = &self.entry.traffic {
            let url = format!("http://{}", arm.entry());
            return self.visit_by(command, &url).await;
        }
        let requests = Arc::new(self.entry.requests(self.seconds, self.seed)?);
        let target = Target { name: self.build.to_owned(), address: arm.entry() };
        drive(requests, &[target], allow, self.seed, &self.settings.stop, &|_| {}).await?;
        Ok(())
    }

    /// Has a program of the entry make the traffic.
    async fn visit_by(&self, command: &[String], url: &str) -> Result<(), TrialError> {
        let fill = |word: &String| {
            word.replace("{url}", url)
                .replace("{seconds}", &format!("{}", self.seconds))
                .replace("{seed}", &(self.seed.0 >> 1).to_string())
        };
        let words: Vec<String> = command.iter().map(fill).collect();
        let program = words.first().cloned().unwrap_or_default();
        let failed = |how: String| TrialError::Driver { program: program.clone(), how };
        let mut child = tokio::process::Command::new(&program)
            .args(words.iter().skip(1))
            .current_dir(&self.entry.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let limit = Duration::from_secs_f64(self.seconds) + PATIENCE;
        let status = tokio::select! {
            status = tokio::time::timeout(limit, child.wait()) => status,
            () = stopped(&self.settings.stop) => return Err(TrialError::Interrupted),
        };
        let status = status.map_err(|_| failed("did not end".to_owned()))?;
        let status = status.map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
    }

    fn observe(&self) -> Result<Observations, TrialError> {
        let system = load_system(&self.manifest)?;
        let dataset = Dataset::open(&self.dataset)?;
        Ok(fit::observe(&dataset, &system.system, 0)?.observations)
    }
}

async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An eye on the machine over one trial.
struct Watch {
    start: Ticks,
    foreign: f64,
}

// === impl Watch ===

impl Watch {
    async fn start() -> Self {
        let foreign = foreign_load().await;
        Self { start: Ticks::now(), foreign }
    }

    /// Looks again, while nothing of ours runs.
    async fn look(&mut self) {
        self.foreign = self.foreign.max(foreign_load().await);
    }

    fn disturbed(&self) -> bool {
        self.foreign > FOREIGN_LIMIT || Ticks::now().stolen_since(self.start) > STOLEN_LIMIT
    }
}
