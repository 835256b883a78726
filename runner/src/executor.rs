//! Carries a plan out: one state after the other, each on record before the next thing is done.
//!
//! Every step can be done again without harm: whoever comes after a crash reads the journal and does the
//! step that was under way once more. While a step waits, it is interrupted by whoever gives the rollout
//! up, by ill health, and by its deadline; then [`Abort`] takes over, and nothing here is
//! called any more.

mod forward;
pub mod gate;
mod hooks;
mod interrupt;
pub(crate) mod migrate;
mod observe;
mod sampler;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;

use prophecy_core::Timestamp;
use serde_json::Value;
use thiserror::Error;

use crate::abort::{Abort, Ended, chain};
use crate::environment::{Environment, EnvironmentError, EnvironmentFolder};
use crate::hook::HookSender;
use crate::journal::{Entry, Journal, JournalError};
use crate::machine::State;
use crate::plan::Plan;
use crate::traffic::Router;

use self::interrupt::{GivenUp, Interrupts};
use self::watchdog::Watchdog;

/// Who is told what happens, as it happens.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// The rollout has reached a state.
    fn reached(&self, plan: &Plan, entry: &Entry);

    /// The arms were compared once more.
    fn judged(&self, plan: &Plan, stage: u32, judgement: &crate::judge::Judgement);

    /// Something that does not change the state.
    fn noted(&self, plan: &Plan, words: &str);
}

/// What carrying out needs.
#[derive(Clone, Debug)]
pub struct Site {
    /// The environment's folder.
    pub folder: EnvironmentFolder,
    /// What carries the traffic.
    pub router: Arc<dyn Router>,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// What calls hooks.
    pub sender: HookSender,
    /// Now.
    pub clock: fn() -> Timestamp,
}

/// Carries out one plan.
#[derive(Debug)]
pub struct Executor {
    site: Site,
    plan: Plan,
    environment: Environment,
    journal: Journal,
    /// Who gave it up, if somebody did.
    given_up: Option<GivenUp>,
}

/// What a step of going forward came to.
#[derive(Debug)]
enum Next {
    /// Another state.
    To(Box<Entry>),
    /// It cannot go on.
    GiveUp(GivenUp),
}

/// Why a rollout could not be carried out at all.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// The environment cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The plan cannot be read.
    #[error("cannot read plan `{}`: {message}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Another rollout is under way.
    #[error("rollout `{other}` is under way in `{environment}`; finish it, or abort it")]
    UnderWay {
        /// The other rollout.
        other: String,
        /// The environment.
        environment: String,
    },
}

// === impl Executor ===

impl Executor {
    /// Takes up a rollout where its journal says it is.
    ///
    /// # Errors
    ///
    /// Each variant of [`ExecuteError`].
    pub fn take_up(site: Site, id: &str) -> Result<Self, ExecuteError> {
        let folder = site.folder.rollout(id);
        let path = folder.join("plan.json");
        let unreadable = |message| ExecuteError::Plan { path: path.clone(), message };
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        let plan: Plan =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let environment = site.folder.read()?;
        let mut journal = Journal::open(&folder)?;
        if let Some(other) = environment.rollout.as_ref().filter(|other| *other != id)
            && !journal.state().is_final()
        {
            return Err(ExecuteError::UnderWay {
                other: other.clone(),
                environment: environment.name,
            });
        }
        if journal.last().is_none() {
            let mut entry = Entry::new((site.clock)(), State::Queued, "planned");
            entry.actor.clone_from(&plan.created_by);
            journal.write(entry)?;
        }
        Ok(Self { site, plan, environment, journal, given_up: None })
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives it up, for a rollout that nobody carries out any more.
    pub async fn give_up(mut self, reason: String, actor: String) -> Ended {
        let state = self.journal.state();
        if state.is_final() {
            return Ended { state, notes: vec![format!("it is {state} already")] };
        }
        self.given_up = Some(GivenUp { reason, actor, evidence: None });
        self.abort().await
    }

    /// Carries it out to its end. `stop` resolves with the reason when the person at the terminal gives it up.
    pub async fn run(mut self, stop: impl Future<Output = String> + Send) -> Ended {
        let watchdog = Watchdog::start(&self.site, &self.plan, &self.environment);
        let mut stop = Box::pin(stop);
        if let Some(entry) = self.journal.last() {
            self.site.observer.reached(&self.plan, entry);
        }
        let mut notes = Vec::new();
        loop {
            let state = self.journal.state();
            if state.is_final() {
                watchdog.let_go();
                return Ended { state, notes };
            }
            if state.is_abort() || self.given_up.is_some() {
                watchdog.let_go();
                return self.abort().await;
            }
            let interrupts = Interrupts::of(&self, state);
            let next = {
                let interrupted = interrupts.wait(&watchdog);
                tokio::select! {
                    biased;
                    given_up = interrupted => Next::GiveUp(given_up),
                    reason = &mut stop => Next::GiveUp(GivenUp { reason, actor: "terminal".to_owned(), evidence: None }),
                    next = self.step(state) => next,
                }
            };
            match next {
                Next::To(entry) => self.reach(*entry, &mut notes),
                Next::GiveUp(given_up) => self.given_up = Some(given_up),
            }
        }
    }

    /// Writes what was reached; without it on record, nothing goes on.
    fn reach(&mut self, entry: Entry, notes: &mut Vec<String>) {
        match self.journal.write(entry) {
            Ok(entry) => {
                let entry = entry.clone();
                self.site.observer.reached(&self.plan, &entry);
                self.tell(&entry);
            }
            Err(error) => {
                let words = chain(&error);
                notes.push(words.clone());
                self.given_up =
                    Some(GivenUp { reason: words, actor: String::new(), evidence: None });
            }
        }
    }

    async fn abort(&mut self) -> Ended {
        let given_up = self.given_up.take().unwrap_or_else(|| GivenUp {
            reason: "taken up while it was being given up".to_owned(),
            actor: String::new(),
            evidence: None,
        });
        if !self.journal.state().is_abort() {
            let mut entry = Entry::new((self.site.clock)(), State::Aborting, &given_up.reason);
            entry.actor.clone_from(&given_up.actor);
            entry.evidence.clone_from(&given_up.evidence);
            // Not being on record does not stop an abort.
            if let Err(error) = self.journal.write(entry) {
                self.site.observer.noted(&self.plan, &chain(&error));
            }
        }
        let before = self.journal.entries().len();
        let abort = Abort {
            folder: &self.site.folder,
            environment: self.environment.clone(),
            plan: &self.plan,
            router: self.site.router.as_ref(),
            judged: given_up.evidence.as_ref().is_some_and(|it| it.get("judgement").is_some()),
            reason: given_up.reason,
            actor: given_up.actor,
            clock: self.site.clock,
        };
        let ended = abort.carry_out(&mut self.journal).await;
        let from = before.saturating_sub(1);
        for entry in &self.journal.entries()[from..] {
            self.site.observer.reached(&self.plan, entry);
            self.tell(entry);
        }
        for note in &ended.notes {
            self.site.observer.noted(&self.plan, note);
        }
        crate::outcome::write(&self.site.folder, &self.plan, &self.journal);
        ended
    }

    /// Returns an entry that leads to a state.
    fn entry(&self, state: State, reason: impl Into<String>) -> Entry {
        Entry::new((self.site.clock)(), state, reason)
    }

    fn to(&self, state: State, reason: impl Into<String>) -> Next {
        Next::To(Box::new(self.entry(state, reason)))
    }
}

// === impl Next ===

impl Next {
    fn give_up(reason: impl Into<String>) -> Self {
        Self::GiveUp(GivenUp { reason: reason.into(), actor: String::new(), evidence: None })
    }

    fn give_up_for(reason: impl Into<String>, evidence: Value) -> Self {
        let reason = reason.into();
        Self::GiveUp(GivenUp { reason, actor: String::new(), evidence: Some(evidence) })
    }
}
