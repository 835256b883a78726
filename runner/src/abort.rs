//! Giving up: traffic back to what ran before, proven to serve, and the candidate ended.
//!
//! Nothing here calls anything of going forward, and nothing that fails here stops the rest: a journal
//! that cannot be written, a router that does not answer, a store that is gone. What ran before is asked
//! whether it is healthy *before* traffic goes there.

use std::fs;
use std::time::Duration;

use prophecy_twin::launch::probe;
use tokio::time::{Instant, sleep, timeout};

use crate::environment::{Environment, EnvironmentFolder};
use crate::executor::migrate;
use crate::journal::{self, Entry, Journal};
use crate::machine::State;
use crate::migration::AbortAction;
use crate::plan::Plan;
use crate::traffic::{Router, RouterError, Traffic, edges};

/// How long a router gets for one answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How long to wait before a router is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Everything that giving up needs.
#[derive(Debug)]
pub struct Abort<'a> {
    /// The environment's folder.
    pub folder: &'a EnvironmentFolder,
    /// What runs where.
    pub environment: Environment,
    /// The plan that is given up.
    pub plan: &'a Plan,
    /// What carries the traffic.
    pub router: &'a dyn Router,
    /// Why.
    pub reason: String,
    /// Who said so; empty where nobody had to.
    pub actor: String,
    /// Whether the candidate was found to be bad, so that it is not tried again by mistake.
    pub judged: bool,
    /// Now, in nanoseconds since 1970, for the journal.
    pub clock: fn() -> prophecy_core::Timestamp,
}

/// How giving up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `rolled_back` or `rollback_failed`.
    pub state: State,
    /// What happened on the way, in sentences.
    pub notes: Vec<String>,
}

// === impl Abort ===

impl Abort<'_> {
    /// Carries it out, from wherever the journal says it is.
    pub async fn carry_out(mut self, journal: &mut Journal) -> Ended {
        let mut notes = Vec::new();
        let deadline = Instant::now() + self.plan.settings.deadlines.abort.0;
        if !journal.state().is_abort() {
            self.note(journal, State::Aborting, &self.reason.clone(), &mut notes);
        }
        let failed =
            match timeout(deadline - Instant::now(), self.go_back(journal, &mut notes)).await {
                Ok(Ok(())) => None,
                Ok(Err(found)) => Some(found),
                Err(_) => Some(format!(
                    "it is not done after {} s",
                    self.plan.settings.deadlines.abort.0.as_secs()
                )),
            };
        let (state, words) = match failed {
            None if journal.moved() => {
                (State::RolledBack, "what ran before serves all traffic again".to_owned())
            }
            None => (State::RolledBack, "what runs was not touched".to_owned()),
            Some(found) => (State::RollbackFailed, found),
        };
        self.note(journal, state, &words, &mut notes);
        notes.push(words);
        Ended { state, notes }
    }

    async fn go_back(
        &mut self,
        journal: &mut Journal,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        if !journal.moved() {
            // No client has met the candidate: there is nothing to go back from but the data.
            self.migrate_back(notes).await?;
            self.note(journal, State::RollingBack, "no traffic was moved", notes);
            self.note(journal, State::Verifying, "what runs is as it was", notes);
            self.end_candidate().await;
            self.record(notes);
            return Ok(());
        }
        if self.environment.live.is_empty() {
            return Err("nothing ran before: there is nothing to go back to".to_owned());
        }
        self.migrate_back(notes).await?;
        self.prove_healthy(notes).await?;
        self.note(journal, State::RollingBack, "traffic goes back", notes);
        self.send_back(notes).await?;
        self.note(journal, State::Verifying, "traffic is back; is it served?", notes);
        self.drain(notes).await;
        self.prove_serving().await?;
        self.end_candidate().await;
        self.record(notes);
        Ok(())
    }

    /// Does to the data what going back needs; where there is no way back, traffic stays where it is.
    async fn migrate_back(&self, notes: &mut Vec<String>) -> Result<(), String> {
        let Some(migration) = &self.plan.settings.migration else { return Ok(()) };
        let rollout = self.folder.rollout(&self.plan.id);
        let (forward, mut back) = migrate::progress(&rollout);
        loop {
            match migration.rollback.on_abort(forward, back) {
                AbortAction::RollBack => return Ok(()),
                AbortAction::FreezeAndPage { reason } => return Err(reason),
                AbortAction::MigrateBack { command } => {
                    notes.push(format!("the migration back is run: `{}`", command.join(" ")));
                    back = migrate::back(&rollout, &command, migration.within.0).await;
                }
            }
        }
    }

    /// Asks what ran before whether it is healthy, and starts what of it is not there.
    async fn prove_healthy(&self, notes: &mut Vec<String>) -> Result<(), String> {
        let home = self.folder.home(&self.environment);
        for group in self.live_groups() {
            if group.ailing(home).await.is_empty() {
                continue;
            }
            notes.push(format!("`{}` was not healthy and is started again", group.id));
            if let Err(error) = group.start(home).await {
                return Err(format!("what ran before cannot be started: {}", chain(&error)));
            }
            if let Some(found) = group.ailing(home).await.into_iter().next() {
                return Err(format!("what ran before is not healthy: {found}"));
            }
        }
        Ok(())
    }

    /// Sends all traffic back. A router that does not answer is passed by: with the candidate's instances
    /// gone, it finds what ran before by itself.
    async fn send_back(&self, notes: &mut Vec<String>) -> Result<(), String> {
        let back = Traffic::live();
        let edges = edges(&self.environment, &back);
        let patience = Instant::now() + self.plan.settings.deadlines.abort.0 / 4;
        let mut last = String::new();
        while Instant::now() < patience {
            match timeout(ANSWER, self.router.apply(&edges, &back)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(RouterError::Refused { message })) => {
                    last = message;
                    break;
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => "the router does not answer".clone_into(&mut last),
            }
            sleep(PAUSE).await;
        }
        notes.push(format!("{last}; the candidate's instances are ended instead"));
        self.end_groups(&self.plan.candidate_group()).await;
        Ok(())
    }

    /// Waits until nothing is in flight on the candidate.
    async fn drain(&self, notes: &mut Vec<String>) {
        let until = Instant::now() + self.plan.settings.drain.0;
        while Instant::now() < until {
            match timeout(ANSWER, self.router.in_flight()).await {
                Ok(Ok(counts)) => {
                    let ours = [self.plan.candidate_group(), self.plan.control_group()];
                    if ours.iter().all(|id| counts.get(id).copied().unwrap_or(0) == 0) {
                        return;
                    }
                }
                _ => break,
            }
            sleep(PAUSE / 2).await;
        }
        notes
            .push("requests may have been in flight on the candidate when it was ended".to_owned());
    }

    /// Asks as a client would.
    async fn prove_serving(&self) -> Result<(), String> {
        let path = crate::site::health_path(&self.environment);
        let mut found = String::new();
        for _ in 0..50 {
            match timeout(ANSWER, probe::ask(self.environment.listen, path.as_deref())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(words)) => found = words,
                Err(_) => "it does not answer".clone_into(&mut found),
            }
            sleep(PAUSE).await;
        }
        Err(format!("clients are not served: {found}"))
    }

    async fn end_candidate(&self) {
        self.end_groups(&self.plan.candidate_group()).await;
        self.end_groups(&self.plan.control_group()).await;
    }

    async fn end_groups(&self, id: &str) {
        if let Some(group) = self.environment.groups.get(id) {
            group.stop(self.folder.home(&self.environment)).await;
        }
    }

    /// Writes that the candidate is gone and rejected.
    fn record(&mut self, notes: &mut Vec<String>) {
        forget(&mut self.environment, self.plan, self.judged);
        if let Err(error) = self.folder.write(&self.environment) {
            notes.push(format!("the environment's file could not be written: {}", chain(&error)));
        }
    }

    fn live_groups(&self) -> impl Iterator<Item = &crate::group::Group> {
        let live: std::collections::BTreeSet<&String> = self.environment.live.values().collect();
        live.into_iter().filter_map(|id| self.environment.groups.get(id))
    }

    /// Writes to the journal if it can be written.
    fn note(&self, journal: &mut Journal, state: State, reason: &str, notes: &mut Vec<String>) {
        let mut entry = Entry::new((self.clock)(), state, reason);
        entry.actor.clone_from(&self.actor);
        if journal.state().may_become(state)
            && let Err(error) = journal.write(entry)
        {
            notes.push(format!("not on record: {}", chain(&error)));
        }
    }
}

/// Takes the candidate out of what runs, and marks it if it was found to be bad.
fn forget(environment: &mut Environment, plan: &Plan, judged: bool) {
    for id in [plan.candidate_group(), plan.control_group()] {
        environment.groups.remove(&id);
    }
    environment.rollout = None;
    if judged {
        environment.rejected.insert(plan.candidate.digest.clone(), plan.id.clone());
    }
}

/// Returns what runs, less a candidate that was rolled back: its journal says so where a full disk kept the
/// environment's file from being written.
pub(crate) fn settled(folder: &EnvironmentFolder, mut environment: Environment) -> Environment {
    let Some(path) = environment.rollout.as_ref().map(|id| folder.rollout(id)) else {
        return environment;
    };
    let entries = journal::entries(&path).unwrap_or_default();
    let plan = fs::read(path.join("plan.json")).ok();
    let plan: Option<Plan> = plan.and_then(|text| serde_json::from_slice(&text).ok());
    let is_back = entries.last().is_some_and(|entry| entry.state == State::RolledBack);
    if let Some(plan) = plan.filter(|_| is_back) {
        let aborting = entries.iter().filter(|entry| entry.state == State::Aborting);
        let mut evidence = aborting.filter_map(|entry| entry.evidence.as_ref());
        let judged = evidence.any(|it| it.get("judgement").is_some());
        forget(&mut environment, &plan, judged);
    }
    environment
}

/// Returns an error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
