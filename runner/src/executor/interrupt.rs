//! What ends a step before it is done: somebody, ill health, a deadline.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Executor;
use super::hooks::Caller;
use super::watchdog::Watchdog;
use crate::control;
use crate::environment::EnvironmentFolder;
use crate::group::Group;
use crate::machine::State;
use crate::strategy::Weight;

/// How often is listened.
const TICK: Duration = Duration::from_millis(100);

/// Who gives a rollout up, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GivenUp {
    /// Why.
    pub(super) reason: String,
    /// Who; empty where nobody had to say so.
    pub(super) actor: String,
    /// What it rests on.
    pub(super) evidence: Option<serde_json::Value>,
}

/// What can interrupt one step.
#[derive(Debug)]
pub(super) struct Interrupts {
    rollout: PathBuf,
    state: State,
    revision: u64,
    deadline: Instant,
    deadline_words: String,
    watched: Vec<Group>,
    folder: EnvironmentFolder,
    environment: String,
    every: Duration,
    failures: u32,
    caller: Option<Caller>,
}

// === impl Interrupts ===

impl Interrupts {
    /// Listens to what concerns a rollout in a state.
    pub(super) fn of(executor: &Executor, state: State) -> Self {
        let plan = &executor.plan;
        let settings = &plan.settings;
        let deadlines = &settings.deadlines;
        let margin = Duration::from_mins(1);
        // A hook that confirms may take as long as a person.
        let asked = if settings.hooks.is_empty() { Duration::ZERO } else { deadlines.paused.0 };
        let limit = match state {
            State::Provisioning => deadlines.provisioning.0,
            State::Gated | State::Paused { .. } => deadlines.paused.0,
            State::Settling { .. } => settings.settle.0 + margin,
            State::Observing { .. } => {
                let stage = state.stage().and_then(|stage| plan.stages.get(stage as usize));
                2 * stage.map_or(settings.observe.0, |stage| stage.observe.0) + margin
            }
            State::Promoting => settings.drain.0 + deadlines.shifting.0 + asked,
            State::Shifting { .. } => deadlines.shifting.0 + asked,
            State::Soaking => settings.soak.0 + settings.drain.0 + margin,
            _ => deadlines.shifting.0,
        };
        let moved = matches!(
            state,
            State::Shifting { .. }
                | State::Settling { .. }
                | State::Observing { .. }
                | State::Paused { .. }
                | State::Promoting
                | State::Soaking
        );
        let candidate = executor.environment.groups.get(&plan.candidate_group());
        Self {
            rollout: executor.site.folder.rollout(&plan.id),
            state,
            revision: executor.journal.revision(),
            deadline: Instant::now() + limit,
            deadline_words: format!("it was {state} for longer than {} s", limit.as_secs()),
            watched: candidate.filter(|_| moved).cloned().into_iter().collect(),
            folder: executor.site.folder.clone(),
            environment: executor.environment.name.clone(),
            every: settings.health.every.0,
            failures: settings.health.failures,
            caller: executor.caller(Weight::ZERO).ok().filter(|_| moved),
        }
    }

    /// Waits until something interrupts.
    pub(super) async fn wait(self, watchdog: &Watchdog) -> GivenUp {
        tokio::select! {
            given_up = self.said(watchdog) => given_up,
            reason = self.ill() => GivenUp { reason, actor: String::new(), evidence: None },
            reason = self.called_back() => GivenUp { reason, actor: "hook".to_owned(), evidence: None },
            () = tokio::time::sleep_until(self.deadline) => GivenUp {
                reason: self.deadline_words.clone(),
                actor: String::new(),
                evidence: None,
            },
        }
    }

    async fn said(&self, watchdog: &Watchdog) -> GivenUp {
        loop {
            watchdog.beat();
            for received in control::waiting(&self.rollout) {
                let command = &received.command;
                if let Some(why) = command.refusal(self.state, self.revision) {
                    received.answer(false, why);
                } else if command.gives_up() {
                    let reason = if command.reason.is_empty() {
                        format!("told to {}", command.verb.words())
                    } else {
                        command.reason.clone()
                    };
                    let actor = command.actor.clone();
                    received.answer(true, "traffic goes back");
                    return GivenUp { reason, actor, evidence: None };
                }
                // What remains is for the step itself.
            }
            sleep(TICK).await;
        }
    }

    async fn called_back(&self) -> String {
        match &self.caller {
            Some(caller) => caller.told_to_go_back().await,
            None => std::future::pending().await,
        }
    }

    /// Asks the candidate's instances, again and again.
    async fn ill(&self) -> String {
        let mut failed = 0;
        if self.watched.is_empty() {
            return std::future::pending().await;
        }
        let home =
            crate::group::Home { environment: &self.environment, folder: self.folder.path() };
        loop {
            sleep(self.every).await;
            let mut found = None;
            for group in &self.watched {
                found = found.or(group.ailing(home).await.into_iter().next());
            }
            match found {
                None => failed = 0,
                Some(words) => {
                    failed += 1;
                    if failed >= self.failures {
                        return format!("{failed} failed health checks in a row: {words}");
                    }
                }
            }
        }
    }
}
