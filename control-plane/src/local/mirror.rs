//! Copies what environments have on record into the store: rollouts, their steps, what was said of them, the
//! forecasts that gated them, and what became of those.
//!
//! The records of an environment are the truth; the store follows them, entry by entry, so that the revision of a
//! rollout is the same in both. Whatever was copied before is not copied again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prophecy_core::Timestamp;
use prophecy_predictor::Report;
use prophecy_runner::State;
use prophecy_runner::approval;
use prophecy_runner::environment::EnvironmentFolder;
use prophecy_runner::evidence;
use prophecy_runner::journal::{self, Entry};
use prophecy_runner::judge::Finding;
use prophecy_runner::machine;
use prophecy_runner::outcome;
use prophecy_runner::plan::Plan;
use prophecy_runner::record;
use prophecy_runner::strategy::{Strategy, Weight};
use prophecy_store::{
    Approval, NewLogLine, NewPrediction, Outcome, OutcomeClaim, Page, Prediction, PredictionFilter,
    PublicStatus, Rollout, Step, Store, StoreError, Verdict, sortable_id,
};
use serde_json::json;

use crate::cloud_event::{Happening, Place};
use crate::control::ControlError;
use crate::service::forecast;
use crate::token::new_id;
use crate::trials;

/// How long a claim about a deployment holds, unless it is said.
const WINDOW_SECONDS: u64 = 3_600;

/// Copies records.
#[derive(Debug)]
pub(super) struct Mirror {
    store: Arc<Store>,
    folders: Vec<EnvironmentFolder>,
    /// Rollouts of which nothing new is to come, by the id in the store.
    done: BTreeSet<String>,
    /// How many judgements of a rollout were copied.
    looks: BTreeMap<String, usize>,
}

/// Who asked for a rollout, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub(super) actor: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) prediction_id: Option<String>,
}

/// A rollout on record.
struct Found {
    store_id: String,
    path: PathBuf,
    plan: Plan,
}

// === impl Mirror ===

impl Mirror {
    pub(super) fn new(store: Arc<Store>, folders: &[PathBuf]) -> Self {
        let folders = folders.iter().map(|path| EnvironmentFolder::new(path)).collect();
        Self { store, folders, done: BTreeSet::new(), looks: BTreeMap::new() }
    }

    /// Copies whatever is new. What cannot be copied now is tried again the next time.
    pub(super) async fn copy_all(&mut self) {
        for folder in self.folders.clone() {
            let name = name(&folder);
            for id in folder.rollouts().unwrap_or_default() {
                let store_id = store_id(&id, &name);
                if self.done.contains(&store_id) {
                    continue;
                }
                if let Some(found) = find(&folder, &name, &id) {
                    // The store may be locked or gone for a while.
                    drop(self.copy(&found, &Origin::default()).await);
                }
            }
        }
    }

    /// Copies a rollout that was asked for here, with who asked.
    pub(super) async fn adopt(
        &mut self,
        folder: &EnvironmentFolder,
        name: &str,
        id: &str,
        origin: &Origin,
    ) -> Result<Rollout, ControlError> {
        let found = find(folder, name, id)
            .ok_or_else(|| ControlError::Unavailable("the plan cannot be read again".to_owned()))?;
        Ok(self.copy(&found, origin).await?)
    }

    /// Returns the environment of a rollout, and its name there.
    pub(super) async fn find(
        &self,
        rollout_id: &str,
    ) -> Result<(EnvironmentFolder, String), ControlError> {
        let rollout = self.store.get_rollout(rollout_id).await?;
        for folder in &self.folders {
            let name = name(folder);
            let local = rollout_id.strip_suffix(&format!(".{}", slug(&name)));
            if let Some(id) = local.filter(|_| rollout.environment == name) {
                return Ok((folder.clone(), id.to_owned()));
            }
        }
        Err(ControlError::Unavailable("its environment is not served here".to_owned()))
    }

    async fn copy(&mut self, found: &Found, origin: &Origin) -> Result<Rollout, StoreError> {
        let mut rollout = match self.store.get_rollout(&found.store_id).await {
            Ok(rollout) => rollout,
            Err(StoreError::NotFound { .. }) => {
                let mut rollout = begun(found, origin);
                if rollout.prediction_id.is_none() {
                    rollout.prediction_id = self.prediction(found).await?;
                }
                self.store.create_rollout(&rollout).await?;
                rollout
            }
            Err(error) => return Err(error),
        };
        let entries = journal::entries(&found.path).unwrap_or_default();
        let copied = rollout.revision;
        for entry in entries.iter().filter(|entry| entry.revision > copied) {
            rollout = self.advance(&rollout, &found.plan, &entries, entry).await?;
        }
        self.copy_looks(found).await?;
        self.copy_approvals(found).await?;
        if entries.last().is_some_and(|entry| entry.state.is_final())
            && self.settle(found, &rollout).await?
        {
            self.done.insert(found.store_id.clone());
        }
        Ok(rollout)
    }

    /// Copies one entry of a journal.
    async fn advance(
        &self,
        rollout: &Rollout,
        plan: &Plan,
        entries: &[Entry],
        entry: &Entry,
    ) -> Result<Rollout, StoreError> {
        let moved = entries
            .iter()
            .take_while(|it| it.revision <= entry.revision)
            .any(|it| matches!(it.state, State::Shifting { .. } | State::Promoting));
        let at = Timestamp(entry.at);
        let next = Rollout {
            state: entry.state.name().to_owned(),
            public_status: public(entry.state.public_status(moved)),
            stage: entry.state.stage().map_or(rollout.stage, u64::from),
            weight: weight(plan, entry.state).map_or(rollout.weight, |it| u64::from(it.parts())),
            updated_at: at,
            ended_at: entry.state.is_final().then_some(at),
            reason: Some(entry.reason.clone()).filter(|reason| !reason.is_empty()),
            ..rollout.clone()
        };
        let place = Place {
            subject: &rollout.id,
            system: &rollout.system,
            environment: &rollout.environment,
            candidate_digest: &rollout.candidate_digest,
        };
        let data = json!({
            "state": next.state, "stage": next.stage, "weight": next.weight,
            "revision": entry.revision, "reason": next.reason,
        });
        let events: Vec<_> = happenings(entry.state, plan)
            .into_iter()
            .flat_map(|happening| happening.events(&place, at, &data))
            .collect();
        self.steps(rollout, plan, entry).await?;
        let next = self.store.update_rollout(&next, rollout.revision, &events).await?;
        let level = match entry.state {
            State::RollbackFailed => "error",
            state if state.is_abort() => "warn",
            _ => "info",
        };
        let by = if entry.actor.is_empty() { String::new() } else { format!(" ({})", entry.actor) };
        let text = format!("{}: {}{by}", entry.state, entry.reason);
        let line = NewLogLine { at, level: level.to_owned(), text };
        self.store.append_logs(&rollout.id, &[line]).await?;
        Ok(next)
    }

    /// Writes which step began and which ended with an entry.
    async fn steps(&self, rollout: &Rollout, plan: &Plan, entry: &Entry) -> Result<(), StoreError> {
        let at = Timestamp(entry.at);
        let last = plan.stages.len() as u64;
        let begins = match entry.state {
            State::Shifting { stage } => Some(u64::from(stage)),
            State::Promoting => Some(last),
            _ => None,
        };
        let known = self.store.list_steps(&rollout.id).await?;
        let ends = begins.is_some() || entry.state.is_abort() || entry.state.is_final();
        let open = known.iter().filter(|step| ends && step.ended_at.is_none());
        for step in open.filter(|step| Some(step.step_index) != begins) {
            let failed = entry.state.is_abort();
            self.store
                .put_step(&Step {
                    state: if failed { "failed" } else { "done" }.to_owned(),
                    ended_at: Some(at),
                    verdict: Some(entry.reason.clone()).filter(|_| failed || begins.is_some()),
                    ..step.clone()
                })
                .await?;
        }
        let Some(begun) = begins else { return Ok(()) };
        if known.iter().any(|step| step.step_index == begun && step.ended_at.is_none()) {
            return Ok(());
        }
        let weight = weight(plan, entry.state).unwrap_or(Weight::ALL);
        self.store
            .put_step(&Step {
                rollout_id: rollout.id.clone(),
                step_index: begun,
                state: "running".to_owned(),
                weight: u64::from(weight.parts()),
                started_at: at,
                ended_at: None,
                verdict: None,
            })
            .await
    }

    async fn copy_looks(&mut self, found: &Found) -> Result<(), StoreError> {
        let copied = match self.looks.get(&found.store_id) {
            Some(copied) => *copied,
            None => self.store.list_verdicts(&found.store_id).await?.len(),
        };
        let looks = evidence::looks(&found.path);
        for (index, look) in looks.iter().enumerate().skip(copied) {
            self.store
                .insert_verdict(&Verdict {
                    rollout_id: found.store_id.clone(),
                    stage: u64::from(look.stage),
                    at: Timestamp(look.at),
                    verdict: finding(look.judgement.finding).to_owned(),
                    judgement_json: serde_json::to_string(&look.judgement).expect("plain data"),
                })
                .await?;
            self.looks.insert(found.store_id.clone(), index + 1);
        }
        Ok(())
    }

    /// Copies signed approvals; one that came through the API is there already.
    async fn copy_approvals(&self, found: &Found) -> Result<(), StoreError> {
        let kept = approval::kept(&found.path);
        if kept.is_empty() {
            return Ok(());
        }
        let known = self.store.list_approvals(&found.store_id).await?;
        for one in kept {
            if known.iter().any(|known| known.signed_json.contains(&one.signature)) {
                continue;
            }
            let mut unique = [0; 10];
            unique.copy_from_slice(&blake3::hash(one.signature.as_bytes()).as_bytes()[..10]);
            self.store
                .insert_approval(&Approval {
                    id: sortable_id(one.at, unique),
                    rollout_id: found.store_id.clone(),
                    stage: 0,
                    revision: one.revision,
                    approver: one.actor.clone(),
                    at: one.at,
                    signed_json: serde_json::to_string(&one).expect("plain data"),
                })
                .await?;
        }
        Ok(())
    }

    /// Returns the prediction that gated a rollout, which is registered if nobody has.
    async fn prediction(&self, found: &Found) -> Result<Option<String>, StoreError> {
        let Some(expected) = &found.plan.forecast else { return Ok(None) };
        let Ok(text) = std::fs::read_to_string(found.path.join("report.json")) else {
            return Ok(None);
        };
        let Ok(report) = Report::from_json(&text) else { return Ok(None) };
        let filter = PredictionFilter {
            candidate_digest: Some(report.inputs.candidate.clone()),
            ..PredictionFilter::default()
        };
        let known = self.store.list_predictions(&filter, &Page::newest(100)).await?;
        if let Some(known) = known.iter().find(|known| known.report_digest == expected.digest) {
            return Ok(Some(known.id.clone()));
        }
        let at = Timestamp(found.plan.created_at);
        let id = new_id(at);
        let prediction = Prediction {
            window_seconds: WINDOW_SECONDS,
            ..forecast::record(&id, &report, &text, &found.plan.environment, at)
        };
        let new =
            NewPrediction { claims: forecast::claims(&id, &report), prediction, report_json: text };
        self.store.insert_prediction(&new).await?;
        Ok(Some(id))
    }

    /// Settles the forecast of a rollout that has ended, and says whether nothing more is to come.
    async fn settle(&self, found: &Found, rollout: &Rollout) -> Result<bool, StoreError> {
        let Some(prediction) = &rollout.prediction_id else { return Ok(true) };
        if self.store.get_outcome(prediction).await?.is_some() {
            return Ok(true);
        }
        let Some(measured) = outcome::read(&found.path) else { return Ok(false) };
        let Some((_, claims)) = record::record(&found.path) else { return Ok(true) };
        let known = self.store.list_claims(prediction).await?;
        let known: BTreeSet<&str> = known.iter().map(|claim| claim.claim_id.as_str()).collect();
        let claims: Vec<OutcomeClaim> = claims
            .iter()
            .filter(|claim| known.contains(claim.claim.as_str()))
            .filter_map(|claim| trials::outcome(prediction, claim))
            .collect();
        let at = Timestamp(measured.settled_at);
        let outcome = Outcome {
            prediction_id: prediction.clone(),
            rollout_id: Some(rollout.id.clone()),
            settled_at: at,
            dataset_digest: measured.report.unwrap_or_default(),
            source: "rollout".to_owned(),
        };
        self.store.insert_outcome(&outcome, &claims).await?;
        let place = Place {
            subject: prediction,
            system: &rollout.system,
            environment: &rollout.environment,
            candidate_digest: &rollout.candidate_digest,
        };
        let broken = claims.iter().filter(|claim| claim.breached).count();
        let data = json!({ "claims": claims.len(), "breached": broken });
        for event in Happening::OutcomeSettled.events(&place, at, &data) {
            self.store.insert_event(&event).await?;
        }
        Ok(true)
    }
}

/// Returns an environment's name; one to which nothing was deployed has its folder's.
pub(super) fn name(folder: &EnvironmentFolder) -> String {
    let of_folder = || {
        let path: &Path = folder.path();
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    folder.read().map_or_else(|_| of_folder(), |environment| environment.name)
}

/// Returns a rollout's id in the store: its name sorts by time, and is unique within its environment.
fn store_id(id: &str, environment: &str) -> String {
    format!("{id}.{}", slug(environment))
}

fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    name.chars().take(64).map(plain).collect()
}

fn find(folder: &EnvironmentFolder, name: &str, id: &str) -> Option<Found> {
    let path = folder.rollout(id);
    let plan = serde_json::from_slice(&std::fs::read(path.join("plan.json")).ok()?).ok()?;
    Some(Found { store_id: store_id(id, name), path, plan })
}

fn begun(found: &Found, origin: &Origin) -> Rollout {
    let plan = &found.plan;
    let at = Timestamp(plan.created_at);
    let actor = if origin.actor.is_empty() { &plan.created_by } else { &origin.actor };
    Rollout {
        id: found.store_id.clone(),
        idempotency_key: origin.idempotency_key.clone(),
        system: plan.system.clone(),
        environment: plan.environment.clone(),
        candidate_digest: plan.candidate.digest.clone(),
        strategy: strategy(&plan.strategy).to_owned(),
        state: State::Queued.name().to_owned(),
        public_status: PublicStatus::Pending,
        stage: 0,
        weight: 0,
        revision: 0,
        prediction_id: origin.prediction_id.clone(),
        plan_json: serde_json::to_string(plan).expect("plain data"),
        folder: found.path.display().to_string(),
        created_by: actor.clone(),
        created_at: at,
        updated_at: at,
        ended_at: None,
        reason: None,
    }
}

fn strategy(strategy: &Strategy) -> &'static str {
    match strategy {
        Strategy::Immediate => "immediate",
        Strategy::Rolling { .. } => "rolling",
        Strategy::BlueGreen => "blue_green",
        Strategy::Canary { .. } => "canary",
        Strategy::Shadow { .. } => "shadow",
        Strategy::Ab { .. } => "ab",
    }
}

/// Returns the candidate's share from an entry on, where the entry changes it.
fn weight(plan: &Plan, state: State) -> Option<Weight> {
    match state {
        State::Shifting { stage } => plan.stages.get(stage as usize).map(|stage| stage.weight),
        State::Promoting | State::Soaking | State::Succeeded if plan.strategy.promotes() => {
            Some(Weight::ALL)
        }
        State::RollingBack | State::RolledBack => Some(Weight::ZERO),
        _ => None,
    }
}

fn happenings(state: State, plan: &Plan) -> Vec<Happening> {
    match state {
        State::Provisioning => vec![Happening::Started],
        State::Shifting { .. } | State::Paused { .. } => vec![Happening::StepProgress],
        State::Promoting if matches!(plan.strategy, Strategy::Canary { .. }) => {
            vec![Happening::StepProgress, Happening::CanaryPromoted]
        }
        State::Promoting => vec![Happening::StepProgress],
        State::Soaking | State::Verifying => vec![Happening::HealthCheck],
        State::Succeeded => vec![Happening::Succeeded],
        State::Aborting => vec![Happening::Aborted],
        State::RolledBack => vec![Happening::RolledBack],
        State::RollbackFailed => vec![Happening::Failed],
        _ => Vec::new(),
    }
}

fn public(status: machine::PublicStatus) -> PublicStatus {
    match status {
        machine::PublicStatus::Pending => PublicStatus::Pending,
        machine::PublicStatus::Building => PublicStatus::Building,
        machine::PublicStatus::Deploying => PublicStatus::Deploying,
        machine::PublicStatus::Success => PublicStatus::Success,
        machine::PublicStatus::Failed => PublicStatus::Failed,
        machine::PublicStatus::Cancelled => PublicStatus::Cancelled,
        machine::PublicStatus::RolledBack => PublicStatus::RolledBack,
    }
}

fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Pass => "pass",
        Finding::Fail => "fail",
        Finding::Inconclusive => "inconclusive",
        Finding::NoData => "no_data",
    }
}
