//! Going forward: what each state does, so that doing it again does no harm.

use std::time::Duration;

use prophecy_twin::load_system;
use tokio::time::{Instant, sleep, timeout};

use super::{Executor, Next, migrate};
use crate::abort::chain;
use crate::control::{self, Command, Verb};
use crate::environment::EnvironmentError;
use crate::group::Group;
use crate::hook::HookKind;
use crate::journal::Entry;
use crate::machine::State;
use crate::strategy::{Stage, Strategy, Weight};
use crate::traffic::{RouterError, Traffic, edges};

const TICK: Duration = Duration::from_millis(50);

/// How long a router gets for its answer.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

// === impl Executor ===

impl Executor {
    /// Does what a state asks for, and says which comes next.
    pub(super) async fn step(&mut self, state: State) -> Next {
        match state {
            State::Queued => self.to(State::Gated, "the plan is asked"),
            State::Gated => self.gate().await,
            State::Provisioning => self.provision().await,
            State::Shifting { stage } => self.shift(stage).await,
            State::Settling { stage } => {
                sleep(self.plan.settings.settle.0).await;
                self.observation(stage, 0, "what was in flight before is over").await
            }
            State::Observing { stage, extended } => self.observe(stage, extended).await,
            State::Paused { stage } => self.paused(stage).await,
            State::Promoting => self.promote().await,
            State::Soaking => self.soak().await,
            _ => Next::give_up(format!("nothing leads on from {state}")),
        }
    }

    /// Starts the candidate, and the control where there is one, without any traffic.
    async fn provision(&mut self) -> Next {
        if let Err(words) = self.plan_groups() {
            return Next::give_up(words);
        }
        if let Err(error) = self.apply(&Traffic::live()).await {
            return Next::give_up(error.to_string());
        }
        if let Some(migration) = &self.plan.settings.migration {
            let rollout = self.site.folder.rollout(&self.plan.id);
            if let Err(words) = migrate::forward(&rollout, migration).await {
                return Next::give_up(words);
            }
        }
        for id in [self.plan.control_group(), self.plan.candidate_group()] {
            let Some(group) = self.environment.groups.get(&id) else { continue };
            let home = self.site.folder.home(&self.environment);
            if let Err(error) = group.start(home).await {
                return Next::give_up(format!("`{id}` cannot be started: {}", chain(&error)));
            }
            if let Some(found) = group.ailing(home).await.into_iter().next() {
                return Next::give_up(format!("`{id}` is not healthy: {found}"));
            }
        }
        match self.plan.stages.first() {
            None => self.to(State::Promoting, "every instance is ready"),
            Some(stage) => self.before(stage, "every instance is ready"),
        }
    }

    /// Plans the groups and writes them down before anything of them is started.
    fn plan_groups(&mut self) -> Result<(), String> {
        let load = |path| load_system(path).map_err(|error| chain(&error));
        let plan = &self.plan;
        let mut planned = Vec::new();
        let candidate = load(&plan.candidate.manifest)?;
        let mut wanted = vec![(plan.candidate_group(), &plan.candidate, candidate)];
        if let Some(previous) = plan.previous.as_ref().filter(|_| plan.strategy.has_control()) {
            wanted.push((plan.control_group(), previous, load(&previous.manifest)?));
        }
        for (id, build, system) in wanted {
            if self.environment.groups.contains_key(&id) {
                continue;
            }
            let group = Group::plan(&id, &build.manifest, &system, &plan.replaced);
            let group = group.map_err(|error| chain(&error))?;
            if group.digest != build.digest {
                return Err(format!(
                    "manifest `{}` is not what was planned any more",
                    build.manifest.display()
                ));
            }
            planned.push(group);
        }
        for group in planned {
            self.environment.groups.insert(group.id.clone(), group);
        }
        self.environment.rollout = Some(self.plan.id.clone());
        self.write_environment()
    }

    pub(super) fn write_environment(&self) -> Result<(), String> {
        let written: Result<(), EnvironmentError> = self.site.folder.write(&self.environment);
        written.map_err(|error| chain(&error))
    }

    /// Leads to a step, or to whoever has to say so first.
    fn before(&self, stage: &Stage, reason: &str) -> Next {
        if !stage.confirm {
            return self.to(State::Shifting { stage: stage.index }, reason);
        }
        let words = format!("{reason}; step {} waits for somebody to say so", stage.index + 1);
        let mut entry = self.entry(State::Paused { stage: stage.index }, words);
        entry.next = Some(State::Shifting { stage: stage.index });
        Next::To(Box::new(entry))
    }

    /// Leads to what comes after a step.
    pub(super) fn after(&self, stage: u32, reason: &str) -> Next {
        match self.plan.stages.get(stage as usize + 1) {
            Some(next) => self.before(next, reason),
            None => self.to(State::Promoting, reason),
        }
    }

    /// Leads into the observation of a step; from which second on is on record.
    pub(super) async fn observation(&self, stage: u32, extended: u32, reason: &str) -> Next {
        let mut entry = self.entry(State::Observing { stage, extended }, reason);
        if extended == 0 {
            entry.evidence = Some(self.counting_from(&entry).await);
        }
        Next::To(Box::new(entry))
    }

    /// Returns since when evidence counts, by the clock of who gathers it; ours may have been set meanwhile.
    async fn counting_from(&self, entry: &Entry) -> serde_json::Value {
        let second = match timeout(ANSWER, self.site.router.second()).await {
            Ok(Ok(second)) => second,
            _ => (entry.at / 1_000_000_000).max(0) as u64,
        };
        serde_json::json!({ "since": second })
    }

    async fn shift(&mut self, stage: u32) -> Next {
        let Some(planned) = self.plan.stages.get(stage as usize) else {
            return Next::give_up(format!("the plan has no step {}", stage + 1));
        };
        if let Err(words) = self.ask(HookKind::ConfirmTrafficIncrease, planned.weight).await {
            return Next::give_up(words);
        }
        let traffic = self.traffic_of(planned);
        match self.apply(&traffic).await {
            Ok(()) => self.to(State::Settling { stage }, "the traffic has been moved"),
            Err(error) => Next::give_up(error.to_string()),
        }
    }

    /// Returns the traffic of a step.
    pub(super) fn traffic_of(&self, stage: &Stage) -> Traffic {
        let candidate = self.plan.candidate_group();
        let mut shares = vec![(candidate.clone(), stage.weight)];
        if stage.control > Weight::ZERO {
            shares.push((self.plan.control_group(), stage.control));
        }
        let select = match &self.plan.strategy {
            Strategy::Ab { select, .. } => select.clone(),
            _ => None,
        };
        let mirrored = (stage.mirrored > Weight::ZERO).then_some((candidate, stage.mirrored));
        Traffic {
            shares,
            select,
            mirrored,
            sticky: matches!(self.plan.strategy, Strategy::Ab { .. } | Strategy::Canary { .. }),
            instances: stage.instances,
        }
    }

    /// Sends traffic where it should go; a router that does not answer is asked again for a while.
    pub(super) async fn apply(&self, traffic: &Traffic) -> Result<(), RouterError> {
        let edges = edges(&self.environment, traffic);
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            match self.site.router.apply(&edges, traffic).await {
                Err(RouterError::Unreachable { .. }) if Instant::now() < patience => {
                    sleep(TICK).await;
                }
                result => return result,
            }
        }
    }

    /// Waits for somebody to say how to go on.
    async fn paused(&self, stage: u32) -> Next {
        loop {
            if let Some(command) = self.heard(&[Verb::Promote, Verb::Resume]) {
                let next = match command.verb {
                    // To go on is to do what the pause kept from being done.
                    Verb::Resume => self.journal.last().and_then(|entry| entry.next),
                    _ => None,
                };
                let words = said(&command);
                return by(
                    &command,
                    match next {
                        Some(State::Shifting { stage }) => {
                            self.to(State::Shifting { stage }, words)
                        }
                        Some(State::Observing { stage, .. }) => {
                            self.observation(stage, 0, &words).await
                        }
                        _ => self.promoted(stage, &words),
                    },
                );
            }
            sleep(TICK).await;
        }
    }

    /// Leads on from a pause by order, past what is missing.
    fn promoted(&self, stage: u32, words: &str) -> Next {
        match self.journal.last().and_then(|entry| entry.next) {
            Some(State::Shifting { stage }) => self.to(State::Shifting { stage }, words),
            _ => match self.plan.stages.get(stage as usize + 1) {
                Some(next) => self.to(State::Shifting { stage: next.index }, words),
                None => self.to(State::Promoting, words),
            },
        }
    }

    /// Returns a command of these kinds, if one waits; the others are heard elsewhere.
    pub(super) fn heard(&self, verbs: &[Verb]) -> Option<Command> {
        let folder = self.site.folder.rollout(&self.plan.id);
        let (state, revision) = (self.journal.state(), self.journal.revision());
        for received in control::waiting(&folder) {
            let command = received.command.clone();
            let refused = command.refusal(state, revision).is_some();
            if !refused && verbs.contains(&command.verb) {
                received.answer(true, format!("{}: it goes on", command.verb.words()));
                return Some(command);
            }
        }
        None
    }

    /// Gives the candidate everything, and waits until nothing is in flight on what ran before.
    async fn promote(&mut self) -> Next {
        if !self.plan.strategy.promotes() {
            if let Err(error) = self.apply(&Traffic::live()).await {
                return Next::give_up(error.to_string());
            }
            return self.to(State::Soaking, "the copies have stopped; nothing is deployed");
        }
        if let Err(words) = self.ask(HookKind::ConfirmPromotion, Weight::ALL).await {
            return Next::give_up(words);
        }
        let all =
            Traffic { shares: vec![(self.plan.candidate_group(), Weight::ALL)], ..Traffic::live() };
        if let Err(error) = self.apply(&all).await {
            return Next::give_up(error.to_string());
        }
        let drained = self.drain().await;
        if let Some(control) = self.environment.groups.get(&self.plan.control_group()) {
            control.stop(self.site.folder.home(&self.environment)).await;
        }
        let mut words = "the candidate has everything".to_owned();
        if !drained {
            words.push_str("; requests older than the drain limit are still on what ran before");
        }
        let mut entry = self.entry(State::Soaking, words);
        entry.evidence = Some(self.counting_from(&entry).await);
        Next::To(Box::new(entry))
    }

    /// Waits until only the candidate has requests in flight.
    async fn drain(&self) -> bool {
        let until = Instant::now() + self.plan.settings.drain.0;
        let candidate = self.plan.candidate_group();
        // Groups that serve something that is not replaced go on having requests.
        let others: Vec<String> = self
            .plan
            .replaced
            .iter()
            .filter_map(|service| self.environment.live.get(service).cloned())
            .chain([self.plan.control_group()])
            .filter(|id| *id != candidate)
            .collect();
        while Instant::now() < until {
            if let Ok(counts) = self.site.router.in_flight().await
                && others.iter().all(|id| counts.get(id).copied().unwrap_or(0) == 0)
            {
                return true;
            }
            sleep(TICK).await;
        }
        false
    }

    /// Makes the candidate what runs, and ends what it replaced.
    pub(super) async fn finish(&mut self) -> Next {
        // What it answers changes nothing any more.
        drop(self.ask(HookKind::PostRollout, Weight::ALL).await);
        if let Err(words) = self.settle_environment() {
            return Next::give_up(words);
        }
        if let Err(error) = self.apply(&Traffic::live()).await {
            // The router does what it should already: only its names of groups are old.
            self.site.observer.noted(&self.plan, &error.to_string());
        }
        let retired = std::mem::take(&mut self.environment.retired);
        for group in &retired {
            group.stop(self.site.folder.home(&self.environment)).await;
        }
        if let Err(words) = self.write_environment() {
            self.site.observer.noted(&self.plan, &words);
        }
        crate::outcome::write(&self.site.folder, &self.plan, &self.journal);
        let words = if self.plan.strategy.promotes() {
            "the candidate is what runs"
        } else {
            "nothing was deployed; the comparison is on record"
        };
        self.to(State::Succeeded, words)
    }

    fn settle_environment(&mut self) -> Result<(), String> {
        let plan = &self.plan;
        let environment = &mut self.environment;
        let candidate = plan.candidate_group();
        let promotes = plan.strategy.promotes();
        if environment.rollout.is_none() {
            return Ok(());
        }
        if let Some(control) = environment.groups.remove(&plan.control_group()) {
            environment.retired.push(control);
        }
        if promotes {
            for service in plan.replaced.iter().chain(&plan.removed) {
                let before = environment.live.remove(service);
                if plan.replaced.contains(service) {
                    environment.live.insert(service.clone(), candidate.clone());
                }
                let Some(before) = before.filter(|id| *id != candidate) else { continue };
                let Some(group) = environment.groups.get_mut(&before) else { continue };
                let Some(instances) = group.services.remove(service) else { continue };
                let mut retired = group.clone();
                retired.services = [(service.clone(), instances)].into();
                let empty = group.services.is_empty();
                environment.retired.push(retired);
                if empty {
                    environment.groups.remove(&before);
                }
            }
            environment.previous = environment.current.replace(plan.candidate.clone());
            environment.rejected.remove(&plan.candidate.digest);
        } else if let Some(group) = environment.groups.remove(&candidate) {
            environment.retired.push(group);
        }
        environment.rollout = None;
        self.write_environment()
    }
}

/// Returns what somebody said, in words.
pub(super) fn said(command: &Command) -> String {
    if command.reason.is_empty() {
        format!("told to {}", command.verb.words())
    } else {
        command.reason.clone()
    }
}

/// Notes who said so.
pub(super) fn by(command: &Command, next: Next) -> Next {
    match next {
        Next::To(mut entry) => {
            entry.actor.clone_from(&command.actor);
            Next::To(entry)
        }
        given_up @ Next::GiveUp(_) => given_up,
    }
}
