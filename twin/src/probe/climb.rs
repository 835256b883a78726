//! From the captured rate upwards, until the arm saturates or a bound is met.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prophecy_core::Interval;
use prophecy_datasets::probe::{Ending, ProbeStep, Rate};
use prophecy_datasets::run::EndedService;
use prophecy_simulator::replication::Estimate;

use super::step::{Calm, Clock, Verdict, judge, tally};
use super::{ProbeBounds, machine};
use crate::launch::Arm;
use crate::metrics;
use crate::replay::{ReplayError, Stretch, Surge};

/// A step's share of the time that there is, and its bounds; a quarter of it is for settling.
const STEP_SHARE: f64 = 1.0 / 15.0;
const STEP: (Duration, Duration) = (Duration::from_millis(600), Duration::from_secs(2));

/// The first step is slower than captured, and longer: what a request costs shows where nothing is in its way.
const FIRST_SPEED: f64 = 0.5;
const FIRST_LONGER: f64 = 3.0;

/// An arm that the first step saturates is asked for so many times less, so often.
const SLOWER: f64 = 8.0;
const SLOWED: usize = 2;

/// The longest that a system may take to settle after a change of speed.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The share of the time that is kept for holding the arm where it saturates.
const HOLD_SHARE: f64 = 1.0 / 3.0;

/// The parts that the time of holding is cut into, for an interval, and the fewest of them.
const BATCH: Duration = Duration::from_millis(250);
const BATCHES: usize = 8;

/// Precise enough: an interval this narrow, from this many parts.
const PRECISE: (f64, usize) = (0.01, 16);

/// A queue is gone when it is so many times shorter.
const GONE: u64 = 4;

/// What is asked of an arm that is held, relatively to what it serves.
const OVERLOAD: f64 = 1.3;

/// How much faster the next step is, by how much slower than at first answers are: the first that fits.
const RISES: [(f64, f64); 3] = [(1.25, 2.0), (2.0, 1.5), (f64::INFINITY, 1.25)];

/// The most requests that one arm gets.
const REQUESTS_LIMIT: u64 = 200_000;

/// What is not known about a rate, at least: timers and scheduling, relatively.
const RATE_FLOOR: f64 = 0.01;

/// Overload costs capacity if less is served by this share than at best.
const COLLAPSE: f64 = 0.1;

/// How an arm is driven up.
pub(super) struct Climb<'a> {
    surge: Surge,
    arm: &'a mut Arm,
    bounds: ProbeBounds,
    stop: &'a Arc<AtomicBool>,
    tell: &'a (dyn Fn(f64) + Sync),
    clock: Clock,
    deadline: Instant,
    calm: Calm,
    steps: Vec<ProbeStep>,
    knee: Option<Rate>,
    ended: Vec<EndedService>,
    notes: Vec<String>,
}

/// What came of it.
pub(super) struct Climbed {
    pub(super) steps: Vec<ProbeStep>,
    pub(super) ending: Ending,
    pub(super) knee: Option<Rate>,
    pub(super) at_least_hz: f64,
    pub(super) ended: Vec<EndedService>,
    pub(super) notes: Vec<String>,
}

// === impl Climb ===

impl<'a> Climb<'a> {
    pub(super) fn new(
        surge: Surge,
        arm: &'a mut Arm,
        bounds: ProbeBounds,
        stop: &'a Arc<AtomicBool>,
        tell: &'a (dyn Fn(f64) + Sync),
    ) -> Self {
        let clock = Clock { instant: Instant::now(), at: metrics::now() };
        Self {
            surge,
            arm,
            bounds,
            stop,
            tell,
            clock,
            deadline: clock.instant + bounds.limit,
            calm: Calm::default(),
            steps: Vec::new(),
            knee: None,
            ended: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Drives the arm until something ends it.
    pub(super) async fn climb(mut self) -> Result<Climbed, ReplayError> {
        let ending = self.rise().await?;
        let kept_up = self.steps.iter().filter(|step| !step.saturated);
        let at_least_hz = kept_up.map(|step| step.served_hz).fold(0.0, f64::max);
        self.note_collapse(at_least_hz);
        let Self { steps, knee, ended, notes, .. } = self;
        Ok(Climbed { steps, ending, knee, at_least_hz, ended, notes })
    }

    async fn rise(&mut self) -> Result<Ending, ReplayError> {
        let captured_hz = self.surge.captured_hz();
        let fastest = self.bounds.max_rate_hz / captured_hz;
        let mut speed = fastest.min(FIRST_SPEED);
        loop {
            let longer = if self.calm.answered == 0 { FIRST_LONGER } else { 1.0 };
            let length = self.step().mul_f64(0.75 * longer);
            let settle = self.settle(self.step() / 4);
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left < settle + length + self.bounds.limit.mul_f64(HOLD_SHARE) {
                return Ok(Ending::Time);
            }
            (self.tell)(speed * captured_hz);
            self.surge.send(speed, settle, self.stop).await?;
            let (mut done, _) = self.measure(speed, &[length], 0).await?;
            if let Some(ending) = self.interrupted() {
                self.steps.push(done);
                return Ok(ending);
            }
            let verdict = judge(&done, &self.calm, machine::cores());
            done.saturated = verdict != Verdict::KeepsUp;
            self.steps.push(done);
            if verdict == Verdict::Saturated
                && self.calm.answered == 0
                && self.steps.len() <= SLOWED
            {
                speed /= SLOWER;
                continue;
            }
            let held = match verdict {
                Verdict::SenderLimited => return Ok(Ending::Sender),
                Verdict::InFlightLimited => return Ok(Ending::InFlight),
                Verdict::KeepsUp => None,
                Verdict::Saturated => self.hold(Ending::Saturated).await?,
                Verdict::Refuses => self.hold(Ending::Refused).await?,
            };
            if let Some(ending) = held {
                return Ok(ending);
            }
            self.calm.learn(&done);
            if speed >= fastest {
                return Ok(Ending::MaxRate);
            }
            if self.surge.asked() >= REQUESTS_LIMIT {
                return Ok(Ending::Count);
            }
            let slower = self.calm.slower(&done);
            let rise = RISES.iter().find(|(to, _)| slower <= *to).map_or(1.25, |(_, rise)| *rise);
            speed = fastest.min(speed * rise);
        }
    }

    /// Keeps the arm saturated, and counts what it serves; `None` if it was not saturated after all.
    async fn hold(&mut self, kind: Ending) -> Result<Option<Ending>, ReplayError> {
        let found = *self.steps.last().expect("a step showed it");
        let usual = 1.0 - self.calm.failed_share();
        let hz = OVERLOAD * (found.served_hz / usual).max(1.0);
        let fastest = self.bounds.max_rate_hz / self.surge.captured_hz();
        let speed = fastest.min(hz / self.surge.captured_hz());
        (self.tell)(speed * self.surge.captured_hz());
        let left = self.deadline.saturating_duration_since(Instant::now());
        let length = left.min(self.bounds.limit.mul_f64(HOLD_SHARE)).max(BATCH * BATCHES as u32);
        let count = (length.as_secs_f64() / BATCH.as_secs_f64()) as usize;
        let parts = vec![BATCH; count.max(BATCHES)];
        let queue = found.in_flight[1] / GONE;
        let (mut done, served) = self.measure(speed, &parts, queue).await?;
        if let Some(ending) = self.interrupted() {
            self.steps.push(done);
            return Ok(Some(ending));
        }
        let verdict = judge(&done, &self.calm, machine::cores());
        let stands = served.len() >= BATCHES && self.surge.in_flight() > queue;
        let last = self.steps.last_mut().expect("a step showed it");
        match verdict {
            Verdict::SenderLimited => {
                done.saturated = true;
                self.steps.push(done);
                return Ok(Some(Ending::Sender));
            }
            // A burst in the traffic, or a hiccup of the machine: the queue was gone by itself.
            Verdict::KeepsUp | Verdict::Saturated if !stands => {
                last.saturated = false;
                self.steps.push(done);
                return Ok(None);
            }
            _ => done.saturated = true,
        }
        self.steps.push(done);
        let estimate = Estimate::of(&served).expect("there are parts");
        let half = (estimate.half_width / usual).max(RATE_FLOOR * estimate.mean);
        let hz = estimate.mean / usual;
        let interval = Interval::try_new((hz - half).max(0.0), hz + half);
        self.knee = interval.filter(|_| hz > 0.0).map(|interval| Rate { hz, interval });
        if self.knee.is_none() {
            self.notes.push("once it was saturated, nothing was answered well any more".to_owned());
        }
        Ok(Some(kind))
    }

    /// Sends for these times without a pause, but ends early where no more than `queue` are in flight;
    /// returns what came of it, and what was served per second in each.
    async fn measure(
        &mut self,
        speed: f64,
        parts: &[Duration],
        queue: u64,
    ) -> Result<(ProbeStep, Vec<f64>), ReplayError> {
        let before = machine::Usage::now();
        let (mut all, mut served) = (None::<Stretch>, Vec::new());
        for part in parts {
            let stretch = self.surge.send(speed, *part, self.stop).await?;
            let from = all.map_or(stretch.from, |all| all.until);
            let log = self.surge.log();
            let good =
                log.ended.iter().filter(|it| it.good && (from..stretch.until).contains(&it.at));
            served.push(good.count() as f64 / stretch.until.duration_since(from).as_secs_f64());
            let asked = stretch.asked + all.map_or(0, |all| all.asked);
            let from = all.map_or(stretch.from, |all| all.from);
            all = Some(Stretch { from, until: stretch.until, asked });
            let precise = served.len() >= PRECISE.1
                && Estimate::of(&served).is_some_and(|it| it.half_width < PRECISE.0 * it.mean);
            drop(log);
            let gone = served.len() > 1 && self.surge.in_flight() <= queue;
            if precise || gone || self.interrupted().is_some() {
                break;
            }
        }
        let stretch = all.expect("there is a part");
        let usage = [before, machine::Usage::now()];
        let step = tally(&self.surge.log(), speed, stretch, usage, self.clock);
        Ok((step, served))
    }

    /// Returns the length of a step.
    fn step(&self) -> Duration {
        self.bounds.limit.mul_f64(STEP_SHARE).clamp(STEP.0, STEP.1)
    }

    /// Returns how long to let the system settle: longer than its answers take.
    fn settle(&self, least: Duration) -> Duration {
        let slowest = self.steps.last().map_or(0.0, |step| 1.5 * step.latency_ms_p99 / 1e3);
        Duration::from_secs_f64(slowest).clamp(least, SETTLE_LIMIT)
    }

    /// Says whether a service has ended, or the probe is to.
    fn interrupted(&mut self) -> Option<Ending> {
        if self.ended.is_empty() {
            self.ended = self.arm.ended_services();
        }
        if !self.ended.is_empty() {
            return Some(Ending::Died);
        }
        self.stop.load(Ordering::SeqCst).then_some(Ending::Time)
    }

    /// The knee is where most is served, not what is left of it under overload.
    fn note_collapse(&mut self, best_hz: f64) {
        let seconds = 0.75 * self.step().as_secs_f64();
        let Some(knee) = &mut self.knee else { return };
        let doubt = 3.0 * (best_hz / seconds).sqrt();
        if best_hz - doubt > (1.0 + COLLAPSE) * knee.hz {
            self.notes.push(format!(
                "overload costs capacity: {:.1}/s at best, {:.1}/s when asked for more",
                best_hz, knee.hz
            ));
            let top = Interval::try_new(best_hz - doubt, best_hz + doubt);
            *knee = Rate { hz: best_hz, interval: top.unwrap_or(knee.interval) };
        }
    }
}
