//! One run of the twin: three arms, the same traffic, one dataset each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_capture::recorder::RecordError;
use prophecy_core::{Exchange, Seed, Timestamp};
use prophecy_datasets::run::{ArmCounts, EndedService, RunInputs, SCHEMA};
use prophecy_datasets::{
    Dataset, DatasetOptions, DatasetWriter, OpenDatasetError, ReadDatasetError, Replay, Run,
    WriteDatasetError, write_replays,
};
use thiserror::Error;

use crate::allow_list::AllowList;
use crate::compare::differences;
use crate::launch::{Arm, ArmOptions, Instances, StartArmError};
use crate::manifest::LoadedSystem;
use crate::metrics;
use crate::replay::{PlannedRequest, ReplayError, Reply, Target, drive, plan};
use crate::standin::StandIn;

/// The arms, in order; also the names of their datasets' folders.
pub const ARMS: [&str; 3] = ["baseline", "baseline-again", "candidate"];

/// The most rows of a part of an arm's dataset.
const PART_ROWS: usize = 16_384;

/// The part of a replay that counts as warm-up, and its bound.
const WARMUP_SHARE: f64 = 0.05;
const WARMUP_LIMIT: Duration = Duration::from_secs(5);

/// What is replayed against what.
#[derive(Debug)]
pub struct TwinOptions<'a> {
    /// The captured traffic.
    pub dataset: &'a Dataset,
    /// What runs now.
    pub baseline: &'a LoadedSystem,
    /// What is to be deployed.
    pub candidate: &'a LoadedSystem,
    /// The folder of the run; it must not exist, or be empty.
    pub out: PathBuf,
    /// The key of pseudonyms in the arms' datasets.
    pub key: Key,
    /// The seed of everything drawn.
    pub seed: Seed,
    /// How many times as fast as captured.
    pub speed: f64,
    /// The longest that the replay may take, at its speed.
    pub limit: Option<Duration>,
    /// Where traffic may be sent.
    pub allow: AllowList,
    /// Set to end early.
    pub stop: Arc<AtomicBool>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An arm is being started: its index in [`ARMS`].
    Starting(usize),
    /// Requests replayed, of how many.
    Replaying(u64, u64),
    /// The arms are being stopped.
    Stopping,
}

/// Why a run failed. Whatever had been started was ended.
#[derive(Debug, Error)]
pub enum RunTwinError {
    /// The folder holds something already.
    #[error("`{}` is not empty; a run needs a folder of its own", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write the run `{}`", path.display())]
    Write {
        /// The run.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A dataset could not be opened.
    #[error(transparent)]
    Open(#[from] OpenDatasetError),
    /// The dataset could not be read.
    #[error(transparent)]
    Read(#[from] ReadDatasetError),
    /// There is nothing to replay.
    #[error("the dataset has no exchange with the entry `{entry}` that could be replayed")]
    Nothing {
        /// The entry.
        entry: String,
    },
    /// Nothing was captured of a dependency.
    #[error(
        "dependency `{dependency}` cannot be stood in for: the dataset has no exchange with it"
    )]
    NoBehaviour {
        /// The dependency.
        dependency: String,
    },
    /// An arm did not start.
    #[error("cannot start arm `{arm}`")]
    Start {
        /// The arm.
        arm: &'static str,
        /// Why.
        #[source]
        source: Box<StartArmError>,
    },
    /// A service of the baseline ended while it was replayed to.
    #[error("service `{service}` of arm `{arm}` ended with {status} during the replay")]
    Died {
        /// The arm.
        arm: &'static str,
        /// The service.
        service: String,
        /// How it ended.
        status: String,
    },
    /// The traffic could not be sent.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// An arm's dataset could not be started.
    #[error(transparent)]
    Create(#[from] WriteDatasetError),
    /// An arm's dataset could not be finished.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It was asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// Runs three arms under the same traffic, and writes what they did.
///
/// # Errors
///
/// Each variant of [`RunTwinError`].
pub async fn run_twin(
    options: TwinOptions<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Run, RunTwinError> {
    let out = options.out.clone();
    let write = |source| RunTwinError::Write { path: out.clone(), source };
    fs::create_dir_all(&options.out).map_err(write)?;
    if fs::read_dir(&options.out).map_err(write)?.next().is_some() {
        return Err(RunTwinError::Occupied { path: options.out });
    }
    let exchanges = options.dataset.exchanges()?;
    let entry = &options.baseline.system.entry;
    let replicas = options.baseline.system.services[entry].replicas;
    let share = 1.0 / f64::from(replicas);
    let seed = options.seed.derive("replay");
    let (mut planned, left_out) = plan(&exchanges, entry, options.speed, share, seed);
    if let Some(limit) = options.limit {
        planned.retain(|request| u128::from(request.offset_nanos) < limit.as_nanos());
    }
    let Some(last) = planned.last() else {
        return Err(RunTwinError::Nothing { entry: entry.clone() });
    };
    let window_nanos = last.offset_nanos + 1;
    let load_average = load_average();

    let mut twin = Twin::start(&options, &exchanges, progress).await?;
    let planned = Arc::new(planned);
    let (replies, clock, ended) = twin.replay(&options, &planned, progress).await?;
    if options.stop.load(Ordering::SeqCst) {
        return Err(RunTwinError::Interrupted);
    }
    progress(Progress::Stopping);
    let standin_misses = twin.standins.iter().flatten().map(StandIn::misses).sum();
    twin.stop().await?;
    write_replays(&options.out, &rows(&planned, &replies, clock)).map_err(write)?;
    let warmup_share = (WARMUP_SHARE * window_nanos as f64) as u64;
    let run = Run {
        schema: SCHEMA.to_owned(),
        seed: options.seed.0,
        speed: options.speed,
        share,
        window_nanos,
        warmup_nanos: warmup_share.min(WARMUP_LIMIT.as_nanos() as u64),
        inputs: RunInputs {
            dataset: dataset_digest(options.dataset),
            baseline: options.baseline.digest.clone(),
            candidate: options.candidate.digest.clone(),
            policy: options.dataset.manifest().anonymization.policy.clone(),
        },
        left_out,
        arms: (0..ARMS.len()).map(|arm| arm_counts(arm, planned.len() as u64, &replies)).collect(),
        differences: differences(&planned, &replies),
        standin_misses,
        ended,
        load_average,
    };
    run.write(&options.out).map_err(write)?;
    Ok(run)
}

/// Three running arms and what stands in for their dependencies.
struct Twin {
    arms: Vec<Arm>,
    standins: Vec<Vec<StandIn>>,
}

// === impl Twin ===

impl Twin {
    async fn start(
        options: &TwinOptions<'_>,
        exchanges: &[Exchange],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, RunTwinError> {
        let mut twin = Self { arms: Vec::new(), standins: Vec::new() };
        for (index, arm) in ARMS.into_iter().enumerate() {
            if options.stop.load(Ordering::SeqCst) {
                return Err(RunTwinError::Interrupted);
            }
            progress(Progress::Starting(index));
            let system = if index == 2 { options.candidate } else { options.baseline };
            let (started, standins) =
                start_arm(options, exchanges, arm, system, &options.out).await?;
            twin.arms.push(started);
            twin.standins.push(standins);
        }
        Ok(twin)
    }

    async fn replay(
        &mut self,
        options: &TwinOptions<'_>,
        planned: &Arc<Vec<PlannedRequest>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Vec<Reply>, Clock, Vec<EndedService>), RunTwinError> {
        let targets: Vec<Target> = ARMS
            .iter()
            .zip(&self.arms)
            .map(|(name, arm)| Target { name: (*name).to_owned(), address: arm.entry() })
            .collect();
        let clock = Clock { instant: Instant::now(), at: metrics::now() };
        let total = planned.len() as u64;
        let tell = |done| progress(Progress::Replaying(done, total));
        let seed = options.seed.derive("order");
        let replies =
            drive(Arc::clone(planned), &targets, &options.allow, seed, &options.stop, &tell)
                .await?;
        let (candidate, baselines) = self.arms.split_last_mut().expect("three arms");
        for (arm, running) in ARMS.into_iter().zip(baselines) {
            if let Some(EndedService { service, status }) = running.ended_services().pop() {
                return Err(RunTwinError::Died { arm, service, status });
            }
        }
        Ok((replies, clock, candidate.ended_services()))
    }

    async fn stop(&mut self) -> Result<(), RunTwinError> {
        for arm in self.arms.drain(..) {
            arm.stop().await?;
        }
        Ok(())
    }
}

/// Starts an arm, and what stands in for its dependencies, with its dataset in a folder.
pub(crate) async fn start_arm(
    options: &TwinOptions<'_>,
    exchanges: &[Exchange],
    arm: &'static str,
    system: &LoadedSystem,
    folder: &Path,
) -> Result<(Arm, Vec<StandIn>), RunTwinError> {
    let (standins, addresses) = stand_ins(system, exchanges, folder).await?;
    let sanitizer = sanitizer(options);
    let writer = DatasetWriter::create(&folder.join(arm), dataset_options(arm, &sanitizer))?;
    let started = Arm::start(ArmOptions {
        name: arm.to_owned(),
        system,
        writer,
        sanitizer,
        logs: folder.join("logs").join(arm),
        allow: &options.allow,
        instances: Instances::One,
        standins: addresses,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
    });
    let started = started.await;
    let started =
        started.map_err(|source| RunTwinError::Start { arm, source: Box::new(source) })?;
    Ok((started, standins))
}

/// One moment on two clocks.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    at: Timestamp,
}

impl Clock {
    fn at(self, instant: Instant) -> Timestamp {
        self.at.plus_nanos(instant.saturating_duration_since(self.instant).as_nanos() as u64)
    }
}

async fn stand_ins(
    system: &LoadedSystem,
    exchanges: &[Exchange],
    out: &Path,
) -> Result<(Vec<StandIn>, BTreeMap<String, SocketAddr>), RunTwinError> {
    let mut standins = Vec::new();
    let mut addresses = BTreeMap::new();
    for dependency in system.system.dependencies.keys() {
        let started = StandIn::start(dependency, exchanges).await;
        let started =
            started.map_err(|source| RunTwinError::Write { path: out.to_owned(), source })?;
        let standin =
            started.ok_or_else(|| RunTwinError::NoBehaviour { dependency: dependency.clone() })?;
        addresses.insert(dependency.clone(), standin.address());
        standins.push(standin);
    }
    Ok((standins, addresses))
}

/// Returns a sanitizer with the dataset's policy where it is built in, else the one that denies.
fn sanitizer(options: &TwinOptions<'_>) -> Sanitizer {
    let name = &options.dataset.manifest().anonymization.policy;
    let policy = Policy::named(name).or_else(|| Policy::named("replayable"));
    Sanitizer::new(policy.expect("built in"), options.key.clone())
}

/// Returns what a dataset of this arm says about itself.
pub fn dataset_options(source: &str, sanitizer: &Sanitizer) -> DatasetOptions {
    DatasetOptions {
        sources: vec![source.to_owned()],
        policy_name: sanitizer.policy().name().to_owned(),
        policy_digest: sanitizer.policy().digest(),
        key_id: sanitizer.key_id(),
        part_rows: PART_ROWS,
    }
}

/// Returns the BLAKE3 digest of a dataset's manifest, which holds those of its parts.
pub fn dataset_digest(dataset: &Dataset) -> String {
    let text = serde_json::to_vec(dataset.manifest()).expect("a manifest is plain data");
    blake3::hash(&text).to_hex().to_string()
}

fn arm_counts(arm: usize, offered: u64, replies: &[Reply]) -> ArmCounts {
    let of_arm = || replies.iter().filter(|reply| reply.target == arm);
    let mut lags: Vec<u64> = of_arm()
        .filter_map(|reply| reply.sent_at.map(|at| at.saturating_duration_since(reply.intended_at)))
        .map(|lag| lag.as_nanos() as u64)
        .collect();
    lags.sort_unstable();
    let lag = |level| prophecy_core::quantile::of_sorted(&lags, level).unwrap_or(0);
    ArmCounts {
        name: ARMS[arm].to_owned(),
        offered,
        sent: lags.len() as u64,
        unanswered: of_arm()
            .filter(|reply| reply.sent_at.is_some() && reply.answer.is_err())
            .count() as u64,
        send_lag_p50_nanos: lag(0.5),
        send_lag_p99_nanos: lag(0.99),
        send_lag_max_nanos: lag(1.0),
    }
}

fn rows(planned: &[PlannedRequest], replies: &[Reply], clock: Clock) -> Vec<Replay> {
    let row = |reply: &Reply| {
        let answer = reply.answer.as_ref().ok();
        Replay {
            exchange_id: planned[reply.request].exchange_id,
            arm: ARMS[reply.target].to_owned(),
            intended_at: clock.at(reply.intended_at),
            sent_at: reply.sent_at.map(|at| clock.at(at)),
            first_byte_at: answer.map(|answer| clock.at(answer.first_byte_at)),
            ended_at: answer.map(|answer| clock.at(answer.ended_at)),
            status: answer.map(|answer| answer.status),
            bytes: answer.map_or(0, |answer| answer.bytes),
            error: reply.answer.as_ref().err().map(|word| (*word).to_owned()),
            body_digest: answer.map(|answer| *blake3::hash(&answer.body).as_bytes()),
        }
    };
    replies.iter().map(row).collect()
}

fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
