//! Rollouts of environments on this machine: plans are made here, and carried out by processes of their own, so
//! that a rollout goes on when the control plane ends.

mod mirror;

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use prophecy_core::system::Span;
use prophecy_runner::approval::{self, Approval};
use prophecy_runner::begin::{self, BeginError, Request};
use prophecy_runner::control;
use prophecy_runner::environment::{EnvironmentError, EnvironmentFolder};
use prophecy_runner::settings::Settings;
use prophecy_runner::strategy::{Select, Strategy, Weight};
use prophecy_store::{LogLine, Rollout, Store};
use prophecy_twin::load_system;
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use self::mirror::{Mirror, Origin};
use crate::clock;
use crate::control::{Act, ControlError, Pending, PlanRequest, Rollouts, Verb};

/// How often the records of environments are read.
const LOOK: Duration = Duration::from_millis(500);

/// How long is waited for a rollout to follow what it was told.
const FOLLOW: Duration = Duration::from_secs(15);

/// What the rollouts of this machine are carried out with.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The folders of the environments.
    pub environments: Vec<PathBuf>,
    /// The folder of manifests that may be deployed through the API; without one, none may.
    pub manifests: Option<PathBuf>,
    /// What is set for rollouts that are begun through the API.
    pub settings: Settings,
    /// The `prophecy` program.
    pub program: PathBuf,
}

/// Rollouts of environments on this machine.
#[derive(Debug)]
pub struct LocalRollouts {
    options: LocalOptions,
    mirror: Mutex<Mirror>,
    store: Arc<Store>,
}

/// What a request says about how its candidate comes to its traffic.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The manifest, below the folder of manifests.
    manifest: PathBuf,
    steps: Option<Vec<Weight>>,
    share: Option<Weight>,
    select: Option<Select>,
    batch: Option<u32>,
    observe: Option<Span>,
    soak: Option<Span>,
    #[serde(default)]
    again: BTreeSet<String>,
}

// === impl LocalRollouts ===

impl LocalRollouts {
    /// Makes it; nothing is read yet.
    pub fn new(options: LocalOptions, store: Arc<Store>) -> Self {
        let mirror = Mirror::new(Arc::clone(&store), &options.environments);
        Self { options, mirror: Mutex::new(mirror), store }
    }

    /// Copies what environments have on record into the store.
    pub async fn catch_up(&self) {
        self.mirror.lock().await.copy_all().await;
    }

    /// Does so again and again, until told to end.
    pub async fn follow(self: Arc<Self>, mut ending: watch::Receiver<bool>) {
        loop {
            self.mirror.lock().await.copy_all().await;
            tokio::select! {
                () = sleep(LOOK) => {}
                _ended = ending.wait_for(|ending| *ending) => return,
            }
        }
    }

    async fn begin(&self, request: PlanRequest) -> Result<Rollout, ControlError> {
        let plan_error = |error: &dyn std::error::Error| ControlError::Plan(chain(error));
        let wanted: Wanted =
            serde_json::from_value(request.plan.clone()).map_err(|error| plan_error(&error))?;
        let manifest = self.manifest(&wanted.manifest)?;
        let loaded = load_system(&manifest).map_err(|error| plan_error(&error))?;
        if loaded.digest != request.candidate_digest {
            return Err(ControlError::Plan("the manifest is not of that digest".to_owned()));
        }
        let (folder, name) = self.environment(&request.environment)?;
        let report = match &request.prediction_id {
            Some(id) => Some(self.store.get_report(id).await?),
            None => None,
        };
        let kept = report.map(|text| Kept::write(&text)).transpose()?;
        let asked = Request {
            candidate: manifest,
            strategy: strategy(&request.strategy, &wanted)?,
            report: kept.as_ref().map(|kept| kept.0.clone()),
            again: wanted.again,
            settings: Settings {
                observe: wanted.observe.unwrap_or(self.options.settings.observe),
                soak: wanted.soak.unwrap_or(self.options.settings.soak),
                ..self.options.settings.clone()
            },
            listen: None,
            name: None,
            router: None,
            actor: request.actor.clone(),
        };
        let origin = Origin {
            actor: request.actor,
            idempotency_key: request.idempotency_key,
            prediction_id: request.prediction_id,
        };
        // Nothing else may copy it before it is known who asked.
        let mut mirror = self.mirror.lock().await;
        let hold = folder.hold_after().map_err(held)?;
        let plan = begin::begin(&folder, &asked, clock::now()).map_err(|error| refused(&error))?;
        drop(kept);
        let rollout = mirror.adopt(&folder, &name, &plan.id, &origin).await?;
        drop(hold);
        self.spawn(&["rollout", "resume"], &folder, &plan.id, None)?;
        Ok(rollout)
    }

    /// Returns a manifest below the folder of manifests.
    fn manifest(&self, wanted: &Path) -> Result<PathBuf, ControlError> {
        let Some(folder) = &self.options.manifests else {
            let why = "this server deploys nothing: it was started without a folder of manifests";
            return Err(ControlError::Refused { verb: "begun", why: why.to_owned() });
        };
        let plain = wanted.components().all(|part| matches!(part, Component::Normal(_)));
        let found = plain.then(|| folder.join(wanted).canonicalize().ok()).flatten();
        let inside = folder.canonicalize().ok();
        // A link inside may lead out.
        found
            .filter(|path| inside.is_some_and(|inside| path.starts_with(inside)))
            .ok_or_else(|| ControlError::Plan("there is no such manifest".to_owned()))
    }

    fn environment(&self, name: &str) -> Result<(EnvironmentFolder, String), ControlError> {
        let folders = self.options.environments.iter().map(|path| EnvironmentFolder::new(path));
        let mut named = folders.map(|folder| {
            let name = mirror::name(&folder);
            (folder, name)
        });
        named.find(|(_, known)| known == name).ok_or_else(|| {
            ControlError::Plan("this server has no environment of that name".to_owned())
        })
    }

    /// Starts a process that outlives this one.
    fn spawn(
        &self,
        words: &[&str],
        folder: &EnvironmentFolder,
        id: &str,
        reason: Option<&str>,
    ) -> Result<(), ControlError> {
        let unavailable = |error: std::io::Error| ControlError::Unavailable(error.to_string());
        let log = folder.rollout(id).join("executor.log");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let output = output.map_err(unavailable)?;
        let errors = output.try_clone().map_err(unavailable)?;
        let mut command = Command::new(&self.options.program);
        command.args(words).arg(id).arg("--environment").arg(folder.path());
        command.args(reason.map(|reason| format!("--reason={reason}")));
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let mut child = command.spawn().map_err(unavailable)?;
        // Waited for, so that it leaves no zombie; it goes on if this process ends.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    async fn steer(&self, act: Act) -> Result<Rollout, ControlError> {
        let (folder, id) = self.mirror.lock().await.find(&act.rollout_id).await?;
        let free = match folder.hold() {
            Ok(hold) => {
                drop(hold);
                true
            }
            Err(EnvironmentError::Held { .. }) => false,
            Err(error) => return Err(ControlError::Unavailable(chain(&error))),
        };
        let reason = act.reason.clone().unwrap_or_default();
        let reason =
            if reason.is_empty() { act.actor.clone() } else { format!("{}: {reason}", act.actor) };
        match act.verb {
            Verb::Abort | Verb::Rollback if free => {
                self.spawn(&["rollout", act.verb.word()], &folder, &id, Some(&reason))?;
            }
            Verb::Resume if free => self.spawn(&["rollout", "resume"], &folder, &id, None)?,
            Verb::Promote | Verb::Pause if free => {
                let why = "nobody carries it out; resume it first".to_owned();
                return Err(ControlError::Unavailable(why));
            }
            _ => {
                let command = control::Command {
                    verb: verb(act.verb),
                    revision: Some(act.expected_revision),
                    actor: act.actor.clone(),
                    reason,
                };
                let said = control::say(&folder.rollout(&id), &command, clock::now()).await;
                let answer = said.map_err(|error| ControlError::Unavailable(chain(&error)))?;
                if !answer.accepted {
                    let verb = participle(act.verb);
                    return Err(ControlError::Refused { verb, why: answer.message });
                }
            }
        }
        self.followed(&act).await
    }

    /// Waits until a rollout has moved on from where its steerer saw it.
    async fn followed(&self, act: &Act) -> Result<Rollout, ControlError> {
        let until = Instant::now() + FOLLOW;
        loop {
            self.mirror.lock().await.copy_all().await;
            let rollout = self.store.get_rollout(&act.rollout_id).await?;
            if rollout.revision > act.expected_revision
                || rollout.ended_at.is_some()
                || Instant::now() >= until
            {
                return Ok(rollout);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Rollouts for LocalRollouts {
    fn create(&self, request: PlanRequest) -> Pending<'_, Rollout> {
        Box::pin(self.begin(request))
    }

    fn act(&self, act: Act) -> Pending<'_, Rollout> {
        Box::pin(self.steer(act))
    }

    fn approve(&self, rollout_id: String, signed: serde_json::Value) -> Pending<'_, ()> {
        Box::pin(async move {
            let (folder, id) = self.mirror.lock().await.find(&rollout_id).await?;
            let approval: Approval = serde_json::from_value(signed)
                .map_err(|_| ControlError::Plan("`signed` is no signed approval".to_owned()))?;
            if approval.rollout != id {
                return Err(ControlError::Plan("the approval is of another rollout".to_owned()));
            }
            approval::keep(&folder.rollout(&id), &approval)
                .map_err(|error| ControlError::Unavailable(error.to_string()))
        })
    }

    fn logs(&self, rollout_id: String, after: u64, limit: u32) -> Pending<'_, Vec<LogLine>> {
        Box::pin(async move { Ok(self.store.list_logs(&rollout_id, after, limit).await?) })
    }
}

/// A report in a file of its own, for as long as a plan is made from it.
struct Kept(PathBuf);

// === impl Kept ===

impl Kept {
    fn write(text: &str) -> Result<Self, ControlError> {
        let unavailable = |error: std::io::Error| ControlError::Unavailable(error.to_string());
        let name = crate::token::random_hex()
            .map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("prophecy-report-{name}.json"));
        let kept = Self(path);
        std::fs::write(&kept.0, text).map_err(unavailable)?;
        Ok(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn strategy(kind: &str, wanted: &Wanted) -> Result<Strategy, ControlError> {
    let share = || wanted.share.unwrap_or(Weight::of_parts(50_000));
    let steps = || {
        let usual = || [5_000, 25_000, 50_000].map(Weight::of_parts).to_vec();
        wanted.steps.clone().unwrap_or_else(usual)
    };
    Ok(match kind {
        "immediate" => Strategy::Immediate,
        "rolling" => Strategy::Rolling { batch: wanted.batch.unwrap_or(1) },
        "blue_green" => Strategy::BlueGreen,
        "canary" => Strategy::Canary { steps: steps() },
        "shadow" => Strategy::Shadow { share: share() },
        "ab" => Strategy::Ab { share: share(), select: wanted.select.clone() },
        _ => return Err(ControlError::Plan("there is no such strategy".to_owned())),
    })
}

fn verb(verb: Verb) -> control::Verb {
    match verb {
        Verb::Promote => control::Verb::Promote,
        Verb::Pause => control::Verb::Pause,
        Verb::Resume => control::Verb::Resume,
        Verb::Abort => control::Verb::Abort,
        Verb::Rollback => control::Verb::Rollback,
    }
}

fn participle(verb: Verb) -> &'static str {
    match verb {
        Verb::Promote => "promoted",
        Verb::Pause => "paused",
        Verb::Resume => "resumed",
        Verb::Abort => "aborted",
        Verb::Rollback => "rolled back",
    }
}

fn held(error: EnvironmentError) -> ControlError {
    match error {
        EnvironmentError::Held { .. } => ControlError::Refused {
            verb: "begun",
            why: "another rollout is being carried out there".to_owned(),
        },
        error => ControlError::Unavailable(chain(&error)),
    }
}

fn refused(error: &BeginError) -> ControlError {
    match error {
        BeginError::UnderWay { .. } | BeginError::Edited { .. } => {
            ControlError::Refused { verb: "begun", why: chain(error) }
        }
        BeginError::File { .. } | BeginError::Environment(_) => {
            ControlError::Unavailable(chain(error))
        }
        _ => ControlError::Plan(chain(error)),
    }
}

/// Writes an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
