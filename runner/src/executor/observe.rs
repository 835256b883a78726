//! Looking at what clients meet, and drawing the conclusion.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::forward::{ANSWER, by, said};
use super::sampler::Sampler;
use super::{Executor, Next};
use crate::control::Verb;
use crate::evidence;
use crate::evidence::Look;
use crate::hook::HookKind;
use crate::judge::{Check, Control, Finding, Judge, JudgeOptions, Judgement};
use crate::machine::State;
use crate::settings::Undecided;
use crate::slice::Slice;
use crate::strategy::Weight;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);

/// What is said is kept this often at least, and when it changes.
const KEEP: Duration = Duration::from_secs(2);

/// How long a router may be silent before what it said earlier does not pass any more.
const SILENCE: Duration = Duration::from_secs(5);

/// A step does not pass if the router lost more than one in so many requests.
const LOST: u64 = 1_000;

/// Reads seconds as they become whole, and gives them to a judge.
#[derive(Debug)]
struct Watch {
    judge: Judge,
    /// The step that is judged; the soak comes after the last.
    stage: u32,
    /// The next second to be read.
    next: u64,
    /// When seconds were last read.
    heard: Instant,
    candidate: String,
    /// The group that it is compared with, if with any.
    control: Option<String>,
    /// What was kept last, and when.
    kept: Option<(Instant, Finding)>,
    /// The first second.
    since: u64,
    /// Requests that were seen, and those of which the router knows nothing.
    requests: u64,
    lost: u64,
    sampler: Sampler,
}

// === impl Watch ===

impl Watch {
    /// Says what can be said now; a router that has fallen silent may have stopped seeing what is bad.
    fn judgement(&self) -> Judgement {
        let mut judgement = self.judge.judgement();
        let silent = self.heard.elapsed();
        if silent >= SILENCE && judgement.passed() {
            judgement.finding = Finding::Inconclusive;
            judgement.checks.push(Check {
                name: "router".to_owned(),
                finding: Finding::NoData,
                dry_run: false,
                needed: true,
                values: [None; 2],
                interval: None,
                bound: None,
                unit: String::new(),
                words: format!("it has said nothing for {} s", silent.as_secs()),
            });
        }
        judgement
    }

    /// Says whether enough of what clients met is known.
    fn is_whole(&self) -> bool {
        self.lost * LOST <= self.requests
    }

    fn words(&self) -> String {
        format!("the router does not know what became of {} request(s)", self.lost)
    }
}

// === impl Executor ===

impl Executor {
    /// Compares the arms of a step until something can be said, or its time is over.
    pub(super) async fn observe(&mut self, stage: u32, extended: u32) -> Next {
        let Some(planned) = self.plan.stages.get(stage as usize).cloned() else {
            return Next::give_up(format!("the plan has no step {}", stage + 1));
        };
        let until = Instant::now() + planned.observe.0;
        let control = if planned.control > Weight::ZERO {
            Some(self.plan.control_group())
        } else {
            self.environment.live.get(&self.plan.entry).cloned()
        };
        let kind = match () {
            () if control.is_none() => Control::Nobody,
            () if planned.has_copy() => Control::Copy,
            () => Control::Before,
        };
        let mut watch = self.watch(stage, self.since(stage), control, kind);
        loop {
            sleep(LOOK).await;
            self.look(&mut watch).await;
            let judgement = watch.judgement();
            self.judged(&mut watch, stage, &judgement);
            if let Some(reason) = judgement.failure() {
                return Next::give_up_for(reason, json!({ "judgement": judgement }));
            }
            if let Some(command) = self.heard(&[Verb::Pause, Verb::Promote]) {
                let words = said(&command);
                return by(
                    &command,
                    match command.verb {
                        Verb::Promote => self.after_by_order(stage, &words),
                        _ => self.pause(
                            stage,
                            &words,
                            Some(State::Observing { stage, extended: 0 }),
                            &judgement,
                        ),
                    },
                );
            }
            if Instant::now() >= until {
                let is_whole = watch.is_whole();
                if judgement.passed()
                    && is_whole
                    && let Err(words) = self.ask(HookKind::Rollout, planned.weight).await
                {
                    return Next::give_up(words);
                }
                return self.conclude(stage, extended, &judgement, &watch);
            }
        }
    }

    /// Draws the conclusion of a step whose time is over.
    fn conclude(&self, stage: u32, extended: u32, judgement: &Judgement, watch: &Watch) -> Next {
        let evidence = Some(json!({ "judgement": judgement, "lost": watch.lost }));
        if judgement.passed() && watch.is_whole() {
            return match self.after(stage, "the candidate is shown to be no worse") {
                Next::To(mut entry) => {
                    entry.evidence = evidence;
                    Next::To(entry)
                }
                given_up @ Next::GiveUp(_) => given_up,
            };
        }
        let missing = if watch.is_whole() { judgement.missing() } else { watch.words() };
        if extended == 0 {
            let words = format!("nothing can be said yet, it is given as long again: {missing}");
            let mut entry = self.entry(State::Observing { stage, extended: 1 }, words);
            entry.evidence = evidence;
            return Next::To(Box::new(entry));
        }
        match self.plan.settings.analysis.undecided {
            Undecided::RollBack => Next::give_up_for(
                format!("nothing can be said after it was extended: {missing}"),
                json!({ "judgement": judgement }),
            ),
            Undecided::Pause => {
                let words = format!("somebody has to say, since nothing can be said: {missing}");
                self.pause(stage, &words, None, judgement)
            }
        }
    }

    fn pause(&self, stage: u32, words: &str, next: Option<State>, judgement: &Judgement) -> Next {
        let mut entry = self.entry(State::Paused { stage }, words);
        entry.next = next;
        entry.evidence = Some(json!({ "judgement": judgement }));
        Next::To(Box::new(entry))
    }

    fn after_by_order(&self, stage: u32, words: &str) -> Next {
        match self.plan.stages.get(stage as usize + 1) {
            Some(next) => self.to(State::Shifting { stage: next.index }, words),
            None => self.to(State::Promoting, words),
        }
    }

    /// Watches the candidate alone, while what ran before is warm.
    pub(super) async fn soak(&mut self) -> Next {
        if self.environment.rollout.is_none() {
            // A crash came between the last two steps of the end.
            return self.finish().await;
        }
        let until = Instant::now() + self.plan.settings.soak.0;
        if self.plan.strategy.promotes() {
            let since = self.evidence_since(|state| state == State::Soaking);
            let stage = self.plan.stages.len() as u32;
            let mut watch = self.watch(stage, since, None, Control::Nobody);
            while Instant::now() < until {
                sleep(LOOK).await;
                self.look(&mut watch).await;
                let judgement = watch.judgement();
                self.judged(&mut watch, stage, &judgement);
                if let Some(reason) = judgement.failure() {
                    return Next::give_up_for(reason, json!({ "judgement": judgement }));
                }
            }
        }
        self.finish().await
    }

    fn watch(&self, stage: u32, since: u64, control: Option<String>, kind: Control) -> Watch {
        let mut judge = Judge::new(JudgeOptions::of(&self.plan, kind));
        // Seconds are read again from the router; what was sampled is on record.
        let folder = self.site.folder.rollout(&self.plan.id);
        judge.take_up(&evidence::read_samples(&folder, stage));
        Watch {
            judge,
            stage,
            next: since + 1,
            heard: Instant::now(),
            candidate: self.plan.candidate_group(),
            sampler: Sampler::start(self, control.as_ref()),
            control,
            since,
            requests: 0,
            lost: 0,
            kept: None,
        }
    }

    /// Tells what is said, and keeps it.
    fn judged(&self, watch: &mut Watch, stage: u32, judgement: &Judgement) {
        self.site.observer.judged(&self.plan, stage, judgement);
        let due = watch
            .kept
            .is_none_or(|(at, finding)| finding != judgement.finding || at.elapsed() >= KEEP);
        if due {
            watch.kept = Some((Instant::now(), judgement.finding));
            let at = (self.site.clock)().0;
            let look = Look { at, stage, judgement: judgement.clone() };
            evidence::looked(&self.site.folder.rollout(&self.plan.id), &look);
        }
    }

    /// Reads what has become whole since the last look.
    async fn look(&self, watch: &mut Watch) {
        let samples = watch.sampler.taken();
        samples.iter().for_each(|sample| watch.judge.sample(sample));
        let folder = self.site.folder.rollout(&self.plan.id);
        evidence::keep_samples(&folder, watch.stage, (self.site.clock)(), &samples);
        let Ok(Ok(slices)) = timeout(ANSWER, self.site.router.slices(watch.next)).await else {
            // No data is not a pass: the judge will say that it has seen nothing.
            return;
        };
        watch.heard = Instant::now();
        let lost = timeout(ANSWER, self.site.router.lost(watch.since)).await;
        if let Ok(Ok(lost)) = lost
            && lost > watch.lost
        {
            watch.lost = lost;
            self.site.observer.noted(&self.plan, &watch.words());
        }
        let mut seconds: BTreeMap<u64, [Vec<Slice>; 2]> = BTreeMap::new();
        for (group, slices) in &slices {
            let arm = if *group == watch.candidate {
                1
            } else if Some(group) == watch.control.as_ref() {
                0
            } else {
                continue;
            };
            for slice in slices.iter().filter(|slice| slice.second >= watch.next) {
                watch.requests += slice.requests;
                seconds.entry(slice.second).or_default()[arm].push(slice.clone());
            }
        }
        evidence::keep(&folder, watch.next, &slices);
        for (second, [control, candidate]) in seconds {
            watch.judge.observe(second, &control, &candidate);
            watch.next = watch.next.max(second + 1);
        }
    }

    /// Returns the second since which a step is observed.
    fn since(&self, stage: u32) -> u64 {
        self.evidence_since(|state| state == State::Observing { stage, extended: 0 })
    }

    fn evidence_since(&self, is: impl Fn(State) -> bool) -> u64 {
        let entries = self.journal.entries().iter().rev();
        let mut since = entries
            .filter(|entry| is(entry.state))
            .filter_map(|entry| entry.evidence.as_ref()?.get("since")?.as_u64());
        since.next().unwrap_or_default()
    }
}
